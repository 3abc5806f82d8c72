"""Steps with states, in many orders of operations: the same neuron, and the same spikes as onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikec.compiler.diagnostics import Diagnostic
from spikec.compiler.ir import Graph
from spikec.compiler.neurons import Neuron
from spikec.frontends.onnx import OnnxOptions, lower
from spikec.runtime.reference import Reference
from tests.onnx.steps import Array, Line, dyadic, run, write

RNG = np.random.default_rng(5)
W1, B1, W2 = dyadic(RNG, (12, 6)), dyadic(RNG, (12,), 2), dyadic(RNG, (4, 12))
LAYER: Line = ("Gemm", "x w b", "i", {"transB": 1})
FIRE: list[Line] = [("GreaterOrEqual", "u th", "fired"), ("Cast", "fired", "s", {"to": 1})]
RISE: list[Line] = [LAYER, ("Mul", "beta v", "kept"), ("Add", "kept i", "u")]
NUMBERS: dict[str, Any] = {"w": W1, "b": B1, "beta": 0.75, "th": 1.0, "one": 1.0, "zero": 0.0, "half": 0.5, "two": 2.0}

ONE: dict[str, tuple[list[Line], dict[str, Any]]] = {
    "subtract": ([*RISE, *FIRE, ("Mul", "s th", "lost"), ("Sub", "u lost", "v_out")], {"cmp": ">="}),
    "subtract, turned": (
        [
            LAYER,
            ("Mul", "v beta", "kept"),
            ("Add", "i kept", "u"),
            ("Sub", "th u", "left"),
            ("LessOrEqual", "left zero", "f"),
            ("Cast", "f", "s", {"to": 1}),
            ("Neg", "th", "minus"),
            ("Mul", "minus s", "lost"),
            ("Add", "lost u", "v_out"),
        ],
        {"cmp": ">="},
    ),
    "not less": (
        [
            *RISE,
            ("Less", "u th", "quiet"),
            ("Not", "quiet", "f"),
            ("Cast", "f", "s", {"to": 1}),
            ("Where", "quiet u zero", "v_out"),
        ],
        {"cmp": ">=", "reset": "value"},
    ),
    "zero by a product": (
        [
            *RISE,
            ("Greater", "u th", "f"),
            ("Cast", "f", "s", {"to": 1}),
            ("Sub", "one s", "keep"),
            ("Mul", "keep u", "v_out"),
        ],
        {"reset": "value"},
    ),
    "to a value": (
        [*RISE, *FIRE, ("Neg", "half", "low"), ("Where", "fired low u", "v_out")],
        {"cmp": ">=", "reset": "value", "v_reset": -0.5},
    ),
    "another amount": (
        [*RISE, *FIRE, ("Mul", "s half", "lost"), ("Sub", "u lost", "v_out")],
        {"cmp": ">=", "reset_amount": 0.5},
    ),
    "scaled threshold": (
        [
            *RISE,
            ("Div", "u two", "n"),
            ("Greater", "n half", "f"),
            ("Cast", "f", "s", {"to": 1}),
            ("Sub", "u s", "v_out"),
        ],
        {},
    ),
    "leak that pulls (Spiking Jelly)": (
        [
            LAYER,
            ("Sub", "i v", "d"),
            ("Div", "d two", "step"),
            ("Add", "v step", "u"),
            *FIRE,
            ("Where", "fired zero u", "v_out"),
        ],
        {"cmp": ">=", "reset": "value", "a_mem": 0.5, "g_in": 0.5},
    ),
    "next step (snnTorch)": (
        [
            LAYER,
            ("Greater", "v th", "r"),
            ("Cast", "r", "rf", {"to": 1}),
            ("Mul", "beta v", "kept"),
            ("Add", "kept i", "u"),
            ("Mul", "rf th", "lost"),
            ("Sub", "u lost", "v_out"),
            ("Sub", "v_out th", "d"),
            ("Greater", "d zero", "f"),
            ("Cast", "f", "s", {"to": 1}),
        ],
        {"reset_when": "next"},
    ),
    "next step, to zero": (
        [
            LAYER,
            ("Greater", "v th", "r"),
            ("Where", "r zero v", "left"),
            ("Mul", "left beta", "kept"),
            ("Add", "i kept", "v_out"),
            ("Greater", "v_out th", "f"),
            ("Cast", "f", "s", {"to": 1}),
        ],
        {"reset_when": "next", "reset": "value"},
    ),
    "next step, input dropped": (
        [
            *RISE,
            ("Greater", "v th", "r"),
            ("Where", "r zero u", "v_out"),
            ("Greater", "v_out th", "f"),
            ("Cast", "f", "s", {"to": 1}),
        ],
        {"reset_when": "next", "reset": "value", "drop_input": True},
    ),
    "never reset": ([*RISE, *FIRE, ("Identity", "u", "v_out")], {"cmp": ">=", "reset": "none"}),
    "lower bound": (
        [*RISE, *FIRE, ("Sub", "u s", "w1"), ("Neg", "one", "low"), ("Max", "w1 low", "v_out")],
        {"cmp": ">=", "v_min": -1.0},
    ),
    "lower bound, by a choice": (
        [
            *RISE,
            *FIRE,
            ("Sub", "u s", "w1"),
            ("Neg", "one", "low"),
            ("Greater", "w1 low", "above"),
            ("Where", "above w1 low", "v_out"),
        ],
        {"cmp": ">=", "v_min": -1.0},
    ),
    "several spikes": (
        [
            *RISE,
            ("Div", "u th", "n"),
            ("Floor", "n", "c"),
            ("GreaterOrEqual", "u th", "f"),
            ("Cast", "f", "g", {"to": 1}),
            ("Mul", "c g", "s"),
            ("Mul", "s th", "lost"),
            ("Sub", "u lost", "v_out"),
        ],
        {"cmp": ">=", "spike": "multi"},
    ),
    "at most three spikes": (
        [
            *RISE,
            ("Div", "u th", "n"),
            ("Floor", "n", "c"),
            ("GreaterOrEqual", "u th", "f"),
            ("Cast", "f", "g", {"to": 1}),
            ("Mul", "c g", "many"),
            ("Min", "many three", "s"),
            ("Mul", "s th", "lost"),
            ("Sub", "u lost", "v_out"),
        ],
        {"cmp": ">=", "spike": "multi", "max_spikes": 3},
    ),
    "bias of the neuron": (
        [
            LAYER,
            ("Add", "i half", "j"),
            ("Mul", "beta v", "kept"),
            ("Add", "kept j", "u"),
            *FIRE,
            ("Sub", "u s", "v_out"),
        ],
        {"cmp": ">=", "bias": 0.5},
    ),
}


def spikes(rng: np.random.Generator, n: int = 40, t: int = 30, size: int = 6) -> Array:
    return (rng.random((n, t, size)) < 0.5).astype(np.float32)


def neuron(graph: Graph) -> Neuron:
    (node,) = graph.of(Neuron)
    assert isinstance(node.op, Neuron)
    return node.op


def differing(path: Path, pairs: Mapping[str, str], output: str, graph: Graph, given: Array, **more: Any) -> int:
    theirs = run(path, "x", pairs, given, **more)[output]
    ours = Reference().run(graph, given).spikes
    assert theirs.shape == ours.shape
    assert np.count_nonzero(theirs) > 0
    return int(np.count_nonzero(theirs != ours))


@pytest.mark.parametrize("name", ONE)
def test_one_neuron_whatever_the_order(name: str, tmp_path: Path) -> None:
    lines, fields = ONE[name]
    path = write(tmp_path / "a.onnx", lines, {"x": ("N", 6), "v": ("N", 12)}, ("s", "v_out"), {**NUMBERS, "three": 3.0})
    graph = lower(path)
    op = neuron(graph)
    expected = {"a_mem": 0.75, "cmp": ">", **fields}
    assert {key: getattr(op, key) for key in expected} == expected
    assert differing(path, {"v": "v_out"}, "s", graph, spikes(RNG)) == 0


def two_layers(path: Path, *, names: tuple[str, str] = ("v", "q")) -> Path:
    lines: list[Line] = [
        *RISE, *FIRE, ("Sub", "u s", "v_out"), ("MatMul", "s w2", "j"), ("Mul", "q half", "k"), ("Add", "j k", "p"),
        ("Greater", "p th", "g"), ("Cast", "g", "out", {"to": 1}), ("Where", "g zero p", "q_out"),
    ]  # fmt: skip
    return write(
        path, lines, {"x": ("N", 6), "v": ("N", 12), "q": ("N", 4)}, ("out", "v_out", "q_out"), {**NUMBERS, "w2": W2.T}
    )


def test_two_layers(tmp_path: Path) -> None:
    path = two_layers(tmp_path / "a.onnx")
    graph = lower(path)
    given = spikes(RNG, 200, 100)
    assert differing(path, {"v": "v_out", "q": "q_out"}, "out", graph, given) == 0
    membrane = lower(path, readout="membrane")
    theirs = run(path, "x", {"v": "v_out", "q": "q_out"}, given)["q_out"]
    assert np.array_equal(theirs, Reference().run(membrane, given).spikes)


def test_a_synaptic_current(tmp_path: Path) -> None:
    orders: dict[str, list[Line]] = {
        "decay_add": [("Mul", "c half", "d"), ("Add", "d i", "c_out"), ("Mul", "v beta", "k"), ("Add", "k c_out", "u")],
        "add_decay": [("Add", "c i", "d"), ("Mul", "d half", "c_out"), ("Mul", "v beta", "k"), ("Add", "k c_out", "u")],
        "add_use_decay": [("Add", "c i", "d"), ("Mul", "d half", "c_out"), ("Mul", "v beta", "k"), ("Add", "k d", "u")],
    }
    for name, lines in orders.items():
        whole = [LAYER, *lines, *FIRE, ("Sub", "u s", "v_out")]
        shapes = {"x": ("N", 6), "v": ("N", 12), "c": ("N", 12)}
        path = write(tmp_path / "a.onnx", whole, shapes, ("s", "v_out", "c_out"), NUMBERS)
        graph = lower(path)
        op = neuron(graph)
        assert (op.a_syn, op.a_mem) == (0.5, 0.75)
        assert op.syn_order in (name, "decay_add", "add_decay")  # equal up to a gain
        assert differing(path, {"v": "v_out", "c": "c_out"}, "s", graph, spikes(RNG)) == 0


def test_a_recurrent_layer_and_a_delay(tmp_path: Path) -> None:
    lines: list[Line] = [
        ("Identity", "x", "d1_out"), ("Identity", "d1", "d2_out"), ("Gemm", "d2 w b", "i0", {"transB": 1}),
        ("MatMul", "s_in rec", "r0"), ("Add", "i0 r0", "i"), ("Mul", "beta v", "kept"), ("Add", "kept i", "u"),
        *FIRE, ("Sub", "u s", "v_out"), ("Identity", "s", "s_out"), ("Identity", "s", "result"),
    ]  # fmt: skip
    shapes = {"x": ("N", 6), "d1": ("N", 6), "d2": ("N", 6), "v": ("N", 12), "s_in": ("N", 12)}
    results = ("result", "d1_out", "d2_out", "v_out", "s_out")
    numbers = {**NUMBERS, "rec": dyadic(RNG, (12, 12), 4)}
    path = write(tmp_path / "a.onnx", lines, shapes, results, numbers)
    graph = lower(path)
    assert "delay" in str(graph)
    assert "steps=2" in str(graph)
    pairs = {"v": "v_out", "s_in": "s_out", "d1": "d1_out", "d2": "d2_out"}
    assert differing(path, pairs, "result", graph, spikes(RNG)) == 0


def test_a_residual_sum_of_spikes_and_parameters_of_each_neuron(tmp_path: Path) -> None:
    lines: list[Line] = [
        *RISE, *FIRE, ("Sub", "u s", "v_out"), ("MatMul", "s w2", "j"), ("Mul", "q half", "k"), ("Add", "j k", "p0"),
        ("Add", "p0 s", "p"), ("Greater", "p th", "g"), ("Cast", "g", "out", {"to": 1}), ("Where", "g zero p", "q_out"),
    ]  # fmt: skip
    rng = np.random.default_rng(8)
    numbers = {
        **NUMBERS,
        "w2": dyadic(rng, (12, 12)),
        "th": rng.choice([0.5, 1.0, 1.5], 12),
        "beta": rng.choice([0.5, 0.75, 0.875], (1, 12)),
    }
    shapes = {"x": ("N", 6), "v": ("N", 12), "q": ("N", 12)}
    path = write(tmp_path / "a.onnx", lines, shapes, ("out", "v_out", "q_out"), numbers)
    assert differing(path, {"v": "v_out", "q": "q_out"}, "out", lower(path), spikes(RNG)) == 0


def test_convolutions(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    lines: list[Line] = [
        ("Conv", "x w b", "i", {"pads": [1, 1, 1, 1]}), ("Mul", "beta v", "kept"), ("Add", "kept i", "u"), *FIRE,
        ("Sub", "u s", "v_out"), ("AveragePool", "s", "a", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Flatten", "a", "flat"), ("Gemm", "flat w2", "j"), ("Mul", "q half", "k"), ("Add", "j k", "q_out"),
        ("Greater", "q_out th", "g"), ("Cast", "g", "out", {"to": 1}),
    ]  # fmt: skip
    numbers = {
        **NUMBERS,
        "w": dyadic(rng, (4, 2, 3, 3)),
        "b": dyadic(rng, (4,)),
        "w2": dyadic(rng, (64, 5)),
        "beta": rng.choice([0.5, 0.75], (4, 1, 1)),
    }
    shapes = {"x": (3, 2, 8, 8), "v": (3, 4, 8, 8), "q": (3, 5)}
    path = write(tmp_path / "a.onnx", lines, shapes, ("out", "v_out", "q_out"), numbers)
    graph = lower(path)
    given = (rng.random((3, 20, 2, 8, 8)) < 0.3).astype(np.float32)
    theirs = run(path, "x", {"v": "v_out", "q": "q_out"}, given)["out"]
    assert np.array_equal(theirs, Reference().run(graph, given).spikes)


def test_states_by_name_and_by_hand(tmp_path: Path) -> None:
    """States of one shape whose results come in another order are found by name, or as the user says."""
    lines: list[Line] = [
        *RISE, *FIRE, ("Sub", "u s", "a_out"), ("MatMul", "s w2", "j"), ("Add", "q j", "p"), ("Greater", "p th", "g"),
        ("Cast", "g", "out", {"to": 1}), ("Where", "g zero p", "b_out"),
    ]  # fmt: skip
    numbers = {**NUMBERS, "w2": dyadic(RNG, (12, 12))}
    shapes = {"q": ("N", 12), "v": ("N", 12), "x": ("N", 6)}
    path = write(tmp_path / "a.onnx", lines, shapes, ("b_out", "a_out", "out"), numbers)
    told: list[Diagnostic] = []
    given = spikes(RNG)
    pairs = {"v": "a_out", "q": "b_out"}
    assert differing(path, pairs, "out", lower(path, remark=told.append), given) == 0
    assert "v -> a_out" in str(told[0])
    chosen = lower(path, OnnxOptions(states=("v:a_out", "q:b_out"), output="out"))
    assert differing(path, pairs, "out", chosen, given) == 0


def test_custom_nodes(tmp_path: Path) -> None:
    plain: list[Line] = [LAYER, ("LIF@SNN_implementation", "i v beta th", "s v_out")]
    numbers = {**NUMBERS, "beta": RNG.choice([0.5, 0.75], 12), "th": RNG.choice([0.5, 1.0], 12)}
    shapes = {"x": ("N", 6), "v": ("N", 12)}
    graph = lower(write(tmp_path / "a.onnx", plain, shapes, ("s", "v_out"), numbers))
    same: list[Line] = [*RISE, *FIRE, ("Where", "fired zero u", "v_out")]
    standard = write(tmp_path / "b.onnx", same, shapes, ("s", "v_out"), numbers)
    given = spikes(RNG)
    assert differing(standard, {"v": "v_out"}, "s", graph, given) == 0
    own: list[Line] = [LAYER, ("LIF_stateful@SNN_implementation", "i beta th", "s", {"state_id": 3})]
    hidden = lower(write(tmp_path / "c.onnx", own, {"x": ("N", 6)}, ("s",), numbers))
    assert differing(standard, {"v": "v_out"}, "s", hidden, given) == 0
    for reset, last in (("subtract", ("Sub", "u s", "v_out")), ("zero", ("Where", "fired zero u", "v_out"))):
        node = ("LIF@ai.nmc", "i", "s", {"beta": 0.75, "threshold": 1.0, "reset": reset})
        ours = lower(write(tmp_path / "d.onnx", [LAYER, node], {"x": ("N", 6)}, ("s",), NUMBERS))
        path = write(tmp_path / "e.onnx", [*RISE, *FIRE, last], shapes, ("s", "v_out"), NUMBERS)
        assert differing(path, {"v": "v_out"}, "s", ours, given) == 0
