"""snnTorch networks and inputs for the tests of the torch frontend: exact decays, random and tie-prone currents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import snntorch as snn
import torch
from torch import nn

from spikec.compiler.ir import Graph
from spikec.frontends.torch import lower
from spikec.frontends.torch.framework import run_framework
from spikec.runtime.reference import Reference

SIZE = 16
CLASSES = ("Leaky", "Synaptic", "Lapicque", "RLeaky", "RSynaptic")
Array = np.ndarray[Any, Any]


def quarters(tensor: torch.Tensor) -> torch.Tensor:
    """Round to quarters, so that thresholds are met exactly and every float sum is exact."""
    return torch.round(tensor * 4) / 4


def cell(kind: str, **options: Any) -> Any:
    """Make a neuron layer with decays that floats hold exactly."""
    if kind == "Lapicque":
        options.pop("reset_delay", None)
        return snn.Lapicque(R=2.0, C=2.0, time_step=1.0, **options)
    if kind in ("Synaptic", "RSynaptic"):
        options["alpha"] = 0.5
    if kind in ("RLeaky", "RSynaptic") and "all_to_all" not in options:
        options["linear_features"] = SIZE
    made = getattr(snn, kind)(beta=0.75, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim():
                parameter.copy_(quarters(torch.randn_like(parameter) * 0.5))
    return made


class Explicit(nn.Module):
    """One neuron layer, states handed on in a loop; every state is returned."""

    def __init__(self, lif: Any) -> None:
        super().__init__()
        self.lif = lif

    def forward(self, x: torch.Tensor) -> Any:
        state = self.lif.reset_mem()
        state = state if isinstance(state, tuple) else (state,)
        if isinstance(self.lif, snn.RSynaptic):  # with reset_delay=False it needs states of full shape to run at all
            state = tuple(torch.zeros_like(x[0]) for _ in state)
        spikes, membranes = [], []
        for t in range(x.size(0)):
            spk, *rest = self.lif(x[t], *state)
            state = (spk, *rest) if len(state) > len(rest) else tuple(rest)
            spikes.append(spk)
            membranes.append(rest[-1])
        return torch.stack(spikes), torch.stack(membranes)


def currents(kind: str, steps: int = 60, samples: int = 8, shape: tuple[int, ...] = (SIZE,), seed: int = 0) -> Array:
    """Give input currents (N, T, *shape), `random` (float32) or in `ties` (quarters)."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn((samples, steps, *shape), generator=generator) * 0.8 + 0.2
    return (quarters(made) if kind == "ties" else made).numpy()


def spikes(
    steps: int = 20, samples: int = 4, shape: tuple[int, ...] = (SIZE,), rate: float = 0.4, seed: int = 0
) -> Array:
    """Give input spikes (N, T, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand((samples, steps, *shape), generator=generator) < rate).float().numpy()


def exact(module: nn.Module) -> nn.Module:
    """Put all weights and biases on quarters of sixteenths, so that sums are exact in float32."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.rpartition(".")[2] in ("weight", "bias"):
                parameter.copy_(torch.round(parameter * 4 * 16) / 16)
    return module


def layout(inputs: Array, time_axis: int | None) -> Array:
    """Give (N, T, *shape) as a module with this time axis takes it."""
    if time_axis is None:
        return inputs[:, 0]
    return inputs if time_axis == 1 else np.swapaxes(inputs, 0, 1)


def compare(
    module: nn.Module, inputs: Array, own: Callable[[Array], Array], *, time_axis: int | None = 0, **options: Any
) -> tuple[Graph, int, int]:
    """Give the graph, how many cells of its output differ from the module's own, and how many are not zero.

    `own` runs the module by itself and gives (N, T, *shape).
    """
    graph = lower(module, layout(inputs, time_axis), time_axis=time_axis, **options)
    assert module.training, "lowering changed the mode"
    module.eval()
    with torch.no_grad():
        truth = own(inputs)
    made = Reference().run(graph, inputs).spikes
    native = run_framework(module, inputs, graph, time_axis=time_axis).spikes
    assert np.array_equal(native, truth), "the framework rung runs the module otherwise than it runs by itself"
    return graph, int(np.count_nonzero(made != truth)), int(np.count_nonzero(truth))


def forward(module: nn.Module, time_axis: int = 0, part: int | None = None) -> Callable[[Array], Array]:
    """Give the function that calls a module on a whole sequence and gives (N, T, *shape)."""

    def run(inputs: Array) -> Array:
        result = module(torch.from_numpy(np.ascontiguousarray(layout(inputs, time_axis))))
        tensor = result if part is None else result[part]
        return np.asarray(np.swapaxes(tensor.numpy(), 0, 1))

    return run


def layers_apart(
    module: nn.Module, inputs: Array, time_axis: Any = 0, own: Callable[[Array], Array] | None = None
) -> dict[str, int]:
    """Give for each neuron layer, and the output, how many cells differ from the framework; each layer must spike."""
    example = inputs if time_axis == "joined" else layout(inputs, time_axis)
    graph = lower(module, example, time_axis=time_axis)
    native = run_framework(module, inputs, graph, time_axis=time_axis)
    if own is not None:
        with torch.no_grad():
            assert np.array_equal(native.spikes, own(inputs)), (
                "the framework rung runs otherwise than the module itself"
            )
    made = Reference().run(graph, inputs, trace=True)
    assert native.traces
    for name, array in native.traces.items():
        assert np.count_nonzero(array) > 20, f"{name} is silent"
    apart = {name: int(np.count_nonzero(made.traces[name] != array)) for name, array in native.traces.items()}
    return apart | {"output": int(np.count_nonzero(made.spikes != native.spikes))}
