"""The engine equals the reference in every trace, on any number of threads; published values; what it refuses."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import _spikecore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import Arithmetic, FixedNeuron
from spikec.compiler.ir import Graph, Node, Op
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Conv2d, Delay, FixedSum, Flatten, Input, Linear, MaxPool, Output
from spikec.compiler.runner import Result
from spikec.compiler.weights import Array, Dense, Fixed
from spikec.runtime.engine import Engine
from spikec.runtime.reference import Reference
from tests.random_fixed import random_fixed_graph, random_inputs

NEVER = (1 << 17) - 1
"""A threshold that the published examples never reach."""


def same(one: Result, other: Result) -> None:
    """Demand equal names, types, shapes and values."""
    for ours, theirs in ((one.outputs, other.outputs), (one.traces, other.traces)):
        assert set(ours) == set(theirs)
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype, name
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def chain(*ops: Op) -> Graph:
    """Give the graph of ops that read each other, and an output."""
    nodes = [Node(f"n{i}", op, (f"n{i - 1}",) if i else ()) for i, op in enumerate(ops)]
    return Graph((*nodes, Node("out", Output(), (nodes[-1].name,))))


def one(*, graded: bool = False) -> Linear:
    """A connection of weight 1."""
    return Linear(Fixed(np.ones((1, 1), int)), sum=FixedSum(8 if graded else 0))


def steps(*values: list[int] | int) -> Array:
    """Give one sample of these steps."""
    return np.asarray(values, np.int32).reshape(1, len(values), -1)


@settings(deadline=None, max_examples=300)
@given(seed=st.integers(0, 2**32 - 1), lava=st.booleans(), n=st.integers(0, 3), t=st.integers(1, 24))
def test_random_graphs_run_as_in_the_reference(seed: int, lava: bool, n: int, t: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_fixed_graph(rng, lava=lava)
    inputs = random_inputs(rng, graph, n, t)
    same(Engine(2).run(graph, inputs, trace=True), Reference().run(graph, inputs, trace=True))


def test_random_graphs_reach_the_edges_of_their_integers() -> None:
    """The comparison above is worth little if nothing ever saturates, wraps or fires."""
    saturates = wraps = leaves = fires = negative = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        graph = random_fixed_graph(rng, lava=True)
        traces = Engine().run(graph, random_inputs(rng, graph, 2, 24), trace=True).traces
        for node in graph.of(FixedNeuron):
            u, v = (traces[f"{kind}/{node.name}"].astype(np.int64) for kind in "uv")
            saturates += bool(np.any(np.abs(v) == (1 << 23) - 1))
            wraps += bool(np.any(np.abs(np.diff(u, axis=1)) > 1 << 23))
            leaves += bool(np.any(np.abs(u) > 1 << 23))  # by more than one wrap can bring back
            fires += bool(traces[f"s/{node.name}"].any())
            negative += bool(np.any(v < 0))
    assert min(saturates, wraps, leaves) > 10
    assert min(fires, negative) > 100


@pytest.mark.slow
def test_a_thousand_random_graphs() -> None:
    for seed in range(1000):
        rng = np.random.default_rng([seed, 1])
        graph = random_fixed_graph(rng, lava=seed % 2 == 0)
        inputs = random_inputs(rng, graph, 3, 40)
        same(Engine().run(graph, inputs, trace=True), Reference().run(graph, inputs, trace=True))


@pytest.mark.parametrize("seed", range(6))
def test_the_number_of_threads_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_fixed_graph(rng, lava=seed % 2 == 0)
    inputs = random_inputs(rng, graph, 37, 15)
    expected = Engine(1).run(graph, inputs, trace=True)
    for threads in (0, 2, 3, 8, 64):
        same(Engine(threads).run(graph, inputs, trace=True), expected)


def test_one_engine_serves_many_threads_at_once() -> None:
    rng = np.random.default_rng(3)
    graph = random_fixed_graph(rng)
    inputs = random_inputs(rng, graph, 8, 20)
    engine = Engine(2)
    expected = engine.run(graph, inputs)
    results: list[Result] = []
    threads = [threading.Thread(target=lambda: results.append(engine.run(graph, inputs))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for result in results:
        same(result, expected)


def test_python_goes_on_while_the_engine_runs() -> None:
    """Without the release of the interpreter's lock this thread would stand still for the whole run."""
    graph = chain(Input((200,)), Linear(Fixed(np.ones((200, 200), int)), sum=FixedSum()), FixedNeuron(1000))
    inputs = np.ones((1, 40_000, 200), np.int32)
    engine = Engine(1)
    engine.run(graph, inputs[:, :1])
    thread = threading.Thread(target=engine.run, args=(graph, inputs))
    begin = last = time.perf_counter()
    longest = 0.0
    thread.start()
    while thread.is_alive():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    assert longest < 0.5 * (time.perf_counter() - begin)


