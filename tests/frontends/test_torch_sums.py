"""Sums of branches in torch networks, however Python writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import nn

import spikec
from tests.frontends.torch_networks import quarters

SUMS: dict[str, Callable[[Any, Any], Any]] = {
    "plus": lambda a, b: a + b,
    "sum of a list": lambda a, b: sum([a, b]),
    "zero behind": lambda a, b: a + b + 0,
    "less zero": lambda a, b: (a - 0.0) + b,
    "in place": lambda a, b: torch.add(0 + a, b),
}


class Branches(nn.Module):
    """Two linear layers into one neuron layer; `join` adds them."""

    def __init__(self, join: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.join = join
        self.one, self.two, self.lif = nn.Linear(4, 5), nn.Linear(4, 5), snn.Leaky(beta=0.5)
        with torch.no_grad():
            for parameter in (*self.one.parameters(), *self.two.parameters()):
                parameter.copy_(quarters(torch.randn_like(parameter)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        membrane = self.lif.init_leaky()
        spikes = []
        for t in range(len(x)):
            spike, membrane = self.lif(self.join(self.one(x[t]), self.two(x[t])), membrane)
            spikes.append(spike)
        return torch.stack(spikes)


class Shifted(Branches):
    """Changes the whole input by a constant before time is looped over."""

    def __init__(self, shift: Callable[[Any], Any]) -> None:
        super().__init__(lambda a, b: a + b)
        self.shift = shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.shift(x))


SHIFTS: dict[str, Callable[[Any], Any]] = {
    "number": lambda x: x + 0.5,
    "per value": lambda x: x + torch.tensor([0.25, 0.5, 0.0, -0.25]),
    "less per value": lambda x: x - torch.tensor([0.25, 0.5, 0.0, -0.25]),
    "from a number": lambda x: 1 - x,
    "from values": lambda x: torch.tensor([[0.5, 1.0, 1.5, 1.0]]) - x,
    "full": lambda x: x + torch.full_like(x, 0.5),
    "zeros": lambda x: x + torch.zeros_like(x),
    "one step": lambda x: torch.stack([step + torch.full_like(step, 0.5) for step in x]),
}


@pytest.mark.parametrize("how", SHIFTS)
def test_constants_added_to_the_whole_input(how: str) -> None:
    torch.manual_seed(0)
    module = Shifted(SHIFTS[how]).eval()
    x = np.random.default_rng(0).integers(0, 2, (3, 10, 4)).astype(np.float32)
    below = spikec.verify(module, None, x, lava=False)[1].agreement
    assert below.differing == 0
    assert below.spikes_active > 20


@pytest.mark.parametrize("how", SUMS)
def test_sums_of_branches(how: str) -> None:
    torch.manual_seed(0)
    module = Branches(SUMS[how]).eval()
    x = np.random.default_rng(0).integers(0, 2, (3, 10, 4)).astype(np.float32)
    below = spikec.verify(module, None, x, lava=False)[1].agreement
    assert below.differing == 0
    assert below.spikes_active > 20
