"""Convolutions that nir can hold: one padding an axis, square kernels, no groups, all of it exact by added zeros.

nir 1.0.8 has one padding for both ends of an axis, takes the kernel's height for its width where it checks shapes, and
forgets the groups there. Zeros around a kernel and outside of its groups change nothing that the network computes.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spikec.compiler.ops import Conv1d, Conv2d, Pair

Conv = Conv1d | Conv2d


def dense(op: Conv) -> NDArray[np.floating]:
    """Give the weights without groups: (out, in, *kernel), zero between channels of different groups."""
    weight = np.asarray(op.weight.decode())
    out, fan = weight.shape[:2]
    spread = np.zeros((out, fan * op.groups, *weight.shape[2:]), weight.dtype)
    rows = out // op.groups
    for k in range(op.groups):
        spread[k * rows : (k + 1) * rows, k * fan : (k + 1) * fan] = weight[k * rows : (k + 1) * rows]
    return spread


def growth(op: Conv) -> tuple[Pair, ...] | None:
    """Give the zeros to add before and after the kernel on each axis so that one padding serves both ends.

    With (p, q) zeros around the input and (b, e) around the kernel, of dilation d, the windows stay the same if the
    input is padded by p + b d at both ends and q - p = d (b - e). Both kernel axes get one length. None if there is no
    such growth.
    """
    tilts = []
    for (before, after), d in zip(op.padding, op.dilation, strict=True):
        if (after - before) % d:
            return None
        tilts.append((after - before) // d)
    sizes = [size + abs(tilt) for size, tilt in zip(op.kernel, tilts, strict=True)]
    length = max(sizes)
    if any((length - size) % 2 for size in sizes):
        return None
    return tuple(_split(length - size, tilt) for size, tilt in zip(op.kernel, tilts, strict=True))


def _split(more: int, tilt: int) -> Pair:
    return (more + tilt) // 2, (more - tilt) // 2


def crooked(op: Conv) -> tuple[Pair, ...] | None:
    """Give the growth that evens the padding alone and leaves the kernel's axes of two lengths, or None."""
    grown = []
    for (before, after), d in zip(op.padding, op.dilation, strict=True):
        if (after - before) % d:
            return None
        tilt = (after - before) // d
        grown.append(_split(abs(tilt), tilt))
    return tuple(grown)


def grow(weight: NDArray[np.floating], grown: tuple[Pair, ...]) -> NDArray[np.floating]:
    """Put zeros around the kernel."""
    return np.pad(weight, ((0, 0), (0, 0), *grown))


def is_square(shape: tuple[int, ...]) -> bool:
    """Say whether all axes of a kernel have one length."""
    return all(a == b for a, b in pairwise(shape))


def padding_of(op: Conv, grown: tuple[Pair, ...]) -> tuple[int, ...]:
    """Give the one padding of each axis that goes with a growth."""
    zipped = zip(op.padding, grown, op.dilation, strict=True)
    return tuple(before + b * d for (before, _), (b, _), d in zipped)
