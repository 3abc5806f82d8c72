"""The `.net` that is written: read back it is the same network, netx runs it equal, and where it cannot be, why."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.backends.loihi.netfile import netx_arguments, reasons, write
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Delay, FixedSum, Input, Linear, Output
from spikec.compiler.runner import pad_steps
from spikec.compiler.weights import Fixed
from spikec.frontends.netx import lower
from spikec.runtime.reference import Reference
from tests.lava import netx
from tests.loihi.networks import dense, image, linear, neuron


def started(graph, **fields):
    """Give every population a start at its latency, and other fields."""
    starts = {node.name: i + 1 for i, node in enumerate(graph.of(FixedNeuron))}
    return graph.map(
        lambda n: replace(n, op=replace(n.op, start=starts[n.name], **fields)) if n.name in starts else None
    )


def chain(rng, sizes=(12, 7, 5), **fields):
    """Give a chain of dense layers with random even weights."""
    nodes = [Node("input", Input((sizes[0],)))]
    for i, (columns, rows) in enumerate(pairwise(sizes)):
        weight = Fixed(2 * rng.integers(-60, 90, (rows, columns)), 0, 8, "mixed", 2)
        nodes.append(Node(f"fc{i}", Linear(weight, latency=1, sum=FixedSum()), (nodes[-1].name,)))
        nodes.append(Node(f"lif{i}", neuron(**fields), (nodes[-1].name,)))
    return Graph((*nodes, Node("output", Output(), (nodes[-1].name,))), "chain")


def read_back(graph, folder):
    """Write a graph and read it with netx's arguments for it."""
    path = folder / "written.net"
    path.write_bytes(write(graph))
    arguments = netx_arguments(graph)
    return path, lower(
        path,
        input_message_bits=arguments["input_message_bits"],
        reset_interval=arguments["reset_interval"],
        reset_offset=arguments["reset_offset"],
    )


@given(st.integers(0, 2**32 - 1), st.integers(-6, 0))
@settings(max_examples=40, deadline=None)
def test_what_is_written_and_read_back_means_the_same(tmp_path_factory, seed, exponent):
    """Random weights, exponents, decays and delays: u, v and spikes of every layer are equal."""
    rng = np.random.default_rng(seed)
    top = 127 >> -exponent
    values = rng.integers(-top, top + 1, (4, 6)) * 2 << -exponent
    values[0, :2] = -2 << -exponent, 2 << -exponent  # both signs
    delays = rng.integers(0, 63, (4, 6)) if seed % 2 else None
    op = Linear(Fixed(values, exponent, 8, "mixed", 2), None, 1, delays, FixedSum())
    population = neuron(u_decay=int(rng.integers(0, 4097)), v_decay=rng.integers(0, 4097, 4), threshold=5)
    graph = dense(op, population)
    assert reasons(graph) == []
    _, back = read_back(graph, tmp_path_factory.mktemp("net"))
    spikes = (rng.random((2, 20, 6)) < 0.5).astype(np.int32)
    ours, theirs = (Reference().run(g, spikes, trace=True) for g in (graph, back))
    np.testing.assert_array_equal(theirs.spikes, ours.spikes)
    np.testing.assert_array_equal(theirs.traces["u/neuron0"], ours.traces["u/lif"])
    np.testing.assert_array_equal(theirs.traces["v/neuron0"], ours.traces["v/lif"])


@pytest.mark.parametrize("make", [dense, image], ids=["dense", "image"])
def test_the_same_graph_gives_the_same_bytes(make):
    """No clock in the file."""
    assert write(make()) == write(make())


def test_an_image_is_read_back(tmp_path):
    """Convolution with unequal geometry, biases a channel and a neuron, flatten."""
    graph = image(stride=(1, 2), padding=((1, 1), (0, 0)))
    channel = np.array([64, -128]).reshape(2, 1, 1)
    graph = graph.map(lambda n: replace(n, op=replace(n.op, bias=channel)) if n.name == "lif1" else None)
    _, back = read_back(graph, tmp_path)
    spikes = (np.random.default_rng(0).random((2, 30, 2, 4, 5)) < 0.4).astype(np.int32)
    np.testing.assert_array_equal(Reference().run(back, spikes).spikes, Reference().run(graph, spikes).spikes)
    assert back["conv1"].op.stride == (1, 2)


def one(change):
    """Give the small dense network with its population changed."""
    return dense(population=neuron(**change))


