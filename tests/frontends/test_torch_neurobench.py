"""Two networks that others trained (NeuroBench): loaded by their state dicts, lowered, spikes as snnTorch's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from snntorch import utils
from torch import nn

from spikec.frontends.torch import lower
from spikec.frontends.torch.framework import run_framework
from spikec.frontends.torch.load import load_weights
from spikec.runtime.reference import Reference

pytestmark = pytest.mark.shared


def speech() -> nn.Module:
    """Speech2Spikes: one step of 20 features a call."""
    layers: list[nn.Module] = [nn.Flatten()]
    for given, made in ((20, 256), (256, 256), (256, 256), (256, 35)):
        layers += [nn.Linear(given, made), snn.Leaky(beta=0.9, init_hidden=True, output=made == 35)]
    return nn.Sequential(*layers)


class Wisdm(nn.Module):
    """Activity recognition: 6 channels of one sample each, a step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(6, 200, 2, padding=4)
        self.pool = nn.MaxPool1d(2)
        self.leaky1 = snn.Leaky(beta=0.4, threshold=0.002)
        self.conv2 = nn.Conv1d(200, 256, 1)
        self.leaky2 = snn.Leaky(beta=0.3, threshold=0.001)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(512, 7)
        self.leaky3 = snn.Leaky(beta=0.5, threshold=0.001)

    def forward(self, x: torch.Tensor) -> Any:
        mem1, mem2, mem3 = self.leaky1.init_leaky(), self.leaky2.init_leaky(), self.leaky3.init_leaky()
        spikes, membranes = [], []
        for t in range(x.size(1)):
            spk1, mem1 = self.leaky1(self.pool(self.conv1(x[:, t].unsqueeze(2))), mem1)
            spk2, mem2 = self.leaky2(self.pool(self.conv2(spk1)), mem2)
            spk3, mem3 = self.leaky3(self.linear(self.flatten(spk2)), mem3)
            spikes.append(spk3)
            membranes.append(mem3)
        return torch.stack(spikes), torch.stack(membranes)


def test_speech(shared_data: Path) -> None:
    module = speech()
    load_weights(module, shared_data / "neurobench" / "s2s_gsc_snntorch.pt")
    inputs = np.random.default_rng(1).integers(-1, 2, (8, 60, 20)).astype(np.float32)
    graph = lower(module, inputs[:, 0], time_axis=None)
    module.eval()
    utils.reset(module)
    with torch.no_grad():
        own = np.stack([module(torch.from_numpy(inputs[:, t]))[0].numpy() for t in range(60)], axis=1)
    check(module, graph, inputs, own, time_axis=None)


def test_wisdm(shared_data: Path) -> None:
    module = Wisdm()
    load_weights(module, shared_data / "neurobench" / "WISDM_snnTorch.ckpt")
    inputs = np.random.default_rng(2).normal(0, 1, (8, 40, 6)).astype(np.float32)
    graph = lower(module, inputs, time_axis=1)
    module.eval()
    with torch.no_grad():
        own = module(torch.from_numpy(inputs))[0].numpy().swapaxes(0, 1)
    check(module, graph, inputs, own, time_axis=1)


def check(module: nn.Module, graph: Any, inputs: Any, own: Any, *, time_axis: int | None) -> None:
    """The framework rung is the module itself; the reference has the same spikes, in every layer."""
    native = run_framework(module, inputs, graph, time_axis=time_axis)
    assert np.array_equal(native.spikes, own)
    made = Reference().run(graph, inputs, trace=True)
    assert np.count_nonzero(own) > 50
    differing = {name: int(np.count_nonzero(made.traces[name] != array)) for name, array in native.traces.items()}
    assert len(differing) == len([n for n, m in module.named_modules() if isinstance(m, snn.Leaky)])
    assert np.count_nonzero(made.spikes != own) == 0
    assert sum(differing.values()) == 0
