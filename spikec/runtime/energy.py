"""An energy model of the spike core: 45 nm figures from the literature. A model, not your FPGA."""

from __future__ import annotations

from dataclasses import dataclass

from spikec.runtime.cycle import CycleResult

MODEL = "45 nm (Horowitz, ISSCC 2014), a model, not your FPGA"
ADD_PJ_PER_BIT = 0.1 / 32
"""A 32-bit integer addition takes 0.1 pJ."""
MULTIPLY_PJ_PER_BIT2 = 3.1 / 32**2
"""A 32-bit integer multiplication takes 3.1 pJ; its cost grows with the product of the widths."""
MEMORY_PJ_PER_BIT = 10 / 64
"""A 64-bit access to an 8 KB SRAM takes 10 pJ."""


@dataclass(frozen=True)
class Energy:
    """Picojoules by cause, over a whole run."""

    additions: float
    fire: float
    memory: float
    model: str = MODEL

    @property
    def total(self) -> float:
        """All of it."""
        return self.additions + self.fire + self.memory


def energy_of(result: CycleResult) -> Energy:
    """Estimate the energy of a run.

    Every addition of a weight (zeros among them: lanes do not skip) costs by the width of the sum; the fire pass costs
    a neuron a comparison, a subtraction, an addition and (decay by multiplication) a product of 13 bits by the state.
    """
    additions = fire = 0.0
    for core in result.design.cores:
        did = result.activity[core.name]
        additions += did.walking * core.lanes * core.sum_bits * ADD_PJ_PER_BIT
        product = 13 * core.state_bits * MULTIPLY_PJ_PER_BIT2 if core.decay == "multiply" else 0.0
        each = (2 * core.state_bits + core.sum_bits) * ADD_PJ_PER_BIT + product
        fire += did.passes * core.groups * core.lanes * each
    memory = sum(traffic.bits for traffic in result.memories) * MEMORY_PJ_PER_BIT
    return Energy(additions, fire, memory)
