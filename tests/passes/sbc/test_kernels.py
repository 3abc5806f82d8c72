"""The kernels of SBC equal the plain float64 forms, whatever the number of threads and the split of the rows."""

from __future__ import annotations

from collections.abc import Iterator

import _spikecore
import numpy as np
import pytest

from spikec.passes.sbc import kernels
from spikec.passes.sbc.response import Response
from tests.passes.sbc import plain


@pytest.fixture(params=["plain", "avx2", "avx512"])
def version(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the kernels use one version of their inner loops."""
    wanted = ["plain", "avx2", "avx512"].index(request.param) + 1
    if wanted > _spikecore.sbc_versions():
        pytest.skip(f"this processor has no {request.param}")
    _spikecore.sbc_use_version(wanted)
    yield
    _spikecore.sbc_use_version(3)


@pytest.mark.parametrize(("size", "block"), [(1, 1), (2, 1), (7, 3), (40, 1), (130, 1), (130, 9), (200, 64), (96, 200)])
def test_the_losses_are_those_of_block_elimination(size: int, block: int) -> None:
    for seed in range(3):
        _, inverse, rows = plain.problem(seed, size, 4)
        expected = np.array([plain.order(inverse, row, block) for row in rows])
        losses = kernels.order(inverse, rows, block)
        assert losses.dtype == np.float32
        np.testing.assert_allclose(losses, expected, rtol=2e-3, atol=1e-6 * expected.max())
        keep = size // 3
        for mine, theirs in zip(losses, expected, strict=True):
            assert set(np.argsort(mine)[:keep]) == set(np.argsort(theirs)[:keep])


@pytest.mark.usefixtures("version")
def test_every_version_of_the_loops_orders_and_solves_alike() -> None:
    damped, inverse, rows = plain.problem(2, 136, 2)
    for block in (1, 9):
        expected = np.array([plain.order(inverse, row, block) for row in rows])
        losses = kernels.order(inverse, rows, block, 1)
        np.testing.assert_allclose(losses, expected, rtol=2e-3, atol=1e-6 * expected.max())
    keep = kernels.order_blocks(inverse, rows, 2, 4, 1)
    assert np.array_equal(keep, np.array([plain.order_blocks(inverse, row, 2, 4) for row in rows]))
    best = np.array([plain.compensate(inverse, row, mask) for row, mask in zip(rows, keep, strict=True)])
    for known in (None, inverse):
        np.testing.assert_allclose(kernels.keep_solve(damped, rows, keep, 1, known), best, atol=1e-10)


def test_exact_greedy_losses_sum_to_the_error_of_pruning_everything() -> None:
    damped, inverse, rows = plain.problem(5, 90, 6)
    losses = kernels.order(inverse, rows, 1)
    np.testing.assert_allclose(losses.sum(axis=1), np.einsum("ri,ij,rj->r", rows, damped, rows), rtol=1e-4)


def test_nothing_depends_on_threads_or_on_the_split_of_rows() -> None:
    damped, inverse, rows = plain.problem(1, 150, 9)
    keep = np.random.default_rng(2).random(rows.shape) < np.linspace(0.05, 0.95, 9)[:, None]
    for block in (1, 7):
        whole = kernels.order(inverse, rows, block, threads=1)
        for threads in (2, 5):
            assert np.array_equal(kernels.order(inverse, rows, block, threads), whole)
        parts = [kernels.order(inverse, part, block) for part in np.array_split(rows, 4)]
        assert np.array_equal(np.concatenate(parts), whole)
    for known in (None, inverse):
        best = kernels.keep_solve(damped, rows, keep, 1, known)
        assert np.array_equal(kernels.keep_solve(damped, rows, keep, 3, known), best)
        halves = [kernels.keep_solve(damped, rows[i : i + 1], keep[i : i + 1], 0, known) for i in range(9)]
        assert np.array_equal(np.concatenate(halves), best)


def test_of_equal_losses_the_lower_column_goes_first() -> None:
    rows = np.ones((2, 12))
    losses = kernels.order(np.eye(12), rows, 5)
    assert np.array_equal(losses, np.ones((2, 12), np.float32))
    inverse = np.eye(4) + 0.5 * (np.eye(4)[[1, 0, 3, 2]])
    losses = kernels.order(inverse, np.ones((1, 4)), 1)
    # Pruning one of a pair moves half of its weight away from the other: 1 - 1/2, with variance 1 - 1/4.
    np.testing.assert_allclose(losses, [[1, 0.25 / 0.75, 1, 0.25 / 0.75]], rtol=1e-6)
    assert np.array_equal(losses, kernels.order(inverse, np.ones((1, 4)), 1))


def test_dead_columns_have_no_loss_and_do_not_touch_the_others() -> None:
    damped, _, rows = plain.problem(3, 30, 3)
    alive = np.ones(30, bool)
    alive[[0, 7, 29]] = False
    losses = kernels.order(np.linalg.inv(damped), rows, 2, alive=alive)
    assert not losses[:, ~alive].any()
    inner = np.linalg.inv(damped)[np.ix_(alive, alive)]
    assert np.array_equal(losses[:, alive], kernels.order(inner, rows[:, alive], 2))
    assert not kernels.order(np.eye(3), np.ones((2, 3)), 1, alive=np.zeros(3, bool)).any()


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8), (0, 4), (4, 4), (1, 16)])
def test_blocks_keep_n_of_m_by_greedy_elimination(n: int, m: int) -> None:
    for size in (m, 128, 240):
        _, inverse, rows = plain.problem(n + size, size, 3)
        keep = kernels.order_blocks(inverse, rows, n, m, threads=1)
        assert (keep.reshape(3, -1, m).sum(axis=2) == n).all()
        assert np.array_equal(keep, np.array([plain.order_blocks(inverse, row, n, m) for row in rows]))
        assert np.array_equal(keep, kernels.order_blocks(inverse, rows, n, m, threads=3))


@pytest.mark.parametrize(("n", "m", "count"), [(2, 4, 8), (1, 4, 6), (1, 2, 5), (3, 8, 11), (5, 8, 12)])
def test_rows_that_share_what_a_block_loses_are_the_plain_greedy(n: int, m: int, count: int) -> None:
    """Several inverses and scales; the last block has fewer rows; panels are dropped on the way."""
    size = 53
    (_, one, rows), (_, two, _) = plain.problem(n, size, count), plain.problem(m + 9, size, 1)
    rng = np.random.default_rng(m)
    which, scales = rng.integers(0, 2, count), rng.uniform(0.3, 3, count)
    inverses, alive = np.stack([one, two]), np.ones((2, size), bool)
    keep = kernels.order_across(inverses, which, rows, n, m, scales, alive, threads=1)
    assert np.array_equal(keep, plain.order_across(inverses, which.tolist(), rows, n, m, scales))
    for first in range(0, count, m):
        assert (keep[first : first + m].sum(axis=0) == min(n, count - first)).all()
    assert np.array_equal(keep, kernels.order_across(inverses, which, rows, n, m, scales, alive, threads=3))


def test_across_rows_is_one_row_of_all_of_them() -> None:
    """Rows with no coupling but the blocks: one row whose Hessian is block diagonal, blocks of m neighbours."""
    _, inverse, rows = plain.problem(5, 40, 4)
    long = np.zeros((40, 4, 40, 4))
    for r in range(4):
        long[:, r, :, r] = inverse
    want = kernels.order_blocks(long.reshape(160, 160), rows.T.reshape(1, 160), 1, 4).reshape(40, 4).T
    alive = np.ones((1, 40), bool)
    keep = kernels.order_across(inverse[None], np.zeros(4, int), rows, 1, 4, np.ones(4), alive)
    assert np.array_equal(keep, want)
    alive[0, 7:30] = False
    keep = kernels.order_across(inverse[None], np.zeros(4, int), rows, 1, 4, np.ones(4), alive)
    assert keep[:, 7:30].tolist() == [[False] * 23] * 3 + [[True] * 23]
    both = np.stack([alive[0], ~alive[0]])  # what is dead in a row goes before what is alive in another
    keep = kernels.order_across(np.stack([inverse] * 2), np.array([0, 0, 1, 1]), rows, 2, 4, np.ones(4), both)
    assert np.array_equal(keep, both[[0, 0, 1, 1]])
    with pytest.raises(ValueError, match="no inverse"):
        kernels.order_across(inverse[None], np.ones(4, int), rows, 1, 4, np.ones(4), alive)


def test_dead_columns_are_the_first_of_their_block_to_go() -> None:
    alive = np.array([1, 0, 1, 0, 0, 0, 0, 1], bool)
    keep = kernels.order_blocks(np.eye(8), np.arange(8, 0, -1)[None], 1, 4, alive=alive)
    assert np.array_equal(keep, np.array([[1, 0, 0, 0, 0, 0, 0, 1]], bool))
    with pytest.raises(ValueError, match="whole blocks"):
        kernels.order_blocks(np.eye(6), np.ones((1, 6)), 2, 4)


def test_a_damped_singular_hessian_never_gives_nan() -> None:
    rng = np.random.default_rng(0)
    few = (rng.random((3, 120)) < 0.3).astype(float)
    hessian = few.T @ few
    damped = hessian + 1e-4 * np.mean(np.diag(hessian)) * np.eye(120)
    rows = rng.normal(size=(4, 120))
    for block in (1, 8):
        losses = kernels.order(np.linalg.inv(damped), rows, block)
        assert np.isfinite(losses).all()
        assert (losses >= 0).all()
    assert np.isfinite(kernels.keep_solve(damped, rows, rows > 0)).all()


@pytest.mark.parametrize("share", [0.03, 0.3, 0.5, 0.7, 0.97])
def test_kept_weights_are_group_obs_and_the_normal_equations(share: float) -> None:
    damped, inverse, rows = plain.problem(4, 140, 6)
    keep = np.random.default_rng(1).random(rows.shape) < share
    expected = np.array([plain.compensate(inverse, row, mask) for row, mask in zip(rows, keep, strict=True)])
    refit = np.array([plain.least_squares(damped, row, mask) for row, mask in zip(rows, keep, strict=True)])
    for known in (None, inverse):
        best = kernels.keep_solve(damped, rows, keep, inverse=known)
        assert not best[~keep].any()
        np.testing.assert_allclose(best, expected, atol=1e-10)
        np.testing.assert_allclose(best, refit, atol=1e-10)


def test_all_kept_and_none_kept() -> None:
    damped, inverse, rows = plain.problem(4, 20, 2)
    for known in (None, inverse):
        everything = np.ones_like(rows, bool)
        assert np.array_equal(kernels.keep_solve(damped, rows, everything, inverse=known), rows)
        assert not kernels.keep_solve(damped, rows, ~everything, inverse=known).any()


def test_a_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(ValueError, match="not positive definite"):
        kernels.keep_solve(-np.eye(3), np.ones((1, 3)), np.array([[True, True, False]]))


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (700, 70), (300, 257), (9000, 17)])
def test_the_hessian_of_spikes_is_the_dense_product(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    spikes = (rng.random(shape) < 0.06) * rng.integers(1, 4, shape)
    z = rng.random(shape, np.float32)
    exact = spikes.T.astype(float) @ z
    start = rng.random((shape[1], shape[1]))
    into = start.copy()
    kernels.spike_hessian(spikes, z, into, threads=1)
    np.testing.assert_allclose(np.triu(into - start), np.triu(exact), rtol=2e-6, atol=1e-9)
    assert np.array_equal(np.tril(into, -1), np.tril(start, -1))
    again = start.copy()
    kernels.spike_hessian(spikes.astype(np.uint8), z, again, threads=3)
    assert np.array_equal(again, into)


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize(("count", "steps", "size"), [(1, 1, 1), (9, 100, 70), (30, 7, 130), (2, 1100, 64)])
@pytest.mark.parametrize("response", [Response(0.5), Response(1.0), Response(0.9, 0.6, "add_decay"), Response()])
def test_filtering_on_the_way_is_the_dense_product(count: int, steps: int, size: int, response: Response) -> None:
    rng = np.random.default_rng(0)
    gain = response.a_syn if response.order == "add_decay" else 1.0
    for spikes in (rng.random((count, steps, size)) < 0.06, rng.integers(0, 12, (count, steps, size)) // 10):
        z = response.filtered(spikes.astype(float)).reshape(-1, size)
        exact = np.triu(z.T @ z)
        into = np.zeros((size, size))
        kernels.response_hessian(spikes, response.a_mem, response.a_syn, into, gain, threads=1)
        np.testing.assert_allclose(into, exact, rtol=3e-6, atol=1e-6 * exact.max(initial=0))
        again = np.zeros((size, size))
        kernels.response_hessian(spikes, response.a_mem, response.a_syn, again, gain, threads=3)
        assert np.array_equal(again, into)


@pytest.mark.usefixtures("version")
def test_the_windows_of_a_convolution_need_not_be_written_out() -> None:
    rng = np.random.default_rng(0)
    channels, height, width, kernel, stride = 3, 9, 11, 3, 2
    image = (rng.random((40, channels, height, width)) < 0.1).astype(np.float32) * rng.integers(1, 3)
    z = rng.random(image.shape, np.float32)
    windows = [np.lib.stride_tricks.sliding_window_view(a, (kernel, kernel), (2, 3)) for a in (image, z)]
    x, filtered = (
        w[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * kernel**2) for w in windows
    )
    places = np.arange(image[0].size).reshape(channels, height, width)
    columns = places[:, :kernel, :kernel].reshape(-1)
    corners = places[0, : height - kernel + 1 : stride, : width - kernel + 1 : stride].reshape(-1)
    rows = (np.arange(len(image))[:, None] * image[0].size + corners).reshape(-1)
    into = np.zeros((len(columns), len(columns)))
    kernels.spike_hessian(image, z, into, rows=rows, columns=columns)
    np.testing.assert_allclose(into, np.triu(x.T.astype(float) @ filtered), rtol=2e-6)
    with pytest.raises(ValueError, match="not in the data"):
        kernels.spike_hessian(image, z, into, rows=rows + 1, columns=columns)


@pytest.mark.usefixtures("version")
def test_neighbouring_windows_are_found_together() -> None:
    rng = np.random.default_rng(1)
    for width, kernel in ((100, 5), (20, 3), (9, 9)):
        line = (rng.random((7, 2, width)) < 0.1).astype(np.uint8) * rng.integers(1, 3, (7, 1, 1), np.uint8)
        z = rng.random(line.shape, np.float32)
        views = [np.lib.stride_tricks.sliding_window_view(a, kernel, 2).transpose(0, 2, 1, 3) for a in (line, z)]
        x, filtered = (v.reshape(-1, 2 * kernel) for v in views)
        rows = (np.arange(7)[:, None] * 2 * width + np.arange(width - kernel + 1)).reshape(-1)
        columns = (np.arange(2)[:, None] * width + np.arange(kernel)).reshape(-1)
        into = np.zeros((2 * kernel, 2 * kernel))
        kernels.spike_hessian(line, z, into, rows=rows, columns=columns)
        np.testing.assert_allclose(into, np.triu(x.T.astype(float) @ filtered), rtol=2e-6)


def test_the_sum_of_many_spikes_is_near_the_exact_one() -> None:
    cases = ((0.05, 0.9, 0.0), (0.3, 0.9, 0.6), (1.0, 0.9, 0.0), (0.05, 0.9993, 0.0), (0.02, 0.9993, 0.997))
    for rate, a_mem, a_syn in cases:
        response = Response(a_mem, a_syn, "decay_add")
        spikes = np.random.default_rng(0).random((10, 1000, 30)) < rate
        z = response.filtered(spikes).reshape(-1, 30)
        into = np.zeros((30, 30))
        kernels.response_hessian(spikes, *response.recurrence[:2], into)
        np.testing.assert_allclose(into, np.triu(z.T @ z), rtol=1e-6)


@pytest.mark.parametrize("size", [0, 1, 7, 64, 130, 601])
def test_mirror_makes_the_triangle_whole(size: int) -> None:
    whole = np.random.default_rng(0).random((size, size))
    whole += whole.T
    half = np.triu(whole)
    kernels.mirror(half, 1)
    assert np.array_equal(half, whole)
    half = np.triu(whole)
    kernels.mirror(half, 3)
    assert np.array_equal(half, whole)


def test_arrays_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        kernels.order(np.eye(3), np.ones((2, 4)), 1)
    with pytest.raises(ValueError, match="at least one"):
        kernels.order(np.eye(3), np.ones((2, 3)), 0)
    with pytest.raises(ValueError, match="one size"):
        kernels.keep_solve(np.eye(3), np.ones((2, 3)), np.ones((2, 4), bool))


def test_the_memory_of_ordering_is_within_its_bound() -> None:
    for threads in (1, 2, 8):
        assert kernels.order_bytes(4096, 16, threads) <= 4 * (threads + 1) * 4096**2
