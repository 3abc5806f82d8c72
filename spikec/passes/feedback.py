"""Feedback: loops are written so that the step that they hold lies directly before a weighted connection."""

from __future__ import annotations

from dataclasses import replace

from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Linear
from spikec.compiler.weights import Fixed
from spikec.passes.surgery import PASSING, edit, is_connection, redirect, unused
from spikec.passes.timing import reads_late


def split_mixed(graph: Graph) -> Graph:
    """Split each connection that reads this step and the previous one into two of the same weights.

    Only the one that reads the previous step alone can share its step with a recurrent edge. A sum of integers is
    split where that is exact: with no exponent below 0, and messages counted as numbers.
    """
    late = reads_late(graph)
    twins: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph:
        op = node.op
        node = redirect_both(node, twins)
        if not isinstance(op, Linear | Conv1d | Conv2d) or not _splits_exactly(op):
            nodes.append(node)
            continue
        back = tuple(n for n in node.inputs if n in graph and _is_late(graph, n, node.name, late))
        here = tuple(n for n in node.inputs if n not in back)
        if not back or not here:
            nodes.append(node)
            continue
        twins[node.name] = unused(graph, f"{node.name}.back", twins.values())
        nodes.append(replace(node, name=twins[node.name], op=edit(op, bias=None), inputs=back))
        nodes.append(replace(node, inputs=here))
    return replace(graph, nodes=tuple(nodes)) if twins else graph


def redirect_both(node: Node, twins: dict[str, str]) -> Node:
    """Let a node that reads a split connection read both halves."""
    if not any(name in twins for name in node.inputs):
        return node
    inputs = tuple(part for name in node.inputs for part in ((name, twins[name]) if name in twins else (name,)))
    return replace(node, inputs=inputs)


def _is_late(graph: Graph, source: str, reader: str, late: frozenset[str]) -> bool:
    passes = isinstance(graph[source].op, (*PASSING, Delay))
    return graph.is_recurrent(source, reader) or (passes and source in late)


def _splits_exactly(op: Linear | Conv1d | Conv2d) -> bool:
    if op.sum is None:
        return True
    exponent = op.weight.exponent if isinstance(op.weight, Fixed) else -1
    return op.sum.message_bits > 0 and bool((exponent >= 0) if isinstance(exponent, int) else (exponent >= 0).all())


def rotate(graph: Graph) -> Graph:
    """Move connections that feed back through a delay which stands later to before their reader.

    `n -> W -> Delay(d) ~> n` (~> reads the previous step) is the same as `n ~> W -> Delay(d) -> n`, but for the bias
    of W, so a chain with a bias stays as it is. Then W reads nothing but the previous step.
    """
    for node in graph:
        for source in node.inputs:
            if not is_connection(node) and graph.is_recurrent(source, node.name):
                chain = _chain(graph, source, node.name)
                if chain:
                    return rotate(_moved(graph, chain, node))
    return graph


def _chain(graph: Graph, source: str, reader: str) -> tuple[str, ...]:
    """Give what makes the output of a delay, back to neurons; nothing where it cannot be moved before `reader`."""
    if not isinstance(graph[source].op, Delay):
        return ()
    found: list[str] = []
    open_names = [source]
    while open_names:
        name = open_names.pop()
        node = graph[name]
        movable = is_connection(node) or isinstance(node.op, (*PASSING, Delay))
        if name in found:
            continue
        if movable and getattr(node.op, "bias", None) is None and graph.position[name] > graph.position[reader]:
            found.append(name)
            if any(graph.is_recurrent(i, name) for i in node.inputs):
                return ()
            open_names.extend(node.inputs)
        elif not node.op.stateful or graph.position[name] < graph.position[reader] or isinstance(node.op, Delay):
            return ()
    if not any(is_connection(graph[name]) for name in found):
        return ()
    return tuple(sorted(found, key=lambda n: graph.position[n]))


def _moved(graph: Graph, chain: tuple[str, ...], reader: Node) -> Graph:
    shared = any(r not in chain and r != reader.name for name in chain for r in graph.consumers[name])
    names = {name: unused(graph, f"{name}.back") if shared else name for name in chain}
    copies = tuple(redirect(replace(graph[name], name=names[name]), names) for name in chain)
    nodes: list[Node] = []
    for node in graph:
        if node.name == reader.name:
            nodes.extend((*copies, redirect(node, names)))
        elif shared or node.name not in chain:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))
