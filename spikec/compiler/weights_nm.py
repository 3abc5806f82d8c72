"""N:M weights: at most N of M consecutive entries along an axis are kept, each with its position in its block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array, Run, Sparse, Weight, Whole, bits_of, pack_bits

Axis = Literal["in", "out"]

LARGEST = 32
"""The longest block: a mask of it fits into one 32-bit word."""


@dataclass(frozen=True, eq=False)
class NM:
    """N:M structure of another encoding's tensor (methods.md 2.2).

    The tensor (C_out, C_in, *kernel), a matrix without a kernel, is cut into lines: along `in` a line is the C_in
    input channels of one output at one position of the kernel, along `out` the C_out outputs of one input channel at
    one position. Every line is cut into blocks of `m` consecutive entries, of which at most `n` are not zero; the last
    block of a line may reach past it, where nothing is. Lines are stored outputs first, then positions (kh, kw), then
    channels: weights that one spike meets, or that one output reads at one place, lie together.

    `inner` is the full tensor in its own encoding (Dense, Fixed or Grid). Of every block exactly n entries are stored,
    each with its position: the non-zeros and, where they are fewer, the zeros of the lowest positions.
    """

    inner: Whole
    n: int
    m: int
    axis: Axis = "out"
    encoding: ClassVar[str] = "nm"

    def __post_init__(self) -> None:
        """Refuse other structures than 0 < n < m <= 32, and a tensor that has not this one."""
        if not 0 < self.n < self.m <= LARGEST:
            raise ValueError(f"N:M needs 0 < N < M <= {LARGEST}, not {self.n}:{self.m}")
        if self.axis not in ("in", "out"):
            raise ValueError(f"the axis of N:M is in or out, not {self.axis}")
        if len(self.inner.shape) < 2:
            raise ValueError(f"N:M weights are matrices or convolution kernels, not of shape {list(self.inner.shape)}")
        most = int(np.count_nonzero(self._blocks(), axis=-1).max(initial=0))
        if most > self.n:
            message = f"at most {self.n} of {self.m} entries along the {self.axis} axis may differ from 0"
            raise ValueError(f"{message}; a block holds {most}")

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        return self.inner.shape

    def _blocks(self) -> Array:
        """Give the stored entries as (lines, blocks, m), zeros past the end."""
        return blocks_of(self.inner.stored(), self.m, self.axis)

    @property
    def positions(self) -> Array:
        """Positions in their block of the entries that are stored, ascending: (lines, blocks, n), uint8.

        Of a matrix a line is a row where the axis is `in`, a column where it is `out`.
        """
        first = np.argsort(self._blocks() == 0, axis=-1, kind="stable")[..., : self.n]
        return np.sort(first, axis=-1).astype(np.uint8)

    @property
    def values(self) -> Array:
        """What is stored at the positions, (lines, blocks, n): floats, or whole numbers (of a Fixed, a Grid)."""
        return np.take_along_axis(self._blocks(), self.positions.astype(np.int64), axis=-1)

    @property
    def bits(self) -> int:
        """A position of ceil(log2 M) bits and a value for each stored entry; then exponents or scales."""
        return bits_of(self._runs())

    def decode(self) -> Array:
        """Give the full tensor."""
        return self.inner.decode()

    def pack(self) -> bytes:
        """Give positions, then values, then exponents or scales, each as one run of bits, line after line."""
        return pack_bits(self._runs())

    def _runs(self) -> list[Run]:
        return [(self.positions, (self.m - 1).bit_length()), self.inner.run(self.values), *self.inner.tail()]

    def describe(self) -> str:
        """Say the structure and what is inside."""
        return f"{self.n}:{self.m} {self.axis} of {self.inner.describe()}"


def rewrapped(like: Weight, inner: Whole) -> Weight:
    """Give new values the structure of an old weight: N:M or sparse. Zeros must be where they were."""
    if isinstance(like, NM):
        return NM(inner, like.n, like.m, like.axis)
    return Sparse(inner) if isinstance(like, Sparse) else inner


def lines_of(tensor: Array, axis: Axis) -> Array:
    """Lay a tensor (C_out, C_in, *kernel) out as lines: (C_out * positions, C_in) or (positions * C_in, C_out).

    Along `in` lines are ordered (C_out, kh, kw), along `out` (kh, kw, C_in).
    """
    inward = np.moveaxis(tensor, 1, -1)  # (C_out, *kernel, C_in)
    if axis == "in":
        return inward.reshape(-1, tensor.shape[1])
    return inward.reshape(tensor.shape[0], -1).T


def of_lines(lines: Array, shape: Shape, axis: Axis) -> Array:
    """Put lines back into a tensor of a shape: what `lines_of` undoes."""
    inward = (shape[0], *shape[2:], shape[1])
    return np.ascontiguousarray(np.moveaxis((lines if axis == "in" else lines.T).reshape(inward), -1, 1))


def blocks_of(tensor: Array, m: int, axis: Axis) -> Array:
    """Cut a tensor (C_out, C_in, *kernel) into blocks along an axis: (lines, blocks, m), zeros past the end."""
    lines = lines_of(tensor, axis)
    count, length = lines.shape
    padded = np.zeros((count, -(-length // m) * m), lines.dtype)
    padded[:, :length] = lines
    return padded.reshape(count, -1, m)


def of_blocks(blocks: Array, shape: Shape, axis: Axis) -> Array:
    """Put blocks back into a tensor of a shape: what `blocks_of` undoes, whatever lies past the end left out."""
    length = shape[1] if axis == "in" else shape[0]
    return of_lines(blocks.reshape(len(blocks), -1)[:, :length], shape, axis)


def entries_to_tensor(values: Array, positions: Array, shape: Shape, m: int, axis: Axis) -> Array:
    """Put stored entries back into a tensor (C_out, C_in, *kernel).

    Args:
        values: (lines, blocks, n).
        positions: (lines, blocks, n), distinct in a block and below m.
        shape: of the tensor.
        m: length of a block.
        axis: along which axis the blocks lie.

    Raises:
        ValueError: positions repeat in a block or reach past it, or a value other than 0 lies past the tensor.
    """
    ordered = np.sort(positions.astype(np.int64), axis=-1)
    if positions.size and (ordered[..., -1].max() >= m or np.any(np.diff(ordered, axis=-1) == 0)):
        raise ValueError(f"positions in a block of {m} must be distinct and below {m}")
    padded = np.zeros((*values.shape[:2], m), values.dtype)
    np.put_along_axis(padded, positions.astype(np.int64), values, axis=-1)
    length = shape[1] if axis == "in" else shape[0]
    if np.any(padded.reshape(len(padded), -1)[:, length:]):
        raise ValueError("a value other than 0 lies past the end of the tensor")
    return of_blocks(padded, shape, axis)
