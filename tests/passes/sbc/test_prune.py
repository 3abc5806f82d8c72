"""Pruning: group OBS equals the refit, masks go by loss, and nothing depends on how the rows are cut (1.14 b to f)."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.ops import Linear
from spikec.compiler.weights import Dense
from spikec.passes.sbc.algebra import gram_of_lower, invert_lower, upper_of_inverse
from spikec.passes.sbc.hessian import HessianSum
from spikec.passes.sbc.prune import (
    compensate,
    default_block,
    factor,
    magnitude_mask,
    masks,
    order_rows,
    reconstruction,
)
from spikec.passes.sbc.requantize import columns
from spikec.passes.sbc.response import Response
from tests.passes.sbc import plain

seeds = st.integers(0, 2**32 - 1)


def layer(seed: int, d: int = 24, rows: int = 6, rank: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Give a Hessian of inputs that come together, some of them often, and weights."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rank, d)) @ (np.eye(d) + 0.4 * rng.normal(size=(d, d))) * rng.uniform(0.1, 2, d)
    return 2 * mixed.T @ mixed / rank, rng.normal(size=(rows, d))


@given(seeds, st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_the_factor_is_the_damped_hessian_and_its_inverse(seed: int, d: int) -> None:
    hessian, _ = layer(seed, d, rank=d + 3)
    made = factor(hessian)
    assert made.damping == 0.01 * hessian.diagonal().mean()
    assert np.array_equal(made.damped, hessian + made.damping * np.eye(d))
    exact = np.linalg.inv(made.damped)
    np.testing.assert_allclose(made.inverse, exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())
    np.testing.assert_allclose(made.diagonal, exact.diagonal(), rtol=1e-9)
    assert np.array_equal(made.inverse, made.inverse.T)
    assert made.alive.all()
    assert not made.silent


@pytest.mark.parametrize("n", [1, 63, 64, 65, 300, 513])
def test_triangular_algebra(n: int) -> None:
    hessian, _ = layer(n, n, rank=2 * n)
    hessian += 0.1 * np.eye(n)
    lower = np.linalg.cholesky(hessian)
    inverse = invert_lower(lower.copy())
    np.testing.assert_allclose(inverse @ lower, np.eye(n), atol=1e-10)
    assert not np.triu(inverse, 1).any()
    product, diagonal = gram_of_lower(inverse)
    exact = np.linalg.inv(hessian)
    np.testing.assert_allclose(product, exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())
    np.testing.assert_allclose(diagonal, exact.diagonal(), rtol=1e-9)
    upper = upper_of_inverse(hessian)
    assert not np.tril(upper, -1).any()
    np.testing.assert_allclose(upper.T @ upper, exact, atol=1e-9 * np.abs(exact).max())


@given(seeds, st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_group_obs_equals_the_refit_by_normal_equations(seed: int, share: float) -> None:
    hessian, rows = layer(seed)
    made = factor(hessian)
    keep = np.random.default_rng(seed).random(rows.shape) < share
    best = compensate(made, rows, keep)
    inverse = np.linalg.inv(made.damped)
    for row, kept, weights in zip(rows, keep, best, strict=True):
        np.testing.assert_allclose(weights, plain.least_squares(made.damped, row, kept), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(weights, plain.compensate(inverse, row, kept), rtol=1e-10, atol=1e-10)
    assert not best[~keep].any()
    gone = ~keep[0]  # the loss of a whole group: w_P^T (G_PP)^-1 w_P = e^T H e
    total = rows[0, gone] @ np.linalg.solve(inverse[np.ix_(gone, gone)], rows[0, gone])
    np.testing.assert_allclose(reconstruction(made.damped, rows, best)[0], total, rtol=1e-8, atol=1e-12)


@given(seeds, st.floats(0, 1), st.sampled_from([0.0, 0.01, 1.0]))
@settings(max_examples=40, deadline=None)
def test_compensation_never_loses_against_its_own_mask_alone(seed: int, share: float, damping: float) -> None:
    hessian, rows = layer(seed, rank=int(np.random.default_rng(seed).integers(1, 60)))
    keep = np.random.default_rng(seed).random(rows.shape) < share
    made = factor(hessian, damping)
    best = reconstruction(hessian, rows, compensate(made, rows, keep))
    alone = reconstruction(hessian, rows, np.where(keep, rows, 0))
    assert np.all(best <= alone + 1e-9 * np.abs(alone).max())


def test_on_average_the_mask_by_loss_beats_magnitude_with_the_best_weights() -> None:
    losses = {"sbc": 0.0, "magnitude": 0.0}
    for seed in range(20):
        hessian, rows = layer(seed)
        made = factor(hessian)
        number = rows.size * 3 // 4
        for name, keep in (
            ("sbc", masks(order_rows(made, rows, block=1), number)),
            ("magnitude", magnitude_mask(rows, number)),
        ):
            losses[name] += reconstruction(hessian, rows, compensate(made, rows, keep)).sum()
    assert losses["sbc"] < 0.8 * losses["magnitude"]


@given(seeds, st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_the_order_is_that_of_the_method(seed: int, block: int) -> None:
    hessian, rows = layer(seed)
    made = factor(hessian)
    inverse = np.linalg.inv(made.damped)
    expected = np.array([plain.order(inverse, row, block) for row in rows])
    np.testing.assert_allclose(order_rows(made, rows, block=block), expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_the_default_block_is_a_256th_of_the_columns() -> None:
    assert [default_block(d) for d in (1, 256, 257, 2312, 4608, 8192)] == [1, 1, 2, 10, 18, 32]
    hessian, rows = layer(0, 300, 2, 900)
    made = factor(hessian)
    assert np.array_equal(order_rows(made, rows), order_rows(made, rows, block=2))


def test_weights_go_by_loss_and_not_by_the_order_of_elimination() -> None:
    """Greedy losses are not monotone: the second column to go may be the cheaper one."""
    losses = np.array([[3.0, 1.0, 2.0, 9.0], [0.5, 4.0, 4.0, 4.0]], np.float32)
    assert masks(losses, 3).tolist() == [[True, False, False, True], [False, True, True, True]]
    assert masks(losses, 5).sum(axis=1).tolist() == [1, 2]  # 4.0 is tied: the lower column goes first
    assert masks(losses, 5)[1].tolist() == [False, False, True, True]
    assert masks(losses, 0).all()
    assert not masks(losses, 8).any()
    with pytest.raises(ValueError, match="cannot remove 9 of 8"):
        masks(losses, 9)
    drops = 0
    for seed in range(10):
        hessian, rows = layer(seed)
        inverse = np.linalg.inv(factor(hessian).damped)
        g, w, last = inverse.copy(), rows[0].copy(), 0.0
        left = list(range(len(w)))
        while left:
            score = w[left] ** 2 / np.diag(g)[left]
            j = left.pop(int(np.argmin(score)))
            drops += bool(score.min() < last)
            last = score.min()
            w, g = w - g[:, j] * w[j] / g[j, j], g - np.outer(g[:, j], g[j]) / g[j, j]
    assert drops > 5


@given(seeds, st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_masks_and_weights_do_not_depend_on_how_rows_are_cut(seed: int, share: float) -> None:
    hessian, rows = layer(seed, 40, 9)
    made, scales = factor(hessian), np.random.default_rng(seed).uniform(0.1, 3, 9)
    whole = order_rows(made, rows, scales, block=3)
    keep = masks(whole, int(share * rows.size))
    best = compensate(made, rows, keep)
    for size in (1, 4):
        cuts = [slice(i, i + size) for i in range(0, 9, size)]
        parts = [order_rows(made, rows[cut], scales[cut], block=3, threads=1) for cut in cuts]
        assert np.array_equal(np.concatenate(parts), whole)
        assert np.array_equal(np.concatenate([compensate(made, rows[cut], keep[cut]) for cut in cuts]), best)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_folding_a_batch_norm_gives_the_masks_of_scaling_the_hessian(seed: int) -> None:
    hessian, rows = layer(seed)
    a = np.random.default_rng(seed).uniform(-2, 2, len(rows))
    made = factor(hessian)
    folded, scaled = order_rows(made, rows * a[:, None]), order_rows(made, rows, a)
    np.testing.assert_allclose(folded, scaled, rtol=1e-4)
    number = rows.size // 2
    keep = masks(folded, number)
    assert np.array_equal(keep, masks(scaled, number))
    np.testing.assert_allclose(compensate(made, rows * a[:, None], keep), a[:, None] * compensate(made, rows, keep))
    for row, factor_of_row in zip(rows, a, strict=True):  # the per-row inverse of a_j^2 H is the shared one over a_j^2
        own = np.linalg.inv(factor(hessian * factor_of_row**2).damped)
        np.testing.assert_allclose(
            plain.order(own, row, 1), factor_of_row**2 * plain.order(np.linalg.inv(made.damped), row, 1), rtol=1e-6
        )


def collected(response: Response, spikes: np.ndarray) -> np.ndarray:
    total = HessianSum(Linear(Dense(np.zeros((1, spikes.shape[2])))), spikes.shape[2:], response)
    total.add(spikes)
    return total.value()[0]


def test_tau_1_is_exact_obs_bit_for_bit_and_one_step_gives_the_same_masks() -> None:
    rng = np.random.default_rng(0)
    spikes, rows = (rng.random((20, 30, 24)) < 0.2).astype(np.uint8), rng.normal(size=(6, 24))
    smp, obs = (factor(collected(r, spikes)) for r in (Response(0.0), Response()))
    for field in ("inverse", "damped", "alive"):
        assert np.array_equal(getattr(smp, field), getattr(obs, field))
    assert np.array_equal(order_rows(smp, rows), order_rows(obs, rows))
    spikes = (rng.random((60, 1, 24)) < 0.3).astype(np.uint8)
    lif, none = (factor(collected(r, spikes)) for r in (Response(0.5, 0.5, "add_decay"), Response()))
    made = [masks(order_rows(f, rows), 70) for f in (lif, none)]
    assert np.array_equal(*made)


def test_inputs_that_never_come_go_first_and_at_no_loss() -> None:
    hessian, rows = layer(0)
    dead = np.zeros(24, bool)
    dead[[2, 5, 23]] = True
    hessian[dead] = hessian[:, dead] = 0
    made = factor(hessian)
    assert np.array_equal(made.alive, ~dead)
    losses = order_rows(made, rows)
    assert not losses[:, dead].any()
    assert (losses[:, ~dead] > 0).all()
    keep = masks(losses, 3 * len(rows))
    assert np.array_equal(keep, np.broadcast_to(~dead, rows.shape))
    assert np.array_equal(compensate(made, rows, keep), np.where(keep, rows, 0))
    assert not reconstruction(hessian, rows, compensate(made, rows, keep)).any()
    held = compensate(made, rows, ~masks(losses, 3 * len(rows)))  # kept dead inputs stay what they were
    assert np.isfinite(held).all()
    np.testing.assert_allclose(held[:, dead], rows[:, dead])


@given(seeds, st.integers(1, 10), st.sampled_from([0.0, 1e-30, 0.01]), st.sampled_from([1e-12, 1.0, 1e12]))
@settings(max_examples=30, deadline=None)
def test_a_hessian_of_too_few_samples_never_gives_nan(seed: int, rank: int, damping: float, unit: float) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.random((rank, 24)) < 0.3) * np.sqrt(unit)
    hessian, rows = x.T @ x, rng.normal(size=(4, 24))
    made = factor(hessian, damping)
    assert made.silent == (not x.any())
    losses = order_rows(made, rows)
    assert np.isfinite(losses).all()
    best = compensate(made, rows, masks(losses, 60))
    assert np.isfinite(best).all()


def test_a_factorisation_that_went_well_by_luck_is_not_taken() -> None:
    """Of columns that are alike one way of rounding leaves a pivot above 0, and another one none."""
    rng = np.random.default_rng(3697)
    rng.integers(1, 5), rng.choice(6), rng.random((4, 24)), rng.normal(size=(4, 24))
    x = (rng.random((4, 24)) < 0.05).astype(float)
    hessian, rows = x.T @ x, rng.normal(size=(4, 24))
    for damping in (0.0, 1e-30):
        made = factor(hessian, damping)
        assert made.damping >= 1e-12 * hessian.diagonal().mean()
        for seed in range(20):
            best = compensate(made, rows, np.random.default_rng(seed).random(rows.shape) < 0.6)
            assert np.isfinite(best).all()
    tiny = factor(np.diag([1e-12, 0.0]), 1e-30)  # of an input that never comes, 1 over the damping
    assert np.isfinite(tiny.inverse).all()


def test_a_layer_that_is_given_nothing_is_pruned_by_magnitude_which_is_told() -> None:
    _, rows = layer(0)
    made = factor(np.zeros((24, 24)))
    assert made.silent
    keep = masks(order_rows(made, rows), 100)
    assert np.array_equal(keep, magnitude_mask(rows, 100))
    assert np.array_equal(compensate(made, rows, keep), np.where(keep, rows, 0))


def test_the_factor_takes_at_most_24_bytes_an_entry_with_the_hessian_itself() -> None:
    d = 1000
    hessian, _ = layer(0, d, 1, 100)
    factor(hessian[:9, :9])
    tracemalloc.start()
    made = factor(hessian)
    left, peak = tracemalloc.get_traced_memory()
    columns(made)
    later = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert hessian.nbytes + max(peak, later) <= 24 * d * d
    assert left <= 4.1 * d * d


def test_what_is_no_hessian_is_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        factor(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="no finite numbers"):
        factor(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match=r"not negative, which -1\.0 is"):
        factor(np.eye(2), -1.0)
