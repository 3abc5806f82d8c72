"""SpikingJelly, either version: every class against itself, whole networks in every layer, and refusals in words."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ops import AvgPool
from spikec.frontends.torch import lower
from spikec.frontends.torch.spikingjelly import SpikingJelly
from spikec.frontends.torch.spikingjelly_names import CONTAINERS
from tests.frontends.cells import Cell, count
from tests.frontends.cells_spikingjelly import Steps, cells, container
from tests.frontends.torch_networks import Array, exact, layers_apart, layout, spikes

pytest.importorskip("spikingjelly", reason="SpikingJelly has environments of its own: make test-frameworks")

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import parametric_lif_net

# It takes one function from torchvision, to fetch trained weights; torchvision would replace torch.
NO_DOWNLOAD = {name: ModuleType(name) for name in ("torchvision", "torchvision.models", "torchvision.models.utils")}
NO_DOWNLOAD["torchvision.models.utils"].load_state_dict_from_url = None  # type: ignore[attr-defined]
with patch.dict(sys.modules, NO_DOWNLOAD):
    from spikingjelly.activation_based.model import sew_resnet

Golden = Callable[[str, str], None]
ALL = list(cells())
NEW = version("spikingjelly") != "0.0.0.0.14"
LARGE = 64  # samples: 122,880 cells


@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("cell", ALL, ids=str)
def test_every_class_and_option_over_a_hundred_thousand_cells(cell: Cell, kind: str) -> None:
    found = count(cell, kind, LARGE)
    assert found.differing == 0
    assert found.active > found.cells // 500


def sharp(module: nn.Module, factor: float = 4.0) -> nn.Module:
    """Put weights on 64ths, large enough for spikes, and let normalisations be exact."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            part.eps = 0.0
        elif isinstance(part, nn.Linear | nn.Conv2d):
            with torch.no_grad():
                part.weight.mul_(factor)
    return exact(module)


def images(samples: int = 2, steps: int = 12, size: int = 8) -> Array:
    return spikes(steps, samples, (2, size, size))


class Multi(nn.Module):
    """Convolutions over all of time, every kind of container, and a voting layer; (T, N, ...)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            layer.Conv2d(2, 4, 3, padding=1, bias=False),
            layer.BatchNorm2d(4),
            neuron.LIFNode(v_reset=None, decay_input=False),
            layer.MaxPool2d(2),
            layer.SeqToANNContainer(nn.Conv2d(4, 4, 3, padding=1), nn.AvgPool2d(2)),
            neuron.ParametricLIFNode(store_v_seq=True),
            layer.Flatten(),
            layer.Dropout(0.5),
        )
        self.head = nn.Sequential(layer.Linear(16, 30), neuron.IFNode(v_threshold=0.5), layer.VotingLayer(10))
        functional.set_step_mode(self, "m")
        functional.set_step_mode(self.features[4], "m")
        self.steps = layer.MultiStepContainer(nn.Linear(16, 16), neuron.LIFNode())
        self.either = layer.StepModeContainer(True, *(("m",) if NEW else ()), nn.Linear(16, 16), neuron.IFNode())
        self.either.step_mode = "m"

    def forward(self, x: torch.Tensor) -> Any:
        functional.reset_net(self)
        return self.head(self.either(self.steps(self.features(x))))


class Feedback(nn.Module):
    """A recurrent network: a container that leads spikes back, and one that adds them to the input; (T, N, F)."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.fc = layer.Linear(16, 32)
        self.back = container({"v_reset": None}, True)
        self.out = layer.Linear(32, 8)
        self.own = layer.ElementWiseRecurrentContainer(neuron.IFNode(), lambda y, x: y * 0.5 + x)
        self.late = layer.Delay(2)
        for part in (self.fc, self.back, self.out, self.own, self.late):
            part.step_mode = mode

    def forward(self, x: torch.Tensor) -> Any:
        return self.own(self.out(self.late(self.back(self.fc(x)))))


