"""Norse networks: cells in loops, SequentialState, Lift, modules over time; and what is refused, in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import norse.torch as nt
import numpy as np
import pytest
import torch
from norse.torch.functional.lif import LIFFeedForwardState
from norse.torch.functional.lif_box import LIFBoxFeedForwardState
from norse.torch.functional.reset import reset_subtract
from torch import nn

from spikec.compiler.diagnostics import CompileError
from spikec.frontends.torch import lower
from spikec.frontends.torch.norse import STEPS, UNSUPPORTED
from tests.frontends.cells import Loop
from tests.frontends.torch_networks import Array, exact, layers_apart, layout, spikes

Golden = Callable[[str, str], None]
DT = 1 / 1024
TAUS = {"tau_mem_inv": torch.tensor(512.0), "tau_syn_inv": torch.tensor(256.0)}
LIF = nt.LIFParameters(**TAUS, v_th=torch.tensor(0.5))
BOX = nt.LIFBoxParameters(tau_mem_inv=TAUS["tau_mem_inv"], v_th=torch.tensor(0.5))
LI = nt.LIParameters(TAUS["tau_syn_inv"], TAUS["tau_mem_inv"])


def on_quarters(module: nn.Module) -> nn.Module:
    """Put weights on quarters, large ones, and biases at 0.5: with few steps every sum is exact, and neurons spike."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.round(parameter * 16) / 4)
            elif parameter.dim():
                parameter.fill_(0.5)
    return module


def sequences() -> nn.Module:
    """Modules over all of time: convolutional, recurrent."""
    return nt.SequentialState(
        nt.Lift(nn.Conv2d(2, 4, 3)),
        nt.LIF(LIF, dt=DT),
        nt.Lift(nn.AvgPool2d(2)),
        nn.Flatten(2),
        nt.LIFRecurrent(36, 12, LIF, dt=DT),
        nn.Linear(12, 5),
        nt.IAF(),
    )


def cells() -> nn.Module:
    """Cells in one SequentialState, lifted over time with its state."""
    inner = nt.SequentialState(
        nn.Conv2d(2, 4, 3),
        nt.LIFBoxCell(BOX, dt=DT),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nt.LIFRecurrentCell(36, 12, LIF, dt=DT),
        nn.Linear(12, 5),
        nt.LIFCell(LIF, dt=DT),
    )
    return nt.Lift(inner)


class ByHand(nn.Module):
    """States kept by hand, sums of branches, and a leaky readout beside the spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.first = nt.LIFBoxCell(BOX._replace(reset_method=reset_subtract), dt=DT)
        self.same = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nt.LIFCell(LIF, dt=DT)
        self.fc = nn.Linear(256, 5)
        self.out = nt.IAFCell()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s1 = s2 = s3 = None
        record = []
        for step in x:
            z1, s1 = self.first(self.conv(step), s1)
            z2, s2 = self.second(self.same(z1) + z1, state=s2)
            z3, s3 = self.out(self.fc(z2.flatten(1)), s3)
            record.append(z3)
        return torch.stack(record)


@pytest.mark.parametrize("build", [sequences, cells, ByHand])
def test_whole_networks_in_every_layer(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(1)
    module = on_quarters(build()).eval()

    def own(inputs: Array) -> Array:
        made = module(torch.from_numpy(np.ascontiguousarray(layout(inputs, 0))))
        return np.swapaxes((made[0] if isinstance(made, tuple) else made).numpy(), 0, 1)

    apart = layers_apart(module, spikes(20, 3, (2, 8, 8)), 0, own)
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) == 4


def test_the_output_is_the_readout_and_not_a_state_handed_back() -> None:
    torch.manual_seed(2)
    module = nt.SequentialState(nn.Linear(16, 8), nt.LIFRecurrent(8, 6, LIF, dt=DT), nt.LI(LI, dt=DT))
    graph = lower(exact(module), layout(spikes(steps=5), 0))
    assert graph["output"].inputs == ("2",)
    assert graph["2"].op.readout == "membrane"


@pytest.mark.parametrize("v", [0.5, 0.0])
def test_a_membrane_that_forward_starts_from(v: float) -> None:
    class Started(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = nt.LIFBoxCell(BOX._replace(v_leak=torch.tensor(0.25)), dt=DT)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state, record = LIFBoxFeedForwardState(v=torch.tensor(v)), []
            for step in x:
                z, state = self.lif(step, state)
                record.append(z)
            return torch.stack(record)

    module = Started()
    assert layers_apart(module, spikes(rate=0.6), 0) == {"s/lif": 0, "output": 0}
    assert lower(module, layout(spikes(), 0))["lif"].op.v_init == v


class Forgetful(nn.Module):
    """A cell that is never handed its state."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = nt.LIFCell()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.lif(step)[0] for step in x])


class Decayed(nn.Module):
    """A state that is changed on its way from step to step."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = nt.LIFCell()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, record = None, []
        for step in x:
            z, state = self.lif(step, state)
            state = LIFFeedForwardState(v=state.v * 0.5, i=state.i)
            record.append(z)
        return torch.stack(record)


def own_activation(x: Any, state: Any, p: Any, dt: float) -> Any:
    return x, state


def replaced() -> nn.Module:
    cell = nt.LIFCell()
    cell.activation = own_activation
    return Loop(cell)


def odd_reset(z: Any, v: Any, reset: Any, th: Any) -> Any:
    return v


def refused(module: nn.Module, example: Any, **options: Any) -> str:
    with pytest.raises(CompileError) as caught:
        lower(module, example, source="net.py:net", **options)
    return re.sub(r"\([^()\s]*\.py:\d+\)", "(FILE:LINE)", str(caught.value))


def test_refusals(golden: Golden) -> None:
    example = layout(spikes(steps=5), 0)
    texts = [
        refused(Loop(nt.LSNNCell()), example),
        refused(Loop(nt.LIFRefracCell()), example),
        refused(nt.LIFEx(), example),
        refused(Loop(nt.LIFAdExRecurrentCell(16, 4)), example),
        refused(Loop(nt.IzhikevichCell(nt.functional.izhikevich.tonic_spiking)), example),
        refused(nt.RecurrentSequential(nn.Linear(16, 16), nt.LIFCell()), example),
        refused(nn.Sequential(nt.PoissonEncoder(5), nt.LIF()), example),
        refused(replaced(), example),
        refused(Loop(nt.LIFBoxCell(BOX._replace(reset_method=odd_reset))), example),
        refused(Forgetful(), example),
        refused(Decayed(), example),
        refused(nt.LIF(), layout(spikes(steps=5), 1), time_axis=1),
        refused(nt.LIF(), example[0], time_axis=None),
        refused(nt.SequentialState(nn.Linear(16, 4), nt.LIFCell()), example),
    ]
    golden("norse-refusals", "\n\n".join(texts))


def test_every_class_of_norse_is_known_or_only_holds_others() -> None:
    """A class that a new version brings must be looked at."""
    containers = {"SequentialState", "Lift", "ConvNet", "ConvNet4", "VGG", "MobileNetV2"}
    classes = {name for name, kind in vars(nt).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    assert classes <= STEPS.keys() | UNSUPPORTED.keys() | containers
