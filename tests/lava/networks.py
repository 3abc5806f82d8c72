"""The random networks on which reference, engine and Lava are compared, and what each of them reaches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from spikec.compiler.fixed import LOIHI2_ARITHMETIC, Arithmetic, FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv1d, Conv2d, Linear
from spikec.compiler.runner import Result
from spikec.compiler.schedule import latencies
from spikec.compiler.weights import Array, Sparse
from spikec.runtime.reference import Reference
from tests.random_fixed import random_fixed_graph, random_inputs

STEPS = 24
SAMPLES = 2


def native(seed: int) -> tuple[Graph, Array]:
    """Make a network that native Lava can say, and its input.

    One third as the generator makes it; one third with a start for every neuron, as lowering gives it; one third
    likewise with biases and without reset intervals and initial states, as trained networks are.
    """
    rng = np.random.default_rng(seed)
    graph = random_fixed_graph(rng, lava=True)
    late = latencies(graph)

    def change(node: Node) -> Node | None:
        if not isinstance(node.op, FixedNeuron) or seed % 3 == 0:
            return None
        op = replace(node.op, start=late[node.name])
        if seed % 3 == 2:
            bias = rng.integers(-50, 3000, graph.shapes[node.name])
            op = replace(op, reset_interval=0, u_init=0, v_init=0, bias=bias)
        return replace(node, op=op)

    changed = graph.map(change)
    return changed, random_inputs(rng, changed, SAMPLES, STEPS)


RANDOM_ARITHMETIC = Arithmetic("other", "shift", 9, 2, 1, 20, "saturate", 18, "wrap")


def custom(seed: int) -> tuple[Graph, Array]:
    """Make a network whose neurons native Lava cannot say, and its input."""
    rng = np.random.default_rng(seed)
    graph = random_fixed_graph(rng, lava=True)
    late = latencies(graph)

    def change(node: Node) -> Node | None:
        if not isinstance(node.op, FixedNeuron):
            return None
        shape = graph.shapes[node.name]
        ways: tuple[dict[str, object], ...] = (
            {"reset": "subtract"},
            {"cmp": ">="},
            {"reset": "none", "threshold": 3, "readout": "membrane"},
            {"v_min": -100},
            {"v_reset": int(rng.integers(1, 500)), "bias_exp": -1},
            {"reset": "subtract", "reset_amount": rng.integers(0, 200, shape), "cmp": ">="},
            {"arithmetic": RANDOM_ARITHMETIC, "u_decay": None, "v_decay": rng.integers(0, 10, shape)},
        )
        start = late[node.name] + int(rng.integers(0, 3))
        return replace(node, op=replace(node.op, start=start, **ways[int(rng.integers(len(ways)))]))

    changed = graph.map(change)
    return changed, random_inputs(rng, changed, SAMPLES, STEPS)


def differing(graph: Graph, one: Result, other: Result) -> dict[str, int]:
    """Count the cells that differ in outputs, spikes, u and v; u and v from each neuron's start on."""
    found: Counter[str] = Counter()
    for name, array in one.outputs.items():
        found[name] = count(array, other.outputs[name])
    for node in graph.of(FixedNeuron):
        op = node.op
        assert isinstance(op, FixedNeuron)
        found[f"s/{node.name}"] = count(one.traces[f"s/{node.name}"], other.traces[f"s/{node.name}"])
        for key in (f"u/{node.name}", f"v/{node.name}"):
            found[key] = count(one.traces[key][:, op.start :], other.traces[key][:, op.start :])
    return {key: number for key, number in found.items() if number}


def count(one: Array, other: Array) -> int:
    """Count the cells that differ; a shape that differs is no comparison at all."""
    assert one.shape == other.shape
    return int(np.count_nonzero(one != other))


def _saturating(node: Node) -> Node | None:
    """Let u saturate instead of wrap, so that what differs shows that it wrapped."""
    if not isinstance(node.op, FixedNeuron):
        return None
    return replace(node, op=replace(node.op, arithmetic=replace(node.op.arithmetic, u_overflow="saturate")))


def reached(graph: Graph, inputs: Array, result: Result) -> set[str]:
    """Name what a network has and what its run reached."""
    half = 1 << (LOIHI2_ARITHMETIC.v_bits - 1)
    unwrapped = Reference().run(graph.map(_saturating), inputs, trace=True)
    have: set[str] = set()
    for node in graph.of(FixedNeuron):
        op = node.op
        assert isinstance(op, FixedNeuron)
        u, v = result.traces[f"u/{node.name}"], result.traces[f"v/{node.name}"]
        marks = {
            "v saturates": np.any(np.abs(v) == half - 1),
            "u wraps": np.any(u != unwrapped.traces[f"u/{node.name}"]),
            "negative v": np.any(v < 0),
            "spikes": np.any(result.traces[f"s/{node.name}"]),
            "reset interval": op.reset_interval > 0,
            "start": op.start > 0,
            "initial state": np.any(np.asarray(op.u_init) != 0) or np.any(np.asarray(op.v_init) != 0),
        }
        have |= {name for name, hit in marks.items() if hit}
    for node in graph.of(Linear, Conv1d, Conv2d):
        op = node.op
        assert isinstance(op, Linear | Conv1d | Conv2d)
        assert op.sum is not None
        marks = {
            "conv": not isinstance(op, Linear),
            "sparse": isinstance(op.weight, Sparse),
            "delays": isinstance(op, Linear) and op.delays is not None,
            "graded": op.sum.message_bits > 0,
            "recurrent": any(graph.is_recurrent(source, node.name) for source in node.inputs),
        }
        have |= {name for name, hit in marks.items() if hit}
    return have
