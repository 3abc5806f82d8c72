"""Grid weights: small whole codes times a scale, the float weights that a target's integers can hold as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array, Dense, Fixed, Run, Sign, Weight, bits_of, frozen, pack_bits, unwrapped
from spikec.compiler.weights_nm import rewrapped

WIDEST = 8
"""Bits of the widest code."""

MIXED, EXCITATORY, INHIBITORY = 0, 1, -1
"""Kinds of a row, where every row has its own."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Float weights `codes * scale`: one scale, or one for each output row (shape[0],), in its own float type.

    A code has `width` bits (1 to 8). `sign` is the kind of all rows, or of each row, an int8 array (shape[0],) of
    0 (mixed), 1 (excitatory) and -1 (inhibitory): a mixed code lies in [-2**(b-1), 2**(b-1) - 1], one of a row of one
    sign in 0..2**b - 1 (or its negative). A mixed code of 1 bit is -1 or +1; 0 stands in it where a mask took the
    weight away, and costs nothing inside Sparse. A scale may be negative or 0.
    """

    codes: Array
    scale: float | Array
    width: int
    sign: Sign | Array = "mixed"
    encoding: ClassVar[str] = "grid"

    def __post_init__(self) -> None:
        """Store codes as int32 and refuse those that the width does not hold, and scales of another form."""
        codes = np.asarray(self.codes)
        if not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(f"codes must be integers, not {codes.dtype}")
        if not isinstance(self.width, int) or not 1 <= self.width <= WIDEST:
            raise ValueError(f"a code has 1 to {WIDEST} bits, not {self.width}")
        if codes.ndim == 0:
            raise ValueError("grid weights have at least one axis")
        low, high = self._checked(codes)
        rows = codes.reshape(codes.shape[0], -1).astype(np.int64)
        outside = np.any((rows < low) | (rows > high), axis=1)
        if np.any(outside):
            row = int(np.argmax(outside))
            kind = f"a {self.width}-bit code of row {row} lies in [{low[row, 0]}, {high[row, 0]}]"
            raise ValueError(f"{kind}; these span [{rows[row].min()}, {rows[row].max()}]")
        object.__setattr__(self, "codes", frozen(codes.astype(np.int32)))

    def _checked(self, codes: Array) -> tuple[Array, Array]:
        """Store scales and signs; give the limits of each row's codes, (rows, 1)."""
        scale = np.asarray(self.scale)
        if scale.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"a scale is a float of 32 or 64 bits, not {scale.dtype}")
        _one_a_row("scale", scale, codes)
        object.__setattr__(self, "scale", frozen(scale))
        kinds: tuple[Sign, ...] = ("mixed", "excitatory", "inhibitory")
        limits = np.array([self.limits(self.width, kind) for kind in kinds])
        if isinstance(self.sign, str):
            low, high = np.broadcast_to(limits[kinds.index(self.sign)], (codes.shape[0], 2)).T
            return low[:, None], high[:, None]
        sign = np.atleast_1d(np.asarray(self.sign))
        _one_a_row("sign", sign, codes)
        if not np.all(np.isin(sign, (MIXED, EXCITATORY, INHIBITORY))):
            raise ValueError("the sign of a row is 0 (mixed), 1 (excitatory) or -1 (inhibitory)")
        object.__setattr__(self, "sign", frozen(sign.astype(np.int8)))
        low, high = limits[sign.astype(np.int64)].T  # -1 is the last
        return low[:, None], high[:, None]

    @staticmethod
    def limits(width: int, sign: Sign) -> tuple[int, int]:
        """Smallest and largest code of a width and sign; between -1 and 1 a mixed code of 1 bit has no 0."""
        return (-1, 1) if width == 1 and sign == "mixed" else Fixed.limits(width, sign)

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        return tuple(self.codes.shape)

    @property
    def scales(self) -> Array:
        """The scale of each row, (shape[0],), float64."""
        return np.broadcast_to(np.asarray(self.scale, np.float64), self.shape[:1])

    @property
    def bits(self) -> int:
        """Entries times their bits, 32 or 64 for each scale, and 2 for each row's sign where rows have their own."""
        return bits_of([self.run(self.stored()), *self.tail()])

    def decode(self) -> Array:
        """Give codes times scale, in the float type of the scale."""
        scale = np.asarray(self.scale)
        along = scale if scale.ndim == 0 else scale.reshape(-1, *(1,) * (self.codes.ndim - 1))
        return np.asarray(self.codes.astype(scale.dtype) * along)

    def stored(self) -> Array:
        """Give the codes, as magnitudes in inhibitory rows."""
        if isinstance(self.sign, str):
            return -self.codes if self.sign == "inhibitory" else self.codes
        flipped = np.where(self.sign == INHIBITORY, -1, 1).astype(np.int32)
        return np.asarray(self.codes * flipped.reshape(-1, *(1,) * (self.codes.ndim - 1)))

    def run(self, kept: Array) -> Run:
        """Give `width` bits an entry; of 1 bit a set one is above 0. A 0 kept beside -1 and +1 makes them 2 bits."""
        if self.width > 1:
            return kept, self.width
        mixed = self.sign == "mixed" if isinstance(self.sign, str) else bool(np.any(self.sign == MIXED))
        return (kept, 2) if mixed and np.any(kept == 0) else (kept > 0, 1)

    def tail(self) -> list[Run]:
        """Give the scales as their floats' bits, then the signs of the rows (2 bits each) where they have their own."""
        scales = np.atleast_1d(np.asarray(self.scale))
        runs = [Dense(scales).run(scales)]
        return runs if isinstance(self.sign, str) else [*runs, (self.sign, 2)]

    def pack(self) -> bytes:
        """Give the entries in C order, least significant bit first, then scales and signs."""
        return pack_bits([self.run(self.stored()), *self.tail()])

    def describe(self) -> str:
        """Say width, shape, sign and scale."""
        scale = np.asarray(self.scale)
        said = f"{scale:.6g}" if scale.ndim == 0 else f"{scale.min():.6g}..{scale.max():.6g} per row"
        sign = self.sign if isinstance(self.sign, str) else "sign per row"
        return f"grid i{self.width}{list(self.shape)} {sign} scale={said}"


