"""SLAYER's N-MNIST network for Loihi: a graph built in Python from integer weights, run, and exchanged as `.net`.

    python examples/slayer_nmnist.py [DATA]

DATA is the folder with `slayer_nmnist_loihi/weights.npz` and `nmnist/test.npz` (default: $SPIKEC_DATA, else
../shared/data). A network that comes from no framework is built like this: nodes in execution order, integers as the
chip has them, and one step of latency for every connection.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from spikec.backends.loihi.netfile import write
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Origin
from spikec.compiler.ops import FixedSum, Flatten, Input, Linear, Output
from spikec.compiler.runner import Runner, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.verify import verify
from spikec.compiler.weights import Array, Fixed
from spikec.frontends.netx import lower
from spikec.runtime.engine import Engine
from spikec.runtime.events import bin_events
from spikec.runtime.reference import Reference

STEPS = 300
SHAPE = (2, 34, 34)  # polarity, row, column
ROOT = Path(__file__).resolve().parent.parent


def connection(weights: Array) -> Linear:
    """Make a connection of Loihi: even integers of 8 bits, spikes in, one step of latency.

    Its sum is shifted left by 6 as it enters the neuron: that is part of the neuron's arithmetic.
    """
    return Linear(Fixed(weights, width=8, step=2), latency=1, sum=FixedSum())


def neuron(start: int) -> FixedNeuron:
    """Make a current-based LIF of Loihi: decays in 4096ths, threshold 80 << 6, reset to zero."""
    return FixedNeuron(threshold=80, v_decay=128, u_decay=1024, start=start)


def build(fc1: Array, fc2: Array) -> Graph:
    """Build the network from its weights, (512, 2312) and (10, 512)."""

    def node(name: str, op: Input | Flatten | Linear | FixedNeuron | Output, *inputs: str) -> Node:
        return Node(name, op, inputs, Origin("slayer_nmnist", name))

    return verify(
        Graph(
            (
                node("input", Input(SHAPE)),
                node("flatten", Flatten(), "input"),
                node("fc1", connection(fc1), "flatten"),
                node("hidden", neuron(start=1), "fc1"),
                node("fc2", connection(fc2), "hidden"),
                node("classes", neuron(start=2), "fc2"),
                node("output", Output(), "classes"),
            ),
            "slayer_nmnist",
        )
    )


def load_weights(data: Path) -> tuple[Array, Array]:
    """Read the two weight arrays."""
    with np.load(data / "slayer_nmnist_loihi" / "weights.npz") as box:
        return box["fc1"], box["fc2"]


def load_recordings(data: Path) -> tuple[Array, Array]:
    """Read the test recordings as spikes (100, 300, 2, 34, 34) in bins of 1 ms, and their labels."""
    with np.load(data / "nmnist" / "test.npz") as box:
        events = [box[name] for name in ("x", "y", "p", "t_us", "offsets")]
        return bin_events(*events, bin_us=1000, steps=STEPS, shape=SHAPE, rounding="nearest"), box["labels"]


def classify(runner: Runner, graph: Graph, spikes: Array) -> tuple[Array, Array]:
    """Run all recordings; give the output's spikes, its latency removed, and the class with the most of them."""
    late = latencies(graph)["output"]
    out = runner.run(graph, pad_steps(spikes, late)).spikes[:, late:]
    return out, out.sum(axis=1).argmax(axis=1)


def exchange(graph: Graph) -> Graph:
    """Write the network as a lava-dl `.net` and read it back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slayer_nmnist.net"
        path.write_bytes(write(graph))
        return lower(path)


def main() -> None:
    """Build, run in the reference and in the engine, exchange, run again."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("SPIKEC_DATA", ROOT.parent / "shared" / "data")
    words.add_argument("data", nargs="?", type=Path, default=Path(folder))
    data = words.parse_args().data
    graph = build(*load_weights(data))
    print(graph)
    spikes, labels = load_recordings(data)
    first = None
    for name, runner, form in (
        ("engine", Engine(), graph),
        ("engine, through a .net", Engine(), exchange(graph)),
        ("reference", Reference(), graph),
    ):
        out, guess = classify(runner, form, spikes)
        first = out if first is None else first
        print(f"{name}: {np.sum(guess == labels)} of {len(labels)} right, {np.sum(out != first)} spikes differ")


if __name__ == "__main__":
    main()