class Stepped(nn.Module):
    """One step a call, by layers of torch and of SpikingJelly."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 24), neuron.LIFNode(v_reset=-0.5), layer.Linear(24, 8), neuron.IFNode())

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(x)


class Sew(nn.Module):
    """A SEW block of SpikingJelly's own, with its join, between a convolution and a classifier."""

    def __init__(self, cnf: str) -> None:
        super().__init__()
        self.first = nn.Sequential(layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode())
        self.block = sew_resnet.BasicBlock(4, 4, cnf=cnf, spiking_neuron=neuron.IFNode)
        self.pool = layer.AdaptiveAvgPool2d((1, 1))
        self.flat = layer.Flatten()
        self.fc = layer.Linear(4, 5)
        self.last = neuron.LIFNode(v_threshold=0.25)
        functional.set_step_mode(self, "m")

    def forward(self, x: torch.Tensor) -> Any:
        return self.last(self.fc(self.flat(self.pool(self.block(self.first(x))))))


def own(module: nn.Module) -> Callable[[Array], Array]:
    """Give what a user runs: reset, then forward on (T, N, ...)."""

    def run(inputs: Array) -> Array:
        functional.reset_net(module)
        made = module(torch.from_numpy(np.ascontiguousarray(layout(inputs, 0)))).numpy()
        functional.reset_net(module)
        return np.asarray(np.swapaxes(made, 0, 1))

    return run


def test_a_convolutional_network_in_every_layer() -> None:
    torch.manual_seed(1)
    module = sharp(Multi()).eval()
    apart = layers_apart(module, images(), 0, own(module))
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) == 6
    graph = lower(module, layout(images(), 0))
    assert graph.of(AvgPool)[-1].op.kernel == (10,)


@pytest.mark.parametrize("mode", ["m", "s"])
def test_a_recurrent_network_in_every_layer(mode: str) -> None:
    torch.manual_seed(2)
    inner = sharp(Feedback(mode))
    module = (inner if mode == "m" else Steps(inner)).eval()
    apart = layers_apart(module, spikes(), 0, own(module))
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) == 3


def test_one_step_a_call() -> None:
    torch.manual_seed(3)
    module = sharp(Stepped()).eval()
    apart = layers_apart(module, spikes(), None)
    assert apart == {"s/net.1": 0, "s/net.3": 0, "output": 0}


def test_a_sew_block_joins_by_a_sum() -> None:
    torch.manual_seed(4)
    module = sharp(Sew("ADD")).eval()
    apart = layers_apart(module, images(), 0, own(module))
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) == 5


@pytest.mark.slow
def test_sew_resnet_18_in_every_layer() -> None:
    torch.manual_seed(5)
    module = sew_resnet.sew_resnet18(spiking_neuron=neuron.IFNode, cnf="ADD", num_classes=10, v_reset=None)
    functional.set_step_mode(sharp(module, 2.0), "m")
    apart = layers_apart(module.eval(), spikes(4, 1, (3, 32, 32)), 0)
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) == 21


def test_a_published_network_of_parametric_neurons() -> None:
    torch.manual_seed(6)
    module = parametric_lif_net.NMNISTNet(channels=4, spiking_neuron=neuron.ParametricLIFNode, v_threshold=0.5)
    functional.set_step_mode(sharp(module), "m")
    apart = layers_apart(module.eval(), images(1, 6, 34), 0)
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) > 3


