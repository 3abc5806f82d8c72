"""Forms: what may stand in a lowered float graph, one small rule each, named like a sentence."""

from __future__ import annotations

from collections.abc import Iterator

from spikec.compiler.diagnostics import Diagnostic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import AvgPool, BatchNorm, Output, Scale, SumPool
from spikec.passes.surgery import is_connection, sources_through


def forms(graph: Graph) -> Iterator[Diagnostic]:
    """Yield everything that has no form on spiking hardware."""
    for node in graph:
        for rule in (values_are_neither_scaled_nor_pooled, connections_read_spikes, neurons_read_connections):
            yield from rule(graph, node)


def values_are_neither_scaled_nor_pooled(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A scale, a normalisation or a sum pool must have gone into weights."""
    if isinstance(node.op, Scale | BatchNorm):
        yield Diagnostic(
            "lower/scale",
            f"{node.op.mnemonic} cannot be folded into the weights beside it",
            node.where,
            "put it directly behind a weighted layer that nothing else reads (`fold` remarks on the reason)",
        )
    if isinstance(node.op, SumPool | AvgPool):
        yield Diagnostic(
            "lower/pool",
            f"{node.op.mnemonic} cannot be merged into the weights beside it",
            node.where,
            "let one weighted layer read it, without padding between (`fold` remarks on the reason)",
        )


def connections_read_spikes(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A connection reads inputs and spikes: not another connection's currents, nor membranes."""
    if not is_connection(node):
        return
    for name in sources_through(graph, node.name):
        source = graph[name]
        if is_connection(source):
            yield Diagnostic(
                "lower/no-neuron-between",
                f"'{node.name}' reads the currents of '{name}', without a neuron between",
                node.where,
                "put a spiking neuron between the two weighted layers, or make them one",
            )
        if isinstance(source.op, Neuron) and source.op.readout == "membrane":
            yield Diagnostic(
                "lower/membrane-sent",
                f"'{node.name}' reads the membrane of '{name}', which hardware does not send",
                node.where,
                "let the layer send its spikes",
            )


def neurons_read_connections(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A result of the network is a neuron's, or an input passed through."""
    if not isinstance(node.op, Output):
        return
    for name in sources_through(graph, node.name):
        if not isinstance(graph[name].op, Neuron) and graph[name].inputs:
            yield Diagnostic(
                "lower/output",
                f"the output reads {graph[name].op.mnemonic} '{name}', which is no neuron",
                node.where,
                "return the spikes or the membrane of a neuron",
            )
