"""Ops without memory in the reference: pools, reshapes, scales, normalisation."""

from __future__ import annotations

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.compiler.ir import Op
from spikec.compiler.ops import AvgPool, BatchNorm, Dropout, Flatten, MaxPool, Output, Reshape, Scale, SumPool
from spikec.compiler.weights import Array
from spikec.runtime.reference_connection import windows_of


def stateless(op: Op, x: Array) -> Array:
    """Compute one op on (N, *shape)."""
    if isinstance(op, Output | Dropout):
        return x
    if isinstance(op, Flatten | Reshape):
        return x.reshape(x.shape[0], *op.shape(x.shape[1:]))
    if isinstance(op, SumPool | AvgPool | MaxPool):
        return _pool(op, x)
    if isinstance(op, Scale):
        return (x * _like(op.factor, x) + _like(op.offset, x)).astype(x.dtype)
    if isinstance(op, BatchNorm):
        return _normalise(op, x)
    raise fail("run/unknown-op", f"the reference does not know the op '{op.mnemonic}'")


def _pool(op: SumPool | AvgPool | MaxPool, x: Array) -> Array:
    axes = tuple(range(-len(op.kernel), 0))
    if isinstance(op, MaxPool):
        least = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
        padded = np.pad(x, ((0, 0), (0, 0), *op.padding), constant_values=least)
        largest: Array = windows_of(padded, op.kernel, op.stride, (1,) * len(op.kernel)).max(axis=axes)
        return largest
    padded = np.pad(x, ((0, 0), (0, 0), *op.padding))
    total: Array = windows_of(padded, op.kernel, op.stride, (1,) * len(op.kernel)).sum(axis=axes)
    return total if isinstance(op, SumPool) else (total / np.prod(op.kernel)).astype(x.dtype)


def _normalise(op: BatchNorm, x: Array) -> Array:
    mean, var, gain, shift = (
        np.asarray(p, dtype=x.dtype).reshape(-1, *(1,) * (x.ndim - 2)) for p in (op.mean, op.var, op.gain, op.shift)
    )
    normal: Array = (x - mean) / np.sqrt(var + _like(op.eps, x))
    return np.asarray(normal * gain + shift, dtype=x.dtype)


def _like(value: float | Array, x: Array) -> Array:
    return np.asarray(value, dtype=x.dtype)
