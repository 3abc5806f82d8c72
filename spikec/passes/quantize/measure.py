"""Measuring a candidate: the layer alone, given the trained network's own spikes, against the trained layer's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv1d, Conv2d, FixedSum, Input, Linear, Output
from spikec.compiler.runner import Runner
from spikec.compiler.weights import Array
from spikec.compiler.weights_nm import rewrapped
from spikec.passes.quantize.collect import arrivals
from spikec.passes.quantize.grid import Mantissas
from spikec.passes.quantize.layer import Candidate, Feed, Layer

STEPS = 4096
"""How many steps of all samples together are run: enough to tell candidates apart, few enough to wait for."""

CHUNK = 256
"""How many steps of a connection are computed at once: enough for speed, little in memory."""


@dataclass(frozen=True)
class Measured:
    """What came out: `differing` of `spikes` trained ones; for a membrane readout the error relative to its spread."""

    differing: int
    spikes: int
    relative: float
    peak: int
    """Largest input that any neuron got, in the units of its integer input."""


class Recording:
    """The trained network run on calibration data: what every node sent."""

    def __init__(self, graph: Graph, runner: Runner, inputs: Array) -> None:
        self.graph = graph
        self.runner = runner
        names = {name for node in graph for name in node.inputs} | {node.name for node in graph.of(Neuron)}
        result = runner.run(graph, inputs, trace=tuple(sorted(names)))
        self.sent = {name: np.asarray(result.traces[f"s/{name}"]) for name in names if f"s/{name}" in result.traces}
        self.sent[graph.of(Input)[0].name] = np.asarray(inputs)
        self.samples, self.steps = inputs.shape[:2]

    def given(self, feed: Feed) -> Array:
        """Give the integers that a feed reads, (N, T, *shape)."""
        if feed.constant:
            return self._late(np.ones((self.samples, self.steps, 1), np.int64), feed.late)
        total: Array = np.zeros(())
        for name in feed.node.inputs:
            late = self.graph.is_recurrent(name, feed.node.name)
            total = total + self._late(self.sent[name].astype(np.float64), int(late))
        return np.rint(total / feed.unit).astype(np.int64)

    @staticmethod
    def _late(values: Array, steps: int) -> Array:
        if steps == 0:
            return values
        out = np.zeros_like(values)
        out[:, steps:] = values[:, :-steps]
        return out

    def measure(self, layer: Layer, made: Candidate) -> Measured:
        """Run a candidate on what the trained network's layers before it sent."""
        late = {arrival.name: arrival.steps or 0 for arrival in arrivals(self.graph, layer.node.name)}
        total: Array = np.zeros((self.samples, self.steps, *layer.shape), np.int64)
        for feed in layer.feeds:
            current = self._currents(feed, made.weights[feed.node.name])
            current = current.reshape(self.samples, self.steps, *layer.shape)
            total = total + (current if feed.constant else self._late(current, late[feed.node.name]))
        nodes = (
            Node("a", Input(layer.shape)),
            Node("n", made.neuron, ("a",)),
            Node("out", Output(), ("n",)),
        )
        out = self.runner.run(Graph(nodes, "candidate"), total).spikes
        peak = int(np.abs(total).max(initial=0))
        wanted = self.sent[layer.node.name]
        if layer.op.readout == "spikes":
            return Measured(int(np.count_nonzero(out != wanted)), int(np.count_nonzero(wanted)), 0.0, peak)
        spread = float(np.std(wanted)) or 1.0
        off = out * np.asarray(made.neuron.scale) - wanted
        return Measured(0, 0, float(np.sqrt(np.mean(off**2))) / spread, peak)

    def _currents(self, feed: Feed, weights: Mantissas) -> Array:
        """Run a connection alone, (N, T, *made): without delays all steps at once, for it remembers nothing."""
        given = self.given(feed)
        op = fixed_connection(feed, weights, 0.0)
        nodes = (
            Node("x", Input(given.shape[2:])),
            Node("c", op, ("x",)),
            Node("out", Output(), ("c",)),
        )
        graph = Graph(nodes, "candidate")
        if isinstance(op, Linear) and op.delays is not None:
            return self.runner.run(graph, given).spikes
        rows = given.reshape(-1, 1, *given.shape[2:])
        parts = [self.runner.run(graph, rows[at : at + CHUNK]).spikes for at in range(0, len(rows), CHUNK)]
        out = np.concatenate(parts)
        return out.reshape(self.samples, self.steps, *out.shape[2:])


def fixed_connection(feed: Feed, weights: Mantissas, scale: float | Array) -> Linear | Conv1d | Conv2d:
    """Give the op of a feed with integer weights and sum; a structure of zeros (N:M, sparse) stays."""
    op = feed.node.op
    assert isinstance(op, Linear | Conv1d | Conv2d)
    made = FixedSum(message_bits=feed.message_bits, width=32 if isinstance(op, Linear) else 24)
    return replace(op, weight=rewrapped(op.weight, weights.fixed(scale)), bias=None, sum=made)


def recording(graph: Graph, ctx: Context, samples: int) -> Recording | None:
    """Run the trained network on some of the calibration data, evenly chosen; None where there is none to run."""
    if ctx.runner is None or ctx.calibration is None or not len(ctx.calibration.inputs):
        return None
    inputs = np.asarray(ctx.calibration.inputs)
    count = max(1, min(samples, len(inputs), STEPS // max(1, inputs.shape[1])))
    chosen = np.unique(np.linspace(0, len(inputs) - 1, count).astype(int))
    return Recording(graph, ctx.runner, inputs[chosen])
