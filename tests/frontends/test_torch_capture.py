"""Every way to write a forward over time: the graph's spikes are the module's own, and the module stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from snntorch import utils
from torch import nn
from torch.nn import functional

from spikec.compiler.diagnostics import Diagnostic
from spikec.compiler.ops import Delay, Dropout, Input
from spikec.frontends.torch import lower
from spikec.runtime.reference import Reference
from tests.frontends.torch_networks import compare, exact, forward, layout, spikes


class Net(nn.Module):
    """Two dense layers; `style` says how forward handles time."""

    def __init__(self, style: str) -> None:
        super().__init__()
        hidden = style == "hidden"
        self.fc1 = nn.Linear(16, 12)
        self.lif1 = snn.Leaky(beta=0.5, init_hidden=hidden)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(12, 8)
        self.lif2 = snn.Synaptic(alpha=0.5, beta=0.75, reset_mechanism="zero", init_hidden=hidden)
        self.style = style

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = getattr(self, self.style)(x)
        return result

    def step(self, x: torch.Tensor, state: Any) -> Any:
        mem1, syn2, mem2 = state
        spk1, mem1 = self.lif1(self.fc1(x), mem1)
        spk2, syn2, mem2 = self.lif2(self.fc2(self.drop(spk1)), syn2, mem2)
        return spk2, (mem1, syn2, mem2)

    def start(self) -> Any:
        return (self.lif1.init_leaky(), *self.lif2.init_synaptic())

    def stacked(self, x: torch.Tensor) -> torch.Tensor:
        state, record = self.start(), []
        for t in range(x.size(0)):
            spk, state = self.step(x[t], state)
            record.append(spk)
        return torch.stack(record, dim=0)

    def iterated(self, x: torch.Tensor) -> torch.Tensor:
        state, record = self.start(), []
        for part in x:
            spk, state = self.step(part, state)
            record.append(spk)
        return torch.stack(record)

    def unbound(self, x: torch.Tensor) -> torch.Tensor:
        state, record = self.start(), []
        for part in x.unbind(0):
            spk, state = self.step(part.clone(), state)
            record.append(spk)
        return torch.stack(record, 1).transpose(0, 1)

    def preallocated(self, x: torch.Tensor) -> torch.Tensor:
        state, record = self.start(), torch.zeros(x.shape[0], x.shape[1], 8)
        for t in range(x.shape[0]):
            spk, state = self.step(x[t, :], state)
            record[t] = spk
        return record

    def early(self, x: torch.Tensor) -> torch.Tensor:
        """The first layer is applied to the whole of time at once."""
        current = self.fc1(x)
        (mem1, syn2, mem2), record = self.start(), []
        for t in range(x.size(0)):
            spk1, mem1 = self.lif1(current[t], mem1)
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            record.append(spk2)
        return torch.stack(record)

    def layerwise(self, x: torch.Tensor) -> torch.Tensor:
        """One layer after the other, each over all of time."""
        (mem1, syn2, mem2), first, second = self.start(), [], []
        for t in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[t]), mem1)
            first.append(spk1)
        for spk1 in first:
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            second.append(spk2)
        return torch.stack(second)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        utils.reset(self)
        return torch.stack([self.lif2(self.fc2(self.lif1(self.fc1(x[t])))) for t in range(x.size(0))])


STYLES = ("stacked", "iterated", "unbound", "preallocated", "early", "layerwise", "hidden")


@pytest.mark.parametrize("style", STYLES)
def test_loops_over_time(style: str) -> None:
    torch.manual_seed(1)
    module = exact(Net(style))
    graph, differing, active = compare(module, spikes(), forward(module))
    assert differing == 0
    assert active > 20
    names = [node.name for node in graph]
    assert [n for n in names if n != "drop"] == ["input", "fc1", "lif1", "fc2", "lif2", "output"]
    assert bool(graph.of(Dropout)) == (style in ("stacked", "iterated", "unbound", "preallocated"))
    assert str(graph["lif2"].origin) == "lif2"


def test_time_axis_one() -> None:
    class Second(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.stacked(x.permute(1, 0, 2)).transpose(0, 1)

    torch.manual_seed(1)
    module = exact(Second("stacked"))
    inputs = spikes()
    _, differing, active = compare(module, inputs, lambda x: np.asarray(module(torch.from_numpy(x))), time_axis=1)
    assert differing == 0
    assert active > 20


def one_step_net(last: dict[str, Any]) -> nn.Module:
    made = nn.Sequential(
        nn.Flatten(),
        nn.Linear(16, 12),
        snn.Leaky(beta=0.5, init_hidden=True),
        nn.Linear(12, 8),
        snn.Synaptic(alpha=0.5, beta=0.5, init_hidden=True),
        nn.Linear(8, 8),
        snn.RLeaky(beta=0.75, linear_features=8, init_hidden=True, **last),
    )
    return exact(made)


def by_steps(module: nn.Module, part: int | None = None) -> Callable[[Any], Any]:
    """Run a module that does one step a call."""

    def run(inputs: Any) -> Any:
        utils.reset(module)
        for cell in module.modules():
            if isinstance(cell, snn.SpikingNeuron):
                cell.reset_mem()
        results = [module(torch.from_numpy(inputs[:, t])) for t in range(inputs.shape[1])]
        return np.stack([(r if part is None else r[part]).numpy() for r in results], axis=1)

    return run


@pytest.mark.parametrize("output", [True, False])
def test_one_step_a_call(output: bool) -> None:
    torch.manual_seed(2)
    module = one_step_net({"output": output})
    inputs = spikes(shape=(4, 4))
    graph, differing, active = compare(module, inputs, by_steps(module, 0 if output else None), time_axis=None)
    assert differing == 0
    assert active > 20
    assert [n.name for n in graph] == ["input", "0", "1", "2", "3", "4", "5", "6.recurrent", "6", "output"]


class Direct(nn.Module):
    """An image, repeated every step; the first layer inside or outside of the loop."""

    def __init__(self, outside: bool, readout: str) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 8)
        self.lif = snn.Leaky(beta=0.5)
        self.outside, self.readout, self.steps = outside, readout, 10

    def forward(self, x: torch.Tensor) -> Any:
        mem, record, total = self.lif.init_leaky(), [], torch.zeros(x.shape[0], 8)
        current = self.fc(x) if self.outside else x
        for _ in range(self.steps):
            spk, mem = self.lif(current if self.outside else self.fc(x), mem)
            record.append(spk)
            total += spk
        stack = torch.stack(record)
        results = {"stack": stack, "sum": stack.sum(0), "mean": stack.mean(dim=0), "total": total, "list": record}
        return results.get(self.readout, spk)


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("readout", ["stack", "sum", "mean", "total", "list", "last"])
def test_direct_coding_and_readouts(outside: bool, readout: str) -> None:
    torch.manual_seed(3)
    module = exact(Direct(outside, readout))
    image = np.repeat(np.round(np.random.default_rng(0).random((4, 1, 16)) * 16).astype(np.float32) / 16, 10, axis=1)
    said: list[Diagnostic] = []

    def own(inputs: Any) -> Any:
        module.readout = "stack"
        steps = module(torch.from_numpy(inputs[:, 0])).numpy().swapaxes(0, 1)
        module.readout = readout
        return steps

    if not outside:
        graph, differing, active = compare(module, image, own, time_axis=None, remark=said.append)
        assert differing == 0
        assert active > 10
        assert isinstance(graph["input"].op, Input)
        assert graph["input"].op.kind == "analog"
        assert [d.code for d in said] == ([] if readout in ("stack", "list") else ["torch/readout"])
    else:
        graph = lower(module, image[:, 0], time_axis=None)
        made = Reference().run(graph, image).spikes
        with torch.no_grad():
            assert np.array_equal(made, own(image))


class Branches(nn.Module):
    """Residual sums of currents and of spikes, a skip over a layer, functions, and one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))
        self.lif = nn.ModuleList(snn.Leaky(beta=0.5, reset_mechanism="zero") for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem: Any = [None] * 4
        record = []
        for t in range(x.size(0)):
            a, mem[0] = self.lif[0](self.fc[0](x[t]) + x[t], mem[0])
            b, mem[1] = self.lif[1](self.fc[1](a) * 0.5 - 0.25, mem[1])
            c, mem[2] = self.lif[2](self.fc[2](a + b) + self.fc[2](b), mem[2])
            d, mem[3] = self.lif[3](self.fc[3](torch.add(c, x[t])) + a, mem[3])
            record.append(d + c)
        return torch.stack(record)


def test_residual_sums_skips_and_shared_layers() -> None:
    torch.manual_seed(4)
    module = exact(Branches())
    graph, differing, active = compare(module, spikes(), forward(module))
    assert differing == 0
    assert active > 50
    assert graph["fc.2.1"].origin.path == "fc.2"
    assert graph["lif.2"].inputs == ("fc.2", "fc.2.1")
    assert graph["output"].inputs == ("add",)


class Feedback(nn.Module):
    """Recurrence written by the user: `before` its neuron, `after` it, over two layers, or two steps back."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.fc, self.rec, self.out = nn.Linear(16, 12), nn.Linear(12, 12), nn.Linear(12, 12)
        self.lif1, self.lif2 = snn.Leaky(beta=0.5), snn.Leaky(beta=0.5)
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem1 = mem2 = None
        zeros = torch.zeros(x.shape[1], 12)
        history, seconds, record = [zeros, zeros], [zeros], []
        for t in range(x.size(0)):
            current = self.fc(x[t])
            if self.kind == "before":
                current = self.rec(history[-1]) + current
            elif self.kind == "after" and t > 0:
                current = current + self.rec(history[-1])
            elif self.kind == "two":
                current = current + self.rec(history[-2])
            elif self.kind == "layers":
                current = current + self.rec(seconds[-1])
            spk1, mem1 = self.lif1(current, mem1)
            late = history[-1] if self.kind == "late" else spk1
            history.append(spk1)
            spk2, mem2 = self.lif2(self.out(late), mem2)
            seconds.append(spk2)
            record.append(spk2)
        return torch.stack(record)


@pytest.mark.parametrize(("kind", "delays"), [("before", 0), ("after", 1), ("two", 1), ("layers", 0), ("late", 1)])
def test_recurrence_by_hand(kind: str, delays: int) -> None:
    torch.manual_seed(5)
    module = exact(Feedback(kind))
    graph, differing, active = compare(module, spikes(steps=30), forward(module))
    assert differing == 0
    assert active > 50
    assert len(graph.of(Delay)) == delays


class Convolutional(nn.Module):
    """Convolutions, normalisation and pools, as modules and as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding="same")
        self.norm = nn.BatchNorm2d(4, eps=0.0)
        self.pool = nn.MaxPool2d(2)
        self.lif1 = snn.Leaky(beta=torch.tensor([0.25, 0.5, 0.75, 1.0]).reshape(4, 1, 1))
        self.conv2 = nn.Conv2d(4, 4, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, dilation=1)
        self.lif2 = snn.Leaky(beta=0.5, threshold=0.5)
        self.avg = nn.AvgPool2d(2, padding=1)
        self.fc = nn.Linear(16, 5)
        self.lif3 = snn.Leaky(beta=0.5, threshold=0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem1 = mem2 = mem3 = None
        record = []
        for step in x:
            spk1, mem1 = self.lif1(self.pool(self.norm(self.conv1(step))), mem1)
            spk2, mem2 = self.lif2(self.conv2(functional.avg_pool2d(spk1, 2, 1)), mem2)
            spk3, mem3 = self.lif3(self.fc(self.avg(spk2).reshape(x.shape[1], -1)), mem3)
            record.append(spk3)
        return torch.stack(record)


def test_convolutional_network() -> None:
    torch.manual_seed(6)
    module = exact(Convolutional())
    with torch.no_grad():
        module.norm.running_mean.copy_(torch.tensor([0.25, 0.0, -0.25, 0.5]))
        module.norm.running_var.copy_(torch.tensor([1.0, 0.25, 4.0, 1.0]))
    _, differing, active = compare(module, spikes(shape=(2, 8, 8)), forward(module))
    assert differing == 0
    assert active > 20


class OneDimensional(nn.Module):
    """Conv1d, BatchNorm1d and pools over a line; a reshape of the input at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm1d(6, eps=0.0)
        self.max, self.avg = nn.MaxPool1d(2), nn.AvgPool1d(2)
        self.lif = snn.Leaky(beta=0.5)
        self.flatten = nn.Flatten()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem = None
        record = []
        for t in range(x.size(0)):
            current = self.norm(self.conv(x[t].view(-1, 2, 8)))
            spk, mem = self.lif(functional.max_pool1d(current, 2), mem)
            record.append(self.flatten(self.avg(spk)))
        return torch.stack(record)


def test_one_dimensional_network() -> None:
    torch.manual_seed(7)
    module = exact(OneDimensional())
    _, differing, active = compare(module, spikes(shape=(16,)), forward(module))
    assert differing == 0
    assert active > 20


def test_the_module_is_left_as_it_was() -> None:
    torch.manual_seed(8)
    module = one_step_net({"output": True}).train()
    with torch.no_grad():
        module(torch.rand(2, 16))
    before = {k: v.clone() for k, v in [*module.named_buffers(), *module.named_parameters()]}
    held = {k: id(v) for k, v in module.named_buffers()}
    kept = torch.get_rng_state()
    lower(module, spikes()[:, 0], time_axis=None)
    after = dict([*module.named_buffers(), *module.named_parameters()])
    assert module.training
    assert all(part.training for part in module.modules())
    assert {k: id(v) for k, v in module.named_buffers()} == held
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert len(after) == len(before)
    assert torch.equal(torch.get_rng_state(), kept)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_the_same_module_gives_the_same_graph() -> None:
    torch.manual_seed(9)
    module = exact(Branches())
    example = layout(spikes(), 0)
    assert str(lower(module, example)) == str(lower(module, example))


def test_a_long_sum_over_time() -> None:
    module = exact(Direct(outside=False, readout="total"))
    module.steps = 600
    graph = lower(module, np.ones((1, 16), np.float32), time_axis=None)
    assert [node.name for node in graph] == ["input", "fc", "lif", "output"]
