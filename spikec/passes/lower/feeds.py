"""Feeds: every neuron reads weighted connections alone, and every result of the network is a neuron's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import fail, remark
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import AvgPool, Conv1d, Conv2d, Delay, Linear, Output, Scale, SumPool
from spikec.compiler.weights import Dense
from spikec.passes.lower.pools import ones
from spikec.passes.surgery import PASSING, is_connection, redirect, sources_through, unused

PASS_ON = Neuron(a_mem=0.0, v_th=np.inf, reset="none", readout="membrane")
"""Its membrane is the current of this step."""


def feed_by_connections(graph: Graph, ctx: Context) -> Graph:
    """Put a connection of ones before a neuron wherever it reads spikes (or pools of them) without weights."""
    new: dict[tuple[str, str], Node] = {}
    for node in graph:
        if not isinstance(node.op, Neuron):
            continue
        for source in dict.fromkeys(node.inputs):
            if not _weighted(graph, source):
                name = unused(graph, f"{source}.to.{node.name}", (n.name for n in new.values()))
                op = identity(graph.shapes[source], node)
                new[source, node.name] = Node(name, op, (source,), node.origin)
                ctx.remark(remark("lower/identity", f"'{source}' reaches it through a connection of ones", node.where))
    if not new:
        return graph

    def change(node: Node) -> tuple[Node, ...]:
        own = {source: made.name for (source, reader), made in new.items() if reader == node.name}
        return (*(made for (_, reader), made in new.items() if reader == node.name), redirect(node, own))

    return replace(graph, nodes=tuple(part for node in graph for part in change(node)))


def _weighted(graph: Graph, name: str) -> bool:
    """Say whether connections alone make these values, seen through pools and scales that may yet merge with them."""
    open_names, seen = [name], set[str]()
    while open_names:
        node = graph[open_names.pop()]
        if node.name in seen or is_connection(node):
            continue
        seen.add(node.name)
        if not isinstance(node.op, (*PASSING, Delay, SumPool, AvgPool, Scale)):
            return False
        open_names.extend(node.inputs)
    return True


def identity(shape: Shape, node: Node) -> Linear | Conv1d | Conv2d:
    """Give the connection of ones on values of a shape: each to itself."""
    if len(shape) == 1:
        return Linear(Dense(np.eye(shape[0], dtype=np.float32)))
    if len(shape) in (2, 3):
        return ones((1,) * (len(shape) - 1), shape[0])
    raise fail(
        "lower/rank",
        f"spikes of shape {list(shape)} reach a neuron without weights, and connections have at most 3 axes",
        node.where,
        "flatten before the neuron",
    )


def read_out(graph: Graph, ctx: Context) -> Graph:
    """Put a neuron that passes its current on between a connection and an output that reads it."""

    def change(node: Node) -> tuple[Node, ...] | None:
        if not isinstance(node.op, Output):
            return None
        if not any(is_connection(graph[s]) for s in sources_through(graph, node.name)):
            return None
        name = unused(graph, f"{node.name}.readout")
        ctx.remark(remark("lower/readout", "currents are read out through neurons without memory", node.where))
        return (Node(name, PASS_ON, node.inputs, node.origin), replace(node, inputs=(name,)))

    return graph.map(change)
