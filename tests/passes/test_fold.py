"""Tests of the pass `fold`: the function stays, what can be folded is gone, what stays is remarked on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Findings
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import IF, LI, LIF, CubaLIF
from spikec.compiler.ops import (
    AvgPool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Delay,
    Dropout,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Output,
    Scale,
    SumPool,
)  # fmt: skip
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense, Fixed, Sparse
from spikec.passes.fold import Fold
from spikec.runtime.reference import Reference


def dyadic(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights that floats hold and sum exactly."""
    return rng.integers(-16, 17, shape) / 16


def chain(*ops) -> Graph:
    """A graph of ops in a row, then an Output."""
    nodes = [Node("n0", ops[0])]
    for index, op in enumerate(ops[1:], 1):
        nodes.append(Node(f"n{index}", op, (f"n{index - 1}",)))
    return verify(Graph((*nodes, Node("out", Output(), (nodes[-1].name,)))))


def run_fold(graph: Graph, **options) -> tuple[Graph, Findings]:
    remarks = Findings()
    return verify(Fold(**options).run(graph, Context(remark=remarks))), remarks


def same(before: Graph, after: Graph, rng, *, exact: bool, scale: int = 8) -> None:
    size = before.of(Input)[0].op.size
    x = rng.integers(-scale, scale + 1, (2, 6, *size)) / 4
    a, b = (Reference(np.float64).run(g, x).spikes for g in (before, after))
    if exact:
        np.testing.assert_array_equal(a, b)
    else:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def mnemonics(graph: Graph) -> list[str]:
    return [node.op.mnemonic for node in graph]


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=25, deadline=None)
@given(seeds, st.booleans(), st.booleans())
def test_batchnorm_goes_into_the_connection_before_it(seed, conv, bias):
    rng = np.random.default_rng(seed)
    b = rng.normal(size=4) if bias else None
    if conv:
        head = [Input((2, 6, 5)), Conv2d(Dense(rng.normal(size=(4, 2, 3, 2))), b, padding=((1, 1), (0, 1)))]
    else:
        head = [Input((5,)), Linear(Dense(rng.normal(size=(4, 5))), b)]
    norm = BatchNorm(rng.normal(size=4), rng.uniform(0.1, 2, 4), rng.normal(size=4), rng.normal(size=4))
    graph = chain(*head, norm, Dropout(), LI(0.5))
    folded, remarks = run_fold(graph)
    assert mnemonics(folded) == ["input", head[1].mnemonic, "neuron", "output"]
    assert not len(remarks)
    same(graph, folded, rng, exact=False)


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from([1, 2]), st.data())
def test_pool_then_convolution_is_one_convolution(seed, rank, data):
    rng = np.random.default_rng(seed)
    pick = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    edges = lambda high: tuple((data.draw(st.integers(0, high)), data.draw(st.integers(0, high))) for _ in range(rank))  # noqa: E731
    kind = (Conv1d, Conv2d)[rank - 1]
    groups = data.draw(st.sampled_from([1, 2]))
    pool = SumPool(pick(1, 3), pick(1, 3), edges(1))
    conv = kind(
        Dense(dyadic(rng, 4, 2 // groups, *pick(1, 3))), dyadic(rng, 4),
        stride=pick(1, 2), padding=edges(2), dilation=pick(1, 2), groups=groups,
    )  # fmt: skip
    graph = chain(Input((2, *(15 + data.draw(st.integers(0, 3)) for _ in range(rank)))), pool, conv, LI(0.5))
    folded, remarks = run_fold(graph)
    assert ("sumpool" in mnemonics(folded)) == bool(len(remarks))
    same(graph, folded, rng, exact=True)
    if not any(a or b for a, b in conv.padding):
        assert "sumpool" not in mnemonics(folded)


@settings(max_examples=40, deadline=None)
@given(seeds, st.data())
def test_convolution_then_pool_is_one_convolution(seed, data):
    rng = np.random.default_rng(seed)
    pair = lambda low, high: (data.draw(st.integers(low, high)), data.draw(st.integers(low, high)))  # noqa: E731
    conv = Conv2d(
        Dense(dyadic(rng, 3, 2, *pair(1, 3))),
        dyadic(rng, 3),
        stride=pair(1, 2),
        padding=(pair(0, 1), pair(0, 1)),
        dilation=pair(1, 2),
    )
    graph = chain(Input((2, 11, 12)), conv, AvgPool((2, 2), pair(1, 3)), LI(0.5))
    folded, remarks = run_fold(graph)
    assert mnemonics(folded) == ["input", "conv2d", "neuron", "output"]
    assert not len(remarks)
    same(graph, folded, rng, exact=True)


@settings(max_examples=40, deadline=None)
@given(seeds, st.data())
def test_pool_flatten_linear_is_one_linear(seed, data):
    rng = np.random.default_rng(seed)
    pair = lambda low, high: (data.draw(st.integers(low, high)), data.draw(st.integers(low, high)))  # noqa: E731
    pool = AvgPool((2, 4), pair(1, 3), (pair(0, 1), pair(0, 1)))
    outs = int(np.prod(pool.shape((2, 7, 6))))
    graph = chain(Input((2, 7, 6)), pool, Flatten(), Linear(Dense(dyadic(rng, 3, outs)), dyadic(rng, 3)), LI(0.5))
    folded, _ = run_fold(graph)
    assert mnemonics(folded) == ["input", "flatten", "linear", "neuron", "output"]
    same(graph, folded, rng, exact=True)


@settings(max_examples=40, deadline=None)
@given(seeds, st.booleans())
def test_gains_spike_values_and_scales_vanish(seed, per_neuron):
    rng = np.random.default_rng(seed)
    values = (lambda *s: 2.0 ** rng.integers(-2, 3, s)) if per_neuron else (lambda *_: 2.0 ** int(rng.integers(-2, 3)))
    graph = chain(
        Input((5,)),
        Scale(values(5), 0.5),
        Linear(Dense(dyadic(rng, 4, 5)), dyadic(rng, 4)),
        CubaLIF(0.5, 0.75, 1.0, g_in=values(4), g_syn=values(4), graded=values(4)),
        Linear(Sparse(Dense(dyadic(rng, 3, 4))), dyadic(rng, 3)),
        Scale(values(3), dyadic(rng, 3)),
        LI(0.5, g_in=values(3)),
    )
    folded, remarks = run_fold(graph)
    assert mnemonics(folded) == ["input", "linear", "neuron", "linear", "neuron", "output"]
    assert not len(remarks)
    neuron = folded["n3"].op
    assert np.all(neuron.g_in == 1)
    assert np.all(neuron.g_syn == 1)
    assert np.all(neuron.graded == 1)
    assert isinstance(folded["n4"].op.weight, Sparse)
    same(graph, folded, rng, exact=True)


@settings(max_examples=25, deadline=None)
@given(seeds)
@example(25477)  # draws the offset 0, which may pass
def test_channel_scales_cross_pools_and_reshapes(seed):
    rng = np.random.default_rng(seed)
    factor, offset = 2.0 ** rng.integers(-2, 3, (2, 1, 1)), dyadic(rng, 2, 1, 1)
    graph = chain(
        Input((2, 6, 6)),
        MaxPool((2, 2)),
        Scale(factor, offset),
        Flatten(),
        Delay(0),
        Dropout(),
        Linear(Dense(dyadic(rng, 3, 18))),
        LI(0.5),
    )
    folded, remarks = run_fold(graph)
    if offset.any():  # it may not pass a delay, which is 0 at first: the scale stays and says so
        assert "scale" in mnemonics(folded)
        assert "n4" in str(next(iter(remarks)))
    else:
        assert mnemonics(folded) == ["input", "maxpool", "flatten", "delay", "linear", "neuron", "output"]
        same(graph, folded, rng, exact=True)
    free = chain(*(node.op for node in graph if not isinstance(node.op, Delay | Output)))
    folded, remarks = run_fold(free)
    assert mnemonics(folded) == ["input", "maxpool", "flatten", "linear", "neuron", "output"]
    same(free, folded, rng, exact=True)


def test_graph_without_anything_to_fold_is_the_same_object():
    graph = chain(Input((3,)), Linear(Dense(np.ones((2, 3)))), LIF(0.5))
    assert Fold().run(graph, Context()) is graph


def test_pools_stay_when_told_so():
    rng = np.random.default_rng(0)
    graph = chain(Input((1, 4, 4)), AvgPool((2, 2)), Conv2d(Dense(dyadic(rng, 2, 1, 2, 2))), IF())
    folded, _ = run_fold(graph, pools=False)
    assert mnemonics(folded) == ["input", "sumpool", "conv2d", "neuron", "output"]
    np.testing.assert_array_equal(folded["n2"].op.weight.decode(), graph["n2"].op.weight.decode() / 4)


def test_fold_goes_through_recurrence_and_several_readers():
    rng = np.random.default_rng(3)
    nodes = (
        Node("x", Input((3,))),
        Node("fc", Linear(Dense(dyadic(rng, 4, 3))), ("x",)),
        Node("rec", Linear(Dense(dyadic(rng, 4, 4))), ("n",)),
        Node("n", LIF(0.5, graded=0.5, g_in=2.0), ("fc", "rec")),
        Node("o1", Linear(Dense(dyadic(rng, 2, 4))), ("n",)),
        Node("m", LI(0.5), ("o1",)),
        Node("out", Output(), ("m",)),
    )
    graph = verify(Graph(nodes))
    folded, remarks = run_fold(graph)
    assert folded["n"].op.graded == 1.0
    assert folded["n"].op.g_in == 1.0
    assert not len(remarks)
    np.testing.assert_array_equal(folded["rec"].op.weight.decode(), graph["rec"].op.weight.decode())  # 2 x 0.5
    same(graph, folded, rng, exact=True)


PADDED = Conv1d(Dense(np.ones((1, 1, 3))), padding=((1, 1),))
MESSAGES = {
    "scale-at-neuron": lambda: chain(Input((2,)), Scale(2.0), IF()),
    "pool-of-pool": lambda: chain(Input((1, 8)), SumPool((2,)), SumPool((2,)), Flatten(), IF()),
    "graded-output": lambda: chain(Input((2,)), Linear(Dense(np.eye(2))), IF(graded=2.0)),
    "encoded": lambda: chain(Input((2,)), Scale(2.0), Linear(Fixed(np.eye(2, dtype=int), width=2)), IF()),
    "conv-padding": lambda: chain(Input((1, 9)), AvgPool((3,), (2,)), PADDED, IF()),
    "gain-per-neuron": lambda: chain(Input((1, 4)), Conv1d(Dense(np.ones((1, 1, 1)))), IF(g_in=np.arange(4.0))),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_what_stays_says_why(name, golden):
    _, remarks = run_fold(MESSAGES[name]())
    golden(f"fold-{name}", "\n".join(str(r) for r in remarks))


@pytest.mark.parametrize("pool", [SumPool, AvgPool])
def test_an_offset_behind_a_pool_goes_back_by_its_share(pool):
    rng = np.random.default_rng(0)
    scale = Scale(dyadic(rng, 2, 1, 1), dyadic(rng, 2, 1, 1))
    conv = Conv2d(Dense(dyadic(rng, 2, 1, 3, 3)))
    graph = chain(Input((1, 6, 6)), conv, pool((2, 2)), scale, LIF(0.5, 0.5))
    folded, _ = run_fold(graph, pools=False)
    assert "scale" not in mnemonics(folded)
    same(graph, folded, rng, exact=True)
