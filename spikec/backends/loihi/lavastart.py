"""The start of a sample on Lava: whether resets at intervals say it exactly, and if not, what the host must set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf

import numpy as np

from spikec.backends.loihi.lavaconn import Line, Link
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph

Readers = Mapping[str, Sequence[str]]
"""For each link the neurons and connections that it feeds."""


def resets_at_intervals(graph: Graph, links: Iterable[Link], lines: Sequence[Line], readers: Readers) -> bool:
    """Say whether native neurons that reset once a sample, at their own start, equal the graph.

    Before its start a native neuron may fire (its bias acts, the last sample echoes). That is harmless where all that
    it sends before its start arrives before the start of who reads it, and likewise what is left of the sample before.
    """
    for node in graph.of(FixedNeuron):
        op = node.op
        assert isinstance(op, FixedNeuron)
        if op.reset_interval or np.any(np.asarray(op.u_init)) or np.any(np.asarray(op.v_init)):
            return False
    if lines:
        return False
    for link in links:
        for target in readers[link.name]:
            reader = graph[target].op
            for source in link.sources:
                sender = graph[source].op
                sent = sender.start if isinstance(sender, FixedNeuron) else 0
                if not isinstance(reader, FixedNeuron) or sent + 1 + link.delay[1] > reader.start:
                    return False
    return True


def reached_early(graph: Graph, links: Sequence[Link], lines: Sequence[Line], readers: Readers) -> frozenset[str]:
    """Name the neurons that input can reach before their start, given that none sends anything before its own."""
    first: dict[str, float] = {node.name: inf for node in graph}
    for node in graph:
        if isinstance(node.op, FixedNeuron):
            first[node.name] = node.op.start
        elif not node.inputs:
            first[node.name] = 0
    lined = {line.name: line for line in lines}
    arrival: dict[str, float] = {}
    for _ in range(len(links) + 1):
        for link in links:
            sent = [
                first[lined[s].source] + int(lined[s].steps.min()) if s in lined else first[s] for s in link.sources
            ]
            when = min(sent, default=inf) + 1 + link.delay[0]
            first[link.node] = min(first[link.node], when)
            for target in readers[link.name]:
                arrival[target] = min(arrival.get(target, inf), when)
    neurons = {node.name: node.op.start for node in graph if isinstance(node.op, FixedNeuron)}
    return frozenset(name for name, start in neurons.items() if arrival.get(name, inf) < start)
