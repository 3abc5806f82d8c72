"""The pass `lower`: rewrites a float graph into the only form that spiking hardware has: neurons fed by weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Findings
from spikec.compiler.ir import Graph
from spikec.compiler.verify import is_fixed, is_lowered
from spikec.passes.feedback import split_mixed
from spikec.passes.fold import EXACT, fold, sum_pool, written_out
from spikec.passes.lower.feeds import feed_by_connections, read_out
from spikec.passes.lower.forms import forms
from spikec.passes.lower.neurons import normal_forms
from spikec.passes.lower.pools import max_pools


@dataclass(frozen=True)
class Lower:
    """Lowers the structure of a float graph, exactly; its timing and its numbers stay.

    Afterwards every neuron reads weighted connections alone (through reshapes and delays), and every connection reads
    inputs and neurons that spike. A MaxPool of spikes is a relay neuron that fires if any of its window does; spikes
    that are summed into a neuron without weights get a connection of ones; a network that ends in a connection gets a
    neuron that passes the current on. Neurons are brought into one form (reset in the same step to zero or by
    subtraction, no leak potential, synapses that decay and then add).
    """

    name: ClassVar[str] = "lower"
    description: ClassVar[str] = "bring a network into the form of spiking hardware: neurons fed by weights alone"

    def run(self, graph: Graph, ctx: Context) -> Graph:
        """Lower.

        Raises:
            CompileError: everything that spiking hardware has no form for, with the alternatives.
        """
        if is_fixed(graph) or is_lowered(graph):
            return graph
        rules, given = (*EXACT, sum_pool), graph
        graph, _ = fold(normal_forms(graph), rules)
        graph = max_pools(split_mixed(graph), ctx)
        graph = read_out(feed_by_connections(graph, ctx), ctx)
        graph, _ = fold(graph, rules)
        for diagnostic in written_out(given, graph):
            ctx.remark(diagnostic)
        found = Findings()
        for diagnostic in forms(graph):
            found(diagnostic)
        found.raise_errors()
        return graph
