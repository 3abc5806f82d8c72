"""Collecting layers: for every population its feeds and biases, with the steps that lie between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Linear
from spikec.compiler.target import Target
from spikec.compiler.weights import Array, Dense
from spikec.compiler.weights_grid import grid_of
from spikec.passes.quantize.apart import waits_differ
from spikec.passes.quantize.codes import exact
from spikec.passes.quantize.express import Form
from spikec.passes.quantize.layer import Feed, Layer
from spikec.passes.quantize.prepare import Message, joined, message_bits
from spikec.passes.surgery import PASSING, unused


@dataclass(frozen=True)
class Arrival:
    """A connection whose currents reach a population, and how many steps later (None: not the same for all)."""

    name: str
    steps: int | None


def arrivals(graph: Graph, reader: str) -> Iterator[Arrival]:
    """Give every connection that feeds a population, seen through reshapes and delays."""
    for name in graph[reader].inputs:
        node, late = graph[name], int(graph.is_recurrent(name, reader))
        if isinstance(node.op, (*PASSING, Delay)):
            own: int | None = 0
            if isinstance(node.op, Delay):
                steps = np.unique(node.op.steps)
                own = int(steps[0]) if steps.size == 1 else None
            for arrival in arrivals(graph, name):
                known = arrival.steps is not None and own is not None
                yield Arrival(arrival.name, (arrival.steps or 0) + (own or 0) + late if known else None)
        else:
            yield Arrival(name, late)


def collect(
    graph: Graph, forms: Mapping[str, Form], sent: Mapping[str, Message | None], target: Target
) -> tuple[Layer, ...]:
    """Give the layers of a prepared graph, in order.

    Raises:
        CompileError: a bias whose beginning differs within a layer (`quantize/bias`).
    """
    return tuple(_layer(graph, node, forms[node.name], sent, target) for node in graph.of(Neuron))


def _layer(graph: Graph, node: Node, form: Form, sent: Mapping[str, Message | None], target: Target) -> Layer:
    op, shape = node.op, graph.shapes[node.name]
    assert isinstance(op, Neuron)
    feeds: list[Feed] = []
    bias = np.asarray(op.bias, np.float64)
    constants: dict[int, Array] = {}
    for arrival in arrivals(graph, node.name):
        source = graph[arrival.name]
        assert isinstance(source.op, Linear | Conv1d | Conv2d)
        message = joined([sent.get(name) for name in source.inputs])
        assert message is not None
        grid = grid_of(source.op.weight)
        weight = np.asarray(source.op.weight.decode(), np.float64) if grid is None else exact(grid)
        left = target.latency > 0 and waits_differ(graph, source.name)
        feeds.append(Feed(source, weight, message.unit, message.top, message_bits(message), left=left, grid=grid))
        if source.op.bias is None or not np.any(source.op.bias):
            continue
        added = _spread(np.asarray(source.op.bias, np.float64), source.op, graph.shapes[source.name], shape)
        if arrival.steps is None:
            message_ = "its bias passes a delay that differs within the layer"
            raise fail("quantize/bias", message_, source.where, "train this layer without a bias")
        if arrival.steps == 0 and op.syn_order == "none":
            bias = bias + added
        else:
            constants[arrival.steps] = constants.get(arrival.steps, np.zeros(())) + added
    for steps, value in sorted(constants.items()):
        feeds.append(_constant(graph, node, np.broadcast_to(value, shape), steps, len(constants) > 1))
    return Layer(node, op, form, shape, tuple(feeds), bias)


def _spread(bias: Array, op: Linear | Conv1d | Conv2d, made: Shape, shape: Shape) -> Array:
    """Shape a connection's bias to broadcast over the population that it feeds."""
    along = bias if isinstance(op, Linear) else bias.reshape(-1, *(1,) * (len(made) - 1))
    return along if made == shape else np.broadcast_to(along, made).reshape(shape)


def _constant(graph: Graph, node: Node, value: Array, steps: int, several: bool) -> Feed:
    """Make the feed of a bias that passes through a synapse or begins late: weights behind a source of spikes."""
    name = unused(graph, f"{node.name}.bias{steps if several else ''}")
    weight = np.asarray(value, np.float64).reshape(prod(value.shape), 1)
    made = Node(name, Linear(Dense(weight)), (), node.origin)
    return Feed(made, weight, constant=True, late=steps)


def source_of_spikes(target: Target) -> FixedNeuron:
    """Give a neuron that fires at every step."""
    rules = target.arithmetic
    forget = 1 << rules.decay_bits if rules.decay == "multiply" else 1
    return FixedNeuron(threshold=0, v_decay=forget, bias=1, units=(1,), arithmetic=rules)
