"""How time is laid out, whatever the framework: joined with the batch, repeated, one step a call; and lazy adapters."""

from __future__ import annotations

import sys
from typing import Any

import norse.torch as nt
import numpy as np
import pytest
import sinabs.layers as sl
import snntorch as snn
import torch
from torch import nn
from torch.nn import functional

from spikec.compiler.diagnostics import CompileError
from spikec.frontends.torch import lower
from spikec.frontends.torch.registry import ADAPTERS, adapter_for
from spikec.frontends.torch.values import InputAt, Layout, Sequence
from tests.frontends.torch_networks import exact, layers_apart, layout, spikes


class Joined(nn.Module):
    """Joins time and batch by hand; sums, constants, pools and reshapes act on the joined tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.a, self.b = sl.IAFSqueeze(batch_size=1), sl.IAFSqueeze(num_timesteps=7)
        self.fc, self.out = nn.Linear(64, 5), sl.IAF()

    def forward(self, x: torch.Tensor) -> Any:
        samples, steps = x.shape[:2]
        a = self.a(self.first(x.reshape(samples * steps, 2, 8, 8)))
        b = functional.avg_pool2d(self.b(self.second(a) * 2 + a + 0.5), 2)
        return self.out(self.fc(b.view(samples, steps, -1)))


class OneStep(nn.Module):
    """One step a call, the states in the modules."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.a = nn.Linear(16, 12), sl.IAFSqueeze(batch_size=4)
        self.fc2, self.b = nn.Linear(12, 5), sl.IAFSqueeze(batch_size=4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.b(self.fc2(self.a(self.fc1(x)) * 2))


class Repeats(nn.Module):
    """Repeats one input over an axis of time in front; `how` is the function that does it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.fc1, self.a = nn.Linear(16, 12), nt.IAF()
        self.fc2, self.b = nn.Linear(12, 5), nt.IAF()
        self.how = how

    def forward(self, x: torch.Tensor) -> Any:
        times = (10, 1, 1) if self.how == "repeat" else (10, -1, -1)
        x, _ = self.a(self.fc1(getattr(x.unsqueeze(0), self.how)(*times)) * 2)
        return self.b(self.fc2(x) * 2)[0].mean(0)


def test_functions_on_time_and_batch_joined() -> None:
    torch.manual_seed(0)
    apart = layers_apart(exact(Joined()), spikes(12, 12, (2, 8, 8)), 1)  # as many steps as samples
    assert apart == {"s/a": 0, "s/b": 0, "s/out": 0, "output": 0}


def test_one_step_a_call_with_states_in_the_modules() -> None:
    torch.manual_seed(1)
    assert layers_apart(exact(OneStep()), spikes(), None) == {"s/a": 0, "s/b": 0, "output": 0}


@pytest.mark.parametrize("how", ["repeat", "expand"])
def test_a_static_input_repeated_in_front(how: str) -> None:
    torch.manual_seed(2)
    still = np.repeat(spikes(1), 10, axis=1)
    assert layers_apart(exact(Repeats(how)), still, None) == {"s/a": 0, "s/b": 0, "output": 0}


def test_picking_from_time_and_batch_joined_is_refused() -> None:
    class Picks(OneStep):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x[:5])

    with pytest.raises(CompileError, match="picks from axis 0, which holds samples and time together"):
        lower(Picks(), spikes(5), time_axis="joined")


@pytest.mark.parametrize("held", [Layout(0), Layout(1), Layout(0, joined=True), Layout(1, joined=True)])
def test_a_layout_gives_back_the_steps_that_it_was_made_of(held: Layout) -> None:
    steps, samples = 3, 4
    parts = [torch.full((samples, 2), float(t)) + torch.arange(samples)[:, None] * 10 for t in range(steps)]
    whole = torch.stack(parts, dim=held.axis)
    whole = whole.flatten(0, 1) if held.joined else whole
    made = Sequence(tuple(InputAt(t, tensor=p) for t, p in enumerate(parts)), held.axis, joined=held.joined)
    assert made.holds(whole)
    assert not made.holds(whole[1:])
    assert all(torch.equal(made.part(whole, t), part) for t, part in enumerate(parts))


def test_an_adapter_is_imported_when_its_package_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ADAPTERS.values():
        monkeypatch.delitem(sys.modules, place.partition(":")[0], raising=False)
    adapter_for.cache_clear()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = snn.Leaky(beta=0.5, init_hidden=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.lif(step) for step in x])

    lower(Net(), layout(spikes(steps=3), 0))
    met = {place.partition(":")[0] for place in ADAPTERS.values()} & sys.modules.keys()
    adapter_for.cache_clear()
    assert met == {"spikec.frontends.torch.snntorch"}
