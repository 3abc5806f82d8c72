"""What cannot be lowered is refused in words: golden texts of every refusal of the torch frontend."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import snntorch as snn
import torch
from torch import nn
from torch.nn import functional

from spikec.compiler.diagnostics import CompileError
from spikec.frontends.torch import lower
from tests.frontends.torch_networks import layout, spikes

Golden = Callable[[str, str], None]


class Loop(nn.Module):
    """A loop over time around one step; `step(x_t, t, net)` gives what is recorded."""

    def __init__(self, step: Any, **modules: nn.Module) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)
        self.lif = snn.Leaky(beta=0.5, init_hidden=True)
        for name, module in modules.items():
            self.add_module(name, module)
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.step(x[t], t, self) for t in range(x.size(0))])


def quantizer(x: torch.Tensor) -> torch.Tensor:
    return x


def soft_spike(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x)


def quiet(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class Heaviside(torch.autograd.Function):
    """A spike function of the user's own."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).float()


def unregistered() -> nn.Module:
    loop = Loop(lambda x, t, net: net.plain[0](net.fc(x)))
    loop.plain = [snn.Leaky(beta=0.5, init_hidden=True)]
    return loop


def written(x: Any, t: int, net: Any) -> Any:
    spk = net.lif(net.fc(x))
    spk += 1
    return spk


def branched(x: Any, t: int, net: Any) -> Any:
    return net.lif(net.fc(x)) if x.sum() > 0 else net.lif(x)


def explicit(change: Callable[[Any, int], Any]) -> Any:
    """A neuron whose membrane is changed between steps."""

    class Changed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = snn.Leaky(beta=0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem, record = self.lif.init_leaky(), []
            for t in range(x.size(0)):
                spk, mem = self.lif(x[t], change(mem, t))
                record.append(spk)
            return torch.stack(record)

    return Changed()


def with_cell(lif: Any) -> nn.Module:
    return Loop(lambda x, t, net: net.cell(x), cell=lif)


class Noisy(Loop):
    """Adds to the whole input."""

    def __init__(self, noise: torch.Tensor | None = None) -> None:
        super().__init__(plain)
        self.noise = noise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + (torch.randn_like(x) if self.noise is None else self.noise))


def plain(x: Any, t: int, net: Any) -> Any:
    return net.lif(net.fc(x))


CASES: dict[str, Callable[[], nn.Module]] = {
    "unknown-modules": lambda: Loop(
        lambda x, t, net: net.lif(net.act(net.norm(net.fc(x)))), act=nn.ReLU(), norm=nn.LayerNorm(16)
    ),
    "cat": lambda: Loop(lambda x, t, net: net.lif(net.fc(torch.cat([x[:, :8], x[:, 8:]], 1)))),
    "cat-of-spikes": lambda: Loop(lambda x, t, net: torch.cat([net.lif(net.fc(x)), x], 1)),
    "relu": lambda: Loop(lambda x, t, net: net.lif(functional.relu(net.fc(x)))),
    "several-ops": lambda: Loop(lambda x, t, net: net.lif(torch.tanh(net.fc(x)) * torch.sigmoid(x))),
    "broadcast-sum": lambda: Loop(
        lambda x, t, net: net.lif(net.conv(x.view(4, 1, 16)) + x.view(4, 1, 16)), conv=nn.Conv1d(1, 3, 3, padding=1)
    ),
    "noise": lambda: Loop(lambda x, t, net: net.lif(net.fc(x) + torch.randn_like(x))),
    "noise-on-the-input": lambda: Noisy(),
    "noise-over-time": lambda: Noisy(torch.arange(5.0)[:, None, None]),
    "product": lambda: Loop(lambda x, t, net: net.lif(net.fc(x) * x)),
    "data-dependent": lambda: Loop(branched),
    "item": lambda: Loop(lambda x, t, net: net.lif(net.fc(x) * float(x[0, 0].item()))),
    "to-numpy": lambda: Loop(lambda x, t, net: net.lif(torch.from_numpy(net.fc(x).numpy()))),
    "control-flow": lambda: Loop(lambda x, t, net: net.lif(x if x.tolist() else net.fc(x))),
    "own-spike-function": lambda: Loop(lambda x, t, net: Heaviside.apply(net.lif(net.fc(x)) - 0.5)),
    "unregistered": unregistered,
    "in-place": lambda: Loop(written),
    "twice-in-a-step": lambda: Loop(lambda x, t, net: net.lif(net.lif(net.fc(x)))),
    "irregular": lambda: Loop(lambda x, t, net: net.lif(net.fc(x) if t % 2 else x)),
    "constant": lambda: Loop(lambda x, t, net: net.lif(net.fc(torch.ones(4, 16)))),
    "ceil-mode": lambda: Loop(
        lambda x, t, net: net.lif(net.pool(net.fc(x).view(-1, 4, 4))), pool=nn.MaxPool1d(3, ceil_mode=True)
    ),
    "padding-mode": lambda: Loop(
        lambda x, t, net: net.lif(net.conv(x.view(-1, 1, 16))),
        conv=nn.Conv1d(1, 2, 3, padding=1, padding_mode="reflect"),
    ),
    "batch-statistics": lambda: Loop(
        lambda x, t, net: net.lif(net.norm(x)), norm=nn.BatchNorm1d(16, track_running_stats=False)
    ),
    "flatten-batch": lambda: Loop(lambda x, t, net: net.lif(net.flat(x)), flat=nn.Flatten(0)),
    "transposed": lambda: Loop(lambda x, t, net: net.lif(net.fc(x.view(4, 4, 4).transpose(1, 2).reshape(4, 16)))),
    "inhibition": lambda: with_cell(quiet(lambda: snn.Leaky(beta=0.5, inhibition=True, init_hidden=True))),
    "state-quant": lambda: with_cell(snn.Leaky(beta=0.5, state_quant=quantizer, init_hidden=True)),
    "alpha": lambda: with_cell(snn.Alpha(alpha=0.75, beta=0.5, init_hidden=True)),
    "slstm": lambda: with_cell(snn.SLSTM(16, 16, init_hidden=True)),
    "spike-grad": lambda: with_cell(snn.Leaky(beta=0.5, spike_grad=soft_spike, init_hidden=True)),
    "rsynaptic-post": lambda: with_cell(
        snn.RSynaptic(alpha=0.5, beta=0.5, linear_features=16, reset_delay=False, init_hidden=True)
    ),
    "threshold-shape": lambda: with_cell(snn.Leaky(beta=0.5, threshold=torch.ones(4, 16), init_hidden=True)),
    "state-changed": lambda: explicit(lambda mem, t: mem * 0.5),
    "state-cleared": lambda: explicit(lambda mem, t: torch.zeros(4, 16)),
    "state-per-sample": lambda: explicit(lambda mem, t: mem if t else torch.arange(64.0).reshape(4, 16)),
}


