"""What netx and Lava make of weights: laws on random matrices, and the traps one by one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikec.compiler.netx import load, load_together
from spikec.runtime.lava.env import find
from spikec.runtime.lava.worker import run_worker

SCRIPT = Path(__file__).with_name("weights_on_lava.py")

EVEN = arrays(np.int64, (3, 4), elements=st.integers(-128, 127).map(lambda n: 2 * n))
MATRICES = arrays(np.int64, (3, 4), elements=st.integers(-600, 600))


@given(EVEN)
def test_even_weights_of_both_signs_mean_what_the_file_says(matrix):
    """Values * 2**exponent is the file's integer; the bits hold it."""
    loaded = load(matrix)
    if not (matrix.min() < 0 < matrix.max()):
        return
    assert loaded.altered == 0
    np.testing.assert_array_equal(loaded.fixed.values >> -loaded.exponent, matrix)
    assert 1 <= loaded.bits <= 8


@given(arrays(np.int64, (3, 4), elements=st.integers(0, 255)))
def test_excitatory_weights_mean_what_the_file_says(matrix):
    """0..255, odd ones too; all zeros is a fault of its own."""
    loaded = load(matrix)
    assert loaded.fault == ("" if matrix.any() else "all-zero")
    np.testing.assert_array_equal(loaded.fixed.values >> -loaded.exponent, matrix)


@given(MATRICES)
def test_what_is_not_altered_is_exact(matrix):
    """The count of altered entries tells the truth, whatever the matrix."""
    loaded = load(matrix)
    differ = np.count_nonzero(loaded.values != matrix << -loaded.exponent)
    assert loaded.altered == differ
    assert loaded.fixed.shape == matrix.shape


@given(EVEN, EVEN)
def test_matrices_together_share_width_and_exponent(first, second):
    """As netx optimizes a recurrent layer."""
    both = load_together([first, second])
    assert both[0].exponent == both[1].exponent
    assert both[0].bits == both[1].bits


@pytest.mark.parametrize(
    ("matrix", "values", "exponent", "bits"),
    [
        ([[-178, 192]], [[-178, 192]], 0, 8),
        ([[-98, 124]], [[-196, 248]], -1, 7),
        ([[-1, 1]], [[-128, 128]], -7, 2),
        ([[1, 0]], [[128, 0]], -7, 1),
        ([[-101, 130]], [[-101, 130]], 0, 9),  # odd and large: nine bits
        ([[-256, -2]], [[-254, -2]], 0, 7),  # Lava's inhibitory weights end at -255, and here are even
        ([[300, -2]], [[254, -2]], 0, 8),  # clipped by netx
        ([[-600, 4]], [[-256, 4]], 0, 7),
    ],
)
def test_single_matrices(matrix, values, exponent, bits):
    """Worked out by hand, and seen on Lava."""
    loaded = load(np.array(matrix))
    assert loaded.values.tolist() == values
    assert (loaded.exponent, loaded.bits) == (exponent, bits)


@pytest.mark.parametrize("matrix", [[[301, 0]], [[-300, -2]], [[-249, 0]]])
def test_weights_that_vanish(matrix):
    """A shift by a negative count leaves nothing; seen on Lava."""
    loaded = load(np.array(matrix))
    assert loaded.fault == "vanish"
    assert not loaded.fixed.values.any()


@pytest.mark.lava
def test_netx_and_lava_themselves_do_the_same(tmp_path):
    """400 random matrices of every range and sign, through their own functions: 0 entries differ."""
    lava = find()
    if lava is None:
        pytest.skip("Lava is not installed (spikec lava install)")
    rng = np.random.default_rng(11)
    matrices = []
    while len(matrices) < 400:
        low, high = np.sort(rng.choice([-600, -300, -256, -255, -128, -20, -1, 0, 1, 60, 127, 254, 255, 300, 600], 2))
        matrix = rng.integers(low, high + 1, (3, 4)) // (step := int(rng.choice([1, 2, 4, 64]))) * step
        if matrix.any():
            matrices.append(matrix)
    np.savez(tmp_path / "in.npz", matrices=np.stack(matrices))
    run_worker(lava, SCRIPT, [str(tmp_path / "in.npz"), str(tmp_path / "out.npz")], 120.0)
    loaded = [load(matrix) for matrix in matrices]
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["values"], np.stack([one.values for one in loaded]))
        kept = [not one.fault for one in loaded]
        np.testing.assert_array_equal(found["bits"][kept], [one.bits for one in loaded if not one.fault])
        np.testing.assert_array_equal(found["exponents"][kept], [one.exponent for one in loaded if not one.fault])
    assert sum(kept) > 200
    assert sum(one.altered > 0 for one in loaded) > 50
