"""Artifacts of the fpga targets: equal bytes, a design that comes back from the files, nothing from damaged ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spikec
from spikec.backends.fpga.backend import IMAGE, TARGET, FpgaBackend, bits_on_target, design_of
from spikec.backends.fpga.boards import BOARDS
from spikec.backends.fpga.layers import layers_of
from spikec.compiler import artifact as artifacts
from spikec.compiler.artifact import Artifact
from spikec.compiler.context import Context
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ops import Linear
from spikec.compiler.serialize import loads
from spikec.compiler.weights import Fixed
from spikec.compiler.weights_nm import NM
from spikec.driver.targets import BOARDS as NAMED
from spikec.passes import ALL
from tests.fpga.networks import fixed_mlp, float_mlp, pruned, spikes


def test_every_board_has_a_target() -> None:
    assert set(NAMED) == set(BOARDS)


def test_an_artifact_is_the_same_each_time_and_gives_its_design_back(tmp_path: Path) -> None:
    graph = pruned(float_mlp((36, 24, 10)), 2, 4)
    given = spikes(graph, 8)
    made = spikec.compile(graph, "fpga:colorlight-i5", calibrate=given)
    again = spikec.compile(graph, "fpga:colorlight-i5", calibrate=given)
    assert made.manifest == again.manifest
    back = artifacts.read(made.write(tmp_path / "a"))
    design = design_of(back)
    fixed = loads(back.files["graph.spk"])
    assert bits_on_target(design) == back.facts["bits_on_target"]
    assert 8 * len(back.files[IMAGE]) == back.facts["bits_on_target"]["image"]
    assert [core.neurons for core in design.cores] == [24, 10]
    assert [(core.kept, core.block) for core in design.cores] == [(2, 4), (2, 4)]
    assert design.cores[1].cmp == layers_of(fixed)[1].neuron.cmp
    assert back.facts["fpga"]["activity"] == "measured on samples"
    assert back.facts["fpga"]["spikes_a_step"][0] == pytest.approx(given.mean() * 36, abs=1e-3)


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("structure", [None, (1, 2), (2, 8)])
@pytest.mark.parametrize("reset", ["value", "subtract"])
def test_quantized_networks_pass_the_check_and_keep_their_structure(
    bits: int, structure: tuple[int, int] | None, reset: str
) -> None:
    graph = float_mlp((20, 13, 5), reset=reset)
    graph = pruned(graph, *structure) if structure else graph
    context = Context(target=replace(TARGET, name="fpga:test"))
    fixed = ALL["quantize"](bits=bits).run(ALL["fold"]().run(graph, context), context)
    assert not list(FpgaBackend(BOARDS["ulx3s-85f"]).check(fixed))
    for node in fixed.of(Linear):
        weight = node.op.weight  # type: ignore[attr-defined]
        if structure is None:
            assert isinstance(weight, Fixed)
            continue
        assert isinstance(weight, NM)
        assert isinstance(weight.inner, Fixed)
        assert (weight.n, weight.m, weight.axis, weight.inner.width) == (*structure, "out", bits)
        before = graph[node.name].op.weight.decode()  # type: ignore[attr-defined]
        assert not np.any(weight.decode()[before == 0])


def test_an_image_that_was_changed_gives_no_design() -> None:
    made = FpgaBackend(BOARDS["ulx3s-85f"]).emit(fixed_mlp(np.random.default_rng(3)))
    image = bytearray(made.files[IMAGE])
    image[300] ^= 1
    with pytest.raises(CompileError, match="CRC32 differs"):
        design_of(Artifact(made.target, {**made.files, IMAGE: bytes(image)}, made.facts))
    with pytest.raises(CompileError, match=r"has no image\.bin"):
        design_of(Artifact(made.target, {k: v for k, v in made.files.items() if k != IMAGE}, made.facts))
    changed = made.files["design.json"].replace(b'"format": 1', b'"format": 9')
    with pytest.raises(CompileError, match="the design has format 9"):
        design_of(Artifact(made.target, {**made.files, "design.json": changed}, made.facts))
    with pytest.raises(CompileError, match="not a design"):
        design_of(Artifact(made.target, {**made.files, "design.json": b"{"}, made.facts))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("in_lanes", 0),
        ("in_lanes", 16.0),
        ("in_lanes", "16"),
        ("input_shape", [-4, -4]),
        ("output_shape", [10_000]),
        ("memories", "none"),
        ("memories", []),
        ("count_bits", 60),
        ("links", [[["input"], ["output"], 64]]),
        ("links", [[["input"], ["c0"], 64.0]]),
        ("cores", []),
    ],
)
def test_a_damaged_design_is_one_diagnostic(key: str, value: object) -> None:
    made = FpgaBackend(BOARDS["ulx3s-85f"]).emit(fixed_mlp(np.random.default_rng(3)))
    body = json.dumps({**json.loads(made.files["design.json"]), key: value}).encode()
    with pytest.raises(CompileError, match=r"fpga/(bad-)?design|fpga-image/core") as caught:
        design_of(Artifact(made.target, {**made.files, "design.json": body}, made.facts))
    assert len(caught.value.diagnostics) == 1


def test_a_failed_compilation_leaves_an_old_artifact_alone(tmp_path: Path) -> None:
    from spikec.cli import main
    from spikec.compiler.serialize import save

    small, wide = tmp_path / "small.spk", tmp_path / "wide.spk"
    save(float_mlp((8, 8, 4)), small)
    save(float_mlp((300, 400, 10)), wide)
    words = ["-t", "fpga:icebreaker", "-o", str(tmp_path / "out")]
    assert main(["compile", str(small), *words]) == 0
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    assert main(["compile", str(wide), *words]) == 1
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert artifacts.read(tmp_path / "out").target == "fpga:icebreaker"
