"""Tests of kept codes: on every target the integers of grid weights are codes times powers of two, or we are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.context import Calibration, Context
from spikec.compiler.diagnostics import Findings
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import IF, LIF
from spikec.compiler.ops import AvgPool, BatchNorm, Conv2d, Flatten, Input, Linear, Output, Scale, SumPool
from spikec.compiler.schedule import latencies
from spikec.compiler.target import Choices, Target, code_limits
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense, Fixed, Sign, Sparse, Weight, unwrapped
from spikec.compiler.weights_grid import Grid, grid_of
from spikec.compiler.weights_nm import NM
from spikec.driver.targets import route
from spikec.passes.fold import Fold
from spikec.passes.lower import Lower
from spikec.passes.quantize import Quantize
from spikec.passes.quantize.codes import exact
from spikec.runtime.reference import Reference
from tests.passes.test_fold import chain
from tests.passes.test_quantize import assert_exact

TARGETS = ("loihi2", "loihi2:netx", "fpga:ulx3s-85f")
seeds = st.integers(0, 2**32 - 1)


def target_of(name: str) -> Target:
    target = route(name, Choices()).description
    assert target is not None
    return target


def quantize(graph: Graph, target: Target, x=None, **options) -> tuple[Graph, Findings]:
    found = Findings()
    calibration = None if x is None else Calibration(x)
    context = Context(calibration=calibration, target=target, runner=Reference(np.float64), remark=found)
    return verify(Quantize(**options).run(verify(graph), context)), found


def codes_of(rng: np.random.Generator, shape: tuple[int, ...], limits: tuple[int, int], kind: str) -> np.ndarray:
    """Draw codes within limits: any, powers of two, or (1 bit) -1 and +1."""
    low, high = limits
    if kind == "binary":
        return rng.choice([-1, 1], shape)
    if kind == "powers":
        powers = [0, *(s << i for i in range(8) for s in (-1, 1) if low <= s << i <= high)]
        return rng.choice(powers, shape)
    return rng.integers(low, high, shape, endpoint=True)


def a_grid(rng: np.random.Generator, shape: tuple[int, ...], target: Target, width: int, kind: str) -> Grid:
    """Draw a grid that the target holds."""
    scale = np.asarray(rng.choice([0.01, 0.125, 0.3]) * (1 + rng.random()), rng.choice([np.float32, np.float64]))
    if rng.random() < 0.5:
        scale = (scale * (0.5 + rng.random(shape[0])) * rng.choice([-1, 1], shape[0])).astype(scale.dtype)
    if kind == "rows":
        sign = rng.choice([0, 1, -1], shape[0])
        kinds: list[Sign] = ["mixed", "excitatory", "inhibitory"]
        if scale.ndim:  # a negative scale turns a row's sign, and what the target holds with it
            scale = np.abs(scale)
        rows = [codes_of(rng, shape[1:], code_limits(target, width, kinds[s], beside=True), "any") for s in sign]
        return Grid(np.stack(rows), scale, width, sign)
    if kind == "positive":
        scale = np.abs(scale)
        return Grid(codes_of(rng, shape, code_limits(target, width, "excitatory"), "any"), scale, width, "excitatory")
    low, high = code_limits(target, width, "mixed")
    both = (low, high) if scale.ndim == 0 else (-high, high)
    return Grid(codes_of(rng, shape, both, "binary" if width == 1 else kind), scale, width)


def wrapped(rng: np.random.Generator, grid: Grid, form: str) -> Weight:
    """Give codes a structure of zeros."""
    if form == "bare":
        return grid
    mask = rng.random(grid.shape) < 0.4
    if form == "nm":
        mask.reshape(grid.shape[0], -1)[1::2] = False
    masked = replace(grid, codes=grid.codes * mask)
    return NM(masked, 1, 2, "out") if form == "nm" else Sparse(masked)


def assert_kept(before: Weight, after: Weight) -> None:
    """The integers are the codes (with the sign of their scale) times one power of two for each row."""
    grid, fixed = grid_of(before), unwrapped(after)
    assert grid is not None
    assert isinstance(fixed, Fixed)
    assert type(after).__name__ == ("Fixed" if isinstance(before, Grid) else type(before).__name__)
    wanted = grid.codes * np.sign(grid.scales).reshape(-1, *(1,) * (grid.codes.ndim - 1))
    meant = fixed.values * 2.0**fixed.exponent
    for codes, whole in zip(wanted.reshape(grid.shape[0], -1), meant.reshape(grid.shape[0], -1), strict=True):
        assert np.array_equal(codes == 0, whole == 0)
        ratio = np.unique(whole[codes != 0] / codes[codes != 0])
        assert ratio.size <= 1
        assert all(r > 0 and np.log2(r) == np.rint(np.log2(r)) for r in ratio)
    assert np.all(meant == np.rint(meant))


def weight_of(graph: Graph, name: str) -> Weight:
    op = graph[name].op
    assert isinstance(op, Linear | Conv2d)
    return op.weight


@settings(max_examples=25, deadline=None)
@given(
    seeds,
    st.sampled_from(TARGETS),
    st.integers(1, 8),
    st.sampled_from(["any", "powers", "rows", "positive"]),
    st.sampled_from(["bare", "sparse", "nm"]),
    st.booleans(),
)
def test_integers_are_codes_times_powers_of_two(seed, name, width, kind, form, measured):
    rng, target = np.random.default_rng(seed), target_of(name)
    conv = Conv2d(wrapped(rng, a_grid(rng, (4, 2, 3, 3), target, width, kind), form), padding=((1, 1), (1, 1)))
    first = Linear(wrapped(rng, a_grid(rng, (6, 64), target, width, kind), form), rng.normal(size=6) / 8)
    last = Linear(wrapped(rng, a_grid(rng, (3, 6), target, width, kind), form))
    neuron = LIF(0.75, 1.0, reset="value")
    graph = chain(Input((2, 4, 4)), conv, neuron, Flatten(), first, neuron, last, neuron)
    x = rng.integers(0, 2, (2, 8, 2, 4, 4)) if measured else None
    made, found = quantize(graph, target, x)
    names = [node.name for node in graph.of(Linear, Conv2d)]
    for name in names:
        assert_kept(weight_of(graph, name), weight_of(made, name))
    told = [d.message for d in found if d.code == "quantize/layer"]
    assert all(f"({width}-bit codes kept); weight RMS error 0 %" in text for text in told[:1])
    assert not [d for d in found if d.code == "quantize/rounded-again"]


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from(TARGETS), st.integers(1, 8), st.booleans(), st.sampled_from([">", ">="]))
def test_a_network_of_codes_keeps_every_spike(seed, name, width, by_row, cmp):
    """A membrane without leak holds sums of codes, so a threshold between two of them is exact: no spike differs."""
    rng, target = np.random.default_rng(seed), target_of(name)

    def layer(out: int, given: int) -> list:
        low, high = code_limits(target, width, "mixed")
        codes = codes_of(rng, (out, given), (low, high), "binary" if width == 1 else "any")
        scale = 0.1 * (1 + rng.random(out if by_row else ()))
        threshold = (rng.integers(1, high + 1, out) + rng.random(out) * 0.8 + 0.1) * scale
        bias = rng.integers(-1, 2, out) * scale if rng.random() < 0.5 else None
        return [Linear(Grid(codes, scale, width), bias), IF(threshold, reset="value", cmp=cmp)]

    graph = chain(Input((7,)), *layer(6, 7), *layer(5, 6))
    x = rng.integers(0, 2, (3, 12, 7))
    made, found = quantize(graph, target, x)
    assert_exact(graph, x, made)
    assert all("0 spikes differ" in d.message for d in found if d.code == "quantize/layer")


@pytest.mark.parametrize(("cmp", "threshold"), [(">", 1.6), (">=", 1.4)])
def test_a_threshold_between_two_codes_is_no_error(cmp, threshold):
    """The spike core has weights of 8 bits and no exponent: 127 is there once, so that a code is a step of 1."""
    grid = Grid(np.array([[127, 1]]), 0.1, 8)
    graph = chain(Input((2,)), Linear(grid), IF(threshold * 0.1, reset="value", cmp=cmp))
    x = np.tile([0, 1], (1, 7, 1))
    made, found = quantize(graph, target_of("fpga:ulx3s-85f"), x)
    assert assert_exact(graph, x, made) == 3
    assert "threshold error 0 %" in next(iter(found)).message


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(2, 6), st.sampled_from(TARGETS))
def test_feeds_with_scales_powers_of_two_apart_share_their_neurons(seed, width, name):
    rng, target = np.random.default_rng(seed), target_of(name)
    scale = 0.1 * (1 + rng.random(5))
    low, high = code_limits(target, width, "mixed")
    grids = [
        Grid(rng.integers(low, high, (5, 5), endpoint=True), scale * 2.0**shift, width)
        for shift in rng.integers(0, 9 - width, 2)
    ]
    nodes = (
        Node("x", Input((5,))),
        Node("fc", Linear(grids[0]), ("x",)),
        Node("rec", Linear(grids[1]), ("n",)),
        Node("n", LIF(0.5, 1.0, reset="value"), ("fc", "rec")),
        Node("out", Output(), ("n",)),
    )
    made, _ = quantize(Graph(nodes), target, rng.integers(0, 2, (2, 8, 5)))
    units = []
    for name, grid in zip(("fc", "rec"), grids, strict=True):
        assert_kept(grid, weight_of(made, name))
        fixed = weight_of(made, name)
        assert isinstance(fixed, Fixed)
        live = grid.codes != 0
        units.append((fixed.values * 2.0**fixed.exponent)[live] / (exact(grid) * np.ones(5))[live])
    rows = [np.nonzero(grid.codes)[0] for grid in grids]
    for row in range(5):  # both feeds of a neuron have one scale
        scales = np.concatenate([unit[at == row] for unit, at in zip(units, rows, strict=True)])
        assert np.allclose(scales, scales[:1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_passes_the_backend(name):
    """Every target takes the result; on the way a normalisation and a pool are folded, codes as they were."""
    rng, target = np.random.default_rng(1), target_of(name)
    grid = Grid(rng.integers(-7, 8, (6, 16)), np.float32(0.07), 4)
    norm = BatchNorm(rng.normal(size=6), np.ones(6), 1 + rng.random(6), np.zeros(6))
    second = Grid(rng.choice([-1, 1], (3, 6)), np.float32(0.4), 1)
    graph = chain(
        Input((1, 8, 8)), AvgPool((2, 2)), Flatten(), Linear(grid), norm, IF(0.5, reset="value", cmp=">"),
        Linear(second), IF(1.0, reset="value", cmp=">"),
    )  # fmt: skip
    x = rng.integers(0, 2, (4, 6, 1, 8, 8))
    way = route(name, Choices())
    context = Context(calibration=Calibration(x), target=target, runner=Reference(np.float64), remark=Findings())
    folded = Fold().run(verify(graph), context)
    names = [node.name for node in folded.of(Linear)]
    for step in way.after:
        folded_before, folded = folded, verify(step.run(folded, context))
        if isinstance(step, Quantize):
            for connection in names:
                assert_kept(weight_of(folded_before, connection), weight_of(folded, connection))
    assert grid_of(weight_of(Fold().run(graph, context), names[0])).width == 4  # type: ignore[union-attr]
    assert not [d for d in way.backend.check(folded) if d.severity == "error"]
    assert latencies(folded)


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(TARGETS), st.integers(1, 8), st.sampled_from(["mixed", "excitatory", "inhibitory"]))
def test_limits_are_those_of_what_is_kept(seed, name, width, sign):
    rng, target = np.random.default_rng(seed), target_of(name)
    low, high = code_limits(target, width, sign)

    def kept(*ends: int) -> bool:
        codes = rng.choice([-1, 1], (4, 6)) if width == 1 and sign == "mixed" else rng.integers(low, high + 1, (4, 6))
        codes.reshape(-1)[: len(ends)] = ends
        graph = chain(Input((6,)), Linear(Grid(codes, 0.1, min(8, width + 1), sign)), IF(0.65, reset="value", cmp=">"))
        made, found = quantize(graph, target)
        lost = any(d.code == "quantize/rounded-again" for d in found)
        if not lost:
            assert_kept(weight_of(graph, "n1"), weight_of(made, "n1"))
        return not lost

    assert kept(low, high)
    if sign != "mixed" and not target.one_sign and width == 8:
        assert not kept(*((high + 2, 1) if high else (low - 2, -1)))


def test_columns_of_their_own_factor_are_written_out_with_a_remark():
    found = Findings()
    grid = Sparse(Grid(np.array([[1, 0, -2], [3, 1, 0]]), 0.5, 3))
    factor = np.array([1.0, 2.0, 3.0])
    graph = chain(Input((3,)), Scale(factor), Linear(grid), IF(1.0, reset="value"))
    for made in (Fold().run(graph, Context(remark=found)), Lower().run(graph, Context(remark=found))):
        weight = weight_of(made, made.of(Linear)[0].name)
        assert isinstance(weight, Sparse)
        assert isinstance(weight.inner, Dense)
        assert np.array_equal(weight.decode(), grid.decode() * factor)
    told = [d for d in found if d.code == "fold/codes"]
    assert len(told) == 2
    assert "its codes are written out as floats" in told[0].message


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(1, 8))
def test_pools_and_factors_go_into_codes(seed, width):
    """A pool adds codes up, a factor goes into the scale; the function stays."""
    rng = np.random.default_rng(seed)
    codes = (
        rng.choice([-1, 1], (2, 2, 2, 2)) if width == 1 else rng.integers(*Fixed.limits(width, "mixed"), (2, 2, 2, 2))
    )
    conv = Conv2d(Sparse(Grid(codes, 0.1 * (1 + rng.random(2)), width)), np.array([0.1, -0.2]))
    flat = Linear(Grid(rng.choice([-1, 1], (3, 8)), 0.3, 1))
    norm = BatchNorm(rng.normal(size=2), 0.5 + rng.random(2), rng.normal(size=2), rng.normal(size=2))
    graph = chain(Input((2, 12, 12)), AvgPool((2, 2)), conv, norm, IF(0.7), SumPool((2, 2)), Flatten(), flat, IF(1.037))
    found = Findings()
    folded = verify(Fold().run(graph, Context(remark=found)))
    assert not list(found)
    assert [type(n.op).__name__ for n in folded if n.op.mnemonic not in ("input", "output")][:1] == ["Conv2d"]
    for node in folded.of(Conv2d, Linear):
        assert grid_of(node.op.weight) is not None
    x = rng.integers(0, 2, (2, 4, 2, 12, 12))
    one, two = (Reference(np.float64).run(g, x).spikes for g in (graph, folded))
    assert np.array_equal(one, two)


def wide() -> tuple[Graph, dict]:
    codes = np.array([[100, -3], [5, 1]])
    return chain(Input((2,)), Linear(Grid(codes, 0.01, 8)), IF(1.0, reset="value", cmp=">")), {"bits": 4}


def incommensurate() -> tuple[Graph, dict]:
    nodes = (
        Node("x", Input((2,))),
        Node("a", Linear(Grid(np.array([[3, -3], [2, 1]]), 0.1, 4)), ("x",)),
        Node("b", Linear(Grid(np.array([[1, -3], [2, 7]]), 0.3, 4)), ("x",)),
        Node("n", IF(1.0, reset="value", cmp=">"), ("a", "b")),
        Node("out", Output(), ("n",)),
    )
    return Graph(nodes), {}


def along_the_last_axis() -> tuple[Graph, dict]:
    grid = Grid(np.array([[3, -3], [2, 1]]), np.array([0.1, 0.13]), 4)
    return chain(Input((3, 2)), Linear(grid), IF(1.0, reset="value", cmp=">")), {}


def far_apart() -> tuple[Graph, dict]:
    grid = Grid(np.array([[3, -3], [2, 1]])[..., None, None], 1e-5, 4)
    return chain(Input((2, 1, 1)), Conv2d(grid), IF(9.0, reset="value", cmp=">")), {}


LOST = {"wide": wide, "incommensurate": incommensurate, "axis": along_the_last_axis, "threshold": far_apart}


@pytest.mark.parametrize("name", LOST)
def test_codes_that_are_rounded_again_are_told(name, golden):
    graph, options = LOST[name]()
    made, found = quantize(graph, Target("loihi2"), np.ones((1, 4, *graph.of(Input)[0].op.size)), **options)
    assert made.of(Linear, Conv2d)
    golden(f"codes_{name}", "\n".join(str(d) for d in found))


def test_a_layer_of_zeros_keeps_its_form():
    grid = Sparse(Grid(np.zeros((3, 4), int), np.float32(0.1), 2))
    for name in TARGETS:
        made, found = quantize(chain(Input((4,)), Linear(grid), IF(1.0, reset="value", cmp=">")), target_of(name))
        weight = weight_of(made, made.of(Linear)[0].name)
        assert isinstance(weight, Sparse)
        assert not weight.decode().any()
        assert not [d for d in found if d.code == "quantize/rounded-again"]
