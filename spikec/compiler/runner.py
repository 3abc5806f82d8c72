"""What running a graph means to the rest of the compiler: the Runner protocol and the Result it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from spikec.compiler.ir import Graph
from spikec.compiler.weights import Array

Trace = bool | tuple[str, ...]
"""Which nodes to record: all of them (True), none, or those named."""


@dataclass(frozen=True, eq=False)
class Result:
    """What came out of a run.

    `outputs` maps each Output node's name to an array (N, T, *shape): int32 spikes or membranes of a fixed graph,
    floats of a float one. `traces` maps `s/NODE` (outputs of any traced node), `u/NODE` and `v/NODE` (states of a
    neuron after its reset) to arrays (N, T, *shape). Steps are the target's own: latency is not removed.
    """

    outputs: Mapping[str, Array]
    traces: Mapping[str, Array] = field(default_factory=dict)

    @property
    def spikes(self) -> Array:
        """The first output, (N, T, *shape)."""
        return next(iter(self.outputs.values()))

    @property
    def counts(self) -> Array:
        """Sum of the first output over time, (N, *shape)."""
        total: Array = self.spikes.sum(axis=1)
        return total


class Runner(Protocol):
    """Something that runs a graph: the reference, the engine."""

    def run(self, graph: Graph, inputs: Array, *, trace: Trace = False) -> Result:
        """Run every sample from the initial state.

        Args:
            graph: float or fixed, as the runner supports.
            inputs: (N, T, *shape of the graph's one Input). A fixed graph takes integers (encode analog input with
                `encode_input` first). Every one of the T steps is a step of the graph: a caller that wants the whole
                answer of a graph with latency K pads K steps of zeros at the end (`pad_steps`).
            trace: nodes to record.

        Raises:
            CompileError: the graph or the input cannot be run, with the reason.
        """
        ...


def encode_input(inputs: Array, scale: float, message_bits: int) -> Array:
    """Turn input values into the integers that a fixed graph is sent: round(x / scale), clipped to the message width.

    `message_bits` 0 means spikes: a value is kept as it is and must be whole. Rounding is to the nearest, ties to even.
    """
    if message_bits == 0:
        return np.asarray(inputs).astype(np.int32)
    top = (1 << message_bits) - 1
    return np.clip(np.rint(np.asarray(inputs, dtype=np.float64) / scale), -top, top).astype(np.int32)


def pad_steps(inputs: Array, steps: int) -> Array:
    """Add `steps` silent time steps at the end of (N, T, *shape)."""
    if steps == 0:
        return inputs
    silence = np.zeros((inputs.shape[0], steps, *inputs.shape[2:]), dtype=inputs.dtype)
    return np.concatenate([inputs, silence], axis=1)


def align(result: Result, latency: Mapping[str, int], steps: int) -> Result:
    """Remove the known latency: every array keeps its steps [latency, latency + steps); `c/...` has none."""

    def cut(name: str, array: Array) -> Array:
        if name.startswith("c/"):
            return array
        start = latency[name.split("/", 1)[1] if name[:2] in ("s/", "u/", "v/") else name]
        return array[:, start : start + steps]

    return Result(
        outputs={name: cut(name, array) for name, array in result.outputs.items()},
        traces={name: cut(name, array) for name, array in result.traces.items()},
    )


Readout = Literal["spikes", "membrane"]
