"""The documents: their code runs, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from spikec.cli.arguments import parser
from spikec.compiler.artifact import read
from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Diagnostic, Findings
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.pipeline import run_pipeline
from spikec.compiler.spec import parse
from tests.compiler.networks import fixed_graph, float_graph
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def code_of(page: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run the Python block of a page as a module."""
    block = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)[0]
    module = ModuleType(f"docs_{page.partition('.')[0].replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(block, page, "exec"), module.__dict__)
    return module


def test_the_pass_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = code_of("new-pass.md", monkeypatch).ClipWeights
    (step,) = parse("clip-weights{sigmas=1}", {clip.name: clip})
    told: list[Diagnostic] = []
    graph = run_pipeline(float_graph(), [step], Context(remark=told.append))
    before, after = (np.abs(g["fc"].op.weight.decode()) for g in (float_graph(), graph))  # type: ignore[attr-defined]
    assert after.max() < before.max()
    assert run_pipeline(graph, [clip(9.0)], Context(remark=told.append)) is graph
    assert {d.code for d in told} == {"clip-weights/nothing"}


def test_the_backend_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend = code_of("new-backend.md", monkeypatch).BoxBackend()
    found = Findings()
    for diagnostic in backend.check(fixed_graph()):
        found(diagnostic)
    assert not len(found)
    soft = Graph(tuple(_soft(node) for node in fixed_graph()))
    assert [d.code for d in backend.check(soft)] == ["box/soft-reset"] * 2
    backend.emit(fixed_graph()).write(tmp_path / "box")
    assert read(tmp_path / "box").target == "box"


def _soft(node: Node) -> Node:
    return (
        Node(node.name, FixedNeuron(threshold=9, reset="subtract"), node.inputs)
        if isinstance(node.op, FixedNeuron)
        else node
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
    for line in re.findall(r"^\$? ?spikec ([a-z]+ [^\n#]*)", blocks, re.MULTILINE):
        words = line.split()
        if "..." not in line and not {"MODEL", "ARTIFACT", "DATA"} & set(words):
            parser().parse_args([word for word in words if word != "$"])


def test_no_page_names_a_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(home|root|work|tmp)/", page.read_text(encoding="utf-8")), page