def test_the_membrane_of_every_step_is_a_readout() -> None:
    class Readout(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = layer.Linear(16, 4, step_mode="m")
            self.last = neuron.LIFNode(v_threshold=1e9, store_v_seq=True, step_mode="m")

        def forward(self, x: torch.Tensor) -> Any:
            self.last(self.fc(x))
            return self.last.v_seq

    module = exact(Readout()).eval()
    graph = lower(module, layout(spikes(), 0))
    assert graph["last"].op.readout == "membrane"
    for readout, given in (("membrane", neuron.LIFNode(step_mode="m")), ("spikes", neuron.LIFNode(step_mode="m"))):
        assert lower(given, layout(spikes(), 0), readout=readout)["lifnode"].op.readout == readout  # type: ignore[arg-type]


def test_a_network_is_left_as_it_was() -> None:
    module = Multi()
    lif = module.features[2]
    module(torch.from_numpy(layout(images(), 0).copy()))
    before = lif.v
    lower(module, layout(images(), 0))
    assert lif.v is before
    assert not lif.store_v_seq
    assert "v_seq" not in lif._memories
    assert module.training
    functional.reset_net(module)
    assert lif.v == 0.0


def refused(module: nn.Module, example: Any, **options: Any) -> str:
    with pytest.raises(CompileError) as caught:
        lower(module, example, source="net.py:net", **options)
    text = re.sub(r"(activation_based\.\w+)\.\w+\.(?=[A-Z])", r"\1.", str(caught.value))  # 2.0 has more files
    return re.sub(r"\([^()\s]*\.py:\d+\)", "(FILE:LINE)", text)


def classes() -> dict[str, type]:
    """Give the classes of neurons and layers of this version."""
    found = {**vars(layer), **vars(neuron)}
    return {
        name: kind
        for name, kind in sorted(found.items())
        if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__.startswith("spikingjelly")
    }


def test_every_other_class_is_refused_by_name(golden: Golden) -> None:
    adapter = SpikingJelly()
    known = {*adapter.neurons, *adapter.layers, *CONTAINERS}
    lines = []
    for name, kind in classes().items():
        if name in known or name.startswith("_"):
            continue
        refusal = adapter.refusal(kind.__new__(kind))
        assert refusal is not None, name
        lines.append(": ".join(refusal))
    golden(f"spikingjelly-classes-{'2' if NEW else '14'}", "\n".join(lines))


class Hardly(neuron.LIFNode):
    """A class of the user's own."""


class Product(nn.Module):
    """A join of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = neuron.IFNode(step_mode="m"), neuron.LIFNode(step_mode="m")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.a(x) * (1.0 - self.b(x))
        return made


class Forgetful(Steps):
    """Resets between two steps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = []
        for step in x:
            made.append(self.cell(step))
            functional.reset_net(self)
        return torch.stack(made)


CASES: dict[str, Callable[[], nn.Module]] = {
    "qif": lambda: neuron.QIFNode(step_mode="m"),
    "izhikevich": lambda: neuron.IzhikevichNode(step_mode="m"),
    "subclass": lambda: Hardly(step_mode="m"),
    "soft": lambda: neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False), step_mode="m"),
    "recurrent": lambda: layer.LinearRecurrentContainer(nn.Linear(16, 16), 16, 16, step_mode="m"),
    "product": Product,
    "reset": lambda: Forgetful(neuron.IFNode()),
    "synapse": lambda: layer.SynapseFilter(step_mode="m"),
    "step-mode": neuron.IFNode,
}


def test_refusals(golden: Golden) -> None:
    texts = [refused(nn.Sequential(make()), layout(spikes(steps=5), 0)) for make in CASES.values()]
    pictures = layout(images(steps=5), 0)
    texts += [refused(Sew(join), pictures) for join in ("AND", "IAND")]
    texts.append(refused(nn.Sequential(layer.AdaptiveAvgPool2d((3, 3), step_mode="m")), pictures))
    texts.append(refused(nn.Sequential(layer.Conv2d(2, 2, 3, step_mode="m")), pictures[0], time_axis=None))
    golden("spikingjelly-refusals", "\n\n".join(texts))


@pytest.mark.skipif(NEW, reason="SpikingJelly 2.0 has no clock_driven")
def test_the_neurons_of_earlier_versions_are_not_taken_for_those_of_today(golden: Golden) -> None:
    from spikingjelly.clock_driven import neuron as earlier

    text = refused(Steps(earlier.LIFNode()), layout(spikes(steps=5), 0))
    golden("spikingjelly-clock-driven", text)


@pytest.mark.skipif(not NEW, reason="attention came with SpikingJelly 2.0")
def test_attention_is_refused(golden: Golden) -> None:
    golden("spikingjelly-attention", refused(layer.SpikingSelfAttention(16, 2), torch.zeros(5, 2, 16, 4)))
