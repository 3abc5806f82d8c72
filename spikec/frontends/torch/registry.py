"""Finds the adapter of a module by the package of its class; an adapter is imported when its package is met."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from spikec.compiler.ir import Op, Shape
from spikec.frontends.torch.adapter import Adapter, Refusal
from spikec.frontends.torch.layers import is_layer, layer_op

ADAPTERS = {
    "norse": "spikec.frontends.torch.norse:Norse",
    "sinabs": "spikec.frontends.torch.sinabs:Sinabs",
    "rockpool": "spikec.frontends.torch.rockpool:Rockpool",
    "snntorch": "spikec.frontends.torch.snntorch:SnnTorch",
    "spikingjelly": "spikec.frontends.torch.spikingjelly:SpikingJelly",
}
"""By package: the module and class of its adapter."""


@cache
def adapter_for(package: str) -> Adapter | None:
    """Give the adapter of a package."""
    module, _, name = ADAPTERS.get(package, "").partition(":")
    return getattr(import_module(module), name)() if module else None


def owner_of(module: Any) -> Adapter | None:
    """Give the adapter of the package that a module's class comes from."""
    return adapter_for(package_of(type(module)))


def package_of(kind: type) -> str:
    """Give the top-level package of a class."""
    return kind.__module__.partition(".")[0]


def adapter_of(module: Any) -> Adapter | None:
    """Give the adapter that knows a module as a neuron."""
    adapter = owner_of(module)
    return adapter if adapter is not None and type(module).__name__ in adapter.neurons else None


def refusal_of(module: Any) -> Refusal | None:
    """Give why a module must be refused as a whole, and what to do instead."""
    adapter = owner_of(module)
    if adapter is not None:
        return adapter.refusal(module)
    for base in type(module).__mro__[1:]:
        adapter = adapter_for(package_of(base))
        if adapter is not None and (base.__name__ in adapter.neurons or base.__name__ in adapter.unsupported):
            reason = f"it is a class of its own, made from {adapter.package}'s {base.__name__}, and may do anything"
            return reason, f"use {base.__name__} itself, or add its steps to forward as layers"
    return None


def is_plain_layer(module: Any) -> bool:
    """Say whether a module is a layer without memory that has an op, of torch or of a framework."""
    adapter = owner_of(module)
    return is_layer(module) or (adapter is not None and adapter.is_layer(module))


def plain_layer_ops(module: Any, given: Shape, made: Shape) -> tuple[Op, ...]:
    """Give the ops of a layer without memory, one after another; none if it does nothing.

    Raises:
        ValueError: the layer has a setting that no op can express.
    """
    adapter = owner_of(module)
    op = layer_op(module, given, made) if adapter is None else adapter.layer(module, given, made)
    return op if isinstance(op, tuple) else () if op is None else (op,)
