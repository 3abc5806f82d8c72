"""The law of grid weights: codes times scale, packed as long as bits says, inside Sparse and N:M as well."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import FixedSum, Input, Linear, Output
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.text import print_graph
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense, Fixed, Sign, Sparse, Weight
from spikec.compiler.weights_grid import Grid, grid_of, scaled, with_codes
from spikec.compiler.weights_nm import NM


@st.composite
def grids(draw: st.DrawFn, masked: bool = False) -> Grid:
    """Draw any grid: 1 to 8 bits, one scale or one a row, rows of all kinds; with zeros where `masked`."""
    width = draw(st.integers(1, 8))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds: list[Sign] = ["mixed", "excitatory", "inhibitory"]
    sign: Any = draw(st.sampled_from([*kinds, None]))
    if sign is None:
        sign = rng.integers(-1, 2, shape[0])
    codes = np.stack([row_of(rng, width, kinds[row], shape[1:]) for row in rows_of(sign, shape[0])])
    if masked:
        codes = codes * (rng.random(shape) < draw(st.floats(0, 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    scale = rng.normal(size=draw(st.sampled_from([(), shape[:1]]))).astype(dtype)
    return Grid(codes, scale, width, sign)


def rows_of(sign: Any, rows: int) -> list[int]:
    """Give the kind of each row: 0 mixed, 1 excitatory, -1 inhibitory."""
    return [{"mixed": 0, "excitatory": 1, "inhibitory": -1}[sign]] * rows if isinstance(sign, str) else sign.tolist()


def row_of(rng: np.random.Generator, width: int, sign: Sign, shape: tuple[int, ...]) -> np.ndarray:
    if width == 1 and sign == "mixed":
        return rng.choice([-1, 1], shape)
    return rng.integers(*Fixed.limits(width, sign), shape, endpoint=True)


class Reader:
    """Reads a packed form with nothing but the shape, the width and whether rows have signs and scales of their own."""

    def __init__(self, weight: Weight, inner: Grid) -> None:
        self.stream = np.unpackbits(np.frombuffer(weight.pack(), np.uint8), bitorder="little")
        self.inner = inner

    def take(self, count: int, width: int) -> np.ndarray:
        head, self.stream = self.stream[: count * width], self.stream[count * width :]
        powers = np.uint64(1) << np.arange(width, dtype=np.uint64)
        return (head.reshape(-1, width).astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64)

    def tail(self) -> tuple[np.ndarray, list[int]]:
        """Read the scales and the kind of each row."""
        scale = np.asarray(self.inner.scale)
        scales = self.take(scale.size, 8 * scale.itemsize).astype(f"u{scale.itemsize}").view(scale.dtype)
        if isinstance(self.inner.sign, str):
            return scales, rows_of(self.inner.sign, self.inner.shape[0])
        return scales, [{0: 0, 1: 1, 3: -1}[int(kind)] for kind in self.take(self.inner.shape[0], 2)]

    def codes(self, raw: np.ndarray, width: int, rows: np.ndarray, kinds: list[int]) -> np.ndarray:
        """Say what stored entries of `width` bits are, in the rows that they stand in."""
        kind, plain = np.asarray(kinds)[rows], raw.astype(np.int64)
        two = np.where(plain >= 1 << (width - 1), plain - (1 << width), plain)
        mixed = 2 * plain - 1 if width == 1 else two
        return np.where(kind == 0, mixed, np.where(kind < 0, -plain, plain))


def entry_bits(grid: Grid, *, zero: bool) -> int:
    """Give the bits of a stored entry: of 1-bit codes 2 where a 0 must be said beside -1 and +1."""
    return 2 if grid.width == 1 and zero and 0 in rows_of(grid.sign, grid.shape[0]) else grid.width


@given(st.one_of(grids(), grids(masked=True)))
def test_packed_form_is_as_long_as_bits_and_holds_codes_and_scales(grid: Grid) -> None:
    assert isinstance(grid, Weight)
    assert len(grid.pack()) == ceil(grid.bits / 8)
    reader, width = Reader(grid, grid), entry_bits(grid, zero=not np.all(grid.codes))
    raw = reader.take(grid.codes.size, width)
    scales, kinds = reader.tail()
    rows = np.repeat(np.arange(grid.shape[0]), raw.size // grid.shape[0])
    assert np.array_equal(reader.codes(raw, width, rows, kinds).reshape(grid.shape), grid.codes)
    assert np.array_equal(scales, np.atleast_1d(grid.scale))
    assert not np.any(reader.stream)
    assert len(reader.stream) < 8


@given(grids())
def test_decoded_values_are_codes_times_scale(grid: Grid) -> None:
    values = grid.decode()
    assert values.dtype == np.asarray(grid.scale).dtype
    assert values.shape == grid.shape
    wanted = [row.astype(values.dtype) * values.dtype.type(s) for row, s in zip(grid.codes, grid.scales, strict=True)]
    assert np.array_equal(values, np.stack(wanted))


@given(grids(masked=True))
def test_sparse_rows_store_the_codes_that_are_not_zero(grid: Grid) -> None:
    weight = Sparse(grid)
    assert np.array_equal(weight.decode(), grid.decode())
    assert len(weight.pack()) == ceil(weight.bits / 8)
    reader, matrix = Reader(weight, grid), grid.codes.reshape(grid.shape[0], -1)
    counts = reader.take(len(matrix), matrix.shape[1].bit_length())
    rows = np.repeat(np.arange(len(matrix)), counts.astype(int))
    columns = reader.take(len(rows), max(1, (matrix.shape[1] - 1).bit_length()))
    raw = reader.take(len(rows), grid.width)
    scales, kinds = reader.tail()
    rebuilt = np.zeros_like(matrix)
    rebuilt[rows, columns.astype(int)] = reader.codes(raw, grid.width, rows, kinds)
    assert np.array_equal(rebuilt, matrix)
    assert np.array_equal(scales, np.atleast_1d(grid.scale))


@given(grids(masked=True))
def test_blocks_store_n_codes_of_m(grid: Grid) -> None:
    codes = grid.codes.copy()
    codes[:, 1::2] = 0
    inner = Grid(codes, grid.scale, grid.width, grid.sign)
    matrix = np.moveaxis(codes, 1, -1).reshape(-1, grid.shape[1])  # a line for each position of the kernel
    weight = NM(inner, 1, 2, "in")
    assert np.array_equal(weight.decode(), inner.decode())
    assert len(weight.pack()) == ceil(weight.bits / 8)
    reader, blocks = Reader(weight, inner), ceil(matrix.shape[1] / 2)
    rows = np.repeat(np.arange(grid.shape[0]), len(matrix) // grid.shape[0] * blocks)
    positions = reader.take(rows.size, 1)
    width = entry_bits(inner, zero=not np.all(matrix[:, ::2]))
    codes = reader.codes(reader.take(rows.size, width), width, rows, reader.tail()[1])
    assert not np.any(positions)
    assert np.array_equal(codes.reshape(len(matrix), -1), matrix[:, ::2])


def holding(weight: Weight, **fields: Any) -> Graph:
    """Give a network of one connection and its neuron."""
    nodes = (
        Node("in", Input(weight.shape[1:])),
        Node("fc", Linear(weight, **fields), ("in",)),
        Node("n", Neuron(a_mem=0.5), ("fc",)),
        Node("out", Output(), ("n",)),
    )
    return Graph(nodes, "one")


@given(grids(masked=True), st.sampled_from(["bare", "sparse", "nm"]))
def test_saved_graph_holds_the_same_weight(grid: Grid, form: str) -> None:
    if len(grid.shape) != 2:
        return
    if form == "nm" and np.any(grid.codes[:, 1::2]):
        return
    weight = {"bare": lambda: grid, "sparse": lambda: Sparse(grid), "nm": lambda: NM(grid, 1, 2, "in")}[form]()
    saved = dumps(holding(weight))
    back = loads(saved)["fc"].op
    assert isinstance(back, Linear)
    inner = grid_of(back.weight)
    assert inner is not None
    assert back.weight.pack() == weight.pack()
    assert back.weight.describe() == weight.describe()
    assert inner.decode().dtype == grid.decode().dtype
    assert dumps(loads(saved)) == saved


@given(grids(), st.booleans(), st.integers(0, 2**32 - 1))
def test_a_factor_keeps_the_codes(grid: Grid, by_row: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=grid.shape[0] if by_row else ())
    made = grid_of(scaled(Sparse(grid), factor))
    assert made is not None
    assert np.array_equal(made.codes, grid.codes)
    wanted = (np.asarray(grid.scale, np.float64) * factor).astype(np.asarray(grid.scale).dtype)
    assert np.array_equal(made.scales, np.broadcast_to(wanted, grid.shape[:1]))
    assert isinstance(scaled(Sparse(grid), factor), Sparse)


def test_a_factor_on_other_weights() -> None:
    assert scaled(Dense(np.ones((2, 2), "f4")), np.array([2, 3])).decode().tolist() == [[2, 2], [3, 3]]
    assert scaled(Dense(np.ones((2, 2), "f4")), 2.0).decode().dtype == np.float32
    with pytest.raises(ValueError, match="fixed weights are whole numbers"):
        scaled(Fixed(np.ones((2, 2), int)), 2.0)


def test_new_codes_widen_the_grid_as_far_as_8_bits() -> None:
    grid = Grid(np.array([[1, -1]]), 0.5, 1)
    wide = with_codes(grid, np.array([[2, -1]]))
    assert wide is not None
    assert (wide.width, wide.decode().tolist()) == (3, [[1.0, -0.5]])
    assert with_codes(grid, np.array([[128, 0]])) is None


def test_what_a_binary_mask_costs() -> None:
    codes = np.array([[1, -1, 0, 1], [0, 1, 1, -1]])
    ternary = Grid(codes, np.float32(0.5), 1)
    assert Grid(np.where(codes == 0, 1, codes), np.float32(0.5), 1).bits == 8 * 1 + 32
    assert ternary.bits == 8 * 2 + 32
    assert Sparse(ternary).bits == 2 * 3 + 6 * (2 + 1) + 32


def test_textual_form() -> None:
    grid = Grid(np.array([[3, -8], [7, 0]]), np.array([0.25, 0.5], np.float32), 4)
    text = print_graph(holding(Sparse(grid)))
    assert "weight=<sparse 75.0% of grid i4[2, 2] mixed scale=0.25..0.5 per row, 83 bits>" in text
    assert grid.describe() == "grid i4[2, 2] mixed scale=0.25..0.5 per row"
    assert Grid(np.array([[1, 0]]), 0.1, 8, np.array([1])).describe() == "grid i8[1, 2] sign per row scale=0.1"


@pytest.mark.parametrize(
    ("codes", "options", "message"),
    [
        ([[1.5]], {}, "codes must be integers, not float64"),
        ([[1]], {"width": 9}, "a code has 1 to 8 bits, not 9"),
        ([[1]], {"width": 0}, "a code has 1 to 8 bits, not 0"),
        ([[0, 0], [8, -1]], {}, r"a 4-bit code of row 1 lies in \[-8, 7\]; these span \[-1, 8\]"),
        ([[-1]], {"sign": "excitatory"}, r"lies in \[0, 15\]"),
        ([[1]], {"sign": np.array([-1])}, r"lies in \[-15, 0\]"),
        ([[2]], {"width": 1}, r"a 1-bit code of row 0 lies in \[-1, 1\]"),
        ([[1]], {"sign": np.array([2])}, "the sign of a row is 0"),
        ([[1]], {"sign": np.array([0, 1])}, r"one sign for all rows, or one for each of 1, not \[2\]"),
        ([[1]], {"scale": np.ones(2)}, r"one scale for all rows, or one for each of 1, not \[2\]"),
        ([[1]], {"scale": np.ones((1, 1))}, "one scale for all rows"),
        ([[1]], {"scale": 2}, "a scale is a float of 32 or 64 bits, not int64"),
    ],
)
def test_what_does_not_fit_is_refused(codes: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(**{"codes": np.array(codes), "scale": 0.5, "width": 4, **options})


def test_rules_of_a_graph() -> None:
    verify(holding(Grid(np.array([[1, -1]]), 0.5, 1)))
    with pytest.raises(CompileError, match="2 weights are NaN or infinite"):
        verify(holding(Grid(np.array([[1, -1]]), np.inf, 1)))
    with pytest.raises(CompileError, match="a connection of a fixed graph has integer weights and a sum"):
        verify(holding(Grid(np.array([[1, -1]]), 0.5, 1), sum=FixedSum()))
