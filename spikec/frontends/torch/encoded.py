"""The protocol by which a layer tells its encoded weight: a method `__spikec_weight__`, whatever its class."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikec.compiler.weights import Array, Dense, Weight

METHOD = "__spikec_weight__"
"""Takes nothing, gives a Weight: what the layer's `weight` is, entry by entry.

A class with this method that is derived from torch's Linear, Conv1d or Conv2d is read as that layer; its forward has to
be that layer's, on that weight.
"""
BASES = ("Linear", "Conv1d", "Conv2d")


def base_of(module: Any) -> type | None:
    """Give torch's own layer that a module with an encoded weight is derived from; None if it is no such module."""
    if not callable(getattr(module, METHOD, None)):
        return None
    kinds = (base for base in type(module).__mro__ if base.__module__.partition(".")[0] == "torch")
    return next((base for base in kinds if base.__name__ in BASES), None)


def weight_of(module: Any) -> Weight:
    """Give a layer's weight: as the layer says that it is encoded, else dense.

    Raises:
        ValueError: what it gives is no weight, cannot be encoded, or is not the weight that the layer computes with.
    """
    values: Array = np.array(module.weight.detach().cpu().numpy())
    method = getattr(module, METHOD, None)
    if not callable(method):
        return Dense(values)
    try:
        weight = method()
    except ValueError as error:
        raise ValueError(f"{METHOD} cannot encode the weight: {error}") from error
    if not isinstance(weight, Weight):
        raise ValueError(f"{METHOD} gives {type(weight).__name__}, not a Weight of spikec.compiler.weights")
    if weight.shape != values.shape:
        raise ValueError(f"{METHOD} gives shape {list(weight.shape)}, the layer's weight has {list(values.shape)}")
    differing = int(np.count_nonzero(weight.decode() != values))
    if differing:
        raise ValueError(f"{METHOD} gives other values than the layer computes with ({differing} of {values.size})")
    return weight
