"""What a compilation cost, measured on the user's own samples: spikes that differ, accuracy before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikec.compiler.artifact import Artifact
from spikec.compiler.context import Calibration, Progress
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input
from spikec.compiler.runner import Result, Runner, Trace, align, encode_input, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights import Array
from spikec.runtime.engine import Engine
from spikec.runtime.ladder import classify
from spikec.runtime.reference import Reference

BATCH = 32


class Dispatch:
    """A Runner that runs fixed graphs in the engine and float graphs in the reference."""

    def __init__(self) -> None:
        self._engine, self._reference = Engine(), Reference()

    def run(self, graph: Graph, inputs: Array, *, trace: Trace = False) -> Result:
        """Run a graph; see `spikec.compiler.runner.Runner`."""
        chosen: Runner = self._engine if is_fixed(graph) else self._reference
        return chosen.run(graph, inputs, trace=trace)


def runner() -> Runner:
    """Give the runner that passes measure with."""
    return Dispatch()


def run_aligned(graph: Graph, inputs: Array, chosen: Runner, *, trace: Trace = False) -> Result:
    """Run (N, T, *shape) as the trained network would take it, and remove the graph's latency from what comes out.

    An analog input of a fixed graph is encoded as its Input says, and silent steps are added for the latency.
    """
    known = latencies(graph)
    given = encoded(graph, inputs)
    longest = max(known.values(), default=0)
    return align(chosen.run(graph, pad_steps(given, longest), trace=trace), known, inputs.shape[1])


def encoded(graph: Graph, inputs: Array) -> Array:
    """Give the integers that a fixed graph is sent; a float graph's input is given back."""
    op = graph.of(Input)[0].op
    assert isinstance(op, Input)
    if not is_fixed(graph) or op.message_bits == 0:
        return inputs
    return encode_input(inputs, op.scale, op.message_bits)


def on_samples(
    trained: Graph, compiled: Graph, artifact: Artifact, data: Calibration, progress: Progress
) -> dict[str, Any] | None:
    """Compare the trained with the compiled network on samples: output spikes that differ, classes, accuracy.

    For a target that others read (NIR), also with what a reader of the plain file would build. None where the network
    came in integers and stayed as it was, so that there is nothing to compare with.
    """
    if trained is compiled:
        return None
    views = {"compiled": compiled}
    if artifact.target == "nir":
        from spikec.backends.nir import as_read_by_others

        views = {"read by others": as_read_by_others(compiled)}
    totals = {name: _Tally() for name in views}
    for start in progress.track(range(0, len(data.inputs), BATCH), "measuring on samples"):
        inputs = data.inputs[start : start + BATCH]
        labels = None if data.labels is None else data.labels[start : start + BATCH]
        before = run_aligned(trained, inputs, runner())
        for name, graph in views.items():
            totals[name].add(before, run_aligned(graph, inputs, runner()), labels)
    return {
        "samples": len(data.inputs),
        **{name: tally.facts(data.labels is not None) for name, tally in totals.items()},
    }


class _Tally:
    """Counts over batches."""

    def __init__(self) -> None:
        self.cells = self.active = self.differing = self.same_class = self.right_before = self.right_after = 0
        self.comparable = True

    def add(self, before: Result, after: Result, labels: Array | None) -> None:
        """Count one batch."""
        a, b = before.spikes, after.spikes
        self.comparable &= not (np.any(a != np.rint(a)) or np.any(b != np.rint(b)))
        self.cells += a.size
        self.active += int(np.count_nonzero((a != 0) | (b != 0)))
        self.differing += int(np.count_nonzero(a != b))
        one, other = classify(before), classify(after)
        self.same_class += int(np.count_nonzero(one == other))
        if labels is not None:
            self.right_before += int(np.count_nonzero(one == labels))
            self.right_after += int(np.count_nonzero(other == labels))

    def facts(self, labelled: bool) -> dict[str, Any]:
        """Give the counts as plain data."""
        facts: dict[str, Any] = {"same_class": self.same_class}
        if self.comparable:
            facts |= {"cells": self.cells, "active": self.active, "differing": self.differing}
        if labelled:
            facts |= {"right_before": self.right_before, "right_after": self.right_after}
        return facts


def in_words(measured: Mapping[str, Any]) -> str:
    """Say what was measured in one sentence a view."""
    samples = measured["samples"]
    parts = []
    for name, facts in measured.items():
        if name == "samples":
            continue
        said = [f"{facts['same_class']} of {samples} samples classed alike"]
        if "differing" in facts:
            said.append(f"{facts['differing']} of {facts['active']} active output cells differ")
        if "right_before" in facts:
            said.append(f"{facts['right_before']} right before, {facts['right_after']} after")
        parts.append(f"{name}: {', '.join(said)}")
    return "; ".join(parts)
