"""Folding of scales: an affine map of a node's output goes into the weights before it, or into those behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.ops import AvgPool, Conv1d, Conv2d, Delay, Flatten, Linear, MaxPool, Reshape, Scale, SumPool
from spikec.compiler.weights import Array, Dense, Weight, unwrapped
from spikec.compiler.weights_grid import Grid, grid_of, scaled
from spikec.compiler.weights_nm import rewrapped
from spikec.passes.surgery import edit, is_connection, only_input, read_by_one, with_op


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> factor x + offset, element by element of a shape (both arrays of that shape, float64)."""

    factor: Array
    offset: Array

    @classmethod
    def of(cls, scale: Scale, shape: Shape) -> Affine:
        """Spread a Scale over a shape."""
        factor, offset = (np.asarray(value, np.float64) for value in (scale.factor, scale.offset))
        return cls(np.broadcast_to(factor, shape), np.broadcast_to(offset, shape))

    @property
    def shifts(self) -> bool:
        """Say whether there is an offset at all."""
        return bool(np.any(self.offset != 0))

    def along(self, axis: int) -> tuple[Array, Array] | None:
        """Give factor and offset along one axis, or None if they differ on the others."""
        parts = []
        for array in (self.factor, self.offset):
            rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
            if np.any(rows != rows[:, :1]):
                return None
            parts.append(np.array(rows[:, 0]))
        return parts[0], parts[1]

    def reshaped(self, shape: Shape) -> Affine:
        """Give the same map on values of another shape."""
        return Affine(self.factor.reshape(shape), self.offset.reshape(shape))

    def over_windows(self, shape: Shape, times: float) -> Affine | None:
        """Give the map on the other side of a pool, if every channel has one; the offset counts `times` as much."""
        channels = self.along(0)
        if channels is None:
            return None
        lift = tuple(part.reshape(-1, *(1,) * (len(shape) - 1)) for part in channels)
        return Affine(np.broadcast_to(lift[0], shape), np.broadcast_to(lift[1] * times, shape))


def values_of(weight: Weight) -> Array | None:
    """Give float weights as float64, or None where they are encoded in a way that a factor would break."""
    return np.asarray(weight.decode(), np.float64) if isinstance(unwrapped(weight), Dense | Grid) else None


def recode(weight: Weight, values: Array) -> Weight:
    """Put new values into the structure and float type of the old ones; zeros are where they were."""
    return rewrapped(weight, Dense(values.astype(weight.decode().dtype)))


def backward(graph: Graph, name: str, affine: Affine) -> Graph | str:
    """Fold a map of the output of node `name` into the connection that makes it; or say why not."""
    node = graph[name]
    if is_connection(node):
        return _rows(graph, node, affine)
    if not isinstance(node.op, Flatten | Reshape | SumPool | AvgPool | MaxPool):
        return f"'{name}' is no connection"
    source = only_input(graph, name)
    if source is None:
        return f"'{name}' reads several nodes, or the previous step"
    if read_by_one(graph, source.name) is None:
        return f"'{source.name}' is read by others too"
    given = graph.shapes[source.name]
    if isinstance(node.op, Flatten | Reshape):
        return backward(graph, source.name, affine.reshaped(given))
    if isinstance(node.op, MaxPool) and np.any(affine.factor <= 0):
        return f"a factor of 0 or less would change which value '{name}' takes"
    if affine.shifts and _padded(node.op):
        return f"the padding of '{name}' would be shifted"
    moved = affine.over_windows(given, 1 / prod(node.op.kernel) if isinstance(node.op, SumPool) else 1.0)
    return "it differs within a channel" if moved is None else backward(graph, source.name, moved)


def _rows(graph: Graph, node: Node, affine: Affine) -> Graph | str:
    assert isinstance(node.op, Linear | Conv1d | Conv2d)
    op, values = node.op, values_of(node.op.weight)
    if values is None:
        return f"the weights of '{node.name}' are encoded"
    parts = affine.along(-1 if isinstance(op, Linear) else 0)
    if parts is None:
        return f"it differs within an output channel of '{node.name}'"
    factor, offset = parts
    weight = scaled(op.weight, factor)
    bias = op.bias
    if bias is not None or affine.shifts:
        old = np.zeros(len(factor)) if bias is None else np.asarray(bias, np.float64)
        bias = (old * factor + offset).astype(op.weight.decode().dtype)
    return with_op(graph, node.name, edit(op, weight=weight, bias=bias))


def forward(graph: Graph, name: str, affine: Affine) -> Graph | str:
    """Fold a map of what node `name` sends into every connection that reads it; or say why not.

    The map stands at the node's readers: nothing of the node itself changes.
    """
    readers = graph.consumers[name]
    if not readers:
        return "nothing reads it"
    for reader in readers:
        result = _into(graph, name, graph[reader], affine)
        if isinstance(result, str):
            return result
        graph = result
    return graph


