"""Every neuron class of every framework with its options, as small networks: for the tests and for the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import nn

from spikec.frontends.torch import lower
from spikec.frontends.torch.framework import run_framework
from spikec.runtime.reference import Reference
from tests.frontends.torch_networks import currents, layout, quarters, spikes

WIDTH = 32
Make = Callable[[bool], nn.Module]
"""Builds a layer of WIDTH neurons: with decays that floats hold exactly, or with ordinary ones."""


@dataclass(frozen=True)
class Cell:
    """One class with one set of options. A readout gives membranes, which are equal within rounding only."""

    framework: str
    name: str
    options: str
    make: Make
    time_axis: int | str = 0
    readout: bool = False

    def __str__(self) -> str:
        """Name the cell for a test."""
        return f"{self.name}-{self.options}" if self.options else self.name


@dataclass(frozen=True)
class Count:
    """How many cells differ of how many, and how many are not zero in the framework's own run."""

    cells: int
    active: int
    differing: int


def count(cell: Cell, kind: str, samples: int, seed: int = 0) -> Count:
    """Compare the float reference with the framework itself on one kind of input.

    `random` and `ties` go straight into neurons with exact decays; `ordinary` is spikes through random float32 weights
    into neurons with ordinary decays.
    """
    torch.manual_seed(seed)
    layer = cell.make(kind != "ordinary").eval()
    shape = (WIDTH,)
    if kind == "ordinary":
        module: nn.Module = _Behind(nn.Linear(WIDTH, WIDTH), layer)
        inputs = spikes(60, samples, shape, seed=seed)
    else:
        module, inputs = layer, currents(kind, 60, samples, shape, seed)
    axis: Any = cell.time_axis
    example = inputs[:2] if axis == "joined" else layout(inputs[:2], axis)
    graph = lower(module, example, time_axis=axis)
    truth = run_framework(module, inputs, graph, time_axis=axis).spikes
    made = Reference().run(graph, inputs).spikes
    apart = np.abs(made - truth) > 1e-4 if cell.readout else made != truth
    return Count(truth.size, int(np.count_nonzero(truth)), int(np.count_nonzero(apart)))


class _Behind(nn.Module):
    """A layer of weights, given all of time, and neurons behind it."""

    def __init__(self, weights: nn.Linear, layer: nn.Module) -> None:
        super().__init__()
        self.weights = weights
        self.layer = layer
        with torch.no_grad():
            weights.weight.mul_(4.0)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(self.weights(x))


class Loop(nn.Module):
    """Cells that are handed their state, in a loop over time."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, record = None, []
        for step in x:
            out, state = self.cell(step, state)
            record.append(out)
        return torch.stack(record)


def on_sixteenths(module: nn.Module) -> nn.Module:
    """Put weights on sixteenths, so that their sums over spikes are exact."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.round(parameter * 16) / 16)
    return module


def per_neuron() -> torch.Tensor:
    """Give thresholds from 0.5 to 1.25."""
    return torch.arange(WIDTH) % 4 * 0.25 + 0.5


def snntorch_cells() -> Iterator[Cell]:
    """Every class, reset and delay."""
    from tests.frontends.torch_networks import CLASSES, Explicit

    def make(name: str, exact: bool, **options: Any) -> nn.Module:
        import snntorch as snn

        if name == "Lapicque":
            options.pop("reset_delay")
            lif = snn.Lapicque(**({"R": 2.0, "C": 2.0, "time_step": 1.0} if exact else {"beta": 0.87}), **options)
        else:
            options |= {"alpha": 0.5 if exact else 0.79} if "Syn" in name else {}
            options |= {"linear_features": WIDTH} if name.startswith("R") else {}
            lif = getattr(snn, name)(beta=0.75 if exact else 0.87, **options)
        with torch.no_grad():
            for parameter in lif.parameters():
                if exact and parameter.dim():
                    parameter.copy_(quarters(torch.randn_like(parameter) * 0.5))
        return _First(Explicit(lif))

    for name in CLASSES:
        for reset in ("subtract", "zero", "none"):
            for delay in (True, False) if name != "Lapicque" else (True,):
                label = f"{reset}{'' if delay else ', reset_delay=False'}"
                yield Cell("snntorch", name, label, partial(make, name, reset_mechanism=reset, reset_delay=delay))


