"""Quantization with compensation: column by column, what is left of a row makes up for the rounding so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikec.compiler.weights import Array
from spikec.passes.sbc.algebra import cholesky
from spikec.passes.sbc.grids import LevelGrid
from spikec.passes.sbc.prune import Factor

BLOCK = 128
TILE = 32
"""Rows go in multiples of this, so that BLAS treats a row alike whatever it is cut with."""


@dataclass(frozen=True, eq=False)
class Columns:
    """A factor made ready for quantization: the order of the columns, and what they owe to one another.

    hessian, damping: as in the factor. order: (d,) the columns in ascending diag(H^-1) (methods.md 1.8): those go first
    whose rounding costs most. lower: the Cholesky factor L of the damped Hessian in the reverse order, float64.

    Rounding in this order with GPTQ's upper Cholesky factor of H^-1 is the nearest-plane rule on L^T (H = L L^T): with
    the columns k > j of L rounded to q_k, column j is rounded from w_j + sum_{k>j} (w_k - q_k) L_kj / L_jj. So no
    inverse is needed at all.
    """

    hessian: Array
    damping: float
    order: Array
    lower: Array


def columns(made: Factor) -> Columns:
    """Make a factor ready; 8 d**2 bytes beside it."""
    order = np.argsort(made.diagonal, kind="stable")
    lower = cholesky(_part(made.hessian, made.damping, order[::-1]))
    return Columns(made.hessian, made.damping, order, lower)


def quantize_rows(made: Factor | Columns, rows: Array, grid: LevelGrid, keep: Array | None = None) -> Array:
    """Give codes, int32 (r, d): each column rounded to its nearest level, the columns after it moved to make up.

    Args:
        made: the layer's factor, or `columns` of it, which several calls may share.
        rows: weights (r, d), compensated for a mask if there is one.
        grid: of these rows, from the dense weights.
        keep: bool (r, d); what is not kept has code 0, and a row with such columns compensates by its kept ones alone.

    A row's codes do not depend on the rows that it is cut with. Weights that are pushed over the last level are
    clamped to it, as in the paper.
    """
    ready = columns(made) if isinstance(made, Factor) else made
    weights = np.asarray(rows, np.float64)
    if weights.shape[1] != len(ready.order) or len(weights) != len(grid.scale):
        raise ValueError(f"rows of shape {list(weights.shape)} do not fit the grid or the Hessian")
    back = ready.order[::-1]
    codes = np.zeros(weights.shape, np.int32)
    kept = np.ones(weights.shape, bool) if keep is None else np.asarray(keep, bool)
    whole = np.flatnonzero(kept.all(axis=1))
    if whole.size:
        made_codes = _shared(ready.lower, weights[np.ix_(whole, back)], grid.part(whole))
        codes[np.ix_(whole, back)] = made_codes
    for row in np.flatnonzero(~kept.all(axis=1)):
        mine = np.flatnonzero(kept[row, back])
        if mine.size:
            lower = cholesky(_part(ready.hessian, ready.damping, back[mine]))
            own = grid.part(slice(row, row + 1))
            codes[row, back[mine]] = _shared(lower, weights[row : row + 1, back[mine]], own, tile=1)[0]
    return codes


def nearest_rows(rows: Array, grid: LevelGrid, keep: Array | None = None) -> Array:
    """Give the codes of plain rounding to the nearest level, int32 (r, d): the baseline."""
    codes = grid.nearest(rows)
    return codes if keep is None else np.where(keep, codes, 0).astype(np.int32)


def _part(hessian: Array, damping: float, chosen: Array) -> Array:
    """Give the damped Hessian of some columns in some order, a copy."""
    part = np.asarray(hessian[np.ix_(chosen, chosen)], np.float64)
    part.flat[:: len(part) + 1] += damping
    return part


def _shared(lower: Array, weights: Array, grid: LevelGrid, tile: int = TILE) -> Array:
    """Round the columns from the last to the first, in blocks; `owed` is what the gaps w_k - q_k so far add to each."""
    count, d = weights.shape
    padded = -(-count // tile) * tile
    targets = np.zeros((d, padded))
    targets[:, :count] = weights.T
    gaps = np.zeros((d, padded))
    codes = np.zeros((d, count), np.int32)
    for end in range(d, 0, -BLOCK):
        start = max(end - BLOCK, 0)
        owed = lower[end:, start:end].T @ gaps[end:]
        for j in range(end - 1, start - 1, -1):
            centre = targets[j] + owed[j - start] / lower[j, j]
            codes[j] = grid.nearest(centre[:count])
            gaps[j, :count] = targets[j, :count] - grid.decode(codes[j])
            owed[: j - start] += lower[j, start:j, None] * gaps[j]
    return codes.T