def _into(graph: Graph, source: str, node: Node, affine: Affine) -> Graph | str:
    if node.inputs != (source,):
        return f"'{node.name}' reads other nodes beside it"
    shape, op = graph.shapes[node.name], node.op
    if graph.is_recurrent(source, node.name) and affine.shifts:
        return f"'{node.name}' reads the previous step, which is 0 at first"
    if isinstance(op, Linear | Conv1d | Conv2d):
        return _columns(graph, node, affine)
    if isinstance(op, Flatten | Reshape):
        return forward(graph, node.name, affine.reshaped(shape))
    if isinstance(op, Delay):
        return forward(graph, node.name, affine) if not affine.shifts else f"'{node.name}' is 0 at first"
    if isinstance(op, SumPool | AvgPool | MaxPool):
        if affine.shifts and _padded(op):
            return f"the padding of '{node.name}' would be shifted"
        if isinstance(op, MaxPool) and np.any(affine.factor <= 0):
            return f"a factor of 0 or less would change which value '{node.name}' takes"
        moved = affine.over_windows(shape, prod(op.kernel) if isinstance(op, SumPool) else 1.0)
        return "it differs within a channel" if moved is None else forward(graph, node.name, moved)
    return f"'{node.name}' reads it, which is no connection"


def _columns(graph: Graph, node: Node, affine: Affine) -> Graph | str:
    assert isinstance(node.op, Linear | Conv1d | Conv2d)
    op, values = node.op, values_of(node.op.weight)
    if values is None:
        return f"the weights of '{node.name}' are encoded"
    parts = affine.along(-1 if isinstance(op, Linear) else 0)
    if parts is None:
        return f"it differs within an input channel of '{node.name}'"
    factor, offset = parts
    if isinstance(op, Linear):
        weight, add = values * factor, values @ offset
        if affine.shifts and (op.latency or op.delays is not None):
            return f"'{node.name}' delays it"
    else:
        if affine.shifts and (_padded(op) or op.latency):
            return f"the zero padding of '{node.name}' would be shifted"
        out, share = values.shape[0] // op.groups, values.shape[1]
        of_group = np.repeat(np.arange(op.groups), out)[:, None] * share + np.arange(share)
        tail = (1,) * (values.ndim - 2)
        weight = values * factor[of_group].reshape(*of_group.shape, *tail)
        add = (values * offset[of_group].reshape(*of_group.shape, *tail)).reshape(values.shape[0], -1).sum(axis=1)
    bias = op.bias
    if affine.shifts:
        bias = ((0 if bias is None else np.asarray(bias, np.float64)) + add).astype(op.weight.decode().dtype)
    one = grid_of(op.weight) is not None and np.all(factor == factor[0])  # else a scale a row does not say it
    new = scaled(op.weight, factor[0]) if one else recode(op.weight, weight)
    return with_op(graph, node.name, edit(op, weight=new, bias=bias))


def _padded(op: SumPool | AvgPool | MaxPool | Conv1d | Conv2d) -> bool:
    return not isinstance(op, MaxPool) and any(before or after for before, after in op.padding)


def scale_node(graph: Graph, node: Node) -> Graph | str:
    """Fold one Scale: into the connection before it, else into those behind it."""
    assert isinstance(node.op, Scale)
    affine = Affine.of(node.op, graph.shapes[node.name])
    source = only_input(graph, node.name)
    reasons = []
    if source is not None and read_by_one(graph, source.name) is not None:
        done = backward(graph, source.name, affine)
        if isinstance(done, Graph):
            return done.without(node.name)
        reasons.append(done)
    if len(node.inputs) == 1:
        done = forward(graph, node.name, affine)
        if isinstance(done, Graph):
            return _bypass(done, node.name)
        reasons.append(done)
    return "; ".join(reasons) or "it reads several nodes"


def _bypass(graph: Graph, name: str) -> Graph | str:
    """Remove a node whose readers may read its input in the same step as it did."""
    source = graph[name].inputs[0]
    for reader in graph.consumers[name]:
        if graph.is_recurrent(source, reader) != graph.is_recurrent(source, name):
            return "it reads the previous step"
    return graph.without(name)


def without_gain(graph: Graph, node: Node, gain: Array | float, cleared: Node) -> Graph | str:
    """Fold the gain of a neuron's input into every connection that feeds it and put `cleared` in the neuron's place."""
    shape = graph.shapes[node.name]
    affine = Affine.of(Scale(gain), shape)
    new = replace(graph, nodes=tuple(cleared if n.name == node.name else n for n in graph))
    for source in dict.fromkeys(node.inputs):
        if graph.consumers[source] != (node.name,) or node.inputs.count(source) != 1:
            return f"'{source}' is read by others too"
        result = backward(new, source, affine)
        if isinstance(result, str):
            return result
        new = result
    return new
