"""An energy model of the spike core: 45 nm figures from the literature. A model, not your FPGA."""

from __future__ import annotations

from dataclasses import dataclass

from spikec.compiler.cores import EventCore
from spikec.runtime.cycle import CoreActivity, CycleResult

MODEL = "Horowitz, ISSCC 2014: arithmetic and 8 KB memories at 45 nm, 0.9 V: a model, not your FPGA"
ADD_PJ_PER_BIT = 0.1 / 32
"""A 32-bit integer addition takes 0.1 pJ."""
MULTIPLY_PJ_PER_BIT2 = 3.1 / 32**2
"""A 32-bit integer multiplication takes 3.1 pJ; its cost grows with the product of the widths."""
MEMORY_PJ_PER_BIT = 10 / 64
"""A 64-bit access to an 8 KB SRAM takes 10 pJ."""
FACTOR_BITS = 13
"""Bits of what a decay multiplies by, 0 to 4096."""


@dataclass(frozen=True)
class Energy:
    """Picojoules by cause: additions of weights and of the fire pass, products of the decay, bits moved in memories."""

    additions: float
    decays: float
    memories: float
    model: str = MODEL

    @property
    def total(self) -> float:
        """All of it."""
        return self.additions + self.decays + self.memories


def energy_of(result: CycleResult) -> Energy:
    """Estimate the energy of a run, all samples together.

    Every addition of a weight (zeros among them: lanes do not skip) costs by the width of the sum; the fire pass costs
    a neuron a comparison and a subtraction of states, an addition to the sum and, where a decay multiplies, a product.
    """
    additions = decays = 0.0
    for core in result.design.cores:
        did = result.activity[core.name]
        fired = did.passes * core.groups * core.lanes
        additions += _added_bits(core, did, fired) * ADD_PJ_PER_BIT
        if core.multiplies:
            decays += fired * FACTOR_BITS * core.state_bits * MULTIPLY_PJ_PER_BIT2
    return Energy(additions, decays, sum(traffic.bits for traffic in result.memories) * MEMORY_PJ_PER_BIT)


def _added_bits(core: EventCore, did: CoreActivity, fired: int) -> int:
    """Give the bits of all additions and comparisons: of weights, and of `fired` neurons in fire passes."""
    return did.walking * core.lanes * core.sum_bits + fired * (2 * core.state_bits + core.sum_bits)
