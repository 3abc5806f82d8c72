"""Allocation: the published scores, counts that add up, and shares as they are written."""

from __future__ import annotations

from decimal import Decimal
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.passes.sbc.allocation import lamp_scores, removed

seeds = st.integers(0, 2**32 - 1)


def layers(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"l{i}": rng.normal(size=rng.integers(1, 9, 2)) * 10.0 ** rng.integers(-2, 3) for i in range(4)}


def test_the_scores_are_the_published_ones() -> None:
    for weights in ([1, 2, 3], [[-3.0, 1.0, -2.0]]):
        np.testing.assert_allclose(lamp_scores(np.array(weights)), [1 / 14, 4 / 13, 1], rtol=1e-15)
        np.testing.assert_allclose(lamp_scores(np.array(weights), 3), [1 / 36, 8 / 35, 1], rtol=1e-15)
    assert lamp_scores(np.zeros(3)).tolist() == [0, 0, 0]
    assert lamp_scores(np.array([0, 1e-200, 2e-200]), 3).tolist() == [0, pytest.approx(1 / 9), 1]


@settings(max_examples=50)
@given(seeds, st.floats(0, 1), st.sampled_from([1, 2, 3]))
def test_lamp_counts_the_smallest_scores_of_all_layers(seed: int, sparsity: float, power: float) -> None:
    weights = layers(seed)
    counts = removed(weights, sparsity, "lamp", power)
    total = sum(a.size for a in weights.values())
    assert abs(sum(counts.values()) - total * sparsity) < 1
    gone = [s for n, a in weights.items() for s in lamp_scores(a, power)[: counts[n]]]
    stay = [s for n, a in weights.items() for s in lamp_scores(a, power)[counts[n] :]]
    assert max(gone, default=0) <= min(stay, default=1)
    if sum(counts.values()) <= total - len(weights):
        assert all(counts[n] < a.size for n, a in weights.items())  # a layer's largest weight has score 1


@settings(max_examples=50)
@given(seeds, st.floats(0, 1), st.floats(0, 1))
def test_uniform_and_given_shares_are_rounded_down(seed: int, sparsity: float, own: float) -> None:
    weights = layers(seed)
    counts = removed(weights, sparsity, "uniform", given={"l1": own})
    for name, array in weights.items():
        assert counts[name] == floor(array.size * Decimal(str(own if name == "l1" else sparsity)))
    lamp = removed(weights, sparsity, given={"l1": own})
    rest = {name: array for name, array in weights.items() if name != "l1"}
    assert lamp == {**removed(rest, sparsity), "l1": counts["l1"]}
    assert list(lamp) == list(weights)


def test_a_share_is_the_decimal_that_it_is_written_as() -> None:
    assert 100 * 0.29 < 29
    assert removed({"a": np.ones(100)}, 0.29, "uniform") == {"a": 29}
    assert removed({"a": np.ones(100)}, 0.29, "lamp") == {"a": 29}
    assert removed({"a": np.ones(10)}, 0.99) == {"a": 9}
    assert removed({}, 0.5) == {}


def test_of_equal_scores_the_first_layer_loses_first_and_an_empty_layer_loses_all() -> None:
    assert removed({"a": np.ones(4), "b": np.ones(4)}, 0.25) == {"a": 1, "b": 1}
    assert removed({"a": np.ones(4), "b": np.ones(4)}, 0.13) == {"a": 1, "b": 0}
    assert removed({"a": np.ones(4), "b": np.zeros(4)}, 0.5) == {"a": 0, "b": 4}


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"which 1\.5 does not"):
        removed({"a": np.ones(4)}, 1.5)
    with pytest.raises(ValueError, match="which nan does not"):
        removed({"a": np.ones(4)}, 0.5, given={"a": float("nan")})
    with pytest.raises(ValueError, match="above 0"):
        removed({"a": np.ones(4)}, 0.5, power=0)
    with pytest.raises(ValueError, match="named b, c"):
        removed({"a": np.ones(4)}, 0.5, given={"c": 0.1, "b": 0.1})
