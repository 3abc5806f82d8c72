"""Artifacts that count: the same counts and classes on every rung, in `run`, `verify` and `report`; refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spikec
from spikec.backends.fpga.backend import FpgaBackend, design_of
from spikec.backends.fpga.boards import BOARDS
from spikec.cli import main
from spikec.compiler import artifact as artifacts
from spikec.compiler.artifact import Artifact
from spikec.compiler.cores import COUNT_BITS
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import FixedNeuron
from spikec.driver.fpga import COUNTS
from spikec.driver.fpga_report import measure_artifact
from tests.fpga.networks import fixed_mlp, float_mlp, spikes

GRAPH = float_mlp((36, 24, 10))
GIVEN = spikes(GRAPH, 5)


def compiled(**options: object) -> Artifact:
    return spikec.compile(GRAPH, "fpga:colorlight-i5", calibrate=GIVEN, readout="counts", **options)  # type: ignore[arg-type]


def test_the_ladder_agrees_in_counts_and_cycles(tmp_path: Path) -> None:
    made = artifacts.read(compiled().write(tmp_path / "a"))
    assert design_of(made).count_bits == made.facts["fpga"]["count_bits"] == COUNT_BITS
    labels = spikec.run(made, GIVEN).classes
    reports = {report.name: report for report in spikec.verify(made, inputs=GIVEN, labels=labels)}
    plain = spikec.compile(GRAPH, "fpga:colorlight-i5", calibrate=GIVEN)
    fewer = {report.name: report for report in spikec.verify(plain, inputs=GIVEN, rtl=False)}
    for name in ("cycle simulator", "RTL in Verilator"):
        assert not reports[name].error
        assert reports[name].agreement.differing == 0
        assert reports[name].correct == (None if reports[name].skipped else 5)
    extra = reports["cycle simulator"].agreement.cells - fewer["cycle simulator"].agreement.cells
    assert extra == 5 * 10  # the counts themselves


@pytest.mark.parametrize("engine", ["cycle", "rtl"])
def test_a_run_gives_the_counts_of_the_engine(engine: str, tmp_path: Path) -> None:
    folder, data, out = tmp_path / "a", tmp_path / "in.npz", tmp_path / "out.npz"
    compiled().write(folder)
    np.savez(data, spikes=GIVEN)
    wanted = spikec.run(folder, GIVEN)
    assert wanted.counts is not None
    assert wanted.counts.any()
    words = ["run", str(folder), "--input", str(data), "--engine", engine, "--trace", "--align", "-o", str(out)]
    assert main(words) == 0
    with np.load(out) as made:
        assert "spikes" not in made.files
        assert np.array_equal(made["counts"], wanted.counts)
        assert np.array_equal(made[COUNTS][:, 0], wanted.counts)
        assert made["c/cycles"].shape == (5, 1)
        assert np.array_equal(made["s/lif1"].sum(axis=1), wanted.counts)
    assert np.array_equal(spikec.run(folder, GIVEN, engine=engine).classes, wanted.classes)  # type: ignore[arg-type]


def test_the_report_and_the_command_line_know_of_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, data = tmp_path / "g.spk", tmp_path / "in.npz"
    from spikec.compiler.serialize import save

    save(GRAPH, source)
    np.savez(data, spikes=GIVEN)
    folder = tmp_path / "a"
    words = ["compile", str(source), "-t", "fpga:colorlight-i5", "--calibrate", str(data), "--readout", "counts"]
    assert main([*words, "-o", str(folder)]) == 0
    assert "output: counts of a sample in 16 bits, exact up to 65535 steps" in capsys.readouterr().out
    made = measure_artifact(artifacts.read(folder), GIVEN, spikec.run(folder, GIVEN).classes, rtl=False)
    assert made["verdict"]["equal"]
    assert made["right"] == 5
    assert [m["memory"] for m in made["memories"]][-1] == "counts"
    assert made["queues"][-1]["queue"] == "counter -> output"
    assert made["queues"][-1]["tokens"] == 5 * (design_of(artifacts.read(folder)).output_groups + 1)
    json.dumps(made)


def test_saturated_counts_are_the_same_on_every_rung() -> None:
    made = compiled()
    narrow = made.files["design.json"].replace(b'"count_bits": 16', b'"count_bits": 2')
    reports = spikec.verify(
        Artifact(made.target, {**made.files, "design.json": narrow}, made.facts), inputs=GIVEN, rtl=False
    )
    assert not any(report.failed or report.error for report in reports)
    assert spikec.run(made, GIVEN).counts.max() > 3  # type: ignore[union-attr]


def test_what_cannot_count_says_so() -> None:
    with pytest.raises(CompileError, match="'nir' does not count") as caught:
        spikec.compile(GRAPH, "nir", readout="counts")
    assert caught.value.diagnostics[0].code == "target/counts"
    backend = FpgaBackend(BOARDS["ulx3s-85f"], counts=True)
    graph = next(g for seed in range(9) if not list(backend.check(g := fixed_mlp(np.random.default_rng(seed)))))
    last = graph.of(FixedNeuron)[-1]
    silent = replace(last, op=replace(last.op, reset="none", readout="membrane"))  # type: ignore[type-var]
    membrane = graph.map(lambda node: silent if node is last else None)
    assert [d.code for d in backend.check(membrane)] == ["fpga/counts"]
    overlay = spikec.compile(GRAPH, "fpga:colorlight-i5", calibrate=GIVEN, memories="overlay")
    with pytest.raises(CompileError, match="sends the spikes of every step"):
        compiled(like=overlay)
    counted = compiled(memories="overlay")
    assert (
        design_of(spikec.compile(GRAPH, "fpga:colorlight-i5", calibrate=GIVEN, like=counted)).count_bits == COUNT_BITS
    )
