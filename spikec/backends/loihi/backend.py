"""The loihi2 backend: checks a fixed graph against the chip and emits what runs on Lava, and on netx where it can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from spikec.backends.loihi.check import findings
from spikec.backends.loihi.lavanet import custom_nodes, describe
from spikec.backends.loihi.netfile import netx_arguments, reasons, write
from spikec.backends.loihi.partition import partition
from spikec.backends.loihi.zeros import stored_zeros
from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import Diagnostic, remark
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Output
from spikec.compiler.schedule import latencies
from spikec.compiler.serialize import dumps
from spikec.compiler.target import Target

TARGET = Target("loihi2")
"""Loihi 2 as Lava's `fixed_pt` models and Intel's compiler describe it."""

NETX_TARGET = replace(TARGET, exponents=(-8, 0), bias_exponents=(6, 6))
"""What to quantize for so that netx can say the network: it finds no exponent above 0, and shifts biases by 6."""

GRAPH = "graph.spk"
NET = "network.net"


@dataclass(frozen=True)
class LoihiBackend:
    """Emits a network for Loihi 2.

    `allow_custom`: whether what Loihi's own neuron cannot say (soft reset, `>=`, a lower bound, an initial state) may
    become a Lava process of our own, marked as such; else it is an error. `require_net`: whether it is an error that
    netx cannot say the network.
    """

    allow_custom: bool = False
    require_net: bool = False
    target: Target = TARGET
    name: str = "loihi2"
    description: str = "Intel Loihi 2: a Lava network, a core table, and a .net file for lava-dl's netx"

    def check(self, graph: Graph) -> Iterator[Diagnostic]:
        """Yield every reason why the graph would not fit or not mean the same, one small rule each."""
        yield from findings(graph, self.target, allow_custom=self.allow_custom)
        for reason in reasons(graph) if self.require_net else ():
            help = "compile with -t loihi2, which needs no .net file"
            yield Diagnostic("loihi/no-net", f"netx cannot say this network: {reason}", graph.name, help)

    def emit(self, graph: Graph) -> Artifact:
        """Make the artifact; called only when `check` found no error.

        Files: `graph.spk` (the graph), `network.json`, `arrays.npz` and `run_lava.py` (Lava), and `network.net` where
        netx can say the network. Facts: latencies, origins, the core table, custom processes, netx's arguments,
        remarks.

        Raises:
            CompileError: Lava has no form for the graph.
        """
        files = {GRAPH: dumps(graph), **describe(graph)}
        against = reasons(graph)
        if not against:
            files[NET] = write(graph)
        return Artifact(self.name, files, self._facts(graph, against))

    def _facts(self, graph: Graph, against: list[str]) -> dict[str, Any]:
        late = latencies(graph)
        cores = partition(graph)
        outputs = {node.name: late[node.name] for node in graph.of(Output)}
        remarks = [remark("loihi/no-net", f"no {NET}: {reason}", graph.name) for reason in against]
        if cores.chips > 1:
            message = f"the network needs {cores.cores} cores, more than the {cores.limits.cores} of one chip"
            remarks.append(remark("loihi/chips", message, graph.name))
        remarks += stored_zeros(graph)
        return {
            "target": self.name,
            "latency": dict(late),
            "outputs": outputs,
            "steps_of_latency": max(outputs.values(), default=0),
            "origins": {node.name: str(node.origin) for node in graph if str(node.origin)},
            "cores": cores.fact,
            "custom": {name: list(why) for name, why in custom_nodes(graph).items()},
            "netx": None if against else {"file": NET, **netx_arguments(graph)},
            "remarks": [{"code": r.code, "message": r.message, "where": r.where} for r in remarks],
        }