CANNOT = {
    "skip": lambda: Graph(
        (
            Node("input", Input((3,))),
            Node("a", linear(2 * np.eye(3, dtype=int)), ("input",)),
            Node("b", linear(2 * np.eye(3, dtype=int)), ("input",)),
            Node("lif", neuron(), ("a", "b")),
            Node("output", Output(), ("lif",)),
        )
    ),
    "recurrent": lambda: Graph(
        (
            Node("input", Input((2,))),
            Node("fc", linear([[2, 4], [6, -8]]), ("input",)),
            Node("loop", linear([[2, 4], [6, -8]], latency=0), ("lif",)),
            Node("lif", neuron(), ("fc", "loop")),
            Node("output", Output(), ("lif",)),
        )
    ),
    "delay-node": lambda: Graph(
        (
            Node("input", Input((3,))),
            Node("late", Delay(2), ("input",)),
            Node("fc", linear(), ("late",)),
            Node("lif", neuron(), ("fc",)),
            Node("output", Output(), ("lif",)),
        )
    ),
    "soft-reset": lambda: one({"reset": "subtract"}),
    "compare": lambda: one({"cmp": ">="}),
    "membrane": lambda: one({"readout": "membrane"}),
    "initial": lambda: one({"v_init": 9}),
    "bias": lambda: one({"bias": 5, "bias_exp": 3}),
    "zeros": lambda: dense(linear(np.zeros((2, 3), int))),
    "exponent": lambda: dense(linear(exponent=3)),
    "inhibitory": lambda: dense(linear([[-256, 0, -2], [-4, -6, -8]])),
    "fractions": lambda: dense(linear(exponent=-3)),
    "conv-exponent": lambda: image(exponent=1),
    "padding": lambda: image(padding=((0, 1), (0, 0))),
    "late-delay": lambda: started(dense(linear(delays=np.full((2, 3), 2))), bias=64),
    "odd-start": lambda: one({"start": 5, "bias": 64}),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_netx_cannot_say_has_its_reason(golden, name):
    """Every reason, in words."""
    golden(f"net-{name}", "\n".join(reasons(CANNOT[name]())))


def test_layers_that_start_late_are_reset_once_a_sample():
    """With biases; without, their start does not matter."""
    graph = chain(np.random.default_rng(0))
    assert netx_arguments(started(graph))["reset"] == "none"
    assert netx_arguments(started(graph, bias=64))["reset"] == "sample"
    assert netx_arguments(chain(np.random.default_rng(0), reset_interval=0))["reset"] == "none"


@pytest.mark.lava
def test_netx_runs_biased_layers_that_start_late(tmp_path):
    """Two samples one after another in one run of netx: 0 spikes differ once the latency is removed."""
    rng = np.random.default_rng(4)
    graph = started(chain(rng), bias=640, bias_exp=3)
    assert reasons(graph) == []
    path = tmp_path / "biased.net"
    path.write_bytes(write(graph))
    arguments = netx_arguments(graph)
    steps, late = 25, 2
    padded = pad_steps((rng.random((2, steps, 12)) < 0.3).astype(np.int32), late)
    whole = padded.reshape(1, 2 * (steps + late), 12)
    got = netx.run(path, whole, tmp_path, reset_interval=steps + late, reset_offset=arguments["reset_offset"])
    expected = Reference().run(graph, padded).spikes
    assert expected.sum() > 20
    np.testing.assert_array_equal(got["s"].reshape(expected.shape)[:, late:], expected[:, late:])


@pytest.mark.lava
def test_netx_runs_a_written_image(tmp_path):
    """Convolution, biases, flatten, dense: u, v and spikes at every step."""
    rng = np.random.default_rng(9)
    graph = image(stride=(1, 2), padding=((1, 1), (0, 0)))
    bias = 64 * rng.integers(0, 9, graph.shapes["lif1"])
    graph = graph.map(lambda n: replace(n, op=replace(n.op, bias=bias)) if n.name == "lif1" else None)
    path = tmp_path / "image.net"
    path.write_bytes(write(graph))
    spikes = (rng.random((1, 30, 2, 4, 5)) < 0.4).astype(np.int32)
    got = netx.run(path, spikes.transpose(0, 1, 4, 3, 2), tmp_path)
    result = Reference().run(graph, spikes, trace=True)
    assert result.traces["s/lif1"].sum() > 20
    assert result.spikes.sum() > 20
    np.testing.assert_array_equal(got["s"], result.spikes)
    for index, name in enumerate(("lif1", "lif2")):
        for what in "uv":
            np.testing.assert_array_equal(netx.channels_first(got[f"{what}/{index}"]), result.traces[f"{what}/{name}"])
