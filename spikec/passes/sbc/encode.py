"""From a matrix in stored units back to the layer's encoding, on the layer's own grid where it has one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikec.compiler.weights import Array, Dense, Fixed, Sparse, Weight, unwrapped
from spikec.compiler.weights_grid import Grid
from spikec.compiler.weights_nm import NM, rewrapped


def pruned_weight(like: Weight, stored: Array) -> Weight:
    """Give a pruned matrix (rows, columns) the encoding of the old weight, its zeros left out of what is stored.

    Floats keep their type, integers their width, step, sign and exponent, codes their scale; N:M stays N:M.
    """
    inner, values = unwrapped(like), np.asarray(stored).reshape(like.shape)
    made: Dense | Fixed | Grid
    if isinstance(inner, Fixed):
        made = replace(inner, values=np.rint(values).astype(np.int64))
    elif isinstance(inner, Grid):
        made = replace(inner, codes=np.rint(values).astype(np.int64))
    else:
        made = Dense(values.astype(inner.decode().dtype))
    return rewrapped(like, made) if isinstance(like, NM) else Sparse(made)
