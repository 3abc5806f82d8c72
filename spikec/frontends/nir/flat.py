"""One flat graph out of nested ones: subgraphs are opened, their ports spliced out, names joined by dots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spikec.compiler.diagnostics import Sink, fail, remark
from spikec.frontends.nir.raw import RawGraph, RawNode

Edge = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Flat:
    """Nodes by name without subgraphs, and edges (source, reader) in the order of the file."""

    nodes: dict[str, RawNode]
    edges: list[Edge]


def flatten(graph: RawGraph, tell: Sink) -> Flat:
    """Open every subgraph: node `lif` of subgraph `lif1` becomes `lif1.lif`.

    Raises:
        CompileError: an edge names no node, or a subgraph has not exactly one input and one output.
    """
    nodes: dict[str, RawNode] = {}
    edges = _repaired(graph, tell)
    taken = set(graph.nodes)
    for name, node in graph.nodes.items():
        if isinstance(node, RawNode):
            nodes[name] = node
            continue
        inner = flatten(node, tell)
        renamed = {old: _unique(f"{name}.{old}", taken) for old in inner.nodes}
        taken |= set(renamed.values())
        way_in = renamed[_port(inner, "Input", node)]
        way_out = renamed[_port(inner, "Output", node)]
        nodes |= {renamed[old]: part for old, part in inner.nodes.items()}
        edges = [(way_out if a == name else a, way_in if b == name else b) for a, b in edges]
        edges += [(renamed[a], renamed[b]) for a, b in inner.edges]
        for port in (way_in, way_out):
            edges = _spliced(edges, port)
            del nodes[port]
    return Flat(nodes, _once(edges, graph.where, tell))


def _port(inner: Flat, kind: str, graph: RawGraph) -> str:
    ports = [name for name, node in inner.nodes.items() if node.type == kind]
    if len(ports) != 1:
        message = f"a subgraph needs one {kind} node, this one has {len(ports)}"
        raise fail("nir/subgraph-ports", message, graph.where, "split it, or flatten the graph before writing it")
    return ports[0]


def _spliced(edges: list[Edge], port: str) -> list[Edge]:
    """Join whoever feeds a port to whoever reads it, at the places where it is read."""
    feeding = [a for a, b in edges if b == port]
    joined: list[Edge] = []
    for a, b in edges:
        if b != port:
            joined += [(source, b) for source in feeding] if a == port else [(a, b)]
    return joined


def _repaired(graph: RawGraph, tell: Sink) -> list[Edge]:
    """Refuse edges that name no node, but for one that can only mean one node (files of the NIR paper have that)."""
    named = dict.fromkeys(name for edge in graph.edges for name in edge)
    unknown = [name for name in named if name not in graph.nodes]
    unnamed = [name for name in graph.nodes if name not in named]
    if len(unknown) == len(unnamed) == 1:
        message = f"edges name '{unknown[0]}', which does not exist; taken as '{unnamed[0]}', which no edge names"
        tell(remark("nir/edge-name", message, graph.where, "rename the node in the file if this is wrong"))
        return [(unnamed[0] if a == unknown[0] else a, unnamed[0] if b == unknown[0] else b) for a, b in graph.edges]
    if unknown:
        message = f"edges name {_listed(unknown)}, which the graph does not have"
        raise fail("nir/unknown-edge", message, graph.where, f"its nodes are {_listed(graph.nodes)}")
    return list(graph.edges)


def _once(edges: list[Edge], where: str, tell: Sink) -> list[Edge]:
    once = list(dict.fromkeys(edges))
    if len(once) != len(edges):
        twice = sorted({f"{a} -> {b}" for a, b in edges if edges.count((a, b)) > 1})
        tell(remark("nir/duplicate-edge", f"an edge given twice counts once: {_listed(twice)}", where))
    return once


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _unique(name: str, taken: set[str]) -> str:
    count, free = 0, name
    while free in taken:
        count += 1
        free = f"{name}.{count}"
    return free
