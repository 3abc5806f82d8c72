"""Order and shape: inference of shapes, the order of nodes read from files, latencies, loops without memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx as nx
import numpy as np

from spikec.compiler.diagnostics import CompileError, Diagnostic, Findings, fail
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Linear


def digraph(nodes: Iterable[Node]) -> nx.DiGraph[str]:
    """Give the edges source -> reader as a networkx graph, nodes in their order."""
    listed = tuple(nodes)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(node.name for node in listed)
    graph.add_edges_from((source, node.name) for node in listed for source in node.inputs)
    return graph


def infer_shapes(graph: Graph) -> Mapping[str, Shape]:
    """Give the shape of every node's output, without batch and time; all faults at once.

    A recurrent input's shape is found by going round: nodes are visited in order until nothing new is learnt.
    """
    shapes: dict[str, Shape] = {}
    found = Findings()
    for _ in range(len(graph) + 1):
        before = len(shapes)
        found = Findings()
        for node in graph:
            with found.catching():
                if node.name not in shapes or len(node.inputs) > 1:
                    shape = _node_shape(graph, node, shapes)
                    if shape is not None:
                        shapes[node.name] = shape
        if found.errors or len(shapes) == before:
            break
    found.raise_errors()
    unknown = [graph[name].where for name in graph.position if name not in shapes]
    if unknown:
        raise fail(
            "graph/no-shape", f"the shape of {', '.join(unknown)} cannot be inferred: nothing feeds it from an input"
        )
    return shapes


def _node_shape(graph: Graph, node: Node, shapes: Mapping[str, Shape]) -> Shape | None:
    """Give a node's shape, or None while none of its inputs is known."""
    for name in node.inputs:
        if name not in graph:
            raise fail("graph/unknown-input", f"'{node.name}' reads '{name}', which does not exist", node.where)
    known = [(name, shapes[name]) for name in node.inputs if name in shapes]
    if node.inputs and not known:
        return None
    given = known[0][1] if known else ()
    for name, other in known[1:]:
        if other != given:
            shapes_differ = f"'{known[0][0]}' has {list(given)}, '{name}' has {list(other)}"
            message = f"inputs are summed and must have one shape: {shapes_differ}"
            raise fail(
                "graph/shape-mismatch", message, node.where, "give the branches of a residual sum the same shape"
            )
    try:
        return node.op.shape(given)
    except ValueError as error:
        source = f" (from '{known[0][0]}')" if known else ""
        raise fail(
            "graph/shape-mismatch", f"{error}{source}", node.where, "check the shapes of the layers before it"
        ) from error


def order(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Put nodes of unknown order (a file's) into execution order; ties keep the given order.

    A walk from the inputs that meets a node again has found a loop; it is cut behind the last stateful node before the
    way back, whose reader then stands earlier in the order and reads the previous step. So a recurrent connection
    stands before the neuron that it feeds.

    Raises:
        CompileError: a loop without memory, named node by node.
    """
    listed = tuple(nodes)
    by_name = {node.name: node for node in listed}
    place = {node.name: index for index, node in enumerate(listed)}
    graph = digraph(listed)
    graph.remove_nodes_from([name for name in graph if name not in by_name])
    starts = [name for name in graph if graph.in_degree(name) == 0]
    while (cycle := _find_cycle(graph, starts)) is not None:
        cut = next((edge for edge in reversed(cycle) if by_name[edge[0]].op.stateful), None)
        if cut is None:
            raise _no_memory([source for source, _ in cycle], by_name)
        graph.remove_edge(*cut)
    names = nx.lexicographical_topological_sort(graph, key=lambda name: place[name])
    return tuple(by_name[name] for name in names)


def _find_cycle(graph: nx.DiGraph[str], starts: list[str]) -> list[tuple[str, str]] | None:
    """Give the edges of one cycle, the edge that closes it last; cycles that an input reaches come first."""
    for source in (starts, None):
        if source == []:
            continue
        try:
            return [(edge[0], edge[1]) for edge in nx.find_cycle(graph, source=source)]
        except nx.NetworkXNoCycle:
            continue
    return None


def _no_memory(cycle: list[str], by_name: Mapping[str, Node]) -> CompileError:
    return fail(
        "graph/loop-without-memory",
        f"the loop {' -> '.join([*cycle, cycle[0]])} has no neuron or delay that remembers the previous step",
        by_name[cycle[0]].where,
        "put a neuron or a delay into the loop",
    )


def own_latency(node: Node) -> int:
    """Give the steps of latency that a node adds itself: a connection's, a balancing delay's, less what one absorbs."""
    if isinstance(node.op, Linear | Conv1d | Conv2d):
        return node.op.latency
    if isinstance(node.op, Delay):
        return (int(np.max(node.op.steps)) if node.op.balance else 0) - node.op.absorbed
    return 0


def latencies(graph: Graph) -> Mapping[str, int]:
    """Give for every node by how many steps its output is later than in the trained network.

    The latency of a node is the largest of its forward inputs and its own; a constant source (no inputs, not an
    Input) has the latency at which it starts. A node that reads only what stands later (a recurrent connection before
    its neuron) is as late as what it reads: it never makes another node wait.
    """
    known = _forward_latencies(graph)
    for _ in graph:  # those that wait for what stands later, and what reads them
        for node in graph:
            if node.name not in known and (found := [known[name] for name in node.inputs if name in known]):
                known[node.name] = max(found) + own_latency(node)
    return {node.name: known.get(node.name, 0) for node in graph}


def _forward_latencies(graph: Graph) -> dict[str, int]:
    """Give the latency of every node that something before it feeds (or that nothing feeds)."""
    known: dict[str, int] = {}
    for node in graph:
        forward = [known[name] for name in node.inputs if name in known]
        if forward or not node.inputs:
            known[node.name] = max(forward, default=int(getattr(node.op, "start", 0))) + own_latency(node)
    return known


def unbalanced(graph: Graph) -> list[Diagnostic]:
    """Find the nodes whose inputs do not arrive together, in a graph that has latency (recurrent ones do not count)."""
    known = _forward_latencies(graph)
    found = []
    for node in graph:
        forward = {
            name: known[name] for name in node.inputs if name in known and not graph.is_recurrent(name, node.name)
        }
        if len(set(forward.values())) > 1:
            arrivals = ", ".join(f"'{name}' at {late}" for name, late in forward.items())
            found.append(
                Diagnostic(
                    "graph/unbalanced",
                    f"inputs arrive at different steps: {arrivals}",
                    node.where,
                    "run balance-delays",
                )
            )
    return found
