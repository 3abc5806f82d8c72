"""A NIR graph as it was found, before anything is understood: nodes with a type and fields, edges, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spikec.compiler.diagnostics import fail


@dataclass(frozen=True, eq=False)
class RawNode:
    """A node of a NIR graph: its type's name, its fields by name, and where it stands in the user's words."""

    type: str
    fields: Mapping[str, Any]
    where: str


@dataclass(frozen=True, eq=False)
class RawGraph:
    """A NIR graph or subgraph: nodes by name, edges (source, reader) in their order."""

    nodes: Mapping[str, RawNode | RawGraph]
    edges: tuple[tuple[str, str], ...]
    where: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def from_object(graph: Any, where: str = "NIRGraph") -> RawGraph:
    """Read an in-memory `nir.NIRGraph` of any version, by its attributes alone.

    Raises:
        CompileError: it has no nodes and edges.
    """
    nodes, edges = getattr(graph, "nodes", None), getattr(graph, "edges", None)
    if not isinstance(nodes, Mapping) or edges is None:
        message = f"a {type(graph).__name__} is not a NIR graph: it has no nodes and edges"
        raise fail("nir/not-a-graph", message, where, "give the path of a .nir file, or a nir.NIRGraph")
    found = {
        str(name): _node(node, f"{where}:{name}" if ":" not in where else f"{where}/{name}")
        for name, node in nodes.items()
    }
    metadata = getattr(graph, "metadata", None)
    pairs = tuple((str(a), str(b)) for a, b in edges)
    return RawGraph(found, pairs, where, metadata if isinstance(metadata, Mapping) else {})


def _node(node: Any, where: str) -> RawNode | RawGraph:
    kind = type(node).__name__
    if kind == "NIRGraph":
        return from_object(node, where)
    if node is None:
        message = "the exporter had no NIR node for this module, and left a hole in the graph"
        raise fail("nir/lost-node", message, where, "compile the torch module itself, without NIR between")
    fields = {
        name: value for name, value in vars(node).items() if name not in ("input_type", "output_type", "metadata")
    }
    if kind == "Input":
        fields["shape"] = _port(node, "input_type")
    if kind == "Output":
        fields["shape"] = _port(node, "output_type")
    if kind == "Flatten":
        fields["input_type"] = _port(node, "input_type")
    return RawNode(kind, {name: value for name, value in fields.items() if value is not None}, where)


def _port(node: Any, name: str) -> Any:
    """Give the one shape of an `input_type` or `output_type`, or None where it is unknown."""
    types = getattr(node, name, None)
    return next(iter(types.values()), None) if isinstance(types, Mapping) else types