def refused(module: nn.Module, example: Any, **options: Any) -> str:
    """Give what is told, without the numbers of lines of this file."""
    with pytest.raises(CompileError) as caught:
        lower(module, example, source="net.py:net", **options)
    return re.sub(r"\([^()\s]*test_torch_messages\.py:\d+\)", "(FILE:LINE)", str(caught.value))


@pytest.mark.parametrize("case", CASES)
def test_refusals(case: str, golden: Golden) -> None:
    torch.manual_seed(0)
    golden(f"torch-{case}", refused(CASES[case](), layout(spikes(steps=5), 0)))


def test_unknown_modules_are_all_named_and_unused_ones_are_not() -> None:
    module = Loop(
        lambda x, t, net: net.lif(net.act(net.norm(x))), act=nn.GELU(), norm=nn.LayerNorm(16), loss=nn.MSELoss()
    )
    text = refused(module, layout(spikes(steps=5), 0))
    assert "net.py:net:act" in text
    assert "net.py:net:norm" in text
    assert "loss" not in text


class ResetInside(nn.Module):
    """Forward does one step, and forgets before it."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = snn.Leaky(beta=0.5, init_hidden=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.lif.reset_mem()
        spk: torch.Tensor = self.lif(x)
        return spk


class LastOfSome(Loop):
    """Returns a step that is not the last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[1]


class Nothing(Loop):
    """Returns what does not come from the network."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        super().forward(x)
        return torch.zeros(1)


def test_other_refusals(golden: Golden) -> None:
    example = layout(spikes(steps=5), 0)
    one_step = nn.Sequential(nn.Linear(16, 4), snn.Leaky(beta=0.5, init_hidden=True))
    texts = [
        refused(one_step, example),
        refused(Loop(plain), example[:1]),
        refused(Loop(plain), example[:, :, :3]),
        refused(Loop(plain), example, time_axis=2),
        refused(Loop(plain), example, time_axis=0, batch_axis=2),
        refused(ResetInside(), example[0], time_axis=None),
        refused(LastOfSome(plain), example),
        refused(Nothing(plain), example),
        refused(Loop(lambda x, t, net: (net.lif(x), net.fc(x))[1]), example, readout="membrane"),
    ]
    golden("torch-others", "\n\n".join(texts))


def test_reset_that_the_state_contradicts(golden: Golden) -> None:
    module = with_cell(snn.Leaky(beta=0.5, init_hidden=True))
    module.get_submodule("cell").reset_mechanism = "zero"
    golden("torch-reset-contradicts", refused(module, layout(spikes(steps=5), 0)))
