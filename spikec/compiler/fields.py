"""What the fields of ops have in common: arrays are read-only, and numbers broadcast against a shape."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from spikec.compiler.ir import Op, Shape
from spikec.compiler.weights import frozen


def freeze_arrays(op: Op, *names: str) -> None:
    """Make the named array fields of a new op read-only (fields that are None or plain numbers stay)."""
    for name in names:
        value = getattr(op, name)
        if value is not None and np.ndim(value):
            object.__setattr__(op, name, frozen(np.asarray(value)))


def broadcasts(value: object, shape: Shape) -> bool:
    """Say whether a scalar or an array broadcasts against a shape without changing it."""
    own = np.shape(np.asarray(value))
    return len(own) <= len(shape) and all(a in (1, b) for a, b in zip(reversed(own), reversed(shape), strict=False))


def refuse_misfits(op: Op, names: Iterable[str], shape: Shape) -> None:
    """Refuse a neuron's parameters that do not broadcast against its shape.

    Raises:
        ValueError: naming the first that does not.
    """
    for name in names:
        value = getattr(op, name)
        if value is not None and not broadcasts(value, shape):
            raise ValueError(f"neuron parameter {name} of shape {list(np.shape(value))} is given shape {list(shape)}")
