"""Running a network on calibration data in chunks of samples: what its nodes sent, with every latency removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import fail
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv1d, Conv2d, Input, Linear
from spikec.compiler.runner import align, encode_input, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights import Array

STATES = 3
"""A traced neuron records its output, its current and its membrane."""


def samples(graph: Graph, ctx: Context, name: str) -> Array:
    """Give the calibration samples (N, T, *shape).

    Raises:
        CompileError: there are none, they do not fit the network, or nothing happens in them; or nothing can run them.
    """
    if ctx.calibration is None:
        help = "give training samples: --calibrate DATA"
        raise fail(f"{name}/no-calibration", f"{name} needs calibration data", graph.name, help)
    if ctx.runner is None:
        raise fail(f"{name}/no-runner", f"{name} needs a runner for the calibration data", graph.name)
    node = graph.of(Input)[0]
    inputs, size = np.asarray(ctx.calibration.inputs), graph.shapes[node.name]
    if inputs.ndim != 2 + len(size) or inputs.shape[2:] != size:
        taken = ", ".join(["samples", "steps", *map(str, size)])
        message = f"the calibration data has shape {list(inputs.shape)}; the network takes ({taken})"
        raise fail(f"{name}/calibration-shape", message, node.where)
    if not inputs.size:
        message = f"the calibration data is empty: {inputs.shape[0]} samples of {inputs.shape[1]} steps"
        raise fail(f"{name}/no-samples", message, node.where, "give training samples: --calibrate DATA")
    if not np.all(np.isfinite(inputs)):
        raise fail(f"{name}/calibration-not-finite", "the calibration data holds NaN or infinity", node.where)
    if not np.any(inputs):
        message = f"all {len(inputs)} calibration samples are silent: every input is 0"
        raise fail(f"{name}/silent", message, node.where, "give samples of what the network will see")
    return inputs


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some samples that were run: what the nodes that were asked for sent, (N, T, *shape), steps as trained."""

    graph: Graph
    sent: Mapping[str, Array]

    def given(self, name: str, late: int = 0) -> Array:
        """Give what a connection reads, moved `late` steps on; spikes as 0 and 1 where a fixed graph counts them so."""
        node = self.graph[name]
        assert isinstance(node.op, Linear | Conv1d | Conv2d)
        total: Array | None = None
        for source in node.inputs:
            part = later(self.sent[source], late + int(self.graph.is_recurrent(source, name)))
            total = part if total is None else total + part
        assert total is not None
        one = node.op.sum is not None and node.op.sum.message_bits == 0
        return (total != 0).astype(np.int32) if one else total


def later(values: Array, steps: int) -> Array:
    """Move (N, T, ...) on by some steps, zeros before; what passes the end is lost."""
    if steps == 0:
        return values
    out = np.zeros_like(values)
    out[:, steps:] = values[:, :-steps]
    return out


def run(graph: Graph, ctx: Context, inputs: Array, names: frozenset[str], memory: int, what: str) -> Iterator[Chunk]:
    """Run samples in chunks whose records stay within `memory` bytes (one sample at least), and give what nodes sent.

    Args:
        graph: float or fixed.
        ctx: its runner and its progress are used.
        inputs: (N, T, *shape).
        names: the nodes to record.
        memory: in bytes.
        what: the title of the progress bar.
    """
    assert ctx.runner is not None
    known, steps = latencies(graph), inputs.shape[1]
    longest = max(known.values(), default=0)
    source = graph.of(Input)[0]
    traced = tuple(sorted(names - {source.name}))
    size = per_sample(graph, names, steps + longest)
    count = max(1, min(len(inputs), memory // max(1, size)))
    starts = range(0, len(inputs), count)
    for start in ctx.progress.track(starts, what, len(starts)):
        given = _encoded(graph, source, inputs[start : start + count])
        result = align(ctx.runner.run(graph, pad_steps(given, longest), trace=traced), known, steps)
        yield Chunk(graph, {source.name: given, **{name: result.traces[f"s/{name}"] for name in traced}})


def per_sample(graph: Graph, names: frozenset[str], steps: int) -> int:
    """Give the bytes that one sample takes while it is recorded and added up."""
    entries = sum(
        prod(graph.shapes[name]) * (STATES if isinstance(graph[name].op, Neuron | FixedNeuron) else 1) for name in names
    )
    return 2 * 4 * steps * entries


def _encoded(graph: Graph, node: Node, inputs: Array) -> Array:
    assert isinstance(node.op, Input)
    return encode_input(inputs, node.op.scale, node.op.message_bits) if is_fixed(graph) else inputs
