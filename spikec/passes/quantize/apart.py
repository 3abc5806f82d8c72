"""Sources apart: a sum of spikes that the target sends through different delays becomes a connection for each delay.

A target with latency lets what is early wait in its synapses, and synapses of one connection make one sum a delay, each
rounded on its own. Where a weight exponent is below 0 those parts are not the rounded whole, and whether one is depends
on the weights' values. So the sum is split in floats, where that is exact, before any number is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikec.compiler.diagnostics import CompileError, Sink, remark
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Delay
from spikec.compiler.target import Target
from spikec.compiler.weights import Array
from spikec.passes.feedback import rotate, split_mixed
from spikec.passes.surgery import PASSING, edit, is_connection, unused
from spikec.passes.timing import own_steps, solve


@dataclass(frozen=True, eq=False)
class Way:
    """A way into a connection: its source, the reshapes and delays behind it in order, and the steps that it takes."""

    source: str
    through: tuple[str, ...]
    steps: Array


def ways_into(graph: Graph, name: str) -> tuple[Way, ...]:
    """Give every way into a node, with steps in the shape in which the node reads them."""
    return tuple(way for given in graph[name].inputs for way in _back(graph, given, name, ()))


def _back(graph: Graph, name: str, reader: str, seen: tuple[str, ...]) -> Iterator[Way]:
    node, late = graph[name], int(graph.is_recurrent(name, reader))
    if not isinstance(node.op, (*PASSING, Delay)):
        yield Way(name, (), np.full(graph.shapes[name], late, np.int64))
        return
    own = np.asarray(node.op.steps if isinstance(node.op, Delay) else 0)
    for given in node.inputs:
        if given not in seen:
            for way in _back(graph, given, name, (*seen, name)):
                steps = way.steps.reshape(graph.shapes[name]) + own + late
                yield Way(way.source, (*way.through, name), steps)


def waits_differ(graph: Graph, name: str) -> bool:
    """Say whether the inputs of a connection wait differently, each element for itself (axonal delays)."""
    return any(np.unique(way.steps).size > 1 for way in ways_into(graph, name))


def split_by_delay(graph: Graph, target: Target, sink: Sink) -> Graph:
    """Split each connection whose sources wait differently on the target into one of the same weights for each wait.

    What waits how long is what `balance-delays` will find: a way that takes d steps from a source that is late by l
    waits as long as another if d - l is the same.
    """
    if not target.latency:
        return graph
    turned = rotate(split_mixed(graph))
    try:
        late = solve(turned, own_steps(turned, target.latency), target.name)
    except CompileError:
        return graph  # a loop that cannot be met, which `balance-delays` names
    parts: dict[str, list[Node]] = {}
    for node in graph:
        groups = _groups(graph, node, late) if is_connection(node) else []
        if len(groups) > 1:
            _split(graph, node, groups, parts)
            names = ", ".join(f"'{way.source}'" for group in groups for way in group)
            text = f"{names} reach {target.name} with different delays: each gets a connection of the same weights"
            sink(remark("quantize/apart", text, node.where))
    return _without_unread(_with(graph, parts)) if parts else graph


def _groups(graph: Graph, node: Node, late: Mapping[str, int]) -> list[list[Way]]:
    """Put the ways into a connection together that wait equally long."""
    groups: dict[bytes, list[Way]] = {}
    for way in ways_into(graph, node.name):
        groups.setdefault((way.steps - late[way.source]).tobytes(), []).append(way)
    return list(groups.values())


def _split(graph: Graph, node: Node, groups: list[list[Way]], parts: dict[str, list[Node]]) -> None:
    """Add the parts of a connection, the first under its own name, and copies of the reshapes and delays before them.

    `parts` holds for each node of the graph those that come with it, at its place in the order.
    """
    made: list[Node] = []
    for index, group in enumerate(groups):
        ends = []
        for way in group:
            last = way.source
            for name in way.through:
                if graph[name].inputs != (last,):
                    copy = _unused(graph, f"{name}.{last}", parts)
                    parts.setdefault(name, [graph[name]]).append(replace(graph[name], name=copy, inputs=(last,)))
                    name = copy
                last = name
            ends.append(last)
        op = edit(node.op, bias=None) if index else node.op
        name = _unused(graph, f"{node.name}.{group[0].source}", parts) if index else node.name
        made.append(replace(node, name=name, op=op, inputs=tuple(ends)))
        parts[node.name] = made


def _unused(graph: Graph, base: str, parts: Mapping[str, list[Node]]) -> str:
    return unused(graph, base, (node.name for made in parts.values() for node in made))


def _with(graph: Graph, parts: Mapping[str, list[Node]]) -> Graph:
    """Put the parts into the graph; who read a connection reads all its parts."""

    def all_parts(node: Node) -> Node:
        return replace(node, inputs=tuple(new for name in node.inputs for new in names.get(name, [name])))

    names = {name: [part.name for part in made] for name, made in parts.items() if is_connection(graph[name])}
    nodes = (part for node in graph for part in parts.get(node.name, [node]))
    return replace(graph, nodes=tuple(all_parts(node) for node in nodes))


def _without_unread(graph: Graph) -> Graph:
    """Drop reshapes and delays that nothing reads any more."""
    while True:
        unread = {n.name for n in graph if isinstance(n.op, (*PASSING, Delay)) and not graph.consumers[n.name]}
        if not unread:
            return graph
        graph = replace(graph, nodes=tuple(node for node in graph if node.name not in unread))
