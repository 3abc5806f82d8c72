"""The NIR backend: a plain file that other tools read, and a report of what it could not say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from spikec.backends.nir.check import faults
from spikec.backends.nir.hdf5 import to_bytes
from spikec.backends.nir.plan import literal_graph, plan
from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import CompileError, Diagnostic, Severity, warning
from spikec.compiler.ir import Graph, Node
from spikec.compiler.serialize import dumps

NETWORK = "network.nir"
REPORT = "loss.json"
GRAPH = "graph.spk"


@dataclass(frozen=True)
class NirBackend:
    """Writes NIR. `dt` is the seconds a step to write time constants for (None: the neurons' own, else 1e-4).

    The file holds plain dense nodes that `nir.read` takes, and in its metadata what NIR cannot say, with which
    spikec's own reader gives the same graph back.
    """

    dt: float | None = None
    name: str = "nir"
    description: str = "a NIR file that other frameworks read, with a report of what NIR cannot say"

    def check(self, graph: Graph) -> Iterator[Diagnostic]:
        """Yield an error for what NIR cannot hold, and a warning for what it holds otherwise than trained."""
        found = list(faults(graph))
        yield from found
        if any(fault.severity is Severity.ERROR for fault in found):
            return
        for loss in plan(graph, self.dt).losses:
            yield warning(
                "nir/loss", str(loss), loss.node, f"{REPORT} lists all of them; spikec reads the file exactly"
            )

    def emit(self, graph: Graph) -> Artifact:
        """Make the artifact.

        Files: `network.nir`; `loss.json`, what a reader of NIR alone does otherwise; `graph.spk`, the graph itself.

        Raises:
            CompileError: NIR cannot hold the graph.
        """
        _refuse(graph)
        found = plan(graph, self.dt)
        data = to_bytes(found)
        report = {"dt": found.dt, "losses": [loss.fact for loss in found.losses]}
        files = {GRAPH: dumps(graph), NETWORK: data, REPORT: (json.dumps(report, indent=1) + "\n").encode()}
        facts = {"network": NETWORK, "nodes": len(found.parts), "bits_on_target": 8 * len(data), **report}
        return Artifact(self.name, files, facts)

    def as_read_by_others(self, graph: Graph) -> Graph:
        """Give what `as_read_by_others` gives, for this backend's time step."""
        return as_read_by_others(graph, self.dt)


def as_read_by_others(graph: Graph, dt: float | None = None) -> Graph:
    """Give the float graph that a reader builds who follows NIR alone, but knows our time step.

    Run it beside `graph` on the user's data to count the spikes that differ. Nodes have the names that they have in
    `graph`; where several NIR nodes stand for one, the last of them has its name and its output.

    Raises:
        CompileError: NIR cannot hold the graph.
    """
    _refuse(graph)
    found = plan(graph, dt)
    literal = literal_graph(found, graph.name)
    names = {entry["chain"][-1]: name for name, entry in found.note["nodes"].items()}
    if len({names.get(node.name, node.name) for node in literal}) < len(literal):
        return literal

    def named(node: Node) -> Node:
        return replace(node, name=names.get(node.name, node.name), inputs=tuple(names.get(i, i) for i in node.inputs))

    return literal.map(named)


def _refuse(graph: Graph) -> None:
    found = tuple(faults(graph))
    if found:
        raise CompileError(found)
