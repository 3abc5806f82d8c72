"""What one output position of a weighted connection sees of its input: im2col, a box of positions at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from spikec.compiler.ir import Shape
from spikec.compiler.ops import Connection, Linear, Padding
from spikec.compiler.weights import Array

Box = tuple[tuple[int, int], ...]
"""Output positions: first and one past the last, on each spatial axis."""


@dataclass(frozen=True)
class Windows:
    """The windows of a connection on an input seen as (channels, *space).

    A linear layer over the last axis is a convolution of kernel 1 over what its leading axes hold. Columns of a window
    are in the order of `weight.reshape(out, -1)`: channel of the group, then kernel positions in C order.
    """

    channels: int
    space: Shape
    out: Shape
    kernel: Shape
    stride: Shape
    padding: Padding
    dilation: Shape
    groups: int = 1
    last: bool = False
    """The channels are the last axis of the given input (a linear layer), not the first."""

    @classmethod
    def of(cls, op: Connection, given: Shape) -> Windows:
        """Give the windows of an op on an input of shape `given`.

        Raises:
            ValueError: the op does not take such an input.
        """
        made = op.shape(given)
        if isinstance(op, Linear):
            space = (prod(given[:-1]),)
            return cls(given[-1], space, space, (1,), (1,), ((0, 0),), (1,), last=True)
        return cls(given[0], given[1:], made[1:], op.kernel, op.stride, op.padding, op.dilation, op.groups)

    @property
    def columns(self) -> int:
        """Size d of one window of one group."""
        return self.channels // self.groups * prod(self.kernel)

    @property
    def whole(self) -> Box:
        """All output positions."""
        return tuple((0, n) for n in self.out)

    def channels_first(self, x: Array) -> Array:
        """View inputs (N, T, *given) as (N, T, channels, *space)."""
        if self.last:
            return np.moveaxis(x.reshape(*x.shape[:2], *self.space, self.channels), -1, 2)
        return x

    def reach(self, box: Box) -> tuple[Box, Padding]:
        """Give the input positions that a box sees, and how many zeros lie before and after them."""
        seen, zeros = [], []
        for axis, (first, end) in enumerate(box):
            low = first * self.stride[axis] - self.padding[axis][0]
            high = (end - 1) * self.stride[axis] + self.dilation[axis] * (self.kernel[axis] - 1) + 1
            high -= self.padding[axis][0]
            size = self.space[axis]
            inside = (min(max(low, 0), size), min(max(high, 0), size))
            before = min(max(-low, 0), high - low)
            seen.append(inside)
            zeros.append((before, high - low - before - (inside[1] - inside[0])))
        return tuple(seen), tuple(zeros)

    def area(self, box: Box) -> int:
        """Count the numbers that a box sees of one time step, zeros of the padding included."""
        sizes = (b - a + sum(z) for (a, b), z in zip(*self.reach(box), strict=True))
        return self.channels * prod(sizes)

    def slab(self, x: Array, box: Box) -> Array:
        """Give what a box sees of (N, T, channels, *space), with the zeros of the padding."""
        seen, zeros = self.reach(box)
        part = x[(slice(None), slice(None), slice(None), *(slice(a, b) for a, b in seen))]
        if not np.any(zeros):
            return part
        sides = list(zip(part.shape[3:], zeros, strict=True))
        whole = np.zeros((*part.shape[:3], *(before + n + after for n, (before, after) in sides)), part.dtype)
        inner = tuple(slice(before, before + n) for n, (before, _) in sides)
        whole[(slice(None), slice(None), slice(None), *inner)] = part
        return whole

    def rows(self, slab: Array, group: int) -> Array:
        """Give the windows of one group in a slab (N, T, channels, *seen): (N * T * positions, columns)."""
        share, rank = self.channels // self.groups, len(self.kernel)
        part = slab[:, :, group * share : (group + 1) * share]
        reach = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        view = np.lib.stride_tricks.sliding_window_view(part, reach, axis=tuple(range(3, 3 + rank)))
        steps = tuple(slice(None, None, s) for s in self.stride)
        taps = tuple(slice(None, None, d) for d in self.dilation)
        view = view[(slice(None), slice(None), slice(None), *steps, *taps)]
        return np.moveaxis(view, 2, 2 + rank).reshape(-1, self.columns)

    def offsets(self, shape: Shape, group: int) -> tuple[Array, Array]:
        """Say where the same windows lie in a slab of shape (N, T, channels, *seen) seen as one line, in C order.

        Entry (i, j) of `rows` is element first[i] + column[j] of the slab.
        """
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        share = self.channels // self.groups
        taps = [np.arange(k) * d for k, d in zip(self.kernel, self.dilation, strict=True)]
        seats = [
            np.arange((size - d * (k - 1) - 1) // s + 1) * s
            for size, k, d, s in zip(shape[3:], self.kernel, self.dilation, self.stride, strict=True)
        ]
        first = _grid([np.arange(shape[0]), np.arange(shape[1]), *seats], [*strides[:2], *strides[3:]])
        return first, _grid([group * share + np.arange(share), *taps], strides[2:])


def _grid(axes: list[Array], strides: list[int]) -> Array:
    """Give the sums of one multiple of each stride, in C order."""
    total = np.zeros((1,), np.int64)
    for axis, stride in zip(axes, strides, strict=True):
        total = (total[:, None] + axis * stride).reshape(-1)
    return total


def positions(box: Box) -> int:
    """Count the positions of a box."""
    return prod(b - a for a, b in box)


def halves(box: Box) -> tuple[Box, Box]:
    """Split a box of more than one position along its longest axis."""
    axis = max(range(len(box)), key=lambda i: box[i][1] - box[i][0])
    first, end = box[axis]
    middle = (first + end) // 2
    return (*box[:axis], (first, middle), *box[axis + 1 :]), (*box[:axis], (middle, end), *box[axis + 1 :])
