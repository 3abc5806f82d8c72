"""How busy a network is on the user's samples: spikes a step that every node sends, for targets that map by it."""

from __future__ import annotations

import numpy as np

from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input
from spikec.compiler.weights import Array
from spikec.driver.measure import encoded
from spikec.runtime.engine import Engine

SAMPLES = 64


def activity(graph: Graph, inputs: Array) -> dict[str, float]:
    """Give spikes a step of a fixed graph's input and neurons, the mean over samples and steps.

    Args:
        graph: a fixed graph without latency.
        inputs: samples (N, T, *shape), of which at most 64 are run.
    """
    given = encoded(graph, inputs[:SAMPLES])
    names = [node.name for node in graph.of(FixedNeuron)]
    result = Engine().run(graph, given, trace=tuple(names))
    steps = max(1, given.shape[0] * given.shape[1])
    sent = {graph.of(Input)[0].name: given, **{name: result.traces[f"s/{name}"] for name in names}}
    return {name: float(np.count_nonzero(values)) / steps for name, values in sent.items()}