def test_a_plan_lives_as_long_as_its_graph() -> None:
    graph = random_fixed_graph(np.random.default_rng(0))
    engine = Engine(1)
    engine.run(graph, random_inputs(np.random.default_rng(0), graph, 1, 2))
    gone = weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None
    assert len(engine._plans) == 0


def test_trace_names_what_it_records() -> None:
    graph = chain(Input((2,)), Linear(Fixed(np.eye(2, dtype=int)), sum=FixedSum()), FixedNeuron(1))
    inputs = np.ones((1, 3, 2), int)
    assert set(Engine().run(graph, inputs, trace=("n2",)).traces) == {"s/n2", "u/n2", "v/n2"}
    assert Engine().run(graph, inputs).traces == {}
    assert set(Engine().run(graph, inputs, trace=True).traces) == {"s/n0", "s/n1", "s/n2", "s/out", "u/n2", "v/n2"}
    assert Engine().run(graph, np.ones((2, 0, 2), int)).spikes.shape == (2, 0, 2)


# What Lava's own tests of its bit-accurate LIF and Dense expect, and sums done by hand.


def test_current_halves_as_published() -> None:
    graph = chain(Input((1,), "analog", message_bits=8), one(graded=True), FixedNeuron(NEVER, u_decay=2048))
    u = Engine().run(graph, steps(128, 0, 0, 0, 0, 0, 0, 0), trace=True).traces["u/n2"]
    assert u.ravel().tolist() == [8192 >> j for j in range(8)]


def test_potential_gathers_as_published() -> None:
    graph = chain(Input((1,), "analog", message_bits=8), one(graded=True), FixedNeuron(NEVER, u_decay=1, v_decay=2048))
    v = Engine().run(graph, steps(128, 0, 0, 0, 0, 0, 0, 0), trace=True).traces["v/n2"]
    assert v.ravel().tolist() == [8192, 12286, 14331, 15351, 15859, 16111, 16235, 16295]


def test_bias_fires_every_fifth_step_as_published() -> None:
    graph = chain(Input((1,)), one(), FixedNeuron(8, u_decay=1, bias=2, bias_exp=6))
    spikes = Engine().run(graph, np.zeros((1, 10, 1), int)).spikes
    assert spikes.ravel().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_exponent_scales_the_sum_as_published() -> None:
    weights = np.array([[254], [-256], [38]])
    graph = chain(Input((1,)), Linear(Fixed(weights, 1, step=2), latency=1, sum=FixedSum()), FixedNeuron(NEVER))
    assert Engine().run(graph, steps(1, 0), trace=True).traces["s/n1"].tolist() == [[[0, 0, 0], [508, -512, 76]]]


def test_a_negative_exponent_floors_the_sum_of_each_delay() -> None:
    weights = Fixed(np.array([[3, -3]]), -1)
    together = chain(Input((2,)), Linear(weights, sum=FixedSum()), FixedNeuron(NEVER))
    apart = chain(Input((2,)), Linear(weights, None, 1, np.array([[0, 1]]), FixedSum()), FixedNeuron(NEVER))
    inputs = steps([1, 0], [0, 1], [1, 1], [0, 0], [0, 0])
    assert Engine().run(together, inputs, trace=True).traces["s/n1"].ravel().tolist() == [1, -2, 0, 0, 0]
    assert Engine().run(apart, inputs, trace=True).traces["s/n1"].ravel().tolist() == [0, 1, 0, -1, -2]


def test_a_convolution_wraps_at_its_width() -> None:
    op = Conv2d(Fixed(np.full((1, 1, 1, 2), 1 << 14), 0, 16), sum=FixedSum(24, 24))
    graph = chain(Input((1, 1, 3), "analog", message_bits=24), op, Flatten(), FixedNeuron(NEVER))
    made = Engine().run(graph, steps([512, -1, 1 << 10]).reshape(1, 1, 1, 1, 3), trace=True).traces["s/n1"]
    assert made.ravel().tolist() == [511 << 14, ((1023 << 14) + (1 << 23)) % (1 << 24) - (1 << 23)]


def test_any_value_is_one_spike_where_messages_have_no_bits() -> None:
    graph = chain(Input((3,)), Linear(Fixed(np.array([[1, 10, 100]])), sum=FixedSum()), FixedNeuron(NEVER))
    assert Engine().run(graph, steps([5, -1, 0]), trace=True).traces["s/n1"].ravel().tolist() == [11]


