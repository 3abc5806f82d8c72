"""Weighted connections in the reference: matrix products and convolutions, their latency, delays and integer sums."""

from __future__ import annotations

from collections import deque

import numpy as np

from spikec.compiler.ir import Op, Shape
from spikec.compiler.ops import Conv1d, Conv2d, FixedSum, Linear, Padding
from spikec.compiler.weights import Array, Fixed, Weight, unwrapped

EXACT = 1 << 53
"""Below this magnitude float64 holds every integer, so that a sum of integers in it is exact and quick."""


class History:
    """The inputs of the present step and of the `depth` steps before it; zeros before the first."""

    def __init__(self, depth: int) -> None:
        self._steps: deque[Array] = deque(maxlen=depth + 1)

    def push(self, x: Array) -> None:
        """Take in the input of the present step."""
        self._steps.append(x)

    def back(self, steps: int) -> Array:
        """Give the input of `steps` steps ago."""
        return self._steps[-1 - steps] if steps < len(self._steps) else np.zeros_like(self._steps[-1])

    def reaches(self, steps: int) -> bool:
        """Say whether the sample had begun `steps` steps ago."""
        return steps < len(self._steps)


def connect(op: Op, history: History, shape: Shape) -> Array:
    """Give what a Linear or convolution delivers at this step; zero before its latency has passed.

    A bias acts with the input that it comes with: after a latency of L steps, from step L on.
    """
    assert isinstance(op, Linear | Conv1d | Conv2d)
    here = history.back(0)
    if not history.reaches(op.latency):
        return np.zeros((here.shape[0], *shape), here.dtype)
    if isinstance(op, Linear) and op.delays is not None:
        out = _delayed(op, op.delays, history)
    else:
        out = _product(op, op.weight.decode(), history.back(op.latency))
    if op.bias is not None:
        out = out + _over_channels(op, np.asarray(op.bias, dtype=here.dtype), out.ndim)
    return out


def _delayed(op: Linear, delays: Array, history: History) -> Array:
    """Sum the synapses of each delay apart: out_i[t] = sum_d sum_{j: d_ij = d} w_ij x_j[t - latency - d]."""
    weights = op.weight.decode()
    total: Array | None = None
    for d in np.unique(delays):
        part = _product(op, np.where(delays == d, weights, 0), history.back(op.latency + int(d)))
        total = part if total is None else total + part
    assert total is not None
    return total if op.sum is None else wrap(total, op.sum.width)


def _product(op: Linear | Conv1d | Conv2d, weights: Array, x: Array) -> Array:
    """Weights times input; in a fixed graph with the message rule, the exponent on the sum, and the wrap."""
    if op.sum is None:
        return _multiply(op, weights.astype(x.dtype), x)
    message = (x != 0).astype(np.int64) if op.sum.message_bits == 0 else x
    bound = (
        float(np.abs(weights).max(initial=0))
        * float(np.abs(message).max(initial=0))
        * float(np.prod(weights.shape[1:]))
    )
    kind = np.float64 if bound < EXACT else np.int64
    acc = _multiply(op, weights.astype(kind), message.astype(kind)).astype(np.int64)
    return _shift_sum(op, op.sum, acc)


def _shift_sum(op: Linear | Conv1d | Conv2d, arithmetic: FixedSum, acc: Array) -> Array:
    """Give acc << e, or acc >> -e (a floor), wrapped; the accumulator itself wraps at 32 bits as well."""
    exponent = _over_channels(op, np.atleast_1d(np.asarray(exponent_of(op.weight), dtype=np.int64)), acc.ndim)
    acc = wrap(acc, 32)
    shifted = np.where(exponent > 0, acc << np.maximum(exponent, 0), acc >> np.maximum(-exponent, 0))
    return wrap(shifted, arithmetic.width)


def exponent_of(weight: Weight) -> int | Array:
    """Give the exponent of a fixed weight, whatever it is wrapped in."""
    inner = unwrapped(weight)
    return inner.exponent if isinstance(inner, Fixed) else 0


def wrap(x: Array, bits: int) -> Array:
    """Bring integers into the two's complement range of `bits` bits."""
    half = 1 << (bits - 1)
    return ((x + half) & ((1 << bits) - 1)) - half


def _over_channels(op: Op, values: Array, ndim: int) -> Array:
    """Shape (out,) so that it lies along the output axis: the last of a Linear, the first after N of a convolution."""
    return values if isinstance(op, Linear) else values.reshape(-1, *(1,) * (ndim - 2))


def _multiply(op: Linear | Conv1d | Conv2d, weights: Array, x: Array) -> Array:
    if isinstance(op, Linear):
        return x @ weights.T
    return convolve(weights, x, op.stride, op.padding, op.dilation, op.groups)


def convolve(weights: Array, x: Array, stride: Shape, padding: Padding, dilation: Shape, groups: int) -> Array:
    """Cross-correlate: weights (O, C/G, *kernel), x (N, C, *space) to (N, O, *space')."""
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    views = windows_of(padded, weights.shape[2:], stride, dilation)
    rank = len(stride)
    share, made = x.shape[1] // groups, weights.shape[0] // groups
    axes = tuple(range(2 + rank, 2 + 2 * rank))
    parts = [
        np.tensordot(
            views[:, g * share : (g + 1) * share],
            weights[g * made : (g + 1) * made],
            axes=((1, *axes), (1, *range(2, 2 + rank))),
        )
        for g in range(groups)
    ]
    return np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)


def windows_of(x: Array, kernel: Shape, stride: Shape, dilation: Shape) -> Array:
    """Give every window of (N, C, *space): a view (N, C, *space', *kernel)."""
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    axes = tuple(range(2, 2 + len(kernel)))
    views = np.lib.stride_tricks.sliding_window_view(x, reach, axis=axes)
    steps = tuple(slice(None, None, s) for s in stride)
    taps = tuple(slice(None, None, d) for d in dilation)
    return views[(slice(None), slice(None), *steps, *taps)]
