"""Levels of quantized weights: the published grid, rows of one sign, powers of two, one bit, what targets hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.fixed import Arithmetic
from spikec.compiler.target import Target
from spikec.compiler.weights import Fixed
from spikec.passes.quantize.grid import sign_of, step_of
from spikec.passes.sbc.grids import LevelGrid, fitted, of_fixed, of_target

seeds = st.integers(0, 2**32 - 1)
bits_of = st.integers(1, 8)
LOIHI = Target("loihi2")
FPGA = Target("fpga", Arithmetic("fpga"), even_mixed=False, one_sign=False)


def matrix(seed: int) -> np.ndarray:
    """Give rows of mixed signs, of one sign and of zeros, with zeros among them."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(6, 9)) * 10.0 ** rng.uniform(-3, 2, (6, 1))
    rows[rng.random(rows.shape) < 0.2] = 0
    rows[1], rows[2], rows[3] = np.abs(rows[1]), -np.abs(rows[2]), 0
    return rows


def rounded(grid: LevelGrid, rows: np.ndarray) -> np.ndarray:
    return grid.decode(grid.nearest(rows))


def test_the_published_grid() -> None:
    row = np.array([[0.5, -1.0, 0.25]])
    grid = fitted(row, 2)
    np.testing.assert_allclose(grid.scale, [2 / 3], rtol=1e-15)
    np.testing.assert_allclose(grid.decode(grid.levels[0]), [[-4 / 3, -2 / 3, 0, 2 / 3]][0], rtol=1e-15)
    np.testing.assert_allclose(rounded(grid, row), [[2 / 3, -4 / 3, 0]], rtol=1e-15)


def test_rows_of_one_sign_use_all_of_their_codes() -> None:
    rows = np.array([[0.1, 0.2, 0.3], [-0.3, 0.0, -0.1]])
    grid = fitted(rows, 2)
    assert grid.sign.tolist() == [1, -1]
    assert grid.nearest(rows).tolist() == [[1, 2, 3], [-3, 0, -1]]
    np.testing.assert_allclose(rounded(grid, rows), rows, rtol=1e-15)
    mixed = fitted(rows, 2, signs="mixed")  # what the published quantizer would at best do
    assert mixed.sign.tolist() == [0, 0]
    assert len(np.unique(mixed.nearest(rows)[0])) < 3


@given(seeds, bits_of, st.sampled_from(["uniform", "powers"]), st.sampled_from(["row", "layer", "mixed"]))
@settings(max_examples=60, deadline=None)
def test_every_weight_gets_its_nearest_level_and_codes_fit_the_encoding(seed, bits, kind, signs) -> None:
    rows = matrix(seed)
    grid = fitted(rows, bits, kind=kind, signs=signs, dtype=np.float32)
    codes = grid.nearest(rows)
    for row, sign, scale, mine in zip(rows, grid.sign, grid.scale, codes, strict=True):
        levels = grid.levels[sign]
        assert np.isin(mine, levels).all() or not row.any()
        gaps = np.abs(row[:, None] - levels * scale)
        np.testing.assert_allclose(np.abs(row - mine * scale), gaps.min(axis=1), rtol=1e-12)
    weight = grid.encoded(codes)
    assert weight.width == grid.width
    assert weight.decode().dtype == np.float32
    np.testing.assert_array_equal(weight.decode(), grid.decode(codes).astype(np.float32))
    if kind == "uniform":
        assert grid.width == bits
    for column in range(rows.shape[1]):
        assert np.array_equal(grid.nearest(rows[:, column]), codes[:, column])
    for part in (slice(1, 3), np.array([5, 0])):
        assert np.array_equal(grid.part(part).nearest(rows[part]), codes[part])


@given(seeds, bits_of)
@settings(max_examples=30, deadline=None)
def test_the_error_of_a_weight_is_at_most_half_a_step_but_where_the_grid_is_lopsided(seed: int, bits: int) -> None:
    rows = matrix(seed)
    if bits == 1:
        return
    grid = fitted(rows, bits)
    inside = np.abs(rounded(grid, rows) - rows) <= grid.scale[:, None] / 2 * (1 + 1e-12)
    assert inside[grid.sign != 0].all()
    assert inside[rows < 0].all()


def test_halfway_goes_to_the_even_code_or_nearer_to_zero() -> None:
    even = LevelGrid((np.arange(-4, 4),) * 3, np.zeros(1, np.int8), np.array([2.0]), 3)
    assert even.nearest(np.array([[1.0, 3.0, 5.0, -1.0, -3.0, 99.0, -99.0]])).tolist() == [[0, 2, 2, 0, -2, 3, -4]]
    powers = fitted(np.array([[4.0, -4.0]]), 3, kind="powers")
    assert powers.scale.tolist() == [1.0]
    assert powers.nearest(np.array([[3.0, -3.0, 1.5, -0.5, 99]])).tolist() == [[2, -2, 1, 0, 4]]