def test_a_sum_of_inputs_wraps_at_32_bits() -> None:
    nodes = [Node("in", Input((1,), "analog", message_bits=31)), Node("half", Delay(0), ("in",))]
    nodes += [Node("twice", Delay(0), ("in", "half")), Node("w", one(), ("twice",)), Node("n", FixedNeuron(1), ("w",))]
    graph = Graph((*nodes, Node("out", Output(), ("n",))))
    inputs = steps(1 << 30, -(1 << 31), (1 << 31) - 1)
    result = Engine().run(graph, inputs, trace=True)
    assert result.traces["s/twice"].ravel().tolist() == [-(1 << 31), 0, -2]
    assert result.traces["s/w"].ravel().tolist() == [1, 0, 1]
    same(result, Reference().run(graph, inputs, trace=True))


# What it refuses.


def refusal(graph: Graph, inputs: Array) -> str:
    """Give the text of the error that running the graph raises."""
    with pytest.raises(CompileError) as error:
        Engine().run(graph, inputs)
    return str(error.value)


def test_a_float_graph_is_refused() -> None:
    graph = chain(Input((1,)), Linear(Dense(np.ones((1, 1)))), LIF(0.9))
    assert refusal(graph, steps(1)) == (
        "error[engine/float-graph]: the engine computes in integers; this graph is float\n"
        "  where: network\n"
        "  help: quantize it first, or run it by the reference"
    )


def test_an_input_that_does_not_fit_is_refused() -> None:
    graph = chain(Input((1,)), one(), FixedNeuron(1))
    assert "error[run/input-shape]" in refusal(graph, np.zeros((1, 2, 3), int))
    assert "error[run/input-not-whole]" in refusal(graph, np.full((1, 2, 1), 0.5))
    assert refusal(graph, np.full((1, 2, 1), 1 << 31)) == (
        "error[run/input-width]: the input has values that do not fit in 32 bits\n  where: n0"
    )


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (FixedNeuron(1, v_init=1 << 40), "v_init is out of range"),
        (FixedNeuron(1, arithmetic=Arithmetic("odd", v_bits=33)), "a state is 1 to 32 bits wide"),
        (FixedNeuron(1, arithmetic=Arithmetic("odd", decay_bits=40)), "decay_bits is out of range"),
        (Delay(1 << 40), "steps do not fit in 32 bits"),
        (Delay(1 << 30), "a delay is negative or over 2**20 steps"),
        (Linear(Fixed(np.ones((1, 1), int)), sum=FixedSum(0, 40)), "a sum is 1 to 32 bits wide"),
    ],
)
def test_what_the_core_cannot_hold_is_named(op: Op, reason: str) -> None:
    text = refusal(chain(Input((1,)), one(), op, FixedNeuron(1)), steps(1))
    assert text == f"error[engine/parameter-range]: the engine cannot hold this: {reason}\n  where: n2"


def test_a_maximum_over_padding_alone_is_refused() -> None:
    graph = chain(Input((1, 4)), MaxPool((1,), (1,), ((1, 0),)), Flatten(), FixedNeuron(1))
    assert "a window of the pool may lie in the padding alone" in refusal(graph, np.zeros((1, 1, 1, 4), int))


def test_the_core_checks_every_plan_itself() -> None:
    """A wrong description raises; it never reads or writes out of bounds."""
    few = np.ones(3, np.int32)
    with pytest.raises(ValueError, match="not \\(out, columns\\)"):
        _spikecore.linear(
            rows=1, columns=2, out=2, weights=few, delays=few[:0], latency=0, exponent=few[:1], graded=False, width=32
        )
    with pytest.raises(ValueError, match="one exponent"):
        _spikecore.linear(
            rows=1, columns=1, out=3, weights=few, delays=few[:0], latency=0, exponent=few[:2], graded=False, width=32
        )
    with pytest.raises(ValueError, match="larger than the map"):
        _spikecore.pool(channels=1, axes=[(2, 3, 1, 0, 0, 1)], largest=False)
    with pytest.raises(ValueError, match="2\\*\\*31"):
        _spikecore.pool(channels=1 << 40, axes=[(2, 2, 1, 0, 0, 1)], largest=False)
    three, two = _spikecore.identity(3), _spikecore.identity(2)
    with pytest.raises(ValueError, match="as many entries"):
        _spikecore.Plan([three, two], [[], [0]], 0)
    with pytest.raises(ValueError, match="not a stage"):
        _spikecore.Plan([three, two], [[], [2]], 0)
    plan = _spikecore.Plan([three], [[]], 0)
    given, room = np.zeros((1, 2, 3), np.int32), np.zeros((1, 2, 3), np.int32)
    plan.run(given, [(0, "s", room)], 1)
    with pytest.raises(ValueError, match="state that the node does not have"):
        plan.run(given, [(0, "v", room)], 1)
    with pytest.raises(ValueError, match="size of the network"):
        plan.run(given[:, :, :2].copy(), [], 1)
    with pytest.raises(ValueError, match="entries of its node"):
        plan.run(given, [(0, "s", room[:, :1])], 1)
