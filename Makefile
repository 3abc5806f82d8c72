# Every target sets up what it needs, once; `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

CORE_STAMP := $(VENV)/.core-stamp
TOOLS_STAMP := $(VENV)/.tools-stamp
LAVA_STAMP := $(VENV)/.lava-stamp
# Frameworks with an environment of their own: one file of pinned packages each, installed over .venv and without what
# they depend on. Its line `# tests: PATH...` names the tests that run there.
FRAMEWORKS := $(patsubst tests/frameworks/%.txt,%,$(wildcard tests/frameworks/*.txt))
CPP := CMakeLists.txt $(wildcard spikec/runtime/spikecore/*.[ch]pp spikec/passes/*/*.[ch]pp)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env setup lava demo test test-long test-frameworks lint bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: env lava ## the environment, the core and Lava

env: $(CORE_STAMP) ## .venv with the pinned packages, and spikec with its core, editable

lava: $(LAVA_STAMP) ## the environment of Lava's worker

demo: $(CORE_STAMP) $(LAVA_STAMP) ## compile a trained network, run it, verify it
	$(BIN)/python examples/demo.py

test: $(CORE_STAMP) $(LAVA_STAMP) ## all tests but the slow ones
	$(BIN)/python -m pytest -n 2 -q tests -m "not slow"

test-long: $(CORE_STAMP) $(LAVA_STAMP) ## the slow tests
	$(BIN)/python -m pytest -n 2 -q tests -m slow

test-frameworks: $(CORE_STAMP) $(FRAMEWORKS:%=frameworks-%) ## every frontend against its framework, slow tests too
	$(BIN)/python -m pytest -q tests/frontends

frameworks-%: $(VENV)/frameworks/%/.stamp ## one framework in an environment of its own
	PYTHONPATH=$(VENV)/frameworks/$* $(BIN)/python -m pytest -q $$(sed -n 's/^# tests: //p' tests/frameworks/$*.txt)

lint: $(CORE_STAMP) ## ruff, mypy, pyright and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(patsubst benchmarks/%.py,bench-%,$(wildcard benchmarks/[a-z]*.py)) ## every benchmark; QUICK=1 for a short form

bench-%: $(CORE_STAMP) ## one benchmark: make bench-engine
	$(BIN)/python benchmarks/$*.py

bench-frameworks: $(FRAMEWORKS:%=$(VENV)/frameworks/%/.stamp)

clean: ## remove what was built; the environment in .venv stays
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find spikec tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The build runs without isolation, so its tools are here first. norse declares torchvision, which it does not need;
# sinabs declares an older nir, and samna, whose package installs another from elsewhere when it is imported.
$(TOOLS_STAMP): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "spikec is developed on Python 3.11 or later: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch scikit-build-core nanobind cmake ninja matplotlib
	$(PIP) install -c constraints.txt --no-deps norse sinabs pbr
	@touch $@

$(CORE_STAMP): $(TOOLS_STAMP) pyproject.toml $(CPP)
	$(PIP) install -c constraints.txt --no-build-isolation --no-warn-conflicts -e '.[dev]'
	@touch $@

$(VENV)/frameworks/%/.stamp: tests/frameworks/%.txt | $(CORE_STAMP)
	rm -rf $(@D)
	$(PIP) install --no-deps --target $(@D) -r $<
	@touch $@

$(LAVA_STAMP): $(wildcard spikec/runtime/lava/*.txt) | $(CORE_STAMP)
	$(BIN)/python -m spikec lava install
	@touch $@