def _one_a_row(name: str, given: Array, codes: Array) -> None:
    if given.ndim and given.shape != codes.shape[:1]:
        raise ValueError(f"one {name} for all rows, or one for each of {codes.shape[0]}, not {list(given.shape)}")


def scaled(weight: Weight, factor: float | Array) -> Weight:
    """Multiply weights by one factor or by one for each output row, (out,); a structure of zeros stays.

    A Grid keeps its codes: its scale is multiplied, in float64, and cast back to its type. Other float weights are
    multiplied likewise. (A factor for each column is no scale of a row: see `passes/fold`.)

    Raises:
        ValueError: integer weights, which no factor keeps whole.
    """
    inner = unwrapped(weight)
    times = np.asarray(factor, np.float64)
    if isinstance(inner, Grid):
        return rewrapped(weight, with_scale(inner, np.asarray(inner.scale, np.float64) * times))
    if not isinstance(inner, Dense):
        raise ValueError(f"{inner.encoding} weights are whole numbers, which a factor would break")
    times = times if times.ndim == 0 else times.reshape(-1, *(1,) * (len(inner.shape) - 1))
    return rewrapped(weight, Dense((inner.values * times).astype(inner.values.dtype)))


def with_scale(grid: Grid, scale: Array) -> Grid:
    """Give the same codes at another scale, of the float type of the old one; one number where all rows have it."""
    cast = np.asarray(scale).astype(np.asarray(grid.scale).dtype)
    if cast.ndim and cast.size and np.all(cast == cast[0]):
        cast = cast[0]
    return Grid(grid.codes, cast, grid.width, grid.sign)


def with_codes(grid: Grid, codes: Array) -> Grid | None:
    """Give other codes (rows as before) at the same scale, as wide as they need; None if that is over 8 bits."""
    for width in range(grid.width, WIDEST + 1):
        try:
            return Grid(codes, grid.scale, width, grid.sign)
        except ValueError:
            continue
    return None


def grid_of(weight: Weight) -> Grid | None:
    """Give the Grid that a weight is or has inside, if any."""
    inner = unwrapped(weight)
    return inner if isinstance(inner, Grid) else None
