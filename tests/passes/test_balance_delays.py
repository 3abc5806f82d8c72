"""Tests of the pass `balance-delays`: what it lowers equals what was given, step for step, after its latency."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import CompileError, Findings
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Delay, Flatten, Input, Linear, Output
from spikec.compiler.runner import align, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.target import Target
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense
from spikec.passes.balance_delays import BalanceDelays
from spikec.runtime.reference import Reference
from tests.passes.networks import WIDTH, conv_net, linear, neuron, random_fixed

LOIHI = Target("loihi2")


def lower(graph: Graph, target: Target = LOIHI) -> Graph:
    return verify(BalanceDelays().run(graph, Context(target=target)))


def assert_same_steps(graph: Graph, lowered: Graph, x: np.ndarray) -> int:
    """Every neuron in u, v and spikes; gives how many spikes were compared."""
    names = tuple(node.name for node in graph.of(FixedNeuron) if node.inputs)
    before = Reference().run(graph, x, trace=names)
    late = latencies(lowered)
    padded = pad_steps(x, max(late.values()))
    after = align(Reference().run(lowered, padded, trace=names), late, x.shape[1])
    for key, array in before.traces.items():
        np.testing.assert_array_equal(array, after.traces[key], key)
    for key, array in before.outputs.items():
        np.testing.assert_array_equal(array, after.outputs[key], key)
    return sum(int(before.traces[f"s/{name}"].sum()) for name in names)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_lowered_equals_given_step_for_step(seed):
    graph = random_fixed(seed)
    lowered = lower(graph)
    x = np.random.default_rng(seed).integers(0, 2, (3, 14, WIDTH))
    assert_same_steps(graph, lowered, x)
    assert lower(lowered) is lowered
    for node in lowered.of(Linear):
        recurrent = [lowered.is_recurrent(name, node.name) for name in node.inputs]
        assert node.op.latency == (0 if all(recurrent) and recurrent else 1) or any(
            isinstance(lowered[name].op, Delay) for name in node.inputs
        )


def test_random_networks_spike_and_have_what_they_are_drawn_for():
    spikes, delays, absorbed, moved = 0, 0, 0, 0
    for seed in range(40):
        graph = random_fixed(seed)
        lowered = lower(graph)
        x = np.random.default_rng(seed).integers(0, 2, (3, 14, WIDTH))
        spikes += assert_same_steps(graph, lowered, x)
        delays += sum(node.op.balance for node in lowered.of(Delay))
        absorbed += sum(node.op.absorbed for node in lowered.of(Delay))
        moved += any(".back" in node.name for node in lowered)
    assert spikes > 2000
    assert delays > 10
    assert absorbed > 5
    assert moved > 5


def test_convolutions_with_a_skip():
    rng = np.random.default_rng(5)
    graph = conv_net(rng)
    lowered = lower(graph)
    assert lowered["skip"].inputs == ("x.wait1",)
    assert [lowered[n].op.start for n in ("n1", "n2", "n3")] == [1, 2, 3]
    assert assert_same_steps(graph, lowered, rng.integers(0, 2, (2, 12, 2, 4, 4))) > 100


def test_recurrence_has_one_step():
    rng = np.random.default_rng(1)
    graph = verify(
        Graph(
            (
                Node("x", Input((WIDTH,))),
                Node("fc", linear(rng), ("x",)),
                Node("rec", linear(rng), ("n",)),
                Node("n", neuron(rng), ("fc", "rec")),
                Node("out", Output(), ("n",)),
            )
        )
    )
    lowered = lower(graph)
    assert lowered["rec"].op.latency == 0
    assert lowered["fc"].op.latency == 1
    assert latencies(lowered)["rec"] == latencies(lowered)["n"] == 1


def test_reset_intervals_move_with_the_layer():
    rng = np.random.default_rng(2)
    graph = verify(
        Graph(
            (
                Node("x", Input((WIDTH,))),
                Node("fc1", linear(rng), ("x",)),
                Node("n1", neuron(rng, reset_interval=4, reset_offset=1), ("fc1",)),
                Node("fc2", linear(rng), ("n1",)),
                Node("n2", neuron(rng, reset_interval=4, reset_offset=1), ("fc2",)),
                Node("out", Output(), ("n2",)),
            )
        )
    )
    lowered = lower(graph)
    assert_same_steps(graph, lowered, rng.integers(0, 2, (2, 15, WIDTH)))


def test_given_latency_is_kept_and_only_delays_are_added():
    rng = np.random.default_rng(3)
    one = linear(rng, latency=1)
    graph = Graph(
        (
            Node("x", Input((WIDTH,))),
            Node("fc1", one, ("x",)),
            Node("n1", neuron(rng), ("fc1",)),
            Node("fc2", one, ("n1",)),
            Node("skip", one, ("x",)),
            Node("rec", one, ("n2",)),
            Node("n2", neuron(rng), ("fc2", "skip", "rec")),
            Node("out", Output(), ("n2",)),
        )
    )
    balanced = lower(graph)
    assert balanced["skip"].inputs == ("x.wait1",)
    assert balanced["rec"].op.latency == 1
    assert balanced["n2"].op.start == 0


def test_targets_without_latency_and_float_graphs_are_left_alone():
    graph = random_fixed(0)
    assert BalanceDelays().run(graph, Context(target=Target("fpga", latency=0))) is graph
    assert BalanceDelays().run(graph, Context()) is graph
    floating = Graph((Node("x", Input((2,))), Node("f", Linear(Dense(np.eye(2))), ("x",)), Node("n", LIF(0.5), ("f",)),
                      Node("out", Output(), ("n",))))  # fmt: skip
    assert lower(floating) is floating


def test_absorbed_delays_are_saved():
    graph = next(g for g in map(random_fixed, range(50)) if any(n.op.absorbed for n in lower(g).of(Delay)))
    lowered = lower(graph)
    again = loads(dumps(lowered))
    assert latencies(again) == latencies(lowered)


def test_remark_names_what_waits(golden):
    remarks = Findings()
    BalanceDelays().run(conv_net(np.random.default_rng(0)), Context(target=LOIHI, remark=remarks))
    golden("balance-waits", "\n".join(map(str, remarks)))


def two_layer_loop(*between: Node) -> Graph:
    rng = np.random.default_rng(4)
    source = between[-1].name if between else "n2"
    return verify(
        Graph(
            (
                Node("x", Input((WIDTH,))),
                Node("fc1", linear(rng), ("x",)),
                *between,
                Node("back", linear(rng), (source,)),
                Node("n1", neuron(rng), ("fc1", "back")),
                Node("fc2", linear(rng), ("n1",)),
                Node("n2", neuron(rng), ("fc2",)),
                Node("out", Output(), ("n2",)),
            )
        )
    )


def long_skip() -> Graph:
    rng = np.random.default_rng(4)
    nodes = [Node("x", Input((WIDTH,)))]
    for i in range(4):
        nodes += [Node(f"fc{i}", linear(rng), (nodes[-1].name,)), Node(f"n{i}", neuron(rng), (f"fc{i}",))]
    nodes[-1] = replace(nodes[-1], inputs=("fc3", "skip"))
    nodes.insert(1, Node("skip", linear(rng), ("x",)))
    return verify(Graph((*nodes, Node("out", Output(), ("n3",)))))


@pytest.mark.parametrize(
    ("name", "graph", "limit"),
    [
        ("loop", two_layer_loop(), 62),
        ("loop-reshape", two_layer_loop(Node("d", Delay(0), ("n2",)), Node("flat", Flatten(), ("d",))), 62),
        ("limit", long_skip(), 2),
    ],
)
def test_faults_name_the_place(name, graph, limit, golden):
    with pytest.raises(CompileError) as error:
        lower(graph, Target("loihi2", max_delay=limit))
    golden(f"balance-{name}", str(error.value))


def test_loop_with_one_step_of_delay_more_is_met():
    rng = np.random.default_rng(9)
    graph = two_layer_loop(Node("d", Delay(1), ("n2",)))
    lowered = lower(graph)
    assert lowered["d"].op.steps == 0
    assert lowered["d"].op.absorbed == 1
    assert assert_same_steps(graph, lowered, rng.integers(0, 2, (3, 20, WIDTH))) > 20


def test_a_delay_on_the_way_forward_of_a_loop_gives_up_a_step():
    rng = np.random.default_rng(9)
    graph = verify(
        Graph(
            (
                Node("x", Input((WIDTH,))),
                Node("fc1", linear(rng), ("x",)),
                Node("back", linear(rng), ("n2",)),
                Node("n1", neuron(rng), ("fc1", "back")),
                Node("d", Delay(2), ("n1",)),
                Node("fc2", linear(rng), ("d",)),
                Node("n2", neuron(rng), ("fc2",)),
                Node("out", Output(), ("n2",)),
            )
        )
    )
    lowered = lower(graph)
    assert lowered["d"].op.absorbed == 1
    assert latencies(lowered)["n2"] == latencies(lowered)["n1"] == 1
    assert assert_same_steps(graph, lowered, rng.integers(0, 2, (3, 20, WIDTH))) > 20


def test_a_delay_of_just_the_limit_is_held():
    lowered = lower(long_skip(), Target("loihi2", max_delay=3))
    assert max(int(np.max(node.op.steps)) for node in lowered.of(Delay)) == 3


def test_a_start_of_its_own_moves_with_the_layer():
    rng = np.random.default_rng(2)
    graph = long_skip().map(lambda n: replace(n, op=replace(n.op, start=2)) if n.name == "n1" else None)
    lowered = lower(graph)
    assert lowered["n1"].op.start == 2 + latencies(lowered)["n1"] == 4
    x = rng.integers(0, 2, (3, 20, WIDTH))
    late = latencies(lowered)
    after = align(Reference().run(lowered, pad_steps(x, max(late.values())), trace=True), late, 20)
    before = Reference().run(graph, x, trace=True)
    for key in ("s/n1", "u/n1", "v/n1", "s/n3"):  # a state before the start counts for nothing
        np.testing.assert_array_equal(before.traces[key][:, 2:], after.traces[key][:, 2:])
    assert np.any(before.traces["s/n1"])
    np.testing.assert_array_equal(before.spikes, after.spikes)
