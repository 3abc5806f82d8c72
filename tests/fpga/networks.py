"""Networks for the tests of the FPGA target: chains of fully connected layers, dense and N:M."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np

from spikec.compiler.fixed import Arithmetic, FixedNeuron, fpga_arithmetic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import IF, LIF
from spikec.compiler.ops import FixedSum, Flatten, Input, Linear, Output
from spikec.compiler.weights import Array, Dense, Fixed
from spikec.compiler.weights_nm import NM, Axis


def prune(values: Array, n: int, m: int, axis: Axis = "out") -> NM:
    """Keep the n largest of every m consecutive weights along an axis of a matrix (out, in)."""
    lines = values if axis == "in" else values.T
    count, length = lines.shape
    padded = np.zeros((count, -(-length // m) * m), values.dtype)
    padded[:, :length] = lines
    blocks = padded.reshape(count, -1, m)
    least = np.argsort(-np.abs(blocks), axis=-1, kind="stable")[..., n:]
    kept = blocks.copy()
    np.put_along_axis(kept, least, 0, axis=-1)
    flat = kept.reshape(count, -1)[:, :length]
    return NM(Dense(flat if axis == "in" else np.ascontiguousarray(flat.T)), n, m, axis)


def pruned(graph: Graph, n: int, m: int) -> Graph:
    """Prune every Linear of a float graph along its outputs."""

    def change(node: Node) -> Node | None:
        if not isinstance(node.op, Linear):
            return None
        weight = prune(np.asarray(node.op.weight.decode()), n, m)
        return Node(node.name, Linear(weight, node.op.bias), node.inputs, node.origin)

    return graph.map(change)


def float_mlp(
    sizes: tuple[int, ...] = (36, 24, 10), *, seed: int = 0, reset: str = "subtract", decay: float = 0.9
) -> Graph:
    """Give a fully connected network as trained, biased, on an image of one channel that it flattens."""
    rng = np.random.default_rng(seed)
    nodes = [Node("in", Input((1, 1, sizes[0]))), Node("flat", Flatten(), ("in",))]
    last = "flat"
    for index, (columns, rows) in enumerate(pairwise(sizes)):
        weight = (rng.normal(0.05, 0.5, (rows, columns)) * np.sqrt(6 / columns)).astype("f4")
        bias = rng.normal(0, 0.03, rows).astype("f4")
        neuron = LIF(decay, reset=reset) if decay < 1 else IF(reset=reset)  # type: ignore[arg-type]
        nodes.append(Node(f"fc{index}", Linear(Dense(weight), bias), (last,)))
        nodes.append(Node(f"lif{index}", neuron, (f"fc{index}",)))
        last = f"lif{index}"
    return Graph((*nodes, Node("out", Output(), (last,))), "mlp")


def spikes(graph: Graph, samples: int = 4, steps: int = 12, rate: float = 0.3, seed: int = 0) -> Array:
    """Give random input spikes (N, T, *shape)."""
    size = graph.shapes[graph.of(Input)[0].name]
    return (np.random.default_rng(seed).random((samples, steps, *size)) < rate).astype(np.int32)


def fixed_mlp(rng: np.random.Generator, *, layers: int | None = None, widest: int = 40) -> Graph:
    """Give a random fixed graph that the spike core runs: dense and N:M layers of any widths, resets, comparisons."""
    sizes = [int(rng.integers(1, widest)) for _ in range((layers or int(rng.integers(1, 4))) + 1)]
    decay: Literal["multiply", "shift"] = "shift" if rng.random() < 0.3 else "multiply"
    rules = fpga_arithmetic(16, decay)
    nodes: list[Node] = [Node("in", Input((sizes[0],)))]
    for index, (columns, rows) in enumerate(pairwise(sizes)):
        width = int(rng.integers(2, 9))
        low, high = Fixed.limits(width, "mixed")
        values = rng.integers(low, high, (rows, columns), endpoint=True)
        weight: Fixed | NM = Fixed(values, width=width)
        if rng.random() < 0.6:
            m = int(2 ** rng.integers(1, 5))
            n = int(rng.integers(1, m))
            kept = prune(np.where(values == 0, 1, values).astype("f8"), n, m)
            weight = NM(Fixed(kept.decode().astype(np.int64), width=width), n, m)
        nodes.append(Node(f"fc{index}", Linear(weight, sum=FixedSum()), (nodes[-1].name,)))
        nodes.append(Node(f"n{index}", _neuron(rng, rows, high * columns // 3 + 2, rules), (f"fc{index}",)))
    return Graph((*nodes, Node("out", Output(), (nodes[-1].name,))), "random")


def _neuron(rng: np.random.Generator, rows: int, top: int, rules: Arithmetic) -> FixedNeuron:
    multiply = rules.decay == "multiply"
    return FixedNeuron(
        threshold=rng.integers(1, top, rows) if rng.random() < 0.7 else int(rng.integers(1, top)),
        v_decay=int(rng.integers(0, 4097)) if multiply else int(rng.integers(0, 8)),
        bias=rng.integers(-9, 10, rows) if rng.random() < 0.7 else 0,
        cmp=">" if rng.random() < 0.5 else ">=",
        reset="value" if rng.random() < 0.5 else "subtract",
        v_init=rng.integers(-9, 10, rows) if rng.random() < 0.3 else 0,
        arithmetic=rules,
    )
