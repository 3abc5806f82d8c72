"""Group OBS on one shared inverse: the order in which weights go, the masks, and what makes up for them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from spikec.compiler.weights import Array
from spikec.passes.sbc.algebra import cholesky, gram_of_lower, invert_lower
from spikec.passes.sbc.kernels import keep_solve, order

STEPS = 256
"""How many batches of columns a row is pruned in by default (methods.md 1.6)."""


@dataclass(frozen=True, eq=False)
class Factor:
    """What pruning and quantization need of a Hessian H (d, d), made once for all rows of a layer.

    `hessian` is the caller's own, float64. `inverse` is that of `damped` = H + damping I, float32; `diagonal` its
    diagonal in float64.
    `alive` (d,): the inputs that ever come; the others lose nothing by going. `silent`: H is zero, no input ever came.
    Then all of this is that of H = I: pruning falls back to magnitude without compensation, quantization to the
    nearest level, and whoever asked for more should be told.
    """

    hessian: Array
    inverse: Array
    diagonal: Array
    alive: Array
    damping: float
    silent: bool = False

    @property
    def damped(self) -> Array:
        """Make H + damping I (d, d), float64: a copy each time."""
        return _damped(self.hessian, self.damping)


def factor(hessian: Array, damping: float = 0.01) -> Factor:
    """Factor a Hessian (d, d), which is kept as it is; what is at work beside it takes 12 d**2 bytes, 4 stay.

    Args:
        hessian: symmetric and positive semi-definite, as `HessianSum.value` gives it for one group.
        damping: what is added to the diagonal, as a part of its mean (methods.md 1.4). Where that does not make H
            definite to rounding, as with 0 and fewer samples than columns, it is raised tenfold until it does:
            `Factor.damping` is what was added in the end.

    Raises:
        ValueError: H is not square, or not finite, or the damping is negative.
    """
    if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1]:
        raise ValueError(f"a Hessian is square, which {list(hessian.shape)} is not")
    if damping < 0:
        raise ValueError(f"a damping is not negative, which {damping} is")
    diagonal = np.asarray(hessian.diagonal(), np.float64)
    if not np.isfinite(hessian).all():
        raise ValueError("the Hessian has entries that are no finite numbers")
    alive = diagonal > 0
    if not alive.any():
        d = len(diagonal)
        return Factor(np.eye(d), np.eye(d, dtype=np.float32), np.ones(d), np.ones(d, bool), 0.0, silent=True)
    mean = float(diagonal.mean())
    added = damping * mean
    while True:
        lower = _inverted(hessian, added)
        if lower is not None and _definite(diagonal + added, np.einsum("ij,ij->j", lower, lower)):
            inverse, inverse_diagonal = gram_of_lower(lower)
            return Factor(hessian, inverse, inverse_diagonal, alive, added)
        del lower
        added = max(10 * added, 1e-12 * mean)


def _inverted(hessian: Array, damping: float) -> Array | None:
    """Give the inverse of the Cholesky factor of H + damping I, if it has one."""
    try:
        return invert_lower(cholesky(_damped(hessian, damping)))
    except np.linalg.LinAlgError:
        return None


def _definite(diagonal: Array, inverse: Array) -> bool:
    """Say whether a matrix is definite to rounding, by its diagonal and that of its inverse.

    1 / G_pp is the least pivot that column p has among any others and in any order: where it is lost in the rounding of
    H_pp, one factorisation may go well by luck and that of some of the columns fail. G is float32.
    """
    least = 4 * len(diagonal) * np.finfo(np.float64).eps
    return bool(np.all(inverse < np.finfo(np.float32).max) and np.all(inverse * diagonal * least < 1))


def default_block(columns: int) -> int:
    """Give how many columns go at once: a 256th of them, rounded up."""
    return max(1, ceil(columns / STEPS))


def order_rows(
    made: Factor, rows: Array, scales: Array | None = None, block: int | None = None, threads: int = 0
) -> Array:
    """Give the loss at which each weight goes, float32 (r, d): methods.md 1.6; rows do not see one another.

    Greedy: of what is left of a row, the `block` columns of the smallest w_p**2 / G_pp go together, at these losses,
    and the rest makes up for them before the next ones are chosen. Inputs that never come go at loss 0.

    Args:
        made: the layer's factor.
        rows: dense weights (r, d).
        scales: (r,) a_j, where the row acts on the membrane as a_j w (a batch norm that is not folded, a gain): losses
            are multiplied by a_j**2, which is the loss of the folded row. None: 1.
        block: columns at a time; 1 is exact greedy. None: `default_block`.
        threads: 0 for as many as there are cores.
    """
    size = default_block(rows.shape[1]) if block is None else block
    losses = order(made.inverse, rows, size, threads, made.alive)
    return losses if scales is None else losses * np.square(scales)[:, None].astype(losses.dtype)


def masks(losses: Array, number: int) -> Array:
    """Give what is kept, bool (r, d): all but the `number` smallest losses of all rows together; ties by index."""
    if not 0 <= number <= losses.size:
        raise ValueError(f"cannot remove {number} of {losses.size} weights")
    keep = np.ones(losses.size, bool)
    if number:
        flat = losses.reshape(-1)
        last = np.partition(flat, number - 1)[number - 1]
        keep[flat < last] = False
        tied = np.flatnonzero(flat == last)
        keep[tied[: number - np.count_nonzero(~keep)]] = False
    return keep.reshape(losses.shape)


def magnitude_mask(rows: Array, number: int) -> Array:
    """Give what is kept when the `number` smallest magnitudes go, bool (r, d): the baseline."""
    return masks(np.abs(np.asarray(rows, np.float64)), number)


def compensate(made: Factor, rows: Array, keep: Array, threads: int = 0) -> Array:
    """Give the best weights for a mask, float64 (r, d), from the original ones: w_K + H_KK^-1 H_KP w_P, else exact 0.

    For any mask: these are the weights that minimise e^T (H + damping I) e; with H = I (`silent`) just the kept ones.
    """
    weights = np.asarray(rows, np.float64)
    if made.silent:
        return np.where(keep, weights, 0.0)
    return keep_solve(made.damped, weights, keep, threads)


def reconstruction(hessian: Array, old: Array, new: Array) -> Array:
    """Give e^T H e of every row, e = new - old (float64, (r,)): the mean squared change of its membrane, twice."""
    change = np.asarray(new, np.float64) - np.asarray(old, np.float64)
    return np.asarray(np.einsum("rd,rd->r", change @ hessian, change))


def _damped(hessian: Array, damping: float) -> Array:
    damped = np.array(hessian, np.float64)
    damped.flat[:: len(damped) + 1] += damping
    return damped
