"""Surgery: the small edits of a graph that several passes share; each gives a new graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from spikec.compiler.ir import Graph, Node, Op
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Flatten, Linear, Reshape

CONNECTIONS = (Linear, Conv1d, Conv2d)
PASSING = (Flatten, Reshape)
"""Ops that only give values another shape."""


def is_connection(node: Node) -> bool:
    """Say whether the node has weights."""
    return isinstance(node.op, CONNECTIONS)


def put(graph: Graph, changes: Mapping[str, Node | Iterable[Node]]) -> Graph:
    """Replace nodes by name: each by one node or by several, in that place of the order."""
    return graph.map(lambda node: changes.get(node.name))


def with_op(graph: Graph, name: str, op: Op) -> Graph:
    """Give a node another op."""
    return put(graph, {name: replace(graph[name], op=op)})


def only_input(graph: Graph, name: str) -> Node | None:
    """Give the one node that a node reads in the same step, or None if there are several or it is recurrent."""
    inputs = graph[name].inputs
    if len(inputs) != 1 or graph.is_recurrent(inputs[0], name):
        return None
    return graph[inputs[0]]


def read_by_one(graph: Graph, name: str) -> Node | None:
    """Give the one node that reads a node, once and in the same step; else None."""
    readers = graph.consumers[name]
    if len(readers) != 1 or graph[readers[0]].inputs.count(name) != 1 or graph.is_recurrent(name, readers[0]):
        return None
    return graph[readers[0]]


def redirect(node: Node, sources: Mapping[str, str]) -> Node:
    """Let a node read other nodes in place of those named."""
    if not any(name in sources for name in node.inputs):
        return node
    return replace(node, inputs=tuple(sources.get(name, name) for name in node.inputs))


def edit(op: Op, **fields: Any) -> Any:
    """Give a copy of an op with other fields (the op's own type is kept)."""
    return replace(op, **fields)


def unused(graph: Graph, base: str, taken: Iterable[str] = ()) -> str:
    """Give `base`, or the first of `base.1`, `base.2`, ... that neither the graph nor `taken` has."""
    used = set(taken)
    name, count = base, 0
    while name in graph or name in used:
        count += 1
        name = f"{base}.{count}"
    return name


def sources_through(graph: Graph, name: str) -> tuple[str, ...]:
    """Give the nodes that a node reads, seen through reshapes and delays."""
    found: list[str] = []
    open_names, seen = list(graph[name].inputs), set[str]()
    while open_names:
        source = open_names.pop(0)
        if source in seen:
            continue
        seen.add(source)
        if isinstance(graph[source].op, (*PASSING, Delay)):
            open_names.extend(graph[source].inputs)
        else:
            found.append(source)
    return tuple(found)
