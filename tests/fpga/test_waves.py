"""What a run leaves to look at: the AER table and the VCD hold every event of their window; energy is labelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikec.compiler.queues import queues
from spikec.runtime.cycle import CycleResult, CycleSimulator
from spikec.runtime.energy import energy_of
from spikec.runtime.waves import aer_table, waves
from tests.fpga.designs import Knobs, Style, random_design, random_spikes


def traced(seed: int) -> CycleResult:
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    return CycleSimulator(design).run(random_spikes(rng, design, 2, 3, 0.3), trace=True)


def played(text: str, count: int) -> tuple[int, list[int]]:
    """Read a VCD back: how many cycles a push or pop was high, and the tokens held in the last cycle."""
    high: dict[str, bool] = {}
    held, total = [0] * count, 0
    for part in text.split("$enddefinitions $end\n")[1].split("#")[1:]:
        lines = part.splitlines()[1:]
        if not lines:
            continue
        for line in lines:
            if line[0] in "01":
                high[line[1:]] = line[0] == "1"
            elif line.split()[1].startswith("u"):
                held[int(line.split()[1][1:])] = int(line[1:].split()[0], 2)
        total += sum(high.values())
    return total, held


@pytest.mark.parametrize("seed", range(8))
def test_waves_hold_every_event_and_the_state_of_every_queue(seed: int) -> None:
    result = traced(seed)
    made = queues(result.design)
    own = result.records[result.records["stream"] == 1]
    last = int(result.stream_cycles[1])
    for start, stop in ((0, last + 1), (last // 3, last // 2 + 1)):
        inside = own[(own["cycle"] >= start) & (own["cycle"] < stop)]
        before = own[own["cycle"] < stop - 1]["queue"]
        held = [int((before == 2 * k).sum()) - int((before == 2 * k + 1).sum()) for k in range(len(made))]
        assert played(waves(result, 1, start, stop), len(made)) == (len(inside), held)


def test_the_table_has_a_line_for_each_event() -> None:
    result = traced(3)
    lines = list(aer_table(result))
    assert len(lines) == 1 + len(result.records)
    assert lines[1].startswith("0,0,q0,input -> c0,push,")


def test_an_untraced_run_has_nothing_to_draw() -> None:
    design = random_design(np.random.default_rng(0))
    result = CycleSimulator(design).run(np.zeros((1, 1, design.input_size)))
    with pytest.raises(ValueError, match="not traced"):
        waves(result, 0, 0, 10)


def test_energy_names_its_model_and_grows_with_activity() -> None:
    design = random_design(np.random.default_rng(1))
    quiet = np.zeros((1, 4, design.input_size))
    some, more = (energy_of(CycleSimulator(design).run(x)) for x in (quiet, quiet + 1))
    assert "not your FPGA" in some.model
    assert some.additions < more.additions
    assert some.total < more.total


ONE = Knobs(
    layers=(1,),
    cores=(1,),
    lanes=(4,),
    structures=((1, 1),),
    neurons=(8, 8),
    inputs=(32, 32),
    style=Style(16, "multiply", 400, ">", "subtract", "spikes"),
)


@pytest.mark.parametrize(("decay", "products"), [(400, 1), (0, 0), (4096, 0)])
def test_energy_is_that_of_every_addition_product_and_bit_moved(decay: int, products: int) -> None:
    assert ONE.style is not None
    design = random_design(np.random.default_rng(5), replace(ONE, style=replace(ONE.style, decay_constant=decay)))
    (core,) = design.cores
    spent = energy_of(CycleSimulator(design).run(np.ones((1, 3, 32))))
    # 3 steps of 32 spikes, 2 words of 4 lanes each; 3 passes and a silent one over 8 neurons of 16 bits.
    words, fired, sum_bits = 3 * 32 * 2, 4 * 8, core.sum_bits
    assert spent.additions == pytest.approx((words * 4 * sum_bits + fired * (32 + sum_bits)) * 0.1 / 32)
    assert spent.decays == pytest.approx(products * fired * 13 * 16 * 3.1 / 32**2)
    weights, membranes = words * 4 * core.weight_bits, 2 * (words + 4 * 2) * 4 * sum_bits
    assert spent.memories == pytest.approx((weights + membranes + fired * (3 * 16 + core.bias_bits)) * 10 / 64)
    assert spent.total == spent.additions + spent.decays + spent.memories
