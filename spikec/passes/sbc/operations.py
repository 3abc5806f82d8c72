"""Counting synaptic operations: what the spikes of a network make its weights do (methods.md 1.12)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikec.compiler.ir import Graph, Shape
from spikec.compiler.ops import AvgPool, Connection, Delay, Flatten, Input, Linear, MaxPool, Reshape, Scale, SumPool
from spikec.compiler.weights import Array

BETWEEN = (AvgPool, SumPool, MaxPool, Flatten, Reshape, Scale, Delay)
"""Ops through which an analog input is still analog."""


@dataclass(frozen=True)
class Work:
    """Synaptic operations (a spike times the non-zero weights that it meets), and multiply-adds of analog input."""

    sops: int = 0
    macs: int = 0

    def __add__(self, other: Work) -> Work:
        """Add up."""
        return Work(self.sops + other.sops, self.macs + other.macs)


def work(op: Connection, given: Array, *, analog: bool) -> Work:
    """Count what a connection does with its inputs.

    Args:
        op: the connection.
        given: (N, T, *shape) what it reads.
        analog: the inputs are real numbers (direct coding): every non-zero weight is multiplied at every step.

    Whole numbers count as so many spikes; other values of a spiking input as one event each where they are not 0.
    """
    fan = fan_out(op, given.shape[2:])
    if analog:
        return Work(macs=int(fan.sum()) * given.shape[0] * given.shape[1])
    events = np.abs(given).sum(axis=(0, 1), dtype=np.float64)
    if np.any(events != np.rint(events)):
        events = np.count_nonzero(given, axis=(0, 1)).astype(np.float64)
    return Work(sops=int(np.sum(events * fan)))


def fan_out(op: Connection, given: Shape) -> Array:
    """Give for every input the number of non-zero weights that a spike of it meets, int64 of the input's shape."""
    there = op.weight.decode() != 0
    if isinstance(op, Linear):
        return np.broadcast_to(there.sum(axis=0, dtype=np.int64), given)
    channels, space = given[0], given[1:]
    # (groups, in / groups, *kernel) -> (in, *kernel): outputs that read an input channel at a place of the kernel
    met = there.reshape(op.groups, -1, *there.shape[1:]).sum(axis=1, dtype=np.int64).reshape(channels, *op.kernel)
    made = op.shape(given)[1:]
    padded = np.zeros((channels, *(n + a + b for n, (a, b) in zip(space, op.padding, strict=True))), np.int64)
    for place in np.ndindex(*op.kernel):
        at = tuple(
            slice(k * d, k * d + (n - 1) * s + 1, s)
            for k, d, s, n in zip(place, op.dilation, op.stride, made, strict=True)
        )
        count = met[(slice(None), *place)]
        padded[(slice(None), *at)] += count.reshape(-1, *(1,) * len(made))
    inner = tuple(slice(a, a + n) for n, (a, _) in zip(space, op.padding, strict=True))
    return np.asarray(padded[(slice(None), *inner)])


def reads_analog(graph: Graph, name: str) -> bool:
    """Say whether a connection reads real numbers of the network's input (through pools, reshapes and delays)."""
    seen: set[str] = set()
    waiting = list(graph[name].inputs)
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        op = graph[source].op
        if isinstance(op, Input) and op.kind == "analog":
            return True
        if isinstance(op, BETWEEN):
            waiting.extend(graph[source].inputs)
    return False
