"""NIR graphs that the frameworks themselves export, each with the module it came from, run by the framework."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

T, SAMPLES = 100, 40
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Export:
    """What a framework wrote, and the spikes (N, T, *shape) of the network that it wrote."""

    graph: Any
    inputs: Array
    spikes: Array


def require(name: str, version: str = "") -> Any:
    """Import a framework or skip; SpikingJelly shares its name among versions, of which one exports NIR."""
    module = pytest.importorskip(name)
    if version and not getattr(module, "__version__", "").startswith(version):
        pytest.skip(f"{name} {version} is not installed")
    return module


def exact(module: nn.Module, scale: float = 4.0) -> nn.Module:
    """Put weights and biases on sixteenths, which floats sum without rounding."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.rpartition(".")[2] in ("weight", "bias") and value.dim():
                value.copy_(torch.round(torch.randn_like(value) * scale) / 16)
    return module


def inputs_of(*shape: int) -> torch.Tensor:
    return (torch.rand(SAMPLES, T, *shape, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def stepped(module: Callable[..., Any], x: torch.Tensor, *, state: bool) -> Array:
    """Run a module that takes one step at a time, and keeps its state or hands it back."""
    held, made = None, []
    with torch.no_grad():
        for t in range(x.shape[1]):
            out = module(x[:, t], held) if state else module(x[:, t])
            out, held = out if state else (out[0] if isinstance(out, tuple) else out, None)
            made.append(out.numpy())
    return np.stack(made, axis=1)


def quiet(call: Callable[[], Any]) -> Any:
    """Call something that prints what it does."""
    with contextlib.redirect_stdout(io.StringIO()):
        return call()


def snntorch(kind: str = "Leaky", conv: bool = False, **options: Any) -> Export:
    """Tensors for each neuron, which is what snnTorch 1.0.0 can export, and the batch axis ignored."""
    snn = require("snntorch")
    export = importlib.import_module("snntorch.export_nir").export_to_nir

    def layer(*shape: int) -> nn.Module:
        given = {"beta": torch.full(shape, 0.75), "threshold": torch.full(shape, 1.0), "init_hidden": True, **options}
        if kind in ("Synaptic", "RSynaptic"):
            given["alpha"] = torch.full(shape, 0.5)
        if kind.startswith("R"):
            given |= {"linear_features": shape[0], "beta": 0.75, "threshold": 1.0}
            if kind == "RSynaptic":
                given["alpha"] = 0.5
        return getattr(snn, kind)(**given)  # type: ignore[no-any-return]

    if conv:
        parts = (nn.Conv2d(2, 4, 3, padding=1), layer(4, 6, 6), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 5))
        module: nn.Module = exact(nn.Sequential(*parts, layer(5)))
    else:
        module = exact(nn.Sequential(nn.Linear(12, 20), layer(20), nn.Linear(20, 5), layer(5)))
    x = inputs_of(2, 6, 6) if conv else inputs_of(12)
    graph = quiet(lambda: export(module, x[:1, 0], ignore_dims=[0]))
    for part in module:  # type: ignore[attr-defined]
        if hasattr(part, "reset_mem"):
            part.reset_mem()
    return Export(graph, x.numpy(), stepped(module, x, state=False))


def norse(kind: str = "LIFBoxCell", **options: Any) -> Export:
    """Time constants of whole powers of two, and Norse's own dt."""
    nt = require("norse.torch")
    dt = options.pop("dt", 1e-3)
    rates = {"tau_mem_inv": torch.tensor(0.25 / dt), "tau_syn_inv": torch.tensor(0.5 / dt)}
    if kind == "LIFCell":
        p = nt.LIFParameters(**rates, **options)
    elif kind == "LIFBoxCell":
        p = nt.LIFBoxParameters(tau_mem_inv=rates["tau_mem_inv"], **options)
    else:
        p = nt.IAFParameters(**options)
    cells = [getattr(nt, kind)(p, dt=dt) for _ in range(2)]
    module = exact(nt.SequentialState(nn.Linear(12, 20), cells[0], nn.Linear(20, 5), cells[1]), 24.0)
    x = inputs_of(12)
    return Export(nt.to_nir(module, x[:1, 0], dt=dt), x.numpy(), stepped(module, x, state=True))


def sinabs(kind: str = "LIF", **options: Any) -> Export:
    """Layers that take (N, T, ...); tau such that sinabs's decay is 0.5."""
    sl = require("sinabs.layers")
    if kind == "LIF":
        options = {"tau_mem": 1 / np.log(2.0)} | options
    first, second = getattr(sl, kind)(**options), getattr(sl, kind)(**options)
    module = exact(nn.Sequential(nn.Linear(12, 20), first, nn.Linear(20, 5), second), 16.0)
    x = inputs_of(12)
    graph = importlib.import_module("sinabs.nir").to_nir(module, x[:1])
    for part in module:  # type: ignore[attr-defined]
        if hasattr(part, "reset_states"):
            part.reset_states()
    with torch.no_grad():
        return Export(graph, x.numpy(), module(x).numpy())


def rockpool(**options: Any) -> Export:
    """Two LIFTorch layers of 1 ms."""
    require("rockpool")
    modules = importlib.import_module("rockpool.nn.modules")
    sequential = importlib.import_module("rockpool.nn.combinators").Sequential
    given = {"tau_mem": 1e-3 / np.log(2.0), "tau_syn": 1e-3 / np.log(2.0), "dt": 1e-3} | options

    def build() -> Any:
        layers = [modules.LinearTorch((12, 20)), modules.LIFTorch(20, **given)]
        return sequential(*layers, modules.LinearTorch((20, 5)), modules.LIFTorch(5, **given))

    module = build()
    with torch.no_grad():
        for part in (module[0], module[2]):
            part.weight.copy_(torch.round(torch.randn_like(part.weight) * 8) / 16)
    x = inputs_of(12)
    with torch.no_grad():
        spikes = module(x)[0].numpy()
    graph = importlib.import_module("rockpool.nn.modules.torch.nir").to_nir(module)
    return Export(graph, x.numpy(), spikes)


def spikingjelly(kind: str = "LIFNode", **options: Any) -> Export:
    """Single steps."""
    require("spikingjelly")
    neuron = importlib.import_module("spikingjelly.activation_based.neuron")
    try:
        exchange = importlib.import_module("spikingjelly.activation_based.nir_exchange")
    except ModuleNotFoundError:
        pytest.skip("this SpikingJelly has no NIR")
    made = [getattr(neuron, kind)(**options) for _ in range(2)]
    module = exact(nn.Sequential(nn.Linear(12, 20), made[0], nn.Linear(20, 5), made[1]), 12.0)
    x = inputs_of(12)
    graph = exchange.export_to_nir(module, x[:1, 0])
    importlib.import_module("spikingjelly.activation_based.functional").reset_net(module)
    return Export(graph, x.numpy(), stepped(module, x, state=False))
