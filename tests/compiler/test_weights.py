"""The law of every encoding: decode keeps the values, pack is as long as bits says and holds what decode gives."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.compiler.weights import Dense, Fixed, Sign, Sparse, Weight


@st.composite
def fixed_weights(draw: st.DrawFn) -> Fixed:
    """Draw any fixed weight."""
    width = draw(st.integers(1, 12))
    sign: Sign = draw(st.sampled_from(["mixed", "excitatory", "inhibitory"]))
    step = draw(st.sampled_from([1, 2, 8]))
    low, high = Fixed.limits(width, sign, step)
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = (
        rng.integers(low // step, high // step, shape, endpoint=True)
        * step
        * (rng.random(shape) < draw(st.floats(0, 1)))
    )
    exponent = draw(st.one_of(st.integers(-8, 7), st.just(rng.integers(-8, 7, shape[0]))))
    return Fixed(values, exponent, width, sign, step)


def unpack(data: bytes, bits: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:bits]


def read_whole(stream: np.ndarray, width: int, *, signed: bool) -> np.ndarray:
    values = stream.reshape(-1, width).astype(np.int64) @ (1 << np.arange(width, dtype=np.int64))
    return np.where(signed & (values >= 1 << (width - 1)), values - (1 << width), values)


@given(fixed_weights())
def test_packed_form_is_as_long_as_bits_and_decodes_to_the_values(weight: Fixed) -> None:
    packed = weight.pack()
    assert len(packed) == ceil(weight.bits / 8)
    stream = unpack(packed, weight.bits)
    size = weight.values.size * weight.width
    stored = read_whole(stream[:size], weight.width, signed=weight.sign == "mixed") * weight.step
    assert np.array_equal((-stored if weight.sign == "inhibitory" else stored).reshape(weight.shape), weight.decode())
    exponents = read_whole(stream[size:], 5, signed=True)
    assert np.array_equal(exponents, np.atleast_1d(weight.exponent))


@given(fixed_weights())
def test_sparse_form_holds_the_same_tensor(fixed: Fixed) -> None:
    weight = Sparse(fixed)
    assert len(weight.pack()) == ceil(weight.bits / 8)
    assert np.array_equal(weight.decode(), fixed.decode())
    stream = unpack(weight.pack(), weight.bits)
    matrix = fixed.decode().reshape(fixed.shape[0], -1)
    index_bits, count_bits = max(1, (matrix.shape[1] - 1).bit_length()), matrix.shape[1].bit_length()
    counts, rest = stream[: len(matrix) * count_bits], stream[len(matrix) * count_bits :]
    rows = np.repeat(np.arange(len(matrix)), read_whole(counts, count_bits, signed=False))
    nonzero = len(rows)
    columns = read_whole(rest[: nonzero * index_bits], index_bits, signed=False)
    stored = read_whole(
        rest[nonzero * index_bits :][: nonzero * fixed.width], fixed.width, signed=fixed.sign == "mixed"
    )
    rebuilt = np.zeros_like(matrix)
    rebuilt[rows, columns] = (-stored if fixed.sign == "inhibitory" else stored) * fixed.step
    assert np.array_equal(rebuilt, matrix)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_dense_form_is_the_floats(dtype: str) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(dtype)
    weight = Dense(values)
    assert len(weight.pack()) * 8 == weight.bits
    assert np.array_equal(np.frombuffer(weight.pack(), dtype).reshape(3, 5), weight.decode())
    assert isinstance(weight, Weight)


def test_a_weight_is_a_value_of_its_own() -> None:
    values = np.zeros((2, 2), "f4")
    weight = Dense(values)
    values[0, 0] = 7
    assert weight.decode()[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        weight.decode()[0, 0] = 1


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([[1.5]], {}, "must be integers"),
        ([[200]], {}, r"lies in \[-128, 127\]; these span \[200, 200\]"),
        ([[3]], {"step": 2}, "multiple of 2"),
        ([[-1]], {"sign": "excitatory"}, r"lies in \[0, 255\]"),
        ([[256]], {"step": 2}, r"lies in \[-256, 254\]"),
    ],
)
def test_what_does_not_fit_is_refused(values: list[list[float]], options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fixed(np.array(values), **options)  # type: ignore[arg-type]
