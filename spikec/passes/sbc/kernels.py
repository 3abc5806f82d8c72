"""The compiled kernels of SBC: ordering, the solve over kept weights, the Hessian of spikes; and their bytes."""

from __future__ import annotations

import os

import _spikecore
import numpy as np
from numpy.typing import NDArray

from spikec.compiler.weights import Array

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def order(inverse: Array, rows: Array, block: int, threads: int = 0, alive: Array | None = None) -> Floats:
    """Give the loss of pruning each weight: greedy OBS over groups of `block` (methods.md 1.6, steps 1 to 3).

    `inverse` (d, d) is the inverse of the damped Hessian that all `rows` (r, d) share. A loss (r, d) is
    w_p^2 / G_pp at the start of the batch in which the weight goes; of equal losses the lower column goes first.
    Columns that are not `alive` (d,) take no part and have loss 0. A row's losses depend neither on the other
    rows nor on the number of threads (0: one a core).
    """
    size = inverse.shape[0]
    losses = np.empty(rows.shape, np.float32)
    _spikecore.sbc_order(
        inverse=np.ascontiguousarray(inverse, np.float32),
        rows=np.ascontiguousarray(rows, np.float32),
        alive=np.ones(size, np.uint8) if alive is None else np.ascontiguousarray(alive != 0).view(np.uint8),
        block=block,
        losses=losses,
        threads=threads,
    )
    return losses


def order_blocks(
    inverse: Array, rows: Array, n: int, m: int, threads: int = 0, alive: Array | None = None
) -> NDArray[np.bool_]:
    """Give what N:M pruning keeps, (r, d): n of every m consecutive columns, by exact greedy OBS under that constraint.

    As `order` with one column at a time, but a block that has lost m - n columns loses no more. Columns that are not
    `alive` go first. ValueError where d is not a multiple of m.
    """
    size = inverse.shape[0]
    keep = np.empty(rows.shape, np.uint8)
    _spikecore.sbc_order_blocks(
        inverse=np.ascontiguousarray(inverse, np.float32),
        rows=np.ascontiguousarray(rows, np.float32),
        alive=np.ones(size, np.uint8) if alive is None else np.ascontiguousarray(alive != 0).view(np.uint8),
        n=n,
        m=m,
        losses=np.empty(rows.shape, np.float32),
        keep=keep,
        threads=threads,
    )
    return keep.view(np.bool_)


def order_across(
    inverses: Array, which: Array, rows: Array, n: int, m: int, scales: Array, alive: Array, threads: int = 0
) -> NDArray[np.bool_]:
    """Give what N:M pruning along the outputs keeps, (r, d): n of every m consecutive rows in each column.

    Joint greedy OBS: of the m rows of a block the weight of the least scale * w_p^2 / G_pp goes, its row makes up for
    it, and so on; a column that has lost m - n rows loses no more. It is exact greedy on the sum of the rows' losses,
    for rows are coupled by nothing but this. The last rows may be fewer than m, and lose what is over n. Weights
    whose columns are not alive go first.

    Args:
        inverses: (k, d, d), of damped Hessians.
        which: (r,), the inverse of each row.
        rows: weights (r, d).
        n: rows that a block keeps in each column.
        m: rows of a block.
        scales: (r,), how much a row's loss counts.
        alive: (k, d).
        threads: 0 for one a core.
    """
    keep = np.empty(rows.shape, np.uint8)
    _spikecore.sbc_order_across(
        inverses=np.ascontiguousarray(inverses, np.float32),
        alive=np.ascontiguousarray(alive != 0).view(np.uint8),
        which=np.ascontiguousarray(which, np.int64),
        scales=np.ascontiguousarray(scales, np.float32),
        rows=np.ascontiguousarray(rows, np.float32),
        n=n,
        m=m,
        keep=keep,
        threads=threads,
    )
    return keep.view(np.bool_)


def order_bytes(size: int, block: int = 1, threads: int = 0) -> int:
    """Bytes that `order` needs for d = `size` columns: the shared inverse and what each thread holds."""
    return 4 * size * size + _threads(threads) * _spikecore.sbc_order_thread_bytes(size, block)