class _First(nn.Module):
    """The first of what a module returns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x)[0]


def sinabs_cells() -> Iterator[Cell]:
    """Every class with every spike and reset function, clamp, synapse and normalisation."""
    import sinabs.activation as act

    leaky = {"LIF": 1, "LIFRecurrent": 1, "LIFSqueeze": "joined", "IAF": 1, "IAFRecurrent": 1, "IAFSqueeze": "joined"}
    options: dict[str, dict[str, Any]] = {
        "": {},
        "SingleSpike": {"spike_fn": act.SingleSpike},
        "MaxSpike(2)": {"spike_fn": act.MaxSpike(2)},
        "MembraneSubtract(0.5)": {"reset_fn": act.MembraneSubtract(0.5)},
        "MembraneReset": {"reset_fn": act.MembraneReset()},
        "MembraneReset(0.25)": {"reset_fn": act.MembraneReset(0.25), "min_v_mem": -0.5},
        "min_v_mem": {"min_v_mem": -0.25, "spike_fn": act.SingleSpike},
        "tau_syn": {"tau_syn": 2.5},
        "per neuron": {"spike_threshold": per_neuron()},
    }
    for name, axis in leaky.items():
        for label, given in options.items():
            yield Cell("sinabs", name, label, partial(sinabs_layer, name, **given), axis)
        if name.startswith("LIF"):
            yield Cell("sinabs", name, "norm_input=False", partial(sinabs_layer, name, norm_input=False), axis)
            yield Cell("sinabs", name, "train_alphas", partial(sinabs_layer, name, train_alphas=True), axis)
    yield Cell("sinabs", "ExpLeak", "", partial(sinabs_layer, "ExpLeak"), 1, readout=True)
    yield Cell("sinabs", "ExpLeak", "norm_input", partial(sinabs_layer, "ExpLeak", norm_input=True), 1, readout=True)
    yield Cell("sinabs", "ExpLeakSqueeze", "", partial(sinabs_layer, "ExpLeakSqueeze"), "joined", readout=True)


def sinabs_layer(name: str, exact: bool, **options: Any) -> nn.Module:
    """Build a sinabs layer whose decays are 0.5 if exact."""
    import sinabs.layers as sl

    half = 1 / math.log(2.0)
    if not name.startswith("IAF"):
        options.setdefault("tau_mem", half if exact else 7.3)
    if exact and "tau_syn" in options:
        options["tau_syn"] = half
    if name.endswith("Squeeze"):
        options["batch_size"] = 1
    if name.endswith("Recurrent"):
        weights = nn.Linear(WIDTH, WIDTH)
        options["rec_connect"] = on_sixteenths(weights) if exact else weights
        with torch.no_grad():
            weights.bias.copy_(quarters(weights.bias + 0.25) if exact else weights.bias)
    layer: nn.Module = getattr(sl, name)(**options)
    for decay in ("alpha_mem_calculated", "alpha_syn_calculated"):
        value = getattr(layer, decay)
        assert not exact or value is None or value.item() in (0.5, 1.0)
    return layer


def norse_cells() -> Iterator[Cell]:
    """Every cell and module over time, with reset by value and subtraction, a leak and per-neuron thresholds."""
    from norse.torch.functional.reset import reset_subtract

    options: dict[str, dict[str, Any]] = {
        "": {},
        "v_leak, v_reset": {"v_leak": 0.25, "v_reset": -0.25},
        "per neuron": {"v_th": per_neuron()},
    }
    for name in ("LIFBoxCell", "LIFCell", "LIFRecurrentCell", "IAFCell", "LIF", "LIFRecurrent", "IAF"):
        for label, given in options.items():
            yield Cell("norse", name, label, partial(norse_layer, name, given))
    yield Cell(
        "norse", "LIFBoxCell", "reset_subtract", partial(norse_layer, "LIFBoxCell", {"reset_method": reset_subtract})
    )
    for name in ("LICell", "LIBoxCell", "LILinearCell", "LI"):
        for label in ("", "v_leak"):
            given = {"v_leak": 0.25} if label else {}
            yield Cell("norse", name, label, partial(norse_layer, name, given), readout=True)


def norse_layer(name: str, given: dict[str, Any], exact: bool) -> nn.Module:
    """Build a Norse layer: decays 0.5 and 0.75 if exact, else Norse's own 0.9 and 0.8."""
    import norse.torch as nt

    kind = name.removesuffix("Cell").removesuffix("Recurrent").removesuffix("Linear")
    known = getattr(nt, f"{kind}Parameters")
    fields = {"tau_mem_inv": 512.0, "tau_syn_inv": 256.0} if exact else {}
    fields = {key: torch.as_tensor(value) for key, value in fields.items() if key in known._fields}
    fields |= {k: torch.as_tensor(v) if k != "reset_method" else v for k, v in given.items() if k in known._fields}
    sizes = (WIDTH, WIDTH) if "Recurrent" in name or "Linear" in name else ()
    layer = getattr(nt, name)(*sizes, p=known(**fields), dt=1 / 1024 if exact else 0.001)
    if exact:
        on_sixteenths(layer)
    return Loop(layer) if name.endswith("Cell") else _First(layer)


def cells_of(framework: str) -> Iterator[Cell]:
    """Give the cells of a framework with an environment of its own, which must be there."""
    made: Iterator[Cell] = import_module(f"tests.frontends.cells_{framework}").cells()
    return made


CELLS: dict[str, Callable[[], Iterator[Cell]]] = {
    "snntorch": snntorch_cells,
    "sinabs": sinabs_cells,
    "norse": norse_cells,
    "spikingjelly": partial(cells_of, "spikingjelly"),
    "rockpool": partial(cells_of, "rockpool"),
}


def installed() -> list[str]:
    """Name the frameworks that this environment has."""
    return [name for name in CELLS if _has(name)]


def _has(framework: str) -> bool:
    try:
        version(framework)
    except PackageNotFoundError:
        return False
    return True
