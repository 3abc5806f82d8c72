"""Every neuron class of the SpikingJelly that is installed, with its options: for the tests and the table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from tests.frontends.cells import WIDTH, Cell, on_sixteenths, quarters

RESETS: dict[str, dict[str, Any]] = {
    "v_reset=0": {},
    "v_reset=None": {"v_reset": None},
    "v_reset=-0.25": {"v_reset": -0.25, "v_threshold": 0.75},
}
CLASSES = (
    "IFNode",
    "LIFNode",
    "ParametricLIFNode",
    "CUBALIFNode",
    "SimpleIFNode",
    "SimpleLIFNode",
    "HalfThresholdIFNode",
    "LinearRecurrentContainer",
)
DECAYING = ("LIFNode", "ParametricLIFNode", "SimpleLIFNode")


def cells() -> Iterator[Cell]:
    """Every class that this version has, in both step modes, with every reset and both ways of the input."""
    from spikingjelly.activation_based import layer, neuron

    for name in CLASSES:
        if not (hasattr(neuron, name) or hasattr(layer, name)):
            continue
        for mode in ("m", "s"):
            for label, given in _options(name).items():
                yield Cell("spikingjelly", name, f"{label}, {mode}", partial(build, name, mode, given))


def _options(name: str) -> dict[str, dict[str, Any]]:
    if name == "HalfThresholdIFNode":
        return {"": {}, "v_threshold=0.5": {"v_threshold": 0.5}}
    found = dict(RESETS)
    if name == "SimpleLIFNode":  # leaks to v_reset, and fails without one
        found.pop("v_reset=None")
    if name not in DECAYING:
        return found
    ways = {"": True, ", decay_input=False": False}
    return {f"{k}{way}": {**v, "decay_input": decay} for k, v in found.items() for way, decay in ways.items()}


def build(name: str, mode: str, given: dict[str, Any], exact: bool) -> nn.Module:
    """Build a layer whose decays are 0.5 and 0.75 if exact; in step mode 's' behind a loop over time."""
    from spikingjelly.activation_based import functional

    made = container(given, exact) if name == "LinearRecurrentContainer" else node(name, given, exact)
    functional.set_step_mode(made, mode)
    if hasattr(made, "sub_module"):
        made.sub_module.step_mode = "s"
    return made if mode == "m" else Steps(made)


def node(name: str, given: dict[str, Any], exact: bool) -> nn.Module:
    """Build neurons."""
    from spikingjelly.activation_based import neuron

    decays: dict[str, dict[str, Any]] = {
        "LIFNode": {"tau": 2.0 if exact else 3.7},
        "SimpleLIFNode": {"tau": 2.0 if exact else 3.7},
        "ParametricLIFNode": {"init_tau": 2.0 if exact else 3.7},
        "CUBALIFNode": {"c_decay": 0.5, "v_decay": 0.75} if exact else {"c_decay": 0.43, "v_decay": 0.77},
    }
    made: nn.Module = getattr(neuron, name)(**decays.get(name, {}), **given)
    return made


def container(given: dict[str, Any], exact: bool) -> nn.Module:
    """Build neurons whose spikes are led back."""
    from spikingjelly.activation_based import layer

    made: nn.Module = layer.LinearRecurrentContainer(node("LIFNode", given, exact), WIDTH, WIDTH)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4.0)
    if exact:
        on_sixteenths(made)
        with torch.no_grad():
            made.rc.bias.copy_(quarters(made.rc.bias))  # type: ignore[union-attr,operator,arg-type]
    return made


class Steps(nn.Module):
    """A module that does one step, in a loop over time."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.cell(step) for step in x])
