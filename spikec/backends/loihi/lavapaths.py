"""Paths of a lowered graph: which nodes really feed a node, through reshapes and delays, and in how many steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Flatten, Input, Linear, Reshape
from spikec.compiler.weights import Array


@dataclass(frozen=True, eq=False)
class Path:
    """A way from `source` (an input, a neuron or a connection) to a reader, without any connection between.

    `delay` is how many steps each element takes, in the shape in which the reader gets it: Delay nodes and one for
    every edge that is read late.
    """

    source: str
    delay: Array

    @property
    def uniform(self) -> bool:
        """Say whether every element takes the same number of steps."""
        return bool(np.all(self.delay == self.delay.reshape(-1)[0])) if self.delay.size else True


def paths_into(graph: Graph, node: Node) -> tuple[Path, ...]:
    """Give every path that ends at the input of a node, in the order of its inputs.

    Raises:
        CompileError: a node on the way is nothing that Lava has (a pool that was not lowered, a float op).
    """
    return tuple(path for name in node.inputs for path in _back(graph, name, node.name))


def input_shape(graph: Graph, node: Node) -> Shape:
    """Give the shape that a node is given (its own, where it has no input)."""
    return graph.shapes[node.inputs[0]] if node.inputs else graph.shapes[node.name]


def _back(graph: Graph, name: str, reader: str) -> Iterator[Path]:
    """Walk from an input of `reader` back to where its values are made."""
    node = graph[name]
    shape = graph.shapes[name]
    late = int(graph.is_recurrent(name, reader))
    if isinstance(node.op, Input | FixedNeuron | Linear | Conv1d | Conv2d):
        yield Path(name, np.full(shape, late, np.int64))
    elif isinstance(node.op, Flatten | Reshape | Delay):
        own = np.asarray(node.op.steps if isinstance(node.op, Delay) else 0)
        for path in (p for source in node.inputs for p in _back(graph, source, name)):
            yield Path(path.source, path.delay.reshape(shape) + own + late)
    else:
        raise fail(
            "loihi/no-lava-form",
            f"Lava has no {node.op.mnemonic}",
            node.where,
            "lower the graph for loihi2 first: pools become connections",
        )
