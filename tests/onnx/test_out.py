"""ONNX out: onnxruntime runs the written step to the same spikes, and our own reader gives the network back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spikec
from spikec.backends.onnx import OnnxBackend
from spikec.compiler.artifact import Artifact
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Op
from spikec.compiler.neurons import LI, LIF, Neuron
from spikec.compiler.ops import (
    AvgPool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Delay,
    Dropout,
    FixedSum,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Output,
    Reshape,
    Scale,
    SumPool,
)
from spikec.compiler.weights import Dense, Fixed, Sparse
from spikec.frontends.onnx import lower
from spikec.runtime.reference import Reference
from tests.onnx.steps import Array, dyadic, run

SYNAPSES = ("none", "decay_add", "add_decay", "add_use_decay")


def neurons(rng: np.random.Generator, size: int) -> Neuron:
    """Draw a neuron of any kind, with parameters of few bits, scalar or one a neuron."""

    def number(*choices: float) -> Any:
        return rng.choice(choices, size) if rng.random() < 0.3 else float(rng.choice(choices))

    reset = rng.choice(["subtract", "value", "none"])
    when = rng.choice(["post", "next", "next_post"])
    spike = rng.choice(["single", "multi"], p=[0.75, 0.25]) if when == "post" else "single"
    order = rng.choice(SYNAPSES)
    return Neuron(
        a_mem=number(0.5, 0.75, 1.0),
        v_th=number(0.5, 1.0, 1.5),
        a_syn=0.0 if order == "none" else number(0.25, 0.5),
        syn_order=order,
        g_in=number(1.0, 0.5),
        g_syn=1.0 if order == "none" else number(1.0, 0.5),
        bias=number(0.0, 0.25),
        v_leak=number(0.0, 0.5),
        v_init=number(0.0, 0.25),
        cmp=rng.choice([">", ">="]),
        spike=spike,
        max_spikes=int(rng.choice([0, 3])) if spike == "multi" else 0,
        graded=float(rng.choice([1.0, 2.0])),
        reset=reset,
        reset_amount=None if reset != "subtract" or rng.random() < 0.5 else number(0.5, 1.0),
        v_reset=0.0 if reset != "value" or when == "next_post" else number(0.0, -0.5),
        reset_when="post" if reset == "none" else when,
        drop_input=bool(reset == "value" and when == "next" and rng.random() < 0.5),
        v_min=None if rng.random() < 0.7 else float(rng.choice([-1.0, -0.5])),
    )


def network(rng: np.random.Generator) -> Graph:
    """Two layers of random neurons, recurrent or not, a skip, a delay."""
    first, second = neurons(rng, 8), neurons(rng, 8)
    back = rng.random() < 0.5
    nodes = [
        Node("in", Input((5,))),
        Node("fc1", Linear(Dense(dyadic(rng, (8, 5))), dyadic(rng, (8,), 2)), ("in",)),
        *([Node("rec", Linear(Dense(dyadic(rng, (8, 8), 2))), ("n1",))] if back else []),
        Node("n1", first, ("fc1", "rec") if back else ("fc1",)),
        Node("late", Delay(int(rng.integers(0, 4))), ("n1",)),
        Node("fc2", Linear(Dense(dyadic(rng, (8, 8), 4))), ("late",)),
        Node("n2", second, ("fc2", "n1") if rng.random() < 0.5 else ("fc2",)),
        Node("out", Output(), ("n2",)),
    ]
    return Graph(tuple(nodes), "net")


def written(graph: Graph, folder: Path) -> tuple[Path, Artifact]:
    artifact = spikec.compile(graph, "onnx")
    path = folder / "network.onnx"
    path.write_bytes(artifact.files["network.onnx"])
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return path, artifact


def on_onnxruntime(path: Path, artifact: Artifact, given: Array, output: str = "out") -> Array:
    states = json.loads(artifact.files["states.json"])["states"]
    pairs = {state["input"]: state["output"] for state in states}
    starts = {state["input"]: state["start"] for state in states}
    return run(path, "in", pairs, given, starts)[output]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32))
def test_every_neuron_runs_and_comes_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = network(rng)
    path, artifact = written(graph, tmp_path_factory.mktemp("out"))
    given_ = (rng.random((4, 25, 5)) < 0.5).astype(np.float32)
    ours = Reference().run(graph, given_).spikes
    assert np.array_equal(on_onnxruntime(path, artifact, given_), ours)
    assert np.array_equal(Reference().run(lower(path), given_).spikes, ours)


LAYERS: dict[str, tuple[tuple[int, ...], tuple[Op, ...]]] = {
    "conv": (
        (2, 6, 6),
        (Conv2d(Dense(np.ones((4, 1, 3, 3), "f4") / 4), np.ones(4) / 8, (2, 1), ((0, 1), (1, 0)), groups=2),),
    ),
    "dilated": ((2, 9), (Conv1d(Dense(np.ones((3, 2, 2), "f4") / 4), dilation=(2,)),)),
    "pools": ((2, 8, 8), (SumPool((2, 2)), AvgPool((2, 2), padding=((1, 1), (1, 1))), MaxPool((2, 2), (1, 1)))),
    "shapes": ((2, 4, 4), (Flatten(1), Reshape((4, 8)), Dropout(), Scale(0.5, 0.25))),
    "scale of each channel": ((2, 3), (Scale(np.array([[0.5], [2.0]]), np.array([[0.0], [0.25]])),)),
    "normalised": ((2, 4, 4), (BatchNorm(np.zeros(2), np.ones(2) * 4, np.ones(2), np.ones(2) / 4, eps=0.0),)),
    "linear over rows": ((2, 4), (Linear(Dense(np.ones((3, 4), "f4") / 2), np.ones(3) / 4),)),
    "delays of synapses": ((4,), (Linear(Dense(np.eye(4, dtype="f4")), delays=np.arange(16).reshape(4, 4) % 3),)),
    "delays of neurons": ((4,), (Delay(np.array([0, 2, 1, 2])),)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, tmp_path: Path) -> None:
    size, ops = LAYERS[name]
    nodes = [Node("in", Input(size))]
    for index, op in enumerate(ops):
        nodes.append(Node(f"op{index}", op, (nodes[-1].name,)))
    end = (Node("n", LIF(0.75, reset="value"), (nodes[-1].name,)), Node("out", Output(), ("n",)))
    graph = Graph((*nodes, *end), "net")
    path, artifact = written(graph, tmp_path)
    given_ = (np.random.default_rng(0).random((3, 12, *size)) < 0.5).astype(np.float32)
    ours = Reference().run(graph, given_).spikes
    assert ours.any()
    assert np.array_equal(on_onnxruntime(path, artifact, given_), ours)
    assert np.array_equal(Reference().run(lower(path), given_).spikes, ours)


def small(*, readout: Neuron | None = None, weight: Any = None) -> Graph:
    eye = np.array([[0.5, 0.25, 0.0], [0.0, 0.5, 0.75]], np.float32)
    nodes = (
        Node("in", Input((3,))),
        Node("fc", Linear(weight or Dense(eye)), ("in",)),
        Node("lif", readout or LIF(0.75), ("fc",)),
        Node("out", Output(), ("lif",)),
    )
    return Graph(nodes, "small")


def test_a_plain_network_comes_back_as_it_was(tmp_path: Path) -> None:
    for op in (LIF(0.75), LI(0.75), LIF(0.75, reset="value", cmp=">=", v_init=0.5)):
        graph = small(readout=op)
        path, _ = written(graph, tmp_path)
        back = lower(path)
        assert [(n.name, n.op.mnemonic, n.inputs) for n in back] == [(n.name, n.op.mnemonic, n.inputs) for n in graph]
        assert str(back["lif"].op) == str(graph["lif"].op)


def test_the_ladder_and_the_losses(tmp_path: Path) -> None:
    given_ = (np.random.default_rng(0).random((3, 12, 3)) < 0.5).astype(np.float32)
    graph = small(weight=Sparse(Dense(np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.75]], np.float32))))
    artifact = spikec.compile(graph, "onnx")
    assert "written out dense" in artifact.facts["losses"][0]
    assert spikec.compile(graph, "onnx").files == artifact.files
    reports = {report.name: report for report in spikec.verify(graph, artifact, given_)}
    assert reports["ONNX read back"].agreement.differing == 0
    assert reports["onnxruntime"].agreement.differing == 0
    assert reports["onnxruntime"].agreement.cells == given_[..., 0].size * 2


def test_what_cannot_be_written(golden: Any) -> None:
    fixed = Fixed(np.eye(3, dtype=np.int64))
    nodes = (
        Node("in", Input((3,))),
        Node("fc", Linear(fixed, sum=FixedSum()), ("in",)),
        Node("lif", FixedNeuron(5), ("fc",)),
        Node("out", Output(), ("lif",)),
    )
    said = {"fixed": Graph(nodes, "small")}
    said["lowered"] = small().map(
        lambda n: Node("fc", Linear(n.op.weight, latency=1), n.inputs) if isinstance(n.op, Linear) else None
    )
    golden("writer", "\n\n".join(f"== {k}\n" + "\n".join(map(str, OnnxBackend().check(g))) for k, g in said.items()))
