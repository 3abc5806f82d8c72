"""Simulator and RTL: every push and pop in the same cycle with the same content, and planted faults are seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikec.backends.fpga.layout.memories import mem_files
from spikec.backends.fpga.top import rtl_files
from spikec.compiler.cores import Design
from spikec.compiler.diagnostics import CompileError
from spikec.runtime.rtl.compare import verify_rtl
from spikec.runtime.rtl.faults import MUTATIONS, flipped, self_test
from spikec.runtime.rtl.run import Rtl
from tests.fpga.designs import Knobs, Style, at_the_ends, random_design, random_spikes

FULL = Knobs(
    layers=(2,),
    cores=(1,),
    lanes=(4,),
    structures=((2, 4),),
    neurons=(16, 16),
    inputs=(32, 32),  # whole groups, whatever the lanes
    style=Style(8, "multiply", 400, ">", "subtract", "spikes"),
)
"""A design in which every rule shows: states that saturate, membranes at the end."""

PLAIN = replace(FULL, layers=(1,), style=Style(16, "multiply", 400, ">", "subtract", "membrane"))
"""A design in which every weight shows: no padding, no saturation, membranes sent."""


def of(design: Design, **options: int) -> Rtl:
    return Rtl(design, rtl_files(design), dict(mem_files(design)), optimise="-O0", **options)


def full(seed: int, knobs: Knobs = FULL) -> tuple[Rtl, np.ndarray]:
    rng = np.random.default_rng(seed)
    design = random_design(rng, knobs)
    return of(design, batch=2), random_spikes(rng, design, 4, 20, 0.4)


def same(seed: int, knobs: Knobs) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng, knobs)
    samples, steps = int(rng.integers(1, 5)), int(rng.integers(1, 6))
    inputs = random_spikes(rng, design, samples, steps, float(rng.choice([0, 0.05, 0.2, 0.5])))
    options = {"batch": int(rng.integers(1, 4)), "gap": int(rng.choice([1, 1, 3]))}
    verdict = verify_rtl(of(design, period=int(rng.choice([1, 1, 7, 40])), **options), inputs)
    assert verdict.equal, f"seed {seed}: {verdict}"
    assert verdict.rtl is not None
    assert len(verdict.rtl.records)


@pytest.mark.parametrize("seed", [2, 3])
def test_random_designs_are_equal(seed: int) -> None:
    same(seed, Knobs())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_many_random_designs_are_equal(seed: int) -> None:
    same(seed, Knobs())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_long_chains_are_equal(seed: int) -> None:
    same(seed, Knobs(layers=(4, 5, 6), cores=(1, 1, 2), lanes=(2, 4), neurons=(4, 30)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1060))
def test_heavy_back_pressure_is_equal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    inputs = random_spikes(rng, design, 4, 8, 0.4)
    verdict = verify_rtl(of(design, batch=2, period=int(rng.choice([60, 150, 400]))), inputs)
    assert verdict.equal, f"seed {seed}: {verdict}"


def test_a_slow_sink_stalls_the_cores() -> None:
    rtl, inputs = full(0)
    verdict = verify_rtl(replace(rtl, period=40), inputs)
    assert verdict.equal, str(verdict)
    assert verdict.simulated.activity["c1"].stalled > 1000
    assert "0 differences" in str(verdict)


def test_states_at_both_ends_of_their_range_are_equal() -> None:
    design, inputs = at_the_ends(21, "multiply")
    verdict = verify_rtl(of(design, batch=2), inputs)
    assert verdict.equal, str(verdict)


def test_every_flipped_memory_is_seen() -> None:
    rtl, inputs = full(0, PLAIN)
    names = []
    for name, memories in flipped(rtl.memories, 0):
        names.append(name)
        assert not verify_rtl(replace(rtl, memories=memories), inputs).equal, name
    assert names == list(rtl.memories)


def test_a_broken_comparison_is_seen_with_its_waves(tmp_path: Path) -> None:
    rtl, inputs = full(0)
    _, name, before, after = next(m for m in MUTATIONS if m[0] == "fires one too late")
    broken = replace(rtl, rtl={**rtl.rtl, name: rtl.rtl[name].replace(before, after)})
    verdict = verify_rtl(broken, inputs, waves=tmp_path)
    assert verdict.difference is not None
    assert "first difference in stream" in str(verdict)
    assert (tmp_path / "difference.vcd").read_text(encoding="utf-8").count("$var") > 50
    assert (tmp_path / "replay.sh").is_file()


@pytest.mark.slow
def test_every_planted_fault_is_seen() -> None:
    rtl, inputs = full(0)
    faults = list(self_test(rtl, inputs))[: len(MUTATIONS)]
    assert [fault.what for fault in faults if not fault.caught] == []


def test_a_missing_verilator_is_one_diagnostic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rtl, inputs = full(1)
    monkeypatch.setenv("VERILATOR_ROOT", str(tmp_path))
    with pytest.raises(CompileError, match=r"fpga/no-verilator") as caught:
        verify_rtl(rtl, inputs)
    assert len(caught.value.diagnostics) == 1


def test_a_missing_compiler_is_one_diagnostic(monkeypatch: pytest.MonkeyPatch) -> None:
    rtl, inputs = full(1)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompileError, match=r"fpga/no-compiler") as caught:
        verify_rtl(rtl, inputs)
    assert len(caught.value.diagnostics) == 1


def test_a_truncated_and_a_missing_image_are_one_diagnostic_each() -> None:
    rtl, inputs = full(0, PLAIN)
    images = dict(rtl.memories)
    images["c0.neurons.mem"] = "".join(images["c0.neurons.mem"].splitlines(keepends=True)[:-1])
    del images["c0.weights.b00.mem"]
    with pytest.raises(CompileError) as caught:
        verify_rtl(replace(rtl, memories=images), inputs)
    codes = [(d.code, d.where) for d in caught.value.diagnostics]
    assert codes == [("fpga/memory-image", "c0.weights.b00.mem"), ("fpga/memory-image", "c0.neurons.mem")]
