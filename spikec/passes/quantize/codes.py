"""Kept codes: a grid's codes times powers of two, exactly, in the narrowest weights of a target that hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikec.compiler.target import Target
from spikec.compiler.weights import Array, Fixed, Sign
from spikec.compiler.weights_grid import Grid
from spikec.passes.quantize.grid import Mantissas, step_of

NARROWEST = 2
"""Bits of the narrowest weight that is made."""

NEAR_ENOUGH = 2.0**-20
"""How far a scale may be from the power of two that it is taken for: some roundings of a float32."""

ENDLESS = 32
"""Zeros at the end of 0."""


@dataclass(frozen=True)
class Place:
    """Where integers fit on a target: `value = mantissa * 2**exponent`, mantissas being weights of `width` bits."""

    exponent: int
    width: int
    sign: Sign
    step: int


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of a grid, row by row (R,), with the sign of their scale: smallest, largest, low bits that are 0."""

    low: Array
    high: Array
    zeros: Array

    @classmethod
    def of(cls, grid: Grid) -> Codes:
        """Look at a grid; rows of scale 0 hold zeros."""
        rows = signed(grid).reshape(grid.shape[0], -1)
        union = np.bitwise_or.reduce(np.abs(rows), axis=1)
        zeros = np.where(union > 0, np.log2(np.maximum(union & -union, 1)), ENDLESS).astype(np.int64)
        return cls(rows.min(axis=1, initial=0), rows.max(axis=1, initial=0), zeros)

    @property
    def live(self) -> Array:
        """Say which rows hold anything at all."""
        return np.asarray((self.low != 0) | (self.high != 0))

    def place(self, shifts: Array, bits: int, target: Target, *, exponent: bool, left: bool) -> Place | None:
        """Find where codes * 2**shifts (one a row) fit in weights of at most `bits` bits, or None.

        They must be whole. The narrowest width is taken, and with it the exponent next to 0. `exponent`: whether there
        is one; `left`: whether it must not be below 0.
        """
        live = self.live
        if not np.any(live):
            empty: Sign = "excitatory" if target.one_sign else "mixed"
            return Place(0, NARROWEST, empty, step_of(target, empty, NARROWEST))
        zeros = int(np.min((self.zeros + shifts)[live]))
        low = float(np.ldexp(self.low.astype(np.float64), shifts)[live].min())
        high = float(np.ldexp(self.high.astype(np.float64), shifts)[live].max())
        if zeros < 0:
            return None
        sign: Sign = "mixed"
        if target.one_sign and (low == 0 or high == 0):
            sign = "inhibitory" if high == 0 else "excitatory"
        least, most = target.exponents if exponent else (0, 0)
        tries = sorted(range(max(0, least) if left else least, most + 1), key=lambda e: (abs(e), e))
        for width in range(NARROWEST, bits + 1):
            step = step_of(target, sign, width)
            bottom, top = Fixed.limits(width, sign, step)
            for e in tries:
                fits = bottom <= low / 2.0**e and high / 2.0**e <= top
                if fits and zeros - e >= step.bit_length() - 1:
                    return Place(e, width, sign, step)
        return None


def signed(grid: Grid) -> Array:
    """Give the codes with the sign of their scale, int64, of the grid's shape: those of a scale of 0 are 0."""
    sign = np.sign(grid.scales).astype(np.int64)
    return np.asarray(grid.codes.astype(np.int64) * sign.reshape(-1, *(1,) * (grid.codes.ndim - 1)))


def exact(grid: Grid) -> Array:
    """Give codes times scale in float64, whatever the grid's own type is."""
    return np.asarray(grid.codes * grid.scales.reshape(-1, *(1,) * (grid.codes.ndim - 1)))


def shifts_of(grid: Grid, rows: Array) -> Array | None:
    """Give the power of two that each row's scale times `rows` is, (R,); None where a live row's is none."""
    live = Codes.of(grid).live
    size = np.where(live, np.abs(grid.scales * np.asarray(rows, np.float64).reshape(-1)), 1.0)
    powers = np.log2(size)
    if np.any(np.abs(powers - np.rint(powers)) > NEAR_ENOUGH):
        return None
    return np.asarray(np.rint(powers), np.int64)


def kept_codes(grid: Grid, rows: Array, bits: int, target: Target, *, exponent: bool, left: bool) -> Mantissas:
    """Put a grid's codes on a target at a scale for each of its rows (or one) that keeps them.

    Raises:
        ValueError: the scale does not keep them; `keep.kept_scales` gives those that do.
    """
    shifts = shifts_of(grid, rows)
    place = None if shifts is None else Codes.of(grid).place(shifts, bits, target, exponent=exponent, left=left)
    if shifts is None or place is None:
        raise ValueError("the target does not hold these codes at this scale")
    along = (shifts - place.exponent).reshape(-1, *(1,) * (grid.codes.ndim - 1))
    values = np.ldexp(signed(grid).astype(np.float64), along).astype(np.int64)
    return Mantissas(values, place.exponent, place.width, place.sign, place.step, 0)
