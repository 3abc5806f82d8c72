"""`run --aer --vcd --window`: the same events as the simulator's records; and what `report` says without samples."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import spikec
from spikec.cli import main
from spikec.driver.fpga import CycleRunner, fpga_runner
from tests.fpga.networks import float_mlp, spikes

GRAPH = float_mlp((20, 16, 5))
GIVEN = spikes(GRAPH, 35, 6)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("built")
    spikec.compile(GRAPH, "fpga:icebreaker", calibrate=GIVEN).write(folder / "a")
    np.savez(folder / "in.npz", spikes=GIVEN)
    return str(folder / "a"), str(folder / "in.npz")


def test_the_files_hold_what_the_simulator_did(
    built: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, data = built
    aer, vcd = tmp_path / "t.csv", tmp_path / "t.vcd"
    words = ["run", folder, "--input", data, "--engine", "cycle", "--aer", str(aer), "--vcd", str(vcd)]
    assert main([*words, "--sample", "33", "--window", "20:90"]) == 0
    from spikec.compiler import artifact as artifacts

    runner = fpga_runner(artifacts.read(folder), "cycle")
    assert isinstance(runner, CycleRunner)
    records = runner.simulate(GIVEN, trace=True).records
    with aer.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert f"({len(rows)} events)" in capsys.readouterr().out
    assert len(rows) == len(records)
    assert [int(row["stream"]) for row in rows] == records["stream"].tolist()
    assert [int(row["cycle"]) for row in rows] == records["cycle"].tolist()
    text = vcd.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("#")] == [f"#{10 * k}" for k in range(20, 91)]
    own = records[(records["stream"] == 33) & (records["cycle"] >= 20) & (records["cycle"] < 90)]
    assert text.count("\n1") == len(own)
    assert main([*words, "-q"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.vcd"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "fast", "--aer", "x.csv"], "error[run/not-cycle]"),
        (["--engine", "cycle", "--window", "0:5"], "error[run/no-vcd]"),
        (["--engine", "cycle", "--vcd", "x.vcd", "--window", "900000:900001"], "error[run/no-window]: sample 0 takes "),
        (["--engine", "cycle", "--vcd", "x.vcd", "--sample", "35"], "there is no sample 35 among 35"),
    ],
)
def test_what_cannot_be_drawn_says_why(
    words: list[str],
    said: str,
    built: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", built[0], "--input", built[1], *words]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["5", "5:5", "9:3", "a:b", "-1:4"])
def test_a_window_is_two_cycles(text: str, built: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", built[0], "--input", built[1], "--engine", "cycle", "--vcd", "x.vcd", f"--window={text}"])
    assert caught.value.code == 2


def test_a_report_without_samples_says_what_to_give(built: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", built[0]]) == 1
    told = capsys.readouterr().err
    assert "error[report/no-input]: a report is of a run on samples, and none were given" in told
    assert "'spikes' (N, T, 1, 1, 20)" in " ".join(told.split())