def test_powers_of_two_have_as_many_levels_as_codes_and_fit_8_bits() -> None:
    row, one = np.array([[1.0, -1.0]]), np.array([[1.0, 0.5]])
    assert [fitted(row, b, kind="powers").levels[0].tolist() for b in (2, 3)] == [[-1, 0, 1], [-4, -2, -1, 0, 1, 2, 4]]
    assert fitted(one, 2, kind="powers").levels[1].tolist() == [0, 1, 2, 4]
    assert [fitted(row, b, kind="powers").width for b in (2, 3, 4, 8)] == [2, 4, 8, 8]
    assert fitted(row, 8, kind="powers").levels[0].max() == 64
    assert fitted(one, 8, kind="powers").levels[1].max() == 128


def test_one_bit_is_binary_and_ternary_where_it_is_masked() -> None:
    rows = np.array([[0.5, -1.5, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    grid = fitted(rows, 1)
    assert grid.scale[0] == 0.75
    assert grid.nearest(rows)[0].tolist() == [1, -1, 1, 1]
    keep = np.array([[True, True, False, True]] * 2)
    masked = fitted(rows, 1, keep)
    assert masked.scale[0] == 1.0
    assert np.where(keep, masked.nearest(rows), 0).tolist() == [[1, -1, 0, 1], [1, 1, 0, 0]]
    assert masked.encoded(np.where(keep, masked.nearest(rows), 0), np.float64).width == 1
    nothing = np.zeros((1, 3))
    assert not rounded(fitted(nothing, 1), nothing).any()


@given(seeds, bits_of, st.sampled_from(["uniform", "powers"]))
@settings(max_examples=30, deadline=None)
def test_the_scale_search_never_loses_against_min_max(seed: int, bits: int, kind) -> None:
    rows = matrix(seed)
    for per_row, signs in ((True, "row"), (False, "mixed")):
        plain, found = (
            fitted(rows, bits, kind=kind, search=search, per_row=per_row, signs=signs) for search in ("minmax", "mse")
        )
        errors = [np.sum((rounded(grid, rows) - rows) ** 2, axis=1) for grid in (plain, found)]
        if bits > 1:
            assert np.all(errors[1].sum() <= errors[0].sum() * (1 + 1e-9))
        if not per_row:
            assert len(np.unique(found.scale)) == 1


@given(seeds, bits_of, st.sampled_from([LOIHI, FPGA]), st.sampled_from(["uniform", "powers"]))
@settings(max_examples=60, deadline=None)
def test_a_target_holds_the_codes_as_they_are(seed: int, bits: int, target: Target, kind) -> None:
    for rows in (matrix(seed), np.abs(matrix(seed)), -np.abs(matrix(seed))):
        grid = fitted(rows, bits, kind=kind, signs=of_target(target, bits))
        codes = grid.nearest(rows)
        sign = sign_of(codes, target)
        width = max(grid.width, 2) if bits == 1 else grid.width  # -1 and +1 are two of the four words of 2 bits
        step = step_of(target, sign, width)
        held = Fixed(codes * step, 0, width, sign, step)
        assert np.array_equal(held.decode(), codes * step)
    with pytest.raises(ValueError, match="weights of 4 bits, not 5"):
        of_target(Target("small", weight_bits=4), 5)


def test_a_fixed_weight_stays_on_its_integers() -> None:
    rng = np.random.default_rng(0)
    weight = Fixed(rng.integers(-128, 128, (3, 50)) * 2, -1, 8, "mixed", 2)
    grid = of_fixed(weight)
    values = weight.decode().astype(np.float64)
    assert np.array_equal(rounded(grid, values), values)
    assert rounded(grid, values + 1.5).max() == 254
    assert rounded(grid, np.array([[0.9, 1.1, -999.0]] * 3))[0].tolist() == [0, 2, -256]
    one = of_fixed(Fixed(np.array([[0, 3]]), 0, 2, "excitatory"))
    assert one.sign.tolist() == [1]
    assert rounded(one, np.array([[-5.0, 7.0]])).tolist() == [[0, 3]]
    assert one.encoded(one.nearest(np.array([[-5.0, 7.0]]))).sign == "excitatory"


def test_nonsense_is_refused() -> None:
    for bits in (0, 9):
        with pytest.raises(ValueError, match=f"1 to 8 bits, not {bits}"):
            fitted(np.ones((1, 2)), bits)
    with pytest.raises(ValueError, match="are not float32"):
        fitted(np.array([[0.1, 0.3]]), 2).encoded(np.zeros((1, 2), np.int32))
    with pytest.raises(ValueError, match="scales of their own"):
        fitted(np.array([[1.0], [-1.0]]), 2, per_row=False)
