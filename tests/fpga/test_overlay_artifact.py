"""Overlay artifacts from the user's side: chosen in Python and on the command line, run on every rung, told of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikec
from spikec.backends.fpga.backend import IMAGE, design_of
from spikec.backends.fpga.boards import BOARDS
from spikec.backends.fpga.costs import core_cost, design_cost, loader_luts
from spikec.backends.fpga.layers import Choice, build, layers_of
from spikec.backends.fpga.overlay import loader_of
from spikec.cli import main
from spikec.compiler import artifact as artifacts
from spikec.compiler.artifact import Artifact
from spikec.compiler.cores import load_cycles
from spikec.compiler.diagnostics import CompileError
from spikec.driver.fpga_report import measure_artifact
from tests.fpga.networks import fixed_mlp, float_mlp, pruned, spikes


def rtl_of(made: Artifact) -> dict[str, bytes]:
    return {name: data for name, data in made.files.items() if name.startswith("rtl/")}


def test_an_overlay_artifact_holds_an_image_and_no_banks(tmp_path: Path) -> None:
    graph = pruned(float_mlp((36, 24, 10)), 2, 4)
    baked, made = (spikec.compile(graph, "fpga:colorlight-i5", memories=m) for m in ("baked", "overlay"))  # type: ignore[arg-type]
    assert not [name for name in made.files if name.startswith("mem/")]
    assert [name for name in baked.files if name.startswith("mem/")]
    assert set(rtl_of(made)) - set(rtl_of(baked)) == {"rtl/snn_loader.sv"}
    back = artifacts.read(made.write(tmp_path / "a"))
    assert design_of(back).memories == "overlay"
    assert design_of(baked).memories == "baked"
    fit = back.facts["fpga"]
    assert fit["memories"] == "overlay"
    assert fit["load_cycles"] == load_cycles(len(back.files[IMAGE]))
    assert [core["weight_blocks"] for core in fit["cores"]] == [
        c["weight_blocks"] for c in baked.facts["fpga"]["cores"]
    ]
    assert fit["luts_estimated"][0] > baked.facts["fpga"]["luts_estimated"][0]


def test_other_weights_of_the_same_sizes_need_no_other_rtl() -> None:
    made = [spikec.compile(float_mlp((20, 16, 5), seed=k), "fpga:orangecrab", memories="overlay") for k in range(4)]
    assert len({made[k].files[IMAGE] for k in range(4)}) == 4
    assert all(rtl_of(each) == rtl_of(made[0]) for each in made)


def test_a_network_takes_the_geometry_of_another_whatever_its_activity(tmp_path: Path) -> None:
    first, second = float_mlp((16, 60, 60)), float_mlp((16, 60, 60), seed=1)
    busy, quiet = spikes(first, 4, rate=0.9), spikes(first, 4, rate=0.02)
    made = spikec.compile(first, "fpga:orangecrab", calibrate=busy, memories="overlay")
    alone = spikec.compile(second, "fpga:orangecrab", calibrate=quiet, memories="overlay")
    like = spikec.compile(second, "fpga:orangecrab", calibrate=quiet, like=made.write(tmp_path / "a"))
    assert rtl_of(alone) != rtl_of(made)
    assert rtl_of(like) == rtl_of(made)
    assert like.files[IMAGE] != made.files[IMAGE]
    fast, cycle = (spikec.run(like, busy, engine=engine) for engine in ("fast", "cycle"))  # type: ignore[arg-type]
    assert np.array_equal(fast.spikes, cycle.spikes)  # type: ignore[arg-type]


def test_another_geometry_is_refused_with_every_reason(golden: Callable[[str, str], None]) -> None:
    made = spikec.compile(float_mlp((20, 16, 5)), "fpga:ulx3s-85f", memories="overlay")
    others = {
        "fewer layers": (float_mlp((20, 5)), ""),
        "other sizes": (float_mlp((24, 16, 6)), ""),
        "fewer bits and another neuron": (float_mlp((20, 16, 5), decay=0.8, reset="value"), "quantize{bits=6}"),
        "a structure": (pruned(float_mlp((20, 16, 5)), 2, 4), ""),
    }
    said = []
    for name, (graph, passes) in others.items():
        with pytest.raises(CompileError) as caught:
            spikec.compile(graph, "fpga:ulx3s-85f", passes, like=made)
        assert {d.code for d in caught.value.diagnostics} == {"fpga/other-geometry"}
        said.append(f"{name}\n{caught.value}")
    golden("other-geometry", "\n\n".join(said))
    baked = spikec.compile(float_mlp((20, 16, 5)), "fpga:ulx3s-85f")
    for options in ({"like": baked}, {"like": made, "memories": "baked"}):
        with pytest.raises(CompileError, match="target/like"):
            spikec.compile(float_mlp((20, 16, 5)), "fpga:ulx3s-85f", **options)  # type: ignore[arg-type]
    with pytest.raises(CompileError, match="target/memories"):
        spikec.compile(float_mlp((20, 16, 5)), "loihi2", like=made)


def test_the_simulator_gives_what_it_gives_of_a_baked_artifact() -> None:
    graph = float_mlp((20, 16, 5))
    given = spikes(graph, 5)
    baked, made = (spikec.compile(graph, "fpga:orangecrab", calibrate=given, memories=m) for m in ("baked", "overlay"))  # type: ignore[arg-type]
    both = [spikec.run(each, given, engine="cycle", trace=True) for each in (baked, made)]
    assert both[0].spikes is not None
    assert np.array_equal(both[0].spikes, both[1].spikes)  # type: ignore[arg-type]
    assert np.array_equal(both[0].traces["c/cycles"], both[1].traces["c/cycles"])
    report = measure_artifact(made, given, rtl=False)
    assert report["verdict"]["equal"]
    assert report["load_cycles"] == load_cycles(len(made.files[IMAGE]))


@pytest.mark.slow
def test_an_overlay_climbs_the_ladder() -> None:
    graph = float_mlp((36, 24, 10))
    given = spikes(graph, 6)
    made = spikec.compile(graph, "fpga:colorlight-i5", calibrate=given, memories="overlay")
    reports = {report.name: report for report in spikec.verify(made, inputs=given)}
    for name in ("engine", "cycle simulator", "RTL in Verilator"):
        assert not reports[name].error, reports[name].error
        assert reports[name].agreement.spikes_active > 0
        assert reports[name].agreement.differing == 0
    fast, rtl = (spikec.run(made, given, engine=engine) for engine in ("fast", "rtl"))  # type: ignore[arg-type]
    assert np.array_equal(fast.spikes, rtl.spikes)  # type: ignore[arg-type]


def test_the_command_line_takes_it_and_tells_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = float_mlp((20, 16, 5))
    np.savez(tmp_path / "x.npz", spikes=spikes(graph, 3))
    spikec.compile(graph, "nir").write(tmp_path / "nir")
    model = str(next((tmp_path / "nir").glob("*.nir")))
    words = ["--calibrate", str(tmp_path / "x.npz"), "-t", "fpga:orangecrab", "-o", str(tmp_path / "a")]
    assert main(["compile", model, *words, "--memories", "overlay"]) == 0
    bytes_ = (tmp_path / "a" / IMAGE).stat().st_size
    said = f"memories: overlay, image.bin over the link: {load_cycles(bytes_)} cycles at a byte a cycle"
    assert said in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "a")]) == 0
    assert said in capsys.readouterr().out
    assert main(["report", str(tmp_path / "a"), "--input", str(tmp_path / "x.npz"), "--no-rtl"]) == 0
    assert said in capsys.readouterr().out
    assert main(["compile", model, *words[:-1], str(tmp_path / "b"), "--like", str(tmp_path / "a")]) == 0
    assert said in capsys.readouterr().out
    assert rtl_of(artifacts.read(tmp_path / "b")) == rtl_of(artifacts.read(tmp_path / "a"))
    assert main(["compile", model, *words]) == 0
    assert "memories: baked into the bitstream" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "memories", "code"),
    [("loihi2", "overlay", "target/memories"), ("fpga:orangecrab", "flash", "target/unknown-memories")],
)
def test_what_cannot_be_is_one_diagnostic(target: str, memories: Any, code: str) -> None:
    with pytest.raises(CompileError) as caught:
        spikec.compile(float_mlp((8, 4)), target, memories=memories)
    assert [d.code for d in caught.value.diagnostics] == [code]


@pytest.mark.parametrize("name", ["ulx3s-85f", "icebreaker"])
@pytest.mark.parametrize("seed", range(10))
def test_the_fit_counts_loader_and_written_memories(seed: int, name: str) -> None:
    graph, board = fixed_mlp(np.random.default_rng(seed), widest=90), BOARDS[name]
    choices = [Choice(4)] * len(layers_of(graph))
    baked, made = build(graph, choices), build(graph, choices, "overlay")
    assert len(loader_of(made).bytes) == 4 * len(made.cores)
    assert design_cost(made, board)[1].luts - design_cost(baked, board)[1].luts == loader_luts(made, board)
    for core in made.cores:
        plain, loaded = core_cost(core, board), core_cost(core, board, "overlay")
        assert loaded.weight_blocks == plain.weight_blocks
        assert loaded.luts > plain.luts or loaded.neuron_blocks > plain.neuron_blocks
