"""The counter behind the last link: its counts are those of the spikes, and RTL and simulator agree on every event."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikec.backends.fpga.layout.image import write
from spikec.backends.fpga.layout.memories import mem_files, segments
from spikec.backends.fpga.top import rtl_files
from spikec.compiler.cores import END_CLEAR, VALUES, Design
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.queues import COUNTER, queues
from spikec.runtime.cycle import CycleSimulator
from spikec.runtime.rtl.compare import verify_rtl
from spikec.runtime.rtl.run import Rtl
from tests.fpga.designs import Knobs, random_design, random_spikes

WIDTHS = (1, 2, 3, 8, 16, 24)


def counting(rng: np.random.Generator, knobs: Knobs | None = None) -> Design:
    """Make a random design whose output is spikes, with a counter of any width behind it."""
    while True:
        design = random_design(rng, knobs)
        if design.layers[-1][0].readout == "spikes":
            return replace(design, count_bits=int(rng.choice(WIDTHS)))


@pytest.mark.parametrize("seed", range(40))
def test_counts_are_the_spikes_of_each_sample_saturated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = counting(rng)
    inputs = random_spikes(rng, design, 5, int(rng.integers(1, 12)), 0.3)
    made = CycleSimulator(design, batch=2, period=int(rng.choice([1, 9]))).run(inputs, trace=True)
    spikes = CycleSimulator(replace(design, count_bits=0), batch=2).run(inputs).outputs
    most = (1 << design.count_bits) - 1
    np.testing.assert_array_equal(made.counts, np.minimum(spikes.sum(axis=1), most))
    assert made.outputs.shape == (5, 1, *design.output_shape)
    assert made.left.shape == (5, 1)
    _tokens_are_all_groups_then_the_end(made.records, design)


def _tokens_are_all_groups_then_the_end(records: np.ndarray, design: Design) -> None:
    made = queues(design)
    last = made[-1]
    assert last.ends == f"{COUNTER} -> output"
    sent = records[records["queue"] == 2 * (len(made) - 1)]
    tokens = [sum(int(word) << 32 * k for k, word in enumerate(record["token"])) for record in sent]
    kinds = [token >> (last.width - 2) for token in tokens]
    groups = [token >> last.payload_bits & ((1 << last.group_bits) - 1) for token in tokens]
    assert kinds == ([VALUES] * design.output_groups + [END_CLEAR]) * 5
    assert groups == [*range(design.output_groups), 0] * 5


def same(seed: int, period: int | None = None, knobs: Knobs | None = None) -> None:
    rng = np.random.default_rng(seed)
    design = counting(rng, knobs)
    inputs = random_spikes(rng, design, int(rng.integers(1, 6)), int(rng.integers(1, 8)), float(rng.choice([0.1, 0.5])))
    options = {"batch": int(rng.integers(1, 4)), "gap": int(rng.choice([1, 1, 3]))}
    options["period"] = period or int(rng.choice([1, 1, 7, 40]))
    if rng.random() < 0.3:
        design = replace(design, memories="overlay")
    images = dict(mem_files(design)) if design.memories == "baked" else {}
    image = write(segments(design))
    rtl = Rtl(design, rtl_files(design), images, optimise="-O0", image=image, **options)
    verdict = verify_rtl(rtl, inputs)
    assert verdict.equal, f"seed {seed}: {verdict}"
    assert verdict.rtl is not None
    out = verdict.rtl.records["queue"] == 2 * (len(queues(design)) - 1) + 1
    assert np.count_nonzero(out) == len(inputs) * (design.output_groups + 1)


@pytest.mark.parametrize("seed", [1])
def test_random_designs_are_equal(seed: int) -> None:
    same(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2040))
def test_many_random_designs_are_equal(seed: int) -> None:
    same(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2100, 2120))
def test_heavy_back_pressure_is_equal(seed: int) -> None:
    same(seed, period=200)


@pytest.mark.slow
def test_a_counter_that_does_not_clear_or_saturate_is_seen() -> None:
    rng = np.random.default_rng(4)
    design = replace(counting(rng, Knobs(layers=(1,), cores=(1,))), count_bits=2)
    inputs = random_spikes(rng, design, 4, 9, 0.9)
    rtl = Rtl(design, rtl_files(design), dict(mem_files(design)), optimise="-O0", batch=2)
    assert verify_rtl(rtl, inputs).equal
    for before, after in (("one != '1 ? ", "1'b1 ? "), ("counts[address] <= '0", "counts[address] <= now")):
        text = rtl.rtl["snn_count.sv"]
        assert text.count(before) == 1
        broken = replace(rtl, rtl={**rtl.rtl, "snn_count.sv": text.replace(before, after)})
        assert not verify_rtl(broken, inputs).equal, before


def test_a_counter_of_many_groups_clears_before_it_counts() -> None:
    rng = np.random.default_rng(0)
    design = counting(rng, Knobs(layers=(1,), cores=(3,), lanes=(1,), neurons=(30, 40), inputs=(1, 1)))
    made = CycleSimulator(design).run(np.ones((1, 2, 1)), trace=True)
    queue = next(k for k, q in enumerate(queues(design)) if q.ends.endswith(COUNTER))
    pushed, popped = (made.records[made.records["queue"] == 2 * queue + k]["cycle"][0] for k in (0, 1))
    assert pushed + 1 < design.output_groups == popped


def test_membranes_and_wide_counts_are_refused() -> None:
    rng = np.random.default_rng(0)
    while (design := random_design(rng)).layers[-1][0].readout == "spikes":
        pass
    with pytest.raises(CompileError, match="no spikes to count"):
        replace(design, count_bits=8)
    with pytest.raises(CompileError, match="1 to 24"):
        replace(design, count_bits=25)
