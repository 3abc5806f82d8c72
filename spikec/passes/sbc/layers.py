"""The layers that compression sees: weights, the connections that share them, and the neurons that currents reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Connection, Conv1d, Conv2d, Delay, Linear, Output
from spikec.compiler.weights import Array, Fixed, unwrapped
from spikec.compiler.weights_grid import Grid
from spikec.passes.sbc.response import gains
from spikec.passes.surgery import edit, is_connection

FLOAT = ("a_mem", "a_syn", "g_in", "g_syn", "v_th")
FIXED = ("v_decay", "u_decay", "threshold")
"""Parameters of neurons that say how they respond, and how much that counts."""


@dataclass(frozen=True)
class Path:
    """One way of a layer's currents: from a connection into a population, or into none (an output, other weights).

    `late` is by how many steps of the trained network the currents come after what the connection reads; `even` says
    that it is so for all of them (else `late` is the least).
    """

    connection: str
    neuron: str | None
    late: int = 0
    even: bool = True


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights that are compressed as one: (rows, columns), a row for each output channel, columns as in `flatten(1)`.

    nodes: the connections that have these weights, one but where the network shares them. stored: the matrix in the
    units of its encoding, float64: floats as they are, the integers of Fixed, the codes of Grid. unit: (rows,) what one
    of these units means in the connection's sum. scales: (rows,) how much a unit of the sum counts in the neurons: gain
    over threshold.
    """

    nodes: tuple[Node, ...]
    paths: tuple[Path, ...]
    stored: Array
    unit: Array
    scales: Array

    @property
    def name(self) -> str:
        """Name of its first connection."""
        return self.nodes[0].name

    @property
    def op(self) -> Connection:
        """Op of its first connection."""
        op = self.nodes[0].op
        assert isinstance(op, Linear | Conv1d | Conv2d)
        return op

    @property
    def groups(self) -> int:
        """Number of groups of a convolution, 1 of a matrix."""
        return 1 if isinstance(self.op, Linear) else self.op.groups

    @property
    def columns(self) -> int:
        """Number of inputs of a row."""
        return int(self.stored.shape[1])

    @property
    def weights(self) -> Array:
        """The matrix in the units of the connection's sum, float64."""
        return self.stored * self.unit[:, None]


def find(graph: Graph) -> tuple[Layer, ...]:
    """Give every layer of weights, in the order of the graph."""
    shared: dict[tuple[object, ...], list[Node]] = {}
    for node in graph:
        if is_connection(node):
            shared.setdefault(_identity(node), []).append(node)
    return tuple(_layer(graph, tuple(nodes)) for nodes in shared.values())


def _identity(node: Node) -> tuple[object, ...]:
    """Give what two connections with the same weights have in common: the weight itself, or its place and numbers."""
    op = node.op
    assert isinstance(op, Linear | Conv1d | Conv2d)
    groups = 1 if isinstance(op, Linear) else op.groups
    if not node.origin.path:
        return (type(op), groups, id(op.weight))
    return (type(op), groups, str(node.origin), op.weight.shape, op.weight.decode().tobytes())


def _layer(graph: Graph, nodes: tuple[Node, ...]) -> Layer:
    op = nodes[0].op
    assert isinstance(op, Linear | Conv1d | Conv2d)
    rows = int(op.weight.shape[0])
    inner = unwrapped(op.weight)
    values = inner.codes if isinstance(inner, Grid) else op.weight.decode()
    stored = np.asarray(values, np.float64).reshape(rows, -1)
    paths = tuple(dict.fromkeys(path for node in nodes for path in reached(graph, node.name)))
    return Layer(nodes, paths, stored, _unit(op, rows), _scales(graph, paths, rows))


def _unit(op: Connection, rows: int) -> Array:
    """Give what a stored unit means, by row."""
    weight = unwrapped(op.weight)
    if isinstance(weight, Grid):
        return np.asarray(weight.scales, np.float64)
    exponent = weight.exponent if isinstance(weight, Fixed) else 0
    return np.broadcast_to(2.0 ** np.asarray(exponent, np.float64), (rows,))


def reached(graph: Graph, name: str) -> Iterator[Path]:
    """Follow a connection's currents through whatever has no weights, to the neurons that they reach."""
    yield from _onward(graph, name, name, 0, True, frozenset())


def _onward(graph: Graph, name: str, start: str, late: int, even: bool, seen: frozenset[str]) -> Iterator[Path]:
    for reader in graph.consumers[name]:
        node = graph[reader]
        steps = late + int(graph.is_recurrent(name, reader))
        if isinstance(node.op, Neuron | FixedNeuron):
            yield Path(start, reader, steps, even)
        elif isinstance(node.op, Output) or is_connection(node):
            yield Path(start, None, steps, even)
        elif reader not in seen:
            waits = np.unique(_waits(node))
            least, alike = int(waits[0]), waits.size == 1
            yield from _onward(graph, reader, start, steps + least, even and alike, seen | {reader})


def _waits(node: Node) -> Array:
    """Give by how many steps of the trained network a node makes currents later."""
    if not isinstance(node.op, Delay) or node.op.balance:
        return np.zeros(1, np.int64)
    return np.asarray(node.op.steps, np.int64).reshape(-1) + node.op.absorbed


def _scales(graph: Graph, paths: tuple[Path, ...], rows: int) -> Array:
    """Give by how much a unit of each row's sum counts: its neurons' gain over their threshold, 1 on average.

    A row whose neurons differ has their mean. Where no neuron fires, all rows count alike.
    """
    op, shape = next((by_row(graph, path) for path in paths if path.neuron is not None), (None, (rows, 1)))
    if op is None:
        return np.ones(rows)
    high = np.asarray(op.v_th if isinstance(op, Neuron) else np.maximum(op.threshold, 1), np.float64)
    if not np.all(np.isfinite(high)) or np.any(high <= 0):
        high = np.ones(())
    counts = gains(op, shape) / np.broadcast_to(high, shape).mean(axis=1)
    mean = float(counts.mean())
    return counts / mean if mean > 0 else np.ones(rows)


def by_row(graph: Graph, path: Path) -> tuple[Neuron | FixedNeuron | None, Shape]:
    """Give the neurons at the end of a path, laid out by the rows of the connection at its start: (rows, neurons).

    Behind a pool a row has the neurons of its channel; where there is no telling, all of them.
    """
    made = graph.shapes[path.connection]
    connection = graph[path.connection].op
    assert isinstance(connection, Linear | Conv1d | Conv2d)
    rows = int(connection.weight.shape[0])
    if path.neuron is None:
        return None, (rows, 1)
    op, shape = graph[path.neuron].op, graph.shapes[path.neuron]
    assert isinstance(op, Neuron | FixedNeuron)
    axis = len(made) - 1 if isinstance(connection, Linear) else 0

    def lines(value: Array) -> Array:
        full = np.broadcast_to(value, shape)
        if prod(made) == prod(shape):
            return np.moveaxis(full.reshape(made), axis, 0).reshape(rows, -1)
        if shape and shape[0] == rows:
            return full.reshape(rows, -1)
        return np.broadcast_to(full.reshape(1, -1), (rows, full.size))

    names = FLOAT if isinstance(op, Neuron) else FIXED
    given = {name: getattr(op, name) for name in names}
    laid = {name: lines(np.asarray(value)) for name, value in given.items() if np.size(value) > 1}
    length = next((value.shape[1] for value in laid.values()), 1)
    return edit(op, **laid) if laid else op, (rows, length)
