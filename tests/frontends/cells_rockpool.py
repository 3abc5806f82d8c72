"""Every neuron class of Rockpool's torch modules with its options: for the tests and the table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from tests.frontends.cells import WIDTH, Cell, per_neuron

LIFS: dict[str, dict[str, Any]] = {
    "": {},
    "max_spikes_per_dt=1": {"max_spikes_per_dt": torch.tensor(1.0)},
    "max_spikes_per_dt=2": {"max_spikes_per_dt": torch.tensor(2.0)},
    "bias": {"bias": torch.arange(WIDTH) % 3 * 0.25 - 0.25},
    "per neuron": {"threshold": per_neuron()},
    "PeriodicExponential": {"spike_generation_fn": "PeriodicExponential"},
    "has_rec": {"has_rec": True},
    "has_rec, bias": {"has_rec": True, "bias": 0.25, "threshold": 0.75},
    "bitshifts": {"leak_mode": "bitshifts"},
    "taus": {"leak_mode": "taus"},
}
MEMBRANES = {key: LIFS[key] for key in ("", "max_spikes_per_dt=1", "bias", "per neuron")}
BITSHIFTS = {key: LIFS[key] for key in ("", "max_spikes_per_dt=1", "bias", "has_rec")}


def cells() -> Iterator[Cell]:
    """Every class, one spike a step and several, with bias, recurrence and every way of saying the decays."""
    for name, options in (("LIFTorch", LIFS), ("LIFBitshiftTorch", BITSHIFTS), ("LIFNeuronTorch", MEMBRANES)):
        for label, given in options.items():
            yield Cell("rockpool", name, label, partial(build, name, given), 1)
    for label in ("2 synapses", "2 synapses, several taus", "2 synapses, has_rec"):
        yield Cell("rockpool", "LIFTorch", label, partial(synapses, label), 1)
    yield Cell("rockpool", "ExpSynTorch", "", partial(build, "ExpSynTorch", {}), 1, readout=True)


def build(name: str, given: dict[str, Any], exact: bool) -> nn.Module:
    """Build a layer whose decays are 0.5 and 0.75 if exact, where the class lets them be said so."""
    from rockpool.nn import modules
    from rockpool.nn.modules.torch import lif_torch

    options = dict(given)
    if "spike_generation_fn" in options:
        options["spike_generation_fn"] = getattr(lif_torch, options["spike_generation_fn"])
    made: nn.Module = getattr(modules, name)(WIDTH, **_decays(name, options, exact), **options)
    if "has_rec" in options:
        with torch.no_grad():
            made.w_rec.copy_(_recurrent(WIDTH, exact))  # type: ignore[union-attr,operator]
    return made


def _recurrent(inputs: int, exact: bool) -> torch.Tensor:
    """Give recurrent weights so small that spike counts do not grow without end."""
    if exact:
        return torch.round(torch.randn(WIDTH, inputs) * 1.6) / 16
    return torch.randn(WIDTH, inputs) * 0.02


def _decays(name: str, options: dict[str, Any], exact: bool) -> dict[str, Any]:
    half = 0.001 / float(torch.log(torch.tensor(2.0)))
    if name in ("ExpSynTorch", "LIFNeuronTorch"):
        key = "tau" if name == "ExpSynTorch" else "tau_mem"
        return {key: half} if exact else {}
    mode = options.get("leak_mode", "taus" if name == "LIFBitshiftTorch" else "decays")
    if mode == "bitshifts":
        return {"dash_mem": 2.0, "dash_syn": 1.0} if exact else {"dash_mem": 3.0, "dash_syn": 2.0}
    if mode == "taus":
        return {"tau_mem": half, "tau_syn": half} if exact else {}
    options["leak_mode"] = "decays"
    return {"alpha": 0.75, "beta": 0.5} if exact else {"alpha": 0.87, "beta": 0.79}


class Doubled(nn.Module):
    """Neurons of two synapses each, given each current once as it is and once halved."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.spread = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        with torch.no_grad():
            eye = torch.eye(WIDTH)
            self.spread.weight.copy_(torch.stack([eye, eye / 2], 1).reshape(2 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes: torch.Tensor = self.cell(self.spread(x))[0]
        return spikes


def synapses(label: str, exact: bool) -> nn.Module:
    """Build neurons with two synapses each."""
    from rockpool.nn.modules import LIFTorch

    several = torch.tensor([[0.5, 0.25]]).repeat(WIDTH, 1) if exact else torch.tensor([[0.6, 0.3]]).repeat(WIDTH, 1)
    beta = several if "several" in label else several[:, :1].repeat(1, 2)
    cell = LIFTorch((2 * WIDTH, WIDTH), leak_mode="decays", has_rec="has_rec" in label)
    with torch.no_grad():
        cell.alpha.fill_(0.75 if exact else 0.87)
        cell.beta.copy_(beta)
        if "has_rec" in label:
            cell.w_rec.copy_(_recurrent(2 * WIDTH, exact))
    return Doubled(cell)
