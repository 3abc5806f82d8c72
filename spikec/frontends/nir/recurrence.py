"""When the bias of a recurrent connection starts: from step 0, or from step 1, where its first spikes could arrive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Linear
from spikec.compiler.schedule import order


def recurrent_biases(graph: Graph) -> tuple[Node, ...]:
    """Find the connections with a bias that read nothing but the step before."""
    found = []
    for node in graph.of(Linear, Conv1d, Conv2d):
        assert isinstance(node.op, Linear | Conv1d | Conv2d)
        biased = node.op.bias is not None and np.any(node.op.bias)
        if biased and all(graph.is_recurrent(name, node.name) for name in node.inputs):
            found.append(node)
    return tuple(found)


def start_late(graph: Graph, connections: tuple[Node, ...]) -> Graph:
    """Make each of these connections act, bias and all, from step 1.

    The connection then stands after the neuron that it reads, and is itself read back through a delay of no steps:
    that costs the one step which reading back costs anyway, and is silent in step 0.
    """
    names = {node.name for node in connections}
    delayed = {name: _free(f"{name}.late", graph) for name in names}
    nodes: list[Node] = []
    for node in graph:
        nodes.append(replace(node, inputs=tuple(delayed.get(name, name) for name in node.inputs)))
        if node.name in names:
            nodes.append(Node(delayed[node.name], Delay(0), (node.name,), node.origin))
    return replace(graph, nodes=order(nodes))


def _free(name: str, graph: Graph) -> str:
    count, free = 0, name
    while free in graph:
        count += 1
        free = f"{name}.{count}"
    return free
