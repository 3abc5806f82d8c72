"""Each form that a connection or a neuron can take in Lava, on a small network of its own, equal to the reference."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest
from _pytest.mark import ParameterSet

from spikec.backends.loihi.lavanet import custom_nodes, describe
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Op, Shape
from spikec.compiler.ops import Conv1d, Conv2d, Delay, FixedSum, Flatten, Input, Linear, Output, Reshape
from spikec.compiler.weights import Fixed, Sparse
from spikec.runtime.lava.env import LavaEnv
from spikec.runtime.lava.worker import LavaRunner
from spikec.runtime.reference import Reference
from tests.lava.networks import differing

Parts = list[tuple[str, Op, tuple[str, ...]]]
RNG = np.random.default_rng(0)
SPIKES = FixedSum()
CONV = FixedSum(0, 24)
WIDE = FixedSum(4, 32)


def weight(*shape: int, exponent: int = 0, step: int = 2) -> Fixed:
    """Even weights, or any where step is 1."""
    return Fixed(RNG.integers(-30, 31, shape) * step, exponent, 8, "mixed", step)


def fires(start: int = 1, **fields: object) -> FixedNeuron:
    """Make a neuron that fires now and then."""
    given: dict[str, object] = {"threshold": 25, "v_decay": 300, "u_decay": 2000, "start": start, **fields}
    return FixedNeuron(**given)  # type: ignore[arg-type]


def linear(out: int, given: int, total: FixedSum = SPIKES, **fields: object) -> Linear:
    """Make a Linear of latency 1."""
    options: dict[str, object] = {"latency": 1, "sum": total, **fields}
    return Linear(weight(out, given), **options)  # type: ignore[arg-type]


def build(size: Shape, *parts: tuple[str, Op, tuple[str, ...]]) -> Graph:
    """Put an input before the parts and an Output behind the last."""
    last = parts[-1][0]
    nodes = [Node("in", Input(size, message_bits=4)), *(Node(*part) for part in parts), Node("out", Output(), (last,))]
    return Graph(tuple(nodes))


def conv(shape: tuple[int, ...], **fields: object) -> Conv2d:
    """Make a Conv2d of latency 1 with sums of 24 bits."""
    options: dict[str, object] = {"latency": 1, "sum": CONV, "padding": ((1, 1), (0, 0)), **fields}
    return Conv2d(weight(*shape), **options)  # type: ignore[arg-type]


FORMS: dict[str, tuple[list[str], Graph]] = {
    "conv, then linear over its flattened map": (
        ["conv", "dense"],
        build((2, 5, 4), ("c", conv((3, 2, 3, 2), stride=(2, 1), dilation=(1, 2)), ("in",)), ("n", fires(), ("c",)),
              ("f", Flatten(), ("n",)), ("l", linear(4, 18), ("f",)), ("m", fires(2), ("l",))),
    ),
    "grouped conv on a reshaped input, bias a channel": (
        ["conv"],
        build((40,), ("r", Reshape((2, 5, 4)), ("in",)), ("c", conv((4, 1, 2, 3), groups=2), ("r",)),
              ("n", fires(bias=np.array([1, 0, -2, 3]).reshape(4, 1, 1), bias_exp=6), ("c",))),
    ),
    "conv1d": (
        ["conv"],
        build((2, 9), ("c", Conv1d(weight(3, 2, 3), None, (2,), ((1, 1),), latency=1, sum=CONV), ("in",)),
              ("n", fires(), ("c",))),
    ),
    "conv of two summed inputs": (
        ["conv", "conv", "conv"],
        build((1, 4, 4), ("a", conv((1, 1, 3, 1)), ("in",)), ("n", fires(), ("a",)), ("b", conv((1, 1, 3, 1)), ("in",)),
              ("m", fires(), ("b",)), ("c", conv((2, 1, 2, 2)), ("n", "m")), ("k", fires(2), ("c",))),
    ),
    "conv behind a delay": (
        ["delay_sparse"],
        build((2, 4, 4), ("d", Delay(2), ("in",)), ("a/c", conv((2, 2, 2, 2)), ("d",)), ("a/b.n", fires(), ("a/c",))),
    ),
    "conv of unequal padding and with an exponent": (
        ["sparse"],
        build((2, 4, 4),
              ("c", Conv2d(weight(2, 2, 2, 2, exponent=1), None, (), ((1, 0), (0, 2)), latency=1, sum=CONV), ("in",)),
              ("n", fires(), ("c",))),
    ),
    "odd mixed weights": (
        ["dense"],
        build((5,), ("l", Linear(weight(4, 5, exponent=-1, step=1), latency=1, sum=SPIKES), ("in",)),
              ("n", fires(), ("l",))),
    ),
    "linear over the last of two axes, with synapse delays": (
        ["delay_sparse"],
        build((3, 4), ("l", linear(2, 4, delays=RNG.integers(0, 4, (2, 4))), ("in",)), ("n", fires(), ("l",))),
    ),
    "delays before, in and behind a sparse connection": (
        ["delay_sparse"],
        build((5,), ("d", Delay(RNG.integers(0, 3, 5)), ("in",)),
              ("l", Linear(Sparse(weight(4, 5)), latency=1, delays=RNG.integers(0, 3, (4, 5)), sum=SPIKES), ("d",)),
              ("e", Delay(RNG.integers(0, 3, 4)), ("l",)), ("n", fires(), ("e",))),
    ),
    "one connection read after two delays": (
        ["dense", "delay_dense", "dense"],
        build((5,), ("l", linear(4, 5), ("in",)), ("n", fires(), ("l",)), ("e", Delay(3), ("l",)),
              ("m", fires(), ("e",)), ("k", linear(3, 4, WIDE), ("n", "m")), ("o", fires(2), ("k",))),
    ),
    "sources of unequal delay into one connection of graded messages": (
        ["dense", "dense", "delay_dense"],
        build((4,), ("l", linear(4, 4), ("in",)), ("n", fires(), ("l",)), ("d", Delay(1, balance=True), ("in",)),
              ("k", linear(3, 4, WIDE), ("n", "d")), ("o", fires(2), ("k",))),
    ),
    "a recurrent connection before its neuron, with bias": (
        ["dense", "dense"],
        build((4,), ("l", linear(3, 4), ("in",)), ("r", linear(3, 3, latency=0), ("n",)),
              ("n", fires(bias=30, bias_exp=4), ("l", "r"))),
    ),
    "a recurrent connection behind its neuron, read back late": (
        ["dense", "dense"],
        build((4,), ("l", linear(3, 4), ("in",)), ("n", fires(), ("l", "back")), ("r", linear(3, 3, latency=0), ("n",)),
              ("back", Delay(0), ("r",)), ("s", Reshape((3,)), ("n",))),
    ),
    "a constant source": (
        ["dense", "dense"],
        build((4,), ("one", FixedNeuron(20, bias=7, bias_exp=6, units=(2,)), ()), ("b", linear(3, 2), ("one",)),
              ("l", linear(3, 4), ("in",)), ("n", fires(), ("l", "b"))),
    ),
    "a membrane that is read out, later": (
        ["dense"],
        build((4,), ("l", linear(3, 4), ("in",)),
              ("n", FixedNeuron(1 << 17, v_decay=99, reset="none", readout="membrane", start=1), ("l",)),
              ("d", Delay(np.array([0, 2, 1])), ("n",))),
    ),
    "a reset interval longer than the samples": (
        ["dense"],
        build((4,), ("l", linear(3, 4), ("in",)), ("n", fires(reset_interval=500, reset_offset=7, start=0), ("l",))),
    ),
    "a connection as output": (["dense"], build((4,), ("l", linear(3, 4, WIDE), ("in",)))),
    "two connections in a row": (
        ["dense", "dense"],
        build((4,), ("l", linear(3, 4, WIDE), ("in",)), ("k", linear(2, 3, WIDE), ("l",)), ("n", fires(2), ("k",))),
    ),
}  # fmt: skip
"""By what it shows: the kinds of connection that it must become, and the network."""

OURS: dict[str, Graph] = {
    "spikes of unequal delay into one connection": build(
        (4,), ("l", linear(4, 4), ("in",)), ("n", fires(), ("l",)), ("d", Delay(1, balance=True), ("in",)),
        ("k", linear(3, 4), ("n", "d")), ("o", fires(2), ("k",)),
    ),
    "delays an input before a sum that is shifted right": build(
        (4,), ("d", Delay(np.array([0, 1, 0, 2])), ("in",)),
        ("l", Linear(weight(3, 4, exponent=-3), latency=1, sum=SPIKES), ("d",)), ("n", fires(threshold=1), ("l",)),
    ),
    "a neuron that starts after its input, and fires": build(
        (4,), ("l", linear(3, 4), ("in",)), ("r", linear(3, 3, latency=0), ("n",)), ("n", fires(4), ("l", "r")),
    ),
    "a membrane sent on": build(
        (4,), ("l", linear(3, 4), ("in",)), ("n", fires(readout="membrane", reset="none"), ("l",)),
        ("k", linear(2, 3, FixedSum(16)), ("n",)), ("m", fires(2), ("k",)),
    ),
}  # fmt: skip
"""Networks that need a process of our own."""


SLOW = {
    "grouped conv on a reshaped input, bias a channel",
    "conv of two summed inputs",
    "conv of unequal padding and with an exponent",
    "linear over the last of two axes, with synapse delays",
    "sources of unequal delay into one connection of graded messages",
    "a recurrent connection before its neuron, with bias",
    "a connection as output",
    "two connections in a row",
    "delays an input before a sum that is shifted right",
    "a membrane sent on",
}
"""Left to `make test-long`: each run of Lava takes a second or two."""


def names(networks: Iterable[str]) -> list[ParameterSet]:
    """Give the names as parameters, some of them slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in networks]


def run(lava: LavaEnv, graph: Graph) -> None:
    """Compare Lava with the reference on three samples."""
    size = graph.shapes["in"]
    rng = np.random.default_rng(1)
    inputs = (rng.random((3, 25, *size)) < 0.4) * rng.integers(1, 4, (3, 25, *size))
    reference = Reference().run(graph, inputs, trace=True)
    assert np.count_nonzero(reference.spikes)
    assert not differing(graph, reference, LavaRunner(describe(graph), 60, lava).run(graph, inputs, trace=True))


@pytest.mark.lava
@pytest.mark.parametrize("name", names(FORMS))
def test_a_native_form_is_equal(lava: LavaEnv, name: str) -> None:
    kinds, graph = FORMS[name]
    assert not custom_nodes(graph)
    document = json.loads(describe(graph)["network.json"])
    assert [connection["kind"] for connection in document["connections"]] == kinds
    run(lava, graph)


@pytest.mark.lava
@pytest.mark.parametrize("name", names(OURS))
def test_a_form_of_our_own_is_equal_and_says_why(lava: LavaEnv, name: str) -> None:
    assert custom_nodes(OURS[name])
    run(lava, OURS[name])
