"""The methods of SBC written as plainly as can be, in float64: what the kernels are held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def problem(seed: int, size: int, rows: int, ratio: float = 3.0) -> tuple[Array, Array, Array]:
    """Give a damped Hessian, its inverse and weights."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(int(ratio * size) + 1, size)) @ (np.eye(size) + 0.3 * rng.normal(size=(size, size)))
    hessian = mixed.T @ mixed / len(mixed)
    damped = hessian + 0.01 * np.mean(np.diag(hessian)) * np.eye(size)
    return damped, np.linalg.inv(damped), rng.normal(size=(rows, size))


def order(inverse: Array, row: Array, block: int) -> Array:
    """Give one row's losses by block elimination of a copy of the inverse (methods.md 1.6)."""
    g, w = inverse.copy(), row.copy()
    left = list(range(len(row)))
    losses = np.zeros(len(row))
    while left:
        score = w[left] ** 2 / np.diag(g)[left]
        batch = [left[i] for i in np.argsort(score, kind="stable")[:block]]
        losses[batch] = w[batch] ** 2 / np.diag(g)[batch]
        inner = np.linalg.inv(g[np.ix_(batch, batch)])
        across = g[:, batch]
        w = w - across @ inner @ w[batch]
        g = g - across @ inner @ g[batch, :]
        left = [j for j in left if j not in set(batch)]
    return losses


def order_blocks(inverse: Array, row: Array, n: int, m: int) -> NDArray[np.bool_]:
    """Give what exact greedy elimination keeps if each block of m columns keeps n."""
    g, w = inverse.copy(), row.copy()
    keep = np.ones(len(row), bool)
    for _ in range(len(row) // m * (m - n)):
        open_blocks = np.repeat(keep.reshape(-1, m).sum(axis=1) > n, m)
        left = np.flatnonzero(keep & open_blocks)
        p = left[np.argmin(w[left] ** 2 / np.diag(g)[left])]
        w = w - g[:, p] * w[p] / g[p, p]
        g = g - np.outer(g[:, p], g[p]) / g[p, p]
        keep[p] = False
    return keep


def order_across(inverses: Array, which: list[int], rows: Array, n: int, m: int, scales: Array) -> NDArray[np.bool_]:
    """Give what exact greedy elimination over the weights of m rows together keeps, n of a column."""
    keep = np.ones(rows.shape, bool)
    for first in range(0, len(rows), m):
        block = list(range(first, min(first + m, len(rows))))
        gs, w = {r: inverses[which[r]].copy() for r in block}, rows.copy()
        for _ in range(rows.shape[1] * max(0, len(block) - n)):
            _, r, p = min(
                (scales[r] * w[r, p] ** 2 / gs[r][p, p], r, p)
                for r in block
                for p in np.flatnonzero(keep[r])
                if keep[block, p].sum() > n
            )
            g = gs[r]
            w[r] = w[r] - g[:, p] * w[r, p] / g[p, p]
            gs[r] = g - np.outer(g[:, p], g[p]) / g[p, p]
            keep[r, p] = False
    return keep


def compensate(inverse: Array, row: Array, keep: NDArray[np.bool_]) -> Array:
    """Give a row without its pruned weights: w - G_:P (G_PP)^-1 w_P (methods.md 1.7)."""
    gone = ~keep
    out = row - inverse[:, gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], row[gone])
    out[gone] = 0
    return out


def least_squares(damped: Array, row: Array, keep: NDArray[np.bool_]) -> Array:
    """Give the weights on a support that minimise (v - w)^T H (v - w): the normal equations."""
    out = np.zeros_like(row)
    out[keep] = np.linalg.solve(damped[np.ix_(keep, keep)], damped[keep] @ row)
    return out
