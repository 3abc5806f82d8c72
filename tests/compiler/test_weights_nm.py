"""The law of N:M weights: pack is as long as bits says, holds what decode gives, and positions differ in a block."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import FixedSum, Input, Linear, Output
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.weights import Dense, Fixed, Sign, Weight
from spikec.compiler.weights_nm import NM, Axis, entries_to_tensor


@st.composite
def nm_weights(draw: st.DrawFn) -> NM:
    """Draw any N:M weight: of integers or floats, a matrix or a kernel, blocks full or not."""
    m = draw(st.integers(2, 32))
    n = draw(st.integers(1, m - 1))
    axis: Axis = draw(st.sampled_from(["in", "out"]))
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=2, max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kept = kept_at_random(rng, shape, n, m, axis) & (rng.random(shape) < draw(st.floats(0, 1)))
    if draw(st.booleans()):
        return NM(
            Dense(np.where(kept, rng.normal(size=shape), 0).astype(draw(st.sampled_from(["f4", "f8"])))), n, m, axis
        )
    width, step = draw(st.integers(1, 9)), draw(st.sampled_from([1, 2]))
    sign: Sign = draw(st.sampled_from(["mixed", "excitatory", "inhibitory"]))
    low, high = Fixed.limits(width, sign, step)
    values = rng.integers(low // step, high // step, shape, endpoint=True) * step * kept
    exponent = draw(st.one_of(st.integers(-8, 7), st.just(rng.integers(-8, 7, shape[0]))))
    return NM(Fixed(values, exponent, width, sign, step), n, m, axis)


def kept_at_random(rng: np.random.Generator, shape: tuple[int, ...], n: int, m: int, axis: Axis) -> np.ndarray:
    """Give a mask with at most n of m kept along the axis."""
    lines, length = form(shape, axis)
    order = np.argsort(rng.random((lines, ceil(length / m), m)), axis=-1)
    mask = np.zeros(shape, bool)
    for line, entries in enumerate((order < n).reshape(lines, -1)[:, :length]):
        mask[place(line, shape, axis)] = entries
    return mask


def form(shape: tuple[int, ...], axis: Axis) -> tuple[int, int]:
    """Give the number of lines and their length."""
    length = shape[1] if axis == "in" else shape[0]
    return int(np.prod(shape)) // length, length


def place(line: int, shape: tuple[int, ...], axis: Axis) -> tuple:
    """Say where a line lies: lines are counted over outputs, then positions of the kernel, then channels."""
    if axis == "in":
        output, *position = np.unravel_index(line, (shape[0], *shape[2:]))
        return (output, slice(None), *position)
    *position, channel = np.unravel_index(line, (*shape[2:], shape[1]))
    return (slice(None), channel, *position)


def unpack(weight: NM) -> np.ndarray:
    """Read the packed form with nothing but the shape and the structure."""
    stream = np.unpackbits(np.frombuffer(weight.pack(), np.uint8), bitorder="little")
    lines, length = form(weight.shape, weight.axis)
    count = lines * ceil(length / weight.m) * weight.n
    index = (weight.m - 1).bit_length()
    width = weight.inner.width if isinstance(weight.inner, Fixed) else weight.inner.values.dtype.itemsize * 8
    positions = whole(stream[: count * index], index)
    values = whole(stream[count * index :][: count * width], width)
    if isinstance(weight.inner, Fixed):
        mixed = weight.inner.sign == "mixed"
        values = np.where(mixed & (values >= 1 << (width - 1)), values - (1 << width), values).astype(np.int64)
        values = (-values if weight.inner.sign == "inhibitory" else values) * weight.inner.step
    else:
        values = values.astype(f"u{width // 8}").view(weight.inner.values.dtype)
    blocks = (lines, ceil(length / weight.m), weight.n)
    assert all(len(set(block)) == weight.n for block in positions.reshape(-1, weight.n).tolist())
    return entries_to_tensor(values.reshape(blocks), positions.reshape(blocks), weight.shape, weight.m, weight.axis)


def whole(bits: np.ndarray, width: int) -> np.ndarray:
    powers = np.uint64(1) << np.arange(width, dtype=np.uint64)
    return (bits.reshape(-1, width).astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64)


@given(nm_weights())
def test_packed_form_is_as_long_as_bits_and_holds_the_tensor(weight: NM) -> None:
    assert isinstance(weight, Weight)
    assert len(weight.pack()) == ceil(weight.bits / 8)
    assert np.array_equal(unpack(weight), weight.decode())


@given(nm_weights())
def test_saved_graph_holds_the_same_weight(weight: NM) -> None:
    if len(weight.shape) != 2:
        return
    fixed = isinstance(weight.inner, Fixed)
    op = Linear(weight, sum=FixedSum() if fixed else None)
    graph = Graph((Node("in", Input(weight.shape[1:])), Node("fc", op, ("in",)), Node("out", Output(), ("fc",))))
    back = loads(dumps(graph))["fc"].op
    assert isinstance(back, Linear)
    assert isinstance(back.weight, NM)
    assert (back.weight.n, back.weight.m, back.weight.axis) == (weight.n, weight.m, weight.axis)
    assert back.weight.pack() == weight.pack()
    assert back.weight.describe() == weight.describe()


def test_what_is_stored_of_a_block() -> None:
    weight = NM(Fixed(np.array([[0, 5], [3, 0], [0, 0], [-2, 0], [7, 0]])), 2, 4)
    assert weight.positions.tolist() == [[[1, 3], [0, 1]], [[0, 1], [0, 1]]]
    assert weight.values.tolist() == [[[3, -2], [7, 0]], [[5, 0], [0, 0]]]
    assert weight.bits == 2 * 2 * 2 * (2 + 8) + 5
    assert weight.describe() == "2:4 out of fixed i8[5, 2] mixed exp=0"


def test_blocks_of_a_kernel_lie_on_channels_at_one_position() -> None:
    """Along the inputs 1:2 keeps a channel of each pair at every position; blocks over flattened columns refuse that.

    The packed form is written out by hand: kernel 4 x 1, entries (output, kh, block of channels), then the values.
    """
    values = np.zeros((1, 4, 1, 2), int)
    values[0, :, 0, 0] = [1, 0, 0, 2]  # channels 0 and 3 at position 0
    values[0, :, 0, 1] = [0, 3, 4, 0]  # channels 1 and 2 at position 1
    weight = NM(Fixed(values, width=4), 1, 2, "in")
    assert weight.positions.tolist() == [[[0], [1]], [[1], [0]]]
    assert weight.values.tolist() == [[[1], [2]], [[3], [4]]]
    assert weight.pack().hex() == "16320400"  # positions 0 1 1 0, then 1 2 3 4 in four bits each, then the exponent 0
    over = np.zeros((1, 2, 1, 2), int)
    over[0, :, 0, 0] = 1  # both channels at one position
    with pytest.raises(ValueError, match="along the in axis may differ from 0; a block holds 2"):
        NM(Fixed(over), 1, 2, "in")
    assert NM(Fixed(np.swapaxes(over, 1, 3)), 1, 2, "in").positions.size == 2  # one channel at both positions


def test_blocks_along_the_outputs_are_outputs_of_one_input_and_position() -> None:
    values = np.zeros((4, 2, 1, 2), int)
    for position, channel, outputs in ((0, 0, (0, 2)), (0, 1, (1, 3)), (1, 0, (1, 2)), (1, 1, (0, 3))):
        values[list(outputs), channel, 0, position] = [1 + position, 5 + channel]
    weight = NM(Fixed(values), 1, 2, "out")
    assert weight.positions.reshape(4, 2).tolist() == [[0, 0], [1, 1], [1, 0], [0, 1]]  # lines (kh, kw, C_in)
    assert weight.values.reshape(4, 2).tolist() == [[1, 5], [1, 6], [2, 5], [2, 6]]


@pytest.mark.parametrize(
    ("values", "n", "m", "axis", "message"),
    [
        ([[1, 1], [1, 1]], 1, 2, "out", "at most 1 of 2 entries along the out axis may differ from 0; a block holds 2"),
        ([[1, 0]], 2, 2, "in", "0 < N < M <= 32, not 2:2"),
        ([[1, 0]], 1, 33, "in", "0 < N < M <= 32, not 1:33"),
        ([[1, 0]], 1, 2, "both", "the axis of N:M is in or out, not both"),
        ([1, 0], 1, 2, "in", r"matrices or convolution kernels, not of shape \[2\]"),
    ],
)
def test_what_has_another_structure_is_refused(values: list[int], n: int, m: int, axis: Axis, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NM(Fixed(np.array(values)), n, m, axis)


@pytest.mark.parametrize(
    ("values", "positions", "message"),
    [
        ([[[1, 2]]], [[[0, 0]]], "must be distinct and below 4"),
        ([[[1, 2]]], [[[0, 4]]], "must be distinct and below 4"),
        ([[[1, 2]]], [[[0, 3]]], "past the end of the tensor"),
    ],
)
def test_entries_that_cannot_be_are_refused(
    values: list[list[list[int]]], positions: list[list[list[int]]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        entries_to_tensor(np.array(values), np.array(positions), (3, 1), 4, "out")
