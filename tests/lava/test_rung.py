"""The Lava rung of `spikec verify`: what skips it, what fails it, and what that means for the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from spikec.cli import main
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import FixedSum, Input, Linear, Output
from spikec.compiler.serialize import save
from spikec.compiler.weights import Fixed
from spikec.runtime.lava import env as environment
from spikec.runtime.lava.env import LavaEnv
from tests.lava.networks import native

VERIFY = ("verify", "net.spk", "--input", "data.npz", "--json", "report.json")


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graph, inputs = native(1)
    save(graph, "net.spk")
    np.savez("data.npz", spikes=inputs)


def rung() -> dict[str, object]:
    """Give the report of the rung."""
    reports = json.loads(Path("report.json").read_text(encoding="utf-8"))
    return dict(next(report for report in reports if report["name"] == "Lava"))


def without_lava(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environment.PYTHON_VARIABLE, raising=False)
    monkeypatch.setenv(environment.HOME_VARIABLE, "none")


def test_a_broken_python_fails_the_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set but without Lava: no skip, whether Lava is required or not."""
    monkeypatch.setenv(environment.PYTHON_VARIABLE, sys.executable)
    for more in ((), ("--require-lava",)):
        assert main([*VERIFY, *more]) == 1
        assert str(rung()["error"]).startswith("error[lava/bad-python]")
        assert rung()["skipped"] == ""
    assert main([*VERIFY, "--no-lava"]) == 0
    assert main(["run", "net.spk", "--input", "data.npz", "--engine", "lava"]) == 1


def test_a_missing_lava_skips_the_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    without_lava(monkeypatch)
    assert main(VERIFY) == 0
    assert rung()["skipped"] == "Lava is not installed"


def test_a_missing_lava_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    without_lava(monkeypatch)
    assert main([*VERIFY, "--require-lava"]) == 1
    assert str(rung()["error"]).startswith("error[lava/missing]")


def test_a_network_that_lava_cannot_hold_skips_the_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of 300 is beyond Loihi's range; that is no fault of Lava, but no proof either."""
    without_lava(monkeypatch)
    wide = Linear(Fixed(np.array([[300, -3]]), 0, 12), latency=1, sum=FixedSum())
    nodes = (
        Node("in", Input((2,))),
        Node("l", wide, ("in",)),
        Node("n", FixedNeuron(100, start=1), ("l",)),
        Node("out", Output(), ("n",)),
    )
    save(Graph(nodes), "net.spk")
    np.savez("data.npz", spikes=np.ones((2, 5, 2), np.int32))
    assert main(VERIFY) == 0
    assert "300" in str(rung()["skipped"])
    assert main([*VERIFY, "--require-lava"]) == 1
    assert str(rung()["error"]).startswith("error[loihi/")


def test_a_lava_is_not_both_required_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*VERIFY, "--require-lava", "--no-lava"])
    assert caught.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.lava
def test_a_required_lava_is_climbed(lava: LavaEnv) -> None:
    assert main([*VERIFY, "--require-lava"]) == 0
    assert rung()["samples"] == 2
