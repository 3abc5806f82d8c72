"""Shapes of a NIR graph by spikec's own inference: what files declare may be missing or wrong, and is only remarked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError, Findings, Sink, fail, remark
from spikec.compiler.ir import Graph, Node, Op, Shape
from spikec.compiler.neurons import NUMBERS, Neuron
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Flatten, Input, Linear, Scale
from spikec.frontends.nir.fields import Fields
from spikec.frontends.nir.raw import RawNode

PARAMETERS: tuple[tuple[type[Op], tuple[str, ...]], ...] = (
    (Neuron, NUMBERS),
    (Scale, ("factor",)),
    (Delay, ("steps",)),
)
"""The ops that keep the shape, and their fields that must broadcast against it."""


def settle(nodes: tuple[Node, ...], raw: Mapping[str, RawNode], tell: Sink) -> tuple[Node, ...]:
    """Find the shape of every node, and bring the parameters into a form that broadcasts against it.

    Raises:
        CompileError: shapes do not fit, one diagnostic a fault.
    """
    nodes = tuple(_with_input_shape(node, nodes, raw) for node in nodes)
    nodes, shapes = _inferred(nodes, tell)
    found = Findings()
    fitted = []
    for node in nodes:
        with found.catching():
            fitted.append(_fitted(node, shapes[node.name], tell))
    found.raise_errors()
    for node in nodes:
        if node.name in raw:
            _compare(node, raw[node.name], shapes, tell)
    return tuple(fitted)


def _with_input_shape(node: Node, nodes: tuple[Node, ...], raw: Mapping[str, RawNode]) -> Node:
    """Give an Input that states no shape the one that its first reader asks for."""
    if not isinstance(node.op, Input) or node.op.size:
        return node
    for reader in nodes:
        if (
            node.name in reader.inputs
            and reader.name in raw
            and (shape := _wanted(reader, raw[reader.name])) is not None
        ):
            return replace(node, op=replace(node.op, size=shape))
    message = "the input states no shape, and no node that reads it does"
    raise fail("nir/no-input-shape", message, node.where, "write the file with the shape of the Input node")


def _wanted(node: Node, raw: RawNode) -> Shape | None:
    if isinstance(node.op, Linear):
        return (node.op.weight.shape[1],)
    if isinstance(node.op, Conv1d | Conv2d):
        space = Fields(raw).shape("input_shape")
        return None if space is None else (node.op.weight.shape[1] * node.op.groups, *space)
    if isinstance(node.op, Flatten):
        return Fields(raw).shape("input_type")
    for kind, names in PARAMETERS:
        if isinstance(node.op, kind):
            given = [np.shape(value) for value in raw.fields.values() if not isinstance(value, str)]
            return max(given, key=prod, default=()) or None if names else None
    return None


def _inferred(nodes: tuple[Node, ...], tell: Sink) -> tuple[tuple[Node, ...], Mapping[str, Shape]]:
    """Infer all shapes; if they do not fit, try once more with every Flatten counting a batch axis."""
    try:
        return nodes, Graph(tuple(_bare(node) for node in nodes)).shapes
    except CompileError as literal:
        shifted = tuple(_without_batch(node) for node in nodes)
        if all(new is old for new, old in zip(shifted, nodes, strict=True)):
            raise
        try:
            shapes = Graph(tuple(_bare(node) for node in shifted)).shapes
        except CompileError:
            raise literal from None
    for new, old in zip(shifted, nodes, strict=True):
        if new is not old:
            message = "start_dim counts a batch axis, else the shapes do not fit; read without it"
            tell(remark("nir/flatten-batch", message, old.where))
    return shifted, shapes


def _bare(node: Node) -> Node:
    """Give the node without the parameters whose form is not settled yet."""
    for kind, bare in ((Neuron, Neuron()), (Scale, Scale(1.0)), (Delay, Delay(0))):
        if isinstance(node.op, kind):
            return replace(node, op=bare)
    return node


def _without_batch(node: Node) -> Node:
    if not isinstance(node.op, Flatten) or node.op.start < 1:
        return node
    end = node.op.end - 1 if node.op.end > 0 else node.op.end
    return replace(node, op=replace(node.op, start=node.op.start - 1, end=end))


def _fitted(node: Node, shape: Shape, tell: Sink) -> Node:
    """Bring the node's parameters into a form that broadcasts against its shape."""
    for kind, names in PARAMETERS:
        if isinstance(node.op, kind):
            op = node.op
            values = {name: getattr(op, name) for name in names}
            arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
            return replace(
                node, op=replace(op, **{name: _settled(v, shape, name, node, tell) for name, v in arrays.items()})
            )
    return node


def _settled(value: Any, shape: Shape, name: str, node: Node, tell: Sink) -> Any:
    """Give the fitted value, as one number where all are the same."""
    fitted = _fit(value, shape, name, node, tell)
    first = fitted.reshape(-1)[0].item()
    return first if np.all(fitted == first) else fitted


def _fit(value: Any, shape: Shape, name: str, node: Node, tell: Sink) -> Any:
    given = np.shape(value)
    if given == (1,) * len(given):
        return np.asarray(value).reshape(())
    channels = len(shape) > 1 and given == shape[:1]
    if channels and given != shape[-1:]:
        tell(remark("nir/per-channel", f"{name} has one value a channel ({given[0]})", node.where))
        return np.asarray(value).reshape(given + (1,) * (len(shape) - 1))
    if _broadcasts(given, shape):
        return value
    if prod(given) == prod(shape):
        return np.asarray(value).reshape(shape)
    message = f"{name} of shape {list(given)} stands in a layer of shape {list(shape)}"
    raise fail("nir/shape-mismatch", message, node.where, "write one value, one a channel, or one a neuron")


def _broadcasts(given: Shape, shape: Shape) -> bool:
    try:
        return bool(np.broadcast_shapes(given, shape) == shape)
    except ValueError:
        return False


def _compare(node: Node, raw: RawNode, shapes: Mapping[str, Shape], tell: Sink) -> None:
    """Remark on a declared shape that is not the inferred one, which holds."""
    name, found = "shape", shapes[node.name]
    if node.inputs and raw.type in ("Conv1d", "Conv2d"):
        name, found = "input_shape", shapes[node.inputs[0]][1:]
    elif node.inputs and raw.type == "Flatten":
        name, found = "input_type", shapes[node.inputs[0]]
    elif raw.type != "Output":
        return
    try:
        declared = Fields(raw).shape(name)
    except CompileError:
        declared = ()  # not a shape at all
    if declared is not None and declared != found:
        message = f"{name} is declared as {list(declared)}, the network makes {list(found)}; that holds"
        tell(remark("nir/declared-shape", message, node.where))
