"""The levels that quantized weights may take: whole codes times a scale, built from a layer's dense weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spikec.compiler.target import Target
from spikec.compiler.weights import Array, Fixed
from spikec.compiler.weights_grid import EXCITATORY, INHIBITORY, MIXED, WIDEST, Grid

Kind = Literal["uniform", "powers"]
Search = Literal["minmax", "mse"]
Signs = Literal["row", "layer", "mixed"]
SHRINKS = tuple(1 - i / 100 for i in range(80))
"""What the scale search multiplies the min-max scale by."""


@dataclass(frozen=True, eq=False)
class LevelGrid:
    """Levels of the rows of a weight matrix: `levels[sign] * scale`.

    levels: the sorted codes of mixed rows, of those without a negative weight and of those without a positive one (in
    this order, so that a row's sign 0, 1, -1 is the index). sign, scale: of each row, (r,); int8 and float64. width:
    bits of a code in the encoding `Grid`.
    """

    levels: tuple[Array, Array, Array]
    sign: Array
    scale: Array
    width: int

    def nearest(self, weights: Array) -> Array:
        """Give the code of the nearest level, int32, for weights (r,) or (r, d).

        Halfway: to the even code where all whole codes of a range are levels, else to the level that is nearer to 0
        (and 0 to the one above).
        """
        weights = np.asarray(weights, np.float64)
        scale = self.scale.reshape(-1, *(1,) * (weights.ndim - 1))
        asked = np.divide(weights, scale, out=np.zeros_like(weights), where=scale > 0)
        codes = np.empty(weights.shape, np.int32)
        signs = np.unique(self.sign)
        for sign in signs:
            rows = slice(None) if len(signs) == 1 else self.sign == sign
            codes[rows] = _nearest(self.levels[sign], asked[rows])
        return codes

    def decode(self, codes: Array) -> Array:
        """Give what codes (r,) or (r, d) mean, float64."""
        return np.asarray(codes * self.scale.reshape(-1, *(1,) * (np.ndim(codes) - 1)))

    def part(self, rows: slice | Array) -> LevelGrid:
        """Give the grid of some of the rows."""
        return LevelGrid(self.levels, self.sign[rows], self.scale[rows], self.width)

    def encoded(self, codes: Array, dtype: Any = np.float32) -> Grid:
        """Give codes (r, ...) as weights; the scale must fit the float type as it is (see `fitted`).

        Raises:
            ValueError: it does not.
        """
        scale = self.scale.astype(dtype)
        if np.any(scale != self.scale):
            raise ValueError(f"the scales of the grid are not {np.dtype(dtype).name}")
        alike = scale.size > 0 and bool(np.all(scale == scale[0]) and np.all(self.sign == self.sign[0]))
        if not alike:
            return Grid(codes, scale, self.width, self.sign)
        return Grid(codes, scale[0], self.width, ("mixed", "excitatory", "inhibitory")[self.sign[0]])


def fitted(
    rows: Array,
    bits: int,
    keep: Array | None = None,
    kind: Kind = "uniform",
    search: Search = "minmax",
    signs: Signs = "row",
    per_row: bool = True,
    dtype: Any = np.float64,
) -> LevelGrid:
    """Build the grid of a layer from its dense weights (r, d), before any compensation (methods.md 1.8).

    Args:
        rows: dense weights.
        bits: b, 1 to 8.
        keep: where weights are; the others are 0 for good and do not count.
        kind: `uniform`: mixed rows have the codes -2**(b-1) .. 2**(b-1) - 1 and the scale 2 max|w| / (2**b - 1), as
            published (lopsided: the largest positive weight is always clipped); rows of one sign 0 .. 2**b - 1 (or
            their negatives) and max|w| / (2**b - 1), where the published grid would leave half of the codes unused.
            `powers`: 0 and powers of two: 2**(b-1) - 1 of them on each side, 2**b - 1 in rows of one sign, but none
            above 64 (128), which an 8-bit code would not hold; the largest is max|w|.
            1 bit of either kind: -1 and +1 times mean |w|, so that a mask makes it ternary; rows of one sign have 0
            and 1, and their scale is always searched for.
        search: `minmax`, or `mse`: of the scales that are 100, 99, .. 21 % of it, the one of the least squared
            error.
        signs: rows of one sign have codes of one sign `row` by row, or only if the whole `layer` is of one sign, or
            all are `mixed`.
        per_row: a scale for each row, or one for all.
        dtype: float type that the scales are rounded to.

    Raises:
        ValueError: bits outside 1 to 8.
    """
    if not 1 <= bits <= WIDEST:
        raise ValueError(f"a code has 1 to {WIDEST} bits, not {bits}")
    weights = np.asarray(rows, np.float64)
    mask = np.ones(weights.shape, bool) if keep is None else np.asarray(keep, bool)
    weights = np.where(mask, weights, 0.0)
    sign = _signs(weights, signs)
    levels = _levels(bits, kind)
    scale = np.zeros(len(weights))
    groups = [np.array([i]) for i in range(len(weights))] if per_row else [np.arange(len(weights))]
    if not per_row and np.any(sign != sign[:1]):
        raise ValueError("rows of unlike signs have scales of their own")
    for group in groups:
        table = levels[sign[group[0]]] if group.size else levels[0]
        scale[group] = _scale(weights[group], mask[group], table, bits, search)
    width = max(bits, *(_width(levels[s], s) for s in np.unique(sign))) if sign.size else bits
    return LevelGrid(levels, sign, scale.astype(dtype).astype(np.float64), width)


def of_target(target: Target, bits: int) -> Signs:
    """Say how a target of integer weights wants signs, so that its weights can be the codes: see `fitted`.

    A target whose weights are all in two's complement has mixed codes alone. The others tell the mode of a whole
    layer by its weights; the step of mixed ones (2**(9 - b) on Loihi) is a part of the scale.

    Raises:
        ValueError: it has not so many bits.
    """
    if bits > target.weight_bits:
        raise ValueError(f"{target.name} has weights of {target.weight_bits} bits, not {bits}")
    return "layer" if target.one_sign else "mixed"


def of_fixed(weight: Fixed) -> LevelGrid:
    """Give the grid that the integers of a fixed weight lie on, codes times step, whatever its exponent."""
    low, high = (bound // weight.step for bound in Fixed.limits(weight.width, weight.sign, weight.step))
    sign = {"mixed": MIXED, "excitatory": EXCITATORY, "inhibitory": INHIBITORY}[weight.sign]
    codes = np.arange(low, high + 1)
    count = weight.shape[0]
    return LevelGrid(
        (codes, codes, codes), np.full(count, sign, np.int8), np.full(count, float(weight.step)), weight.width
    )


def _nearest(levels: Array, asked: Array) -> Array:
    if levels[-1] - levels[0] == len(levels) - 1:
        return np.clip(np.rint(asked), levels[0], levels[-1]).astype(np.int32)
    middles = (levels[1:] + levels[:-1]) / 2
    above, below = (np.searchsorted(middles, asked, side) for side in ("right", "left"))
    return levels[np.where(asked > 0, below, above)].astype(np.int32)


def _signs(weights: Array, signs: Signs) -> Array:
    """Give the sign of every row; one of zeros alone is mixed, except among others of one sign."""
    low, high = weights.min(axis=1, initial=0), weights.max(axis=1, initial=0)
    if signs == "layer":
        low, high = (np.broadcast_to(f, low.shape) for f in (low.min(initial=0), high.max(initial=0)))
    if signs == "mixed":
        return np.full(len(weights), MIXED, np.int8)
    one = np.where((low < 0) & (high <= 0), INHIBITORY, MIXED)
    return np.where((high > 0) & (low >= 0), EXCITATORY, one).astype(np.int8)


def _levels(bits: int, kind: Kind) -> tuple[Array, Array, Array]:
    half, top = 1 << (bits - 1), (1 << bits) - 1
    if bits == 1:
        return np.array([-1, 1]), np.array([0, 1]), np.array([-1, 0])
    if kind == "uniform":
        return np.arange(-half, half), np.arange(top + 1), np.arange(-top, 1)
    both, one = 1 << np.arange(min(half - 1, WIDEST - 1)), 1 << np.arange(min(top, WIDEST))
    return (
        np.concatenate([-both[::-1], [0], both]),
        np.concatenate([[0], one]),
        np.concatenate([-one[::-1], [0]]),
    )


def _width(levels: Array, sign: int) -> int:
    """Give the bits that the encoding needs for codes: powers of two take more than there are levels."""
    kind: Any = ("mixed", "excitatory", "inhibitory")[sign]
    widths = range(1, WIDEST + 1)
    return next(b for b in widths if Grid.limits(b, kind)[0] <= levels[0] and levels[-1] <= Grid.limits(b, kind)[1])


def _scale(weights: Array, mask: Array, levels: Array, bits: int, search: Search) -> float:
    """Give the scale of rows that share one."""
    kept = weights[mask]
    largest = float(np.abs(kept).max(initial=0))
    if largest == 0:
        return 0.0 if bits == 1 else 1.0
    binary = bits == 1 and levels[0] < 0 < levels[-1]
    if binary and search == "minmax":
        return float(np.abs(kept).mean())
    uniform = levels[-1] - levels[0] == len(levels) - 1
    mixed = levels[0] < 0 < levels[-1]
    reach = (levels[-1] - levels[0]) / 2 if mixed and uniform else max(levels[-1], -levels[0])
    start = largest / float(reach)
    if search == "minmax" and bits > 1:
        return start
    errors = [float(np.sum((_nearest(levels, kept / (start * p)) * start * p - kept) ** 2)) for p in SHRINKS]
    return start * SHRINKS[int(np.argmin(errors))]