def keep_solve(damped: Array, rows: Array, keep: Array, threads: int = 0, inverse: Array | None = None) -> Doubles:
    """Give the best weights (r, d) for a mask: w_K + (H_KK)^-1 H_KP w_P, and exact zeros (methods.md 1.7).

    `damped` (d, d) is the damped Hessian H, `rows` and `keep` are (r, d). Where `inverse` (d, d), that of H, is given,
    a row that loses fewer weights than it keeps is solved over what it loses, which is the same in exact numbers:
    w - G_:P (G_PP)^-1 w_P. ValueError for a Hessian that is not positive definite.
    """
    out = np.empty(rows.shape)
    _spikecore.sbc_keep_solve(
        damped=np.ascontiguousarray(damped, np.float64),
        inverse=None if inverse is None else np.ascontiguousarray(inverse, np.float64),
        rows=np.ascontiguousarray(rows, np.float64),
        keep=np.ascontiguousarray(keep != 0).view(np.uint8),
        out=out,
        threads=threads,
    )
    return out


def keep_solve_bytes(size: int, most: int, threads: int = 0) -> int:
    """Bytes that `keep_solve` needs besides what it is given: each thread solves systems of at most `most` columns."""
    return _threads(threads) * 8 * (min(most, size) ** 2 + 4 * size)


def spike_hessian(
    spikes: Array,
    z: Array,
    into: Doubles,
    threads: int = 0,
    rows: Array | None = None,
    columns: Array | None = None,
) -> None:
    """Add the upper triangle of X^T Z to `into` (d, d); X = `spikes` (n, d) is mostly zeros, Z (n, d).

    With Z = M^T M X of whole recordings this is (MX)^T (MX), which `mirror` makes whole. Spikes may be graded; bytes
    (bool, uint8) are the quickest. Sums over 512 rows are float32, in two halves; 16 of those are added in float32,
    more in float64.

    With offsets `rows` (n,) and `columns` (d,), entry (i, j) of both matrices is element rows[i] + columns[j] of
    `spikes` and `z`, which are of one size then: so the windows of a convolution on a padded image need not be
    written out. ValueError for an entry outside.
    """
    if not into.flags.c_contiguous:
        raise ValueError("the sum is not contiguous")
    if spikes.size != z.size:
        raise ValueError(f"{spikes.size} spikes and {z.size} filtered values")
    width = spikes.shape[-1] if spikes.ndim else 1
    _spikecore.sbc_spike_hessian(
        given=_values(spikes).reshape(-1),
        z=np.ascontiguousarray(z, np.float32).reshape(-1),
        rows=np.arange(0, spikes.size, width) if rows is None else np.ascontiguousarray(rows, np.int64),
        columns=np.arange(width) if columns is None else np.ascontiguousarray(columns, np.int64),
        into=into,
        threads=threads,
    )


def response_hessian(
    spikes: Array, a_mem: float, a_syn: float, into: Doubles, gain: float = 1.0, threads: int = 0
) -> None:
    """Add the upper triangle of (MX)^T (MX) to `into` (d, d) for whole recordings X = `spikes` (N, T, d), mostly zeros.

    M is the membrane u = a_syn u + gain x, v = a_mem v + u. Rows of M^T M X, made in float32 a few columns at a time
    and never held as a whole, are added where X has a spike; the sums are as in `spike_hessian`.
    """
    if not into.flags.c_contiguous:
        raise ValueError("the sum is not contiguous")
    _spikecore.sbc_response_hessian(
        given=_values(spikes), a_mem=a_mem, a_syn=a_syn, gain=gain, into=into, threads=threads
    )


def mirror(into: Doubles, threads: int = 0) -> None:
    """Copy the upper triangle of a matrix to the lower one, in place."""
    if not into.flags.c_contiguous:
        raise ValueError("the matrix is not contiguous")
    _spikecore.sbc_mirror(into=into, threads=threads)


def cores() -> int:
    """Count the cores, which is how many threads 0 stands for."""
    return os.cpu_count() or 1


def _threads(threads: int) -> int:
    return threads or cores()


def _values(spikes: Array) -> NDArray[np.uint8] | Floats:
    """Give spikes as bytes where they are, else as floats."""
    if spikes.dtype in (np.bool_, np.uint8):
        return np.ascontiguousarray(spikes).view(np.uint8)
    return np.ascontiguousarray(spikes, np.float32)
