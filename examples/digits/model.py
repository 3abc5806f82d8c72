"""Two small networks for scikit-learn's digits, written in plain snnTorch: a convolutional one and an MLP.

Nothing here knows of spikec: a compiler has to take such a file as it is. `net` and `net_soft` build the modules
without weights; the trained ones are the state dicts `digits.pt` and `digits_soft.pt` beside this file.
"""

from __future__ import annotations

import snntorch as snn
import torch
from snntorch import surrogate
from torch import nn

SLOPE = 10.0  # of the surrogate gradient; it matters in training only


def leaky(beta: float, reset: str) -> snn.Leaky:
    """A leaky integrate-and-fire layer: membrane decay `beta` a step, threshold 1, reset "zero" or "subtract"."""
    return snn.Leaky(beta=beta, reset_mechanism=reset, spike_grad=surrogate.fast_sigmoid(slope=SLOPE))


class DigitsNet(nn.Module):
    """Convolutional network with hard reset: two conv layers, two dense ones, biases in all four."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.lif1 = leaky(0.9, "zero")
        self.pool = nn.AvgPool2d(2)
        self.conv2 = nn.Conv2d(8, 24, 3)
        self.lif2 = leaky(0.9, "zero")
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(96, 48)
        self.lif3 = leaky(0.875, "zero")
        self.fc2 = nn.Linear(48, 10)
        self.lif4 = leaky(0.95, "zero")

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """Spikes (T, N, 1, 8, 8) in, spikes (T, N, 10) out."""
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        mem3, mem4 = self.lif3.init_leaky(), self.lif4.init_leaky()
        record = []
        for x in spikes:
            spk1, mem1 = self.lif1(self.conv1(x), mem1)
            spk2, mem2 = self.lif2(self.conv2(self.pool(spk1)), mem2)
            spk3, mem3 = self.lif3(self.fc1(self.flatten(spk2)), mem3)
            spk4, mem4 = self.lif4(self.fc2(spk3), mem4)
            record.append(spk4)
        return torch.stack(record)


class SoftNet(nn.Module):
    """MLP with snnTorch's default reset, by subtraction, which Loihi's neuron does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(64, 96)
        self.lif1 = leaky(0.9, "subtract")
        self.fc2 = nn.Linear(96, 10)
        self.lif2 = leaky(0.95, "subtract")

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """Spikes (T, N, 1, 8, 8) in, spikes (T, N, 10) out."""
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        record = []
        for x in spikes:
            spk1, mem1 = self.lif1(self.fc1(self.flatten(x)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            record.append(spk2)
        return torch.stack(record)


def net() -> DigitsNet:
    """The hard-reset network, untrained: `spikec compile model.py:net --weights digits.pt`."""
    return DigitsNet()


def net_soft() -> SoftNet:
    """The soft-reset network, untrained: `spikec compile model.py:net_soft --weights digits_soft.pt`."""
    return SoftNet()
