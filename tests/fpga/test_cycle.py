"""The cycle simulator: the same spikes as the reference and the engine, and cycles that add up."""

from __future__ import annotations

import numpy as np
import pytest

from spikec.compiler.diagnostics import CompileError
from spikec.runtime.cycle import CycleSimulator
from spikec.runtime.engine import Engine
from spikec.runtime.reference import Reference
from tests.fpga.designs import at_the_ends, graph_of, random_design, random_spikes


@pytest.mark.parametrize("seed", range(40))
def test_outputs_are_those_of_the_reference_and_the_engine(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    inputs = random_spikes(rng, design, 3, 5, 0.2)
    graph = graph_of(design)
    simulated = CycleSimulator(design, batch=2).run(inputs).outputs
    np.testing.assert_array_equal(simulated, Reference().run(graph, inputs).spikes)
    np.testing.assert_array_equal(simulated, Engine().run(graph, inputs).spikes)


@pytest.mark.parametrize("bits", [6, 8, 20, 21, 24])
@pytest.mark.parametrize("decay", ["multiply", "shift"])
def test_states_of_every_width_saturate_at_both_ends(bits: int, decay: str) -> None:
    design, inputs = at_the_ends(bits, decay)
    graph = graph_of(design)
    simulated = CycleSimulator(design).run(inputs).outputs
    np.testing.assert_array_equal(simulated, Reference().run(graph, inputs).spikes)
    np.testing.assert_array_equal(simulated, Engine().run(graph, inputs).spikes)
    half = 1 << (bits - 1)
    assert simulated.min() == -half
    assert simulated.max() == half - 1


@pytest.mark.parametrize("seed", range(10))
def test_threads_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    inputs = random_spikes(rng, design, 5, 4, 0.3)
    one = CycleSimulator(design, threads=1).run(inputs, trace=True)
    four = CycleSimulator(design, threads=4).run(inputs, trace=True)
    np.testing.assert_array_equal(one.records, four.records)
    assert one.activity == four.activity


@pytest.mark.parametrize("seed", range(20))
def test_causes_cover_every_cycle_until_a_core_is_done(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    inputs = random_spikes(rng, design, 2, 4, 0.3)
    result = CycleSimulator(design, batch=2, period=5).run(inputs)
    for core in design.cores:
        did = result.activity[core.name]
        assert did.walking == did.spikes * core.row_words
        assert did.padding == did.spikes * (core.walk_cycles - core.row_words)
        assert did.firing == did.passes * core.fire_cycles - 1
        assert did.passes == 1 + inputs.shape[0] * inputs.shape[1]
        # A core is done one fire pass after its last stall: before the last token has left, or a little after.
        assert did.cycles <= result.cycles + core.fire_cycles
    for use in result.queues:
        assert 1 <= use.high <= use.queue.depth
    weights = [m for m in result.memories if m.memory == "weights"]
    assert [m.read for m in weights] == [result.activity[m.core].walking for m in weights]


def test_input_of_another_shape_is_a_diagnostic() -> None:
    design = random_design(np.random.default_rng(0))
    with pytest.raises(CompileError, match=r"fpga/input-shape"):
        CycleSimulator(design).run(np.zeros((1, 2, design.input_size + 1)))
