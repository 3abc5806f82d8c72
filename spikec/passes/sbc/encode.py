"""From a matrix in stored units back to the layer's encoding, on the layer's own grid where it has one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikec.compiler.target import Target
from spikec.compiler.weights import Array, Dense, Fixed, Sign, Sparse, Weight, Whole, unwrapped
from spikec.compiler.weights_grid import Grid
from spikec.compiler.weights_nm import NM, rewrapped
from spikec.passes.sbc.grids import LevelGrid, of_fixed

SIGNS: tuple[Sign, ...] = ("mixed", "excitatory", "inhibitory")


def pruned_weight(like: Weight, stored: Array) -> Weight:
    """Give a pruned matrix (rows, columns) the encoding of the old weight, its zeros left out of what is stored.

    Floats keep their type, integers their width, step, sign and exponent, codes their scale; N:M stays N:M.
    """
    made = stored_weight(like, stored)
    return rewrapped(like, made) if isinstance(like, NM) else Sparse(made)


def stored_weight(like: Weight, stored: Array) -> Whole:
    """Give a matrix in stored units the encoding of the old weight, without its structure of zeros."""
    inner, values = unwrapped(like), np.asarray(stored).reshape(like.shape)
    made: Dense | Fixed | Grid
    if isinstance(inner, Fixed):
        made = replace(inner, values=np.rint(values).astype(np.int64))
    elif isinstance(inner, Grid):
        made = replace(inner, codes=np.rint(values).astype(np.int64))
    else:
        made = Dense(values.astype(inner.decode().dtype))
    return made


def quantized_weight(like: Weight, codes: Array, grid: LevelGrid, target: Target | None) -> Weight:
    """Give codes (rows, columns) on a grid as weights: a Grid of floats, narrower integers of a Fixed.

    Integers are written in as few bits as the target takes them in: the step of that width, and an exponent below the
    old one where the levels are finer than the step and the target has such exponents. Otherwise they keep their width.
    """
    inner = unwrapped(like)
    if not isinstance(inner, Fixed):
        made: Fixed | Grid = grid.encoded(np.asarray(codes).reshape(like.shape), inner.decode().dtype)
        return rewrapped(like, made)
    values = np.rint(grid.decode(codes)).astype(np.int64).reshape(like.shape)
    made = replace(inner, values=values)
    full = inner.step << max(0, inner.width - max(2, grid.width))
    finer = round(full / float(grid.scale[0])).bit_length() - 1 if grid.width > 1 else 0
    least = 0 if target is None or len(like.shape) != 2 else target.exponents[0]
    plain = isinstance(inner.exponent, int) and (target is None or target.even_mixed)
    if plain and isinstance(inner.exponent, int) and (not finer or inner.exponent - finer >= least):
        narrow = replace(
            inner, values=values << finer, exponent=inner.exponent - finer, width=max(2, grid.width), step=full
        )
        made = narrow if narrow.bits < made.bits else made
    return rewrapped(like, made)


def levels_of(weight: Weight) -> LevelGrid | None:
    """Give the grid that a layer's weights are on, in stored units; None for plain floats.

    Codes of a Grid that are all powers of two (or 0) stay such: their levels are those that there are.
    """
    inner = unwrapped(weight)
    if isinstance(inner, Fixed):
        return of_fixed(inner)
    if not isinstance(inner, Grid):
        return None
    sizes = np.abs(inner.codes[inner.codes != 0])
    powers = bool(np.all(sizes & (sizes - 1) == 0)) and bool(np.any(sizes > 1))
    tables = []
    for kind in SIGNS:
        low, high = Grid.limits(inner.width, kind)
        levels = np.arange(low, high + 1)
        if inner.width == 1 and kind == "mixed":
            levels = np.array([-1, 1])
        elif powers:
            there = np.unique(np.concatenate([[0], sizes, -sizes]))
            levels = there[(there >= low) & (there <= high)]
        tables.append(levels)
    sign = SIGNS.index(inner.sign) if isinstance(inner.sign, str) else inner.sign
    rows = np.broadcast_to(np.asarray(sign), inner.shape[:1]).astype(np.int8)
    rows = np.where(rows == len(SIGNS) - 1, -1, rows).astype(np.int8)
    return LevelGrid((tables[0], tables[1], tables[2]), rows, np.ones(inner.shape[0]), inner.width)
