"""The whole way for an FPGA: trained digits, random networks, N-MNIST; spikes and cycles equal on every rung."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import spikec
from spikec.backends.fpga.layers import Choice, build, layers_of
from spikec.cli import main
from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import CompileError
from spikec.driver.fpga import CycleRunner
from spikec.driver.fpga_report import measure_artifact
from spikec.runtime.engine import Engine
from spikec.runtime.ladder import RungReport
from tests.fpga.networks import fixed_mlp, float_mlp, pruned, spikes

ROOT = Path(__file__).resolve().parents[2]
EXACT = ("engine", "cycle simulator", "RTL in Verilator")


def agree(reports: tuple[RungReport, ...], samples: int, *, rtl: bool) -> None:
    """Assert that every exact rung ran and compared cells that are not all zero."""
    by_name = {report.name: report for report in reports}
    for name in EXACT if rtl and not by_name[EXACT[2]].skipped else EXACT[:2]:
        report = by_name[name]
        assert not report.error, report.error
        assert report.samples == samples
        assert report.agreement.spikes_active > 0
        assert report.agreement.differing == 0


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_are_equal_in_every_layer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = fixed_mlp(rng)
    choices = [Choice(int(2 ** rng.integers(1, 6)), int(rng.integers(1, 4))) for _ in layers_of(graph)]
    design = build(graph, choices)
    given = (rng.random((3, 8, *design.input_shape)) < rng.random()).astype(np.int32)
    wanted, made = Engine().run(graph, given, trace=True), CycleRunner(design).run(graph, given, trace=True)
    assert np.array_equal(made.spikes, wanted.spikes)
    for layer in layers_of(graph):
        assert np.array_equal(made.traces[f"s/{layer.name}"], wanted.traces[f"s/{layer.name}"])


def test_an_rtl_that_never_ends_is_one_diagnostic() -> None:
    graph = float_mlp((8, 4))
    given = spikes(graph, 2)
    made = spikec.compile(graph, "fpga:colorlight-i5", calibrate=given)
    rtl, deaf = made.files["rtl/snn_core.sv"], b"assign pop = 1'b0 && ready && some && !rst;"
    broken = rtl.replace(b"assign pop = ready && some && !rst;", deaf)
    assert broken != rtl
    with pytest.raises(CompileError, match=r"fpga/rtl-hangs.* stream 0 did not end within 1\d{4} cycles"):
        spikec.run(replace(made, files={**made.files, "rtl/snn_core.sv": broken}), given, engine="rtl")


@pytest.mark.parametrize("structure", [None, (2, 4)])
def test_an_artifact_climbs_the_ladder(structure: tuple[int, int] | None) -> None:
    graph = float_mlp((36, 24, 10))
    graph = pruned(graph, *structure) if structure else graph
    given = spikes(graph, 6)
    made = spikec.compile(graph, "fpga:colorlight-i5", calibrate=given)
    agree(spikec.verify(made, inputs=given, rtl=structure is None), 6, rtl=structure is None)


def test_run_report_and_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = float_mlp((20, 16, 5))
    given = spikes(graph, 5)
    np.savez(tmp_path / "x.npz", spikes=given, labels=np.zeros(5, int))
    made = spikec.compile(graph, "fpga:icebreaker", calibrate=given)
    path = str(made.write(tmp_path / "a"))
    words = ["--input", str(tmp_path / "x.npz")]
    fast, cycle = (spikec.run(made, given, engine=engine) for engine in ("fast", "cycle"))  # type: ignore[arg-type]
    assert fast.spikes is not None
    assert np.array_equal(fast.spikes, cycle.spikes)
    capsys.readouterr()
    assert main(["report", path, *words, "--no-rtl", "--json", str(tmp_path / "r.json")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("verdict: every rung equal\n")
    assert "a model, not your FPGA" in said
    report = json.loads((tmp_path / "r.json").read_text())
    for core in report["cores"]:
        assert core["cycles"] == sum(core[c] for c in ("walking", "padding", "firing", "stalled", "idle"))
    assert report["cores"][0]["spikes"] == np.count_nonzero(given)
    assert report["cores"][-1]["sent"] == np.count_nonzero(fast.spikes)
    assert main(["run", path, *words, "--engine", "lava"]) == 1
    with pytest.raises(CompileError, match="this is a model"):
        spikec.run(graph, given, engine="cycle")


def test_a_changed_memory_differs_from_the_reference() -> None:
    graph = float_mlp((20, 16, 5))
    given = spikes(graph, 5, rate=0.5)
    made = spikec.compile(graph, "fpga:icebreaker", calibrate=given)
    other = spikec.compile(float_mlp((20, 16, 5), seed=1), "fpga:icebreaker", calibrate=given)
    swapped = Artifact(made.target, {**made.files, "image.bin": other.files["image.bin"]}, made.facts)
    report = measure_artifact(swapped, given, rtl=False)
    assert not report["verdict"]["equal"]
    assert any("DIFFERS" in line for line in report["verdict"]["lines"])


@pytest.mark.slow
def test_trained_digits_on_all_held_out_samples() -> None:
    data = load("digits_data", ROOT / "examples" / "digits" / "data.py")
    part = data.part(held_out=True)
    given = part.spikes.astype(np.int32)
    folder = ROOT / "examples" / "digits"
    made = spikec.compile(
        f"{folder / 'model.py'}:net_soft",
        "fpga:ulx3s-85f",
        weights=folder / "digits_soft.pt",
        calibrate=(given[:64], part.labels[:64]),
    )
    reports = spikec.verify(made, inputs=given, labels=part.labels)
    agree(reports, len(given), rtl=True)
    assert reports[-2].correct is not None
    assert reports[-2].correct >= 345


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("layers", "structure", "reset"),
    [(2, None, "zero"), (2, (1, 4), "zero"), (3, None, "subtract"), (3, (2, 4), "subtract")],
)
def test_nmnist_networks_on_a_hundred_recordings(
    shared_data: Path, layers: int, structure: tuple[int, int] | None, reset: str
) -> None:
    example = load("nmnist_fpga", ROOT / "examples" / "nmnist_fpga.py")
    learn = example.read(shared_data / "nmnist" / "train.npz")
    test = example.read(shared_data / "nmnist" / "test.npz")
    model = example.train(learn, example.SIZES[layers], reset, structure, 12)
    made = example.compile_for(model, learn, structure, 8, "ulx3s-85f")
    reports = spikec.verify(made, inputs=test.spikes.astype(np.int32), labels=test.labels)
    agree(reports, 100, rtl=True)
    assert reports[-2].correct is not None
    assert reports[-2].correct >= 60


def load(name: str, path: Path) -> ModuleType:
    """Import a file that is no package's."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
