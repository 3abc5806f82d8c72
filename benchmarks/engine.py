"""How long one time step takes in the engine and in the NumPy reference; writes build/bench/engine.json.

Run by `make bench-engine`; QUICK=1 for a short form. The same integer network, the same input, equal outputs.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv2d, FixedSum, Flatten, Input, Linear, Output
from spikec.compiler.weights import Array, Fixed
from spikec.runtime.engine import Engine
from spikec.runtime.reference import Reference

QUICK = os.environ.get("QUICK", "") not in ("", "0")
TIMES = 3 if QUICK else 15
STEPS = 200 if QUICK else 1000


@dataclass(frozen=True)
class Row:
    """One line of the table: microseconds a step (of one sample), samples a second of 100 steps in a batch."""

    network: str
    density: float
    spikes: float
    synops: float
    reference_us: float
    engine_us: float
    batch_per_s: float


def main() -> None:
    """Measure, print the table, write the figures."""
    cases = [("784-512-10", dense(), 0.01), ("784-512-10", dense(), 0.05), ("784-512-10", dense(), 0.2)]
    cases.append(("conv 2x34x34", convolutional(), 0.02))
    rows = [measure(name, graph, density) for name, graph, density in cases]
    print(f"one step of one sample, one thread; batch: 64 samples of 100 steps, {os.cpu_count()} threads")
    head = f"{'network':14} {'input':>6} {'spikes/step':>12} {'synops/step':>12} {'numpy µs':>10} {'engine µs':>10}"
    print(f"{head} {'Msynop/s':>9} {'batch/s':>9}")
    for row in rows:
        print(
            f"{row.network:14} {row.density:6.0%} {row.spikes:12.1f} {row.synops:12.0f} {row.reference_us:10.1f}"
            f" {row.engine_us:10.2f} {row.synops / row.engine_us:9.0f} {row.batch_per_s:9.0f}"
        )
    out = Path("build/bench/engine.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = {"machine": platform.machine(), "cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}
    out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def weights(rng: np.random.Generator, *shape: int) -> Fixed:
    """Eight-bit mixed weights as Loihi has them."""
    return Fixed(rng.integers(-128, 128, shape) * 2, 0, 8, "mixed", 2)


def dense() -> Graph:
    """784-512-10 LIF, one step a connection."""
    rng = np.random.default_rng(0)
    nodes = (
        Node("in", Input((784,))),
        Node("w1", Linear(weights(rng, 512, 784), latency=1, sum=FixedSum()), ("in",)),
        Node("n1", FixedNeuron(1500, v_decay=400), ("w1",)),
        Node("w2", Linear(weights(rng, 10, 512), latency=1, sum=FixedSum()), ("n1",)),
        Node("n2", FixedNeuron(1500, v_decay=400), ("w2",)),
        Node("out", Output(), ("n2",)),
    )
    return Graph(nodes, "dense")


def convolutional() -> Graph:
    """Two strided convolutions and a dense layer over a sensor of 34 by 34 pixels and two polarities."""
    rng = np.random.default_rng(0)
    pads, total = ((1, 1), (1, 1)), FixedSum(0, 24)
    nodes = (
        Node("in", Input((2, 34, 34))),
        Node("w1", Conv2d(weights(rng, 16, 2, 3, 3), None, (2, 2), pads, latency=1, sum=total), ("in",)),
        Node("n1", FixedNeuron(500, v_decay=400), ("w1",)),
        Node("w2", Conv2d(weights(rng, 32, 16, 3, 3), None, (2, 2), pads, latency=1, sum=total), ("n1",)),
        Node("n2", FixedNeuron(1000, v_decay=400), ("w2",)),
        Node("flat", Flatten(), ("n2",)),
        Node("w3", Linear(weights(rng, 10, 32 * 9 * 9), latency=1, sum=FixedSum()), ("flat",)),
        Node("n3", FixedNeuron(3000, v_decay=400), ("w3",)),
        Node("out", Output(), ("n3",)),
    )
    return Graph(nodes, "conv")


def measure(name: str, graph: Graph, density: float) -> Row:
    """Time one network on random input of one density."""
    rng = np.random.default_rng(1)
    inputs = (rng.random((1, STEPS, *graph.shapes["in"])) < density).astype(np.int32)
    engine, few = Engine(1), inputs[:, : STEPS // 10]
    traces = engine.run(graph, inputs, trace=True).traces
    expected = Reference().run(graph, few)
    if not np.array_equal(expected.spikes, traces["s/out"][:, : STEPS // 10]):
        raise SystemExit("the engine and the reference differ")
    neurons = [node.name for node in graph.of(FixedNeuron)]
    batch = np.repeat(inputs[:, :100], 64, axis=0)
    every = Engine()
    return Row(
        network=name,
        density=density,
        spikes=float(sum(traces[f"s/{node}"].sum() for node in neurons) / STEPS),
        synops=synops(graph, traces) / STEPS,
        reference_us=best(lambda: Reference().run(graph, few)) / few.shape[1] * 1e6,
        engine_us=best(lambda: engine.run(graph, inputs)) / STEPS * 1e6,
        batch_per_s=len(batch) / best(lambda: every.run(graph, batch)),
    )


def synops(graph: Graph, traces: Mapping[str, Array]) -> float:
    """Count the weights that events touch: every weight of a used row, zeros included (windows cut by edges too)."""
    total = 0.0
    for node in graph:
        if isinstance(node.op, Linear | Conv2d):
            shape = node.op.weight.shape
            taps = np.prod(shape[2:]) / np.prod(node.op.stride) if isinstance(node.op, Conv2d) else 1
            total += float(np.count_nonzero(traces[f"s/{node.inputs[0]}"]) * shape[0] * taps)
    return total


def best(call: Callable[[], object]) -> float:
    """Give the shortest of several times in seconds."""
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
