"""Models that Verilator makes are kept under build/, so that a second run of the tests need not compile them."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _models_in_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEC_CACHE", str(Path(__file__).parents[2] / "build" / "fpga-models"))
