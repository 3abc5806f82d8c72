"""The shape of the package: what its import costs, and that its parts agree on the version."""

import subprocess
import sys
from importlib import metadata

import _spikecore
import pytest

import spikec

HEAVY = {"torch", "onnx", "nir", "h5py", "matplotlib", "snntorch", "ray", "lava", "scipy", "sklearn"}
ROOMS = ["compiler", "frontends", "passes", "backends", "runtime"]


def loaded_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import spikec", *(f"import spikec.{room}" for room in ROOMS)])
def test_import_loads_no_heavy_package(statement: str) -> None:
    assert not loaded_after(statement) & HEAVY


def test_package_metadata_and_core_have_one_version() -> None:
    assert spikec.__version__ == metadata.version("spikec") == _spikecore.__version__
