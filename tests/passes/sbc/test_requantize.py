"""Quantization with compensation: three forms of the method agree, masks hold, and nothing depends on the cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.passes.sbc.grids import LevelGrid, fitted
from spikec.passes.sbc.prune import Factor, compensate, factor, masks, order_rows, reconstruction
from spikec.passes.sbc.requantize import columns, nearest_rows, quantize_rows

seeds = st.integers(0, 2**32 - 1)


def layer(seed: int, d: int = 30, rows: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(2 * d, d)) @ (np.eye(d) + 0.4 * rng.normal(size=(d, d))) * rng.uniform(0.1, 2, d)
    return 2 * mixed.T @ mixed / len(mixed), rng.normal(size=(rows, d))


def by_column(made: Factor, rows: np.ndarray, grid: LevelGrid) -> np.ndarray:
    """The step formula of methods.md 1.8: e = q(w_j) - w_j; W += e / G_jj G[j]; G -= G[:, j] G[j] / G_jj."""
    g, w = np.linalg.inv(made.damped), rows.copy()
    codes = np.zeros(rows.shape, np.int32)
    for j in np.argsort(np.diag(g)):
        codes[:, j] = grid.nearest(w[:, j])
        e = grid.decode(codes[:, j]) - w[:, j]
        w = w + np.outer(e / g[j, j], g[j])
        g = g - np.outer(g[:, j], g[j]) / g[j, j]
        g[j, j] = 1.0
    return codes


def by_cholesky(made: Factor, rows: np.ndarray, grid: LevelGrid) -> np.ndarray:
    """GPTQ's form: the upper Cholesky factor of the inverse, in the order of the columns."""
    inverse = np.linalg.inv(made.damped)
    order = np.argsort(np.diag(inverse))
    upper = np.linalg.cholesky(inverse[np.ix_(order, order)]).T
    w = rows[:, order].copy()
    codes = np.zeros(rows.shape, np.int32)
    for i, j in enumerate(order):
        codes[:, j] = grid.nearest(w[:, i])
        w[:, i:] -= np.outer((w[:, i] - grid.decode(codes[:, j])) / upper[i, i], upper[i, i:])
    return codes


@given(seeds, st.integers(1, 8), st.sampled_from(["uniform", "powers"]))
@settings(max_examples=30, deadline=None)
def test_it_equals_the_column_loop_and_the_cholesky_form(seed: int, bits: int, kind) -> None:
    hessian, rows = layer(seed)
    rows[1] = np.abs(rows[1])
    made, grid = factor(hessian), fitted(rows, bits, kind=kind)
    codes = quantize_rows(made, rows, grid)
    assert codes.dtype == np.int32
    assert np.array_equal(codes, by_column(made, rows, grid))
    assert np.array_equal(codes, by_cholesky(made, rows, grid))


@pytest.mark.parametrize("d", [1, 127, 128, 129, 260])
def test_blocks_of_columns_change_nothing(d: int) -> None:
    hessian, rows = layer(d, d, 4)
    made, grid = factor(hessian), fitted(rows, 3)
    assert np.array_equal(quantize_rows(made, rows, grid), by_cholesky(made, rows, grid))


@pytest.mark.parametrize("masked", [False, True])
def test_a_row_does_not_depend_on_what_it_is_cut_with(masked: bool) -> None:
    hessian, rows = layer(seed := 3, 140, 40)
    made, grid = factor(hessian), fitted(rows, 4)
    keep = np.random.default_rng(seed).random(rows.shape) < 0.5 if masked else None
    ready = columns(made)
    whole = quantize_rows(ready, rows, grid, keep)
    for size in (1, 33):
        for start in range(0, 40, size):
            cut = slice(start, start + size)
            part = quantize_rows(ready, rows[cut], grid.part(cut), None if keep is None else keep[cut])
            assert np.array_equal(part, whole[cut])


@given(seeds, st.floats(0, 1), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_a_mask_holds_and_the_kept_weights_alone_make_up(seed: int, share: float, bits: int) -> None:
    hessian, rows = layer(seed)
    made = factor(hessian)
    keep = np.random.default_rng(seed).random(rows.shape) < share
    pruned = compensate(made, rows, keep)
    grid = fitted(pruned, bits, keep)
    codes = quantize_rows(made, pruned, grid, keep)
    assert not codes[~keep].any()
    back = columns(made).order
    for row, kept in enumerate(keep):
        mine = back[kept[back]]  # as a layer of the kept inputs alone, in the layer's order
        small = np.linalg.inv(made.damped[np.ix_(mine, mine)])
        w, part = pruned[row, mine].copy(), grid.part(slice(row, row + 1))
        for i in range(len(mine)):
            assert codes[row, mine[i]] == part.nearest(w[i : i + 1])[0]
            e = part.decode(codes[row, mine[i : i + 1]])[0] - w[i]
            w += e / small[i, i] * small[i]
            small = small - np.outer(small[:, i], small[i]) / small[i, i]
            small[i, i] = 1


def test_on_average_it_beats_rounding_and_far_so_with_a_mask() -> None:
    lost = np.zeros((2, 2))
    for seed in range(20):
        hessian, rows = layer(seed)
        made = factor(hessian)
        keep = masks(order_rows(made, rows), rows.size // 2)
        pruned = compensate(made, rows, keep)
        for i, (weights, mask) in enumerate(((rows, None), (pruned, keep))):
            grid = fitted(weights, 3, mask)
            for j, codes in enumerate((quantize_rows(made, weights, grid, mask), nearest_rows(weights, grid, mask))):
                lost[i, j] += reconstruction(hessian, weights, grid.decode(codes)).sum()
    assert np.all(lost[:, 0] < 0.75 * lost[:, 1])


def test_plain_rounding_is_what_a_layer_without_inputs_gets() -> None:
    _, rows = layer(0)
    grid = fitted(rows, 3)
    keep = np.random.default_rng(0).random(rows.shape) < 0.5
    silent = factor(np.zeros((30, 30)))
    assert np.array_equal(quantize_rows(silent, rows, grid), nearest_rows(rows, grid))
    assert np.array_equal(quantize_rows(silent, rows, grid, keep), nearest_rows(rows, grid, keep))
    assert not nearest_rows(rows, grid, keep)[~keep].any()


def test_dead_inputs_and_empty_rows_are_no_trouble() -> None:
    hessian, rows = layer(0)
    hessian[3] = hessian[:, 3] = 0
    keep = np.ones(rows.shape, bool)
    keep[2] = False
    rows[2] = 0
    grid = fitted(rows, 2, keep)
    codes = quantize_rows(factor(hessian), rows, grid, keep)
    assert not codes[2].any()
    assert np.array_equal(codes[:, 3], grid.nearest(rows[:, 3]))
    with pytest.raises(ValueError, match="do not fit"):
        quantize_rows(factor(hessian), rows[:, 1:], grid)
    with pytest.raises(ValueError, match="do not fit"):
        quantize_rows(factor(hessian), rows[1:], grid)
