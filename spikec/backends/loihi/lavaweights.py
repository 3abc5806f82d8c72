"""Integer weights in the form that Lava takes: 8-bit mantissas that it leaves as they are, and unrolled matrices."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.compiler.ir import Node, Shape
from spikec.compiler.ops import Connection, Conv1d, Conv2d, FixedSum, Linear, windows
from spikec.compiler.weights import Array, Fixed, Sign, unwrapped

RANGES: dict[Sign, tuple[int, int]] = {"mixed": (-256, 254), "excitatory": (0, 255), "inhibitory": (-255, 0)}
"""What Lava's 8-bit weights hold; mixed ones are even."""


@dataclass(frozen=True, eq=False)
class Mantissas:
    """Weights that Lava keeps as they are: values, their exponent, number of bits and sign mode."""

    values: Array
    exponent: int
    bits: int
    sign: Sign


@dataclass(frozen=True, eq=False)
class Synapses:
    """A connection as a list of synapses: `target` and `source` count elements in C order."""

    target: Array
    source: Array
    value: Array


def fixed_of(node: Node) -> Fixed:
    """Give the integer weights of a connection, whatever they are wrapped in."""
    op = node.op
    assert isinstance(op, Linear | Conv1d | Conv2d)
    inner = unwrapped(op.weight)
    if isinstance(inner, Fixed) and op.sum is not None:
        return inner
    raise fail("loihi/not-fixed", "Lava takes integer weights", node.where, "quantize the graph first")


def sum_of(node: Node) -> FixedSum:
    """Give the integer arithmetic of a connection."""
    total = getattr(node.op, "sum", None)
    assert isinstance(total, FixedSum)
    return total


def exponent_of(node: Node) -> int:
    """Give the one exponent of a connection's weights.

    Raises:
        CompileError: the channels have exponents of their own.
    """
    exponents = np.unique(np.asarray(fixed_of(node).exponent))
    if exponents.size != 1:
        message = f"the channels have {exponents.size} different weight exponents; a Loihi connection has one"
        raise fail("loihi/channel-exponent", message, node.where, "quantize with one exponent a connection")
    return int(exponents[0])


def mantissas(node: Node, values: Array) -> Mantissas:
    """Find mantissas m and an exponent e with m * 2**e = the weights, where Lava's clipping and truncation do nothing.

    Lava shifts the sum and not the weight, so that a common power of two moves between the two without any loss, as
    long as the sum itself stays below 32 bits.

    Raises:
        CompileError: the weights do not fit into 8 bits.
    """
    fixed, exponent = fixed_of(node), exponent_of(node)
    mixed = int(fixed.sign == "mixed")
    low, high = RANGES[fixed.sign]
    whole = np.asarray(values, np.int64)
    zeros = trailing_zeros(whole)
    shifts = (0, 1, *range(-1, -zeros - 1, -1)) if 2 * raw_bound(node) < 1 << 31 else (0,)
    for shift in shifts:
        scaled = whole << shift if shift >= 0 else whole >> -shift
        bits = max(1, 8 + mixed - (zeros + shift)) if whole.any() else 1
        if bits <= 8 and scaled.min(initial=0) >= low and scaled.max(initial=0) <= high:
            return Mantissas(scaled.astype(np.int32), exponent - shift, bits, fixed.sign)
    message = f"weights span [{whole.min()}, {whole.max()}] and do not fit into 8 bits of sign mode {fixed.sign}"
    raise fail("loihi/weight-range", message, node.where, "quantize to 8 bits")


def trailing_zeros(values: Array) -> int:
    """Give how many low bits are zero in every value (16 where all values are zero)."""
    union = int(np.bitwise_or.reduce(np.abs(values).reshape(-1), initial=0))
    return (union & -union).bit_length() - 1 if union else 16


def raw_bound(node: Node) -> int:
    """Give a bound of the connection's sum before its shift, for messages of the stated width."""
    values = np.abs(fixed_of(node).values.astype(np.int64))
    bits = sum_of(node).message_bits
    return int(values.reshape(values.shape[0], -1).sum(axis=1).max(initial=0)) * ((1 << bits) - 1 if bits else 1)


def bound(node: Node) -> int:
    """Give a bound of the connection's shifted sum."""
    exponent = exponent_of(node)
    return raw_bound(node) << exponent if exponent >= 0 else raw_bound(node)


def unroll(op: Connection, given: Shape) -> Synapses:
    """List the synapses of a connection whose input has shape `given`; zeros of a kernel are left out."""
    return _unroll_linear(op, given) if isinstance(op, Linear) else _unroll_conv(op, given)


def _unroll_linear(op: Linear, given: Shape) -> Synapses:
    """Repeat the matrix for each of the leading axes: a block-diagonal matrix."""
    weights = np.asarray(op.weight.decode(), np.int64)
    out, columns = weights.shape
    row, column = np.nonzero(weights)
    block = np.arange(prod(given[:-1]))[:, None]
    value = np.broadcast_to(weights[row, column], (block.size, row.size))
    return Synapses((block * out + row).reshape(-1), (block * columns + column).reshape(-1), value.reshape(-1))


def _unroll_conv(op: Conv1d | Conv2d, given: Shape) -> Synapses:
    """Go through the taps of the kernel; each is a diagonal band of synapses for every pair of channels."""
    weights = np.asarray(op.weight.decode(), np.int64)
    space = given[1:]
    reach = tuple(d * (k - 1) + 1 for k, d in zip(op.kernel, op.dilation, strict=True))
    made = windows(space, reach, op.stride, op.padding, op.mnemonic)
    outputs, share = weights.shape[:2]
    places = np.indices(made).reshape(len(made), -1)
    targets, sources, values = [], [], []
    for tap in product(*(range(k) for k in op.kernel)):
        at = [places[a] * op.stride[a] + tap[a] * op.dilation[a] - op.padding[a][0] for a in range(len(space))]
        inside = np.logical_and.reduce([(p >= 0) & (p < n) for p, n in zip(at, space, strict=True)])
        flat = np.ravel_multi_index(tuple(p[inside] for p in at), space)
        place = np.flatnonzero(inside)
        pairs = weights.reshape(outputs, share, -1)[:, :, int(np.ravel_multi_index(tap, op.kernel))]
        channel, inner = np.nonzero(pairs)
        group = channel // (outputs // op.groups)
        targets.append((channel[:, None] * prod(made) + place).reshape(-1))
        sources.append(((group * share + inner)[:, None] * prod(space) + flat).reshape(-1))
        values.append(np.repeat(pairs[channel, inner], place.size))
    return Synapses(np.concatenate(targets), np.concatenate(sources), np.concatenate(values))
