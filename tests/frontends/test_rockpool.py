"""Rockpool's torch modules: every class against itself, whole networks in every layer, and refusals in words."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikec.compiler.diagnostics import CompileError
from spikec.frontends.torch import lower
from spikec.frontends.torch.rockpool import Rockpool
from spikec.frontends.torch.weights import load_weights
from tests.frontends.cells import Cell, count
from tests.frontends.cells_rockpool import cells
from tests.frontends.torch_networks import Array, layers_apart, spikes

pytest.importorskip("rockpool", reason="Rockpool has an environment of its own: make test-frameworks")

from rockpool.nn.combinators import FFwdStack, Residual, Sequential
from rockpool.nn.modules import ExpSynTorch, LIFTorch, LinearTorch, RateTorch, TimeStepDropout, aLIFTorch
from rockpool.parameters import Constant

with warnings.catch_warnings():  # it has networks that it did not port
    warnings.simplefilter("ignore")
    from rockpool.nn.networks.synnet import SynNet
    from rockpool.nn.networks.wavesense import WaveSenseNet

Golden = Callable[[str, str], None]
ALL = list(cells())
LARGE = 64  # samples: 122,880 cells


@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("cell", ALL, ids=str)
def test_every_class_and_option_over_a_hundred_thousand_cells(cell: Cell, kind: str) -> None:
    found = count(cell, kind, LARGE)
    assert found.differing == 0
    assert found.active > found.cells // 500


def sharp(module: Any) -> Any:
    """Put weights on sixteenths, large enough for spikes."""
    with torch.no_grad():
        for name, parameter in nn.Module.named_parameters(module):
            if name.rpartition(".")[2] in ("weight", "w_rec", "0_1_weight"):
                parameter.copy_(torch.round(torch.randn_like(parameter) * 8) / 16)
    return module


def lif(size: int, **options: Any) -> Any:
    """Build neurons with decays that floats hold exactly."""
    return LIFTorch(size, leak_mode="decays", alpha=Constant(0.75), beta=Constant(0.5), **options)


def recurrent() -> Any:
    """A residual block, recurrent neurons, a layer of torch and a dropout."""
    return Sequential(
        LinearTorch((16, 12)),
        lif(12, has_rec=True, max_spikes_per_dt=torch.tensor(1.0)),
        Residual(LinearTorch((12, 12), has_bias=True), lif(12, bias=Constant(0.25))),
        TimeStepDropout(12),
        nn.Linear(12, 5),
        lif(5),
    )


NETWORKS: dict[str, Callable[[], Any]] = {
    "recurrent": recurrent,
    "residual-last": lambda: Residual(LinearTorch((16, 16)), lif(16)),
    "stack": lambda: FFwdStack(lif(16), lif(8)),
    "synnet": lambda: SynNet(n_channels=16, n_classes=4, size_hidden_layers=[24, 24], time_constants_per_layer=[2, 4]),
    "wavesense": lambda: WaveSenseNet([2, 8], n_channels_in=16, n_channels_res=8, n_channels_skip=8, n_hidden=8),
}


def own(module: Any) -> Callable[[Array], Array]:
    """Give what a user runs: reset, then the first of (output, state, record)."""

    def run(inputs: Array) -> Array:
        module.reset_state()
        return np.asarray(module(torch.from_numpy(inputs))[0].numpy())

    return run


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_networks_in_every_layer(name: str) -> None:
    torch.manual_seed(2)
    module = sharp(NETWORKS[name]()).eval()
    apart = layers_apart(module, spikes(30, 3), 1, own(module))
    assert apart == dict.fromkeys(apart, 0)
    assert len(apart) > (1 if name == "residual-last" else 2)


def test_a_network_inside_a_module_of_the_users() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = sharp(recurrent())

        def forward(self, x: torch.Tensor) -> Any:
            out, _, _ = self.net(x.transpose(0, 1), record=True)
            return out.transpose(0, 1)

    torch.manual_seed(2)
    apart = layers_apart(Outer().eval(), spikes(), 0)
    assert apart == dict.fromkeys(apart, 0)


def test_a_leaky_readout_and_recorded_membranes() -> None:
    graph = lower(Sequential(LinearTorch((16, 4)), ExpSynTorch(4)), spikes(), time_axis=1)
    assert graph["1_ExpSynTorch"].op.readout == "membrane"
    graph = lower(lif(16), spikes(), time_axis=1, readout="membrane")
    assert graph["liftorch"].op.readout == "membrane"


def test_states_are_left_as_they_were_and_not_loaded(tmp_path: Any) -> None:
    torch.manual_seed(3)
    module = sharp(recurrent())
    module(torch.from_numpy(spikes()))
    before = module[1].vmem.clone()
    assert bool(before.any())
    lower(module, spikes(), time_axis=1)
    assert torch.equal(module[1].vmem, before)
    assert not module[1]._record_dict
    torch.save(nn.Module.state_dict(module), tmp_path / "net.pt")
    fresh = recurrent()
    load_weights(fresh, tmp_path / "net.pt")
    assert torch.equal(fresh[0].weight, module[0].weight)
    assert not bool(fresh[1].vmem.any())


class Halves(nn.Module):
    """Calls its neurons twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = lif(16)

    def forward(self, x: torch.Tensor) -> Any:
        return torch.cat([self.lif(x[:, :2])[0], self.lif(x[:, 2:])[0]], dim=1)


class Spike(torch.autograd.Function):
    """A spike function of the user's own."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        return (x > 0).float()


def several_taus() -> Any:
    module = LIFTorch((16, 8), leak_mode="decays", has_rec=True)
    with torch.no_grad():
        module.beta[:, 1] = 0.25
    return module


CASES: dict[str, Callable[[], Any]] = {
    "noise": lambda: lif(16, noise_std=0.1),
    "spike": lambda: lif(16, spike_generation_fn=Spike),
    "threshold": lambda: lif(16, threshold=Constant(-1.0)),
    "limit": lambda: lif(16, max_spikes_per_dt=torch.tensor(1.5)),
    "adaptive": lambda: aLIFTorch(16),
    "rate": lambda: RateTorch(16),
    "several-taus": several_taus,
    "relu": lambda: Sequential(nn.Linear(16, 16), nn.ReLU()),
    "twice": Halves,
}


def refused(module: nn.Module, example: Any, **options: Any) -> str:
    with pytest.raises(CompileError) as caught:
        lower(module, example, source="net.py:net", **options)
    return re.sub(r"\([^()\s]*\.py:\d+\)", "(FILE:LINE)", str(caught.value))


def test_refusals(golden: Golden) -> None:
    texts = [refused(make(), spikes(steps=5), time_axis=1) for make in CASES.values()]
    texts.append(refused(LinearTorch((16, 4)), spikes(steps=5, shape=(1,)), time_axis=1))
    texts.append(refused(lif(16), spikes(steps=5)[:, 0], time_axis=None))
    golden("rockpool-refusals", "\n\n".join(texts))


def test_every_other_class_is_refused_by_name() -> None:
    from rockpool.nn import modules

    adapter = Rockpool()
    found = {name: kind for name, kind in vars(modules).items() if isinstance(kind, type)}
    torch_modules = {name for name, kind in found.items() if issubclass(kind, nn.Module) and name != "TorchModule"}
    followed = {"InstantTorch"}  # any function, which is followed
    assert torch_modules - {*adapter.neurons, *adapter.layers, *adapter.unsupported} - followed == set()
