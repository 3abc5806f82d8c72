"""Graphs: textual form, saved form, order, and the messages of verification."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Op
from spikec.compiler.neurons import IF, LI, LIF
from spikec.compiler.ops import Conv2d, Delay, FixedSum, Flatten, Input, Linear, Output, Scale
from spikec.compiler.schedule import latencies, order
from spikec.compiler.serialize import dumps, load, loads, save
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense, Fixed
from tests.compiler.networks import fixed_graph, float_graph

Golden = Callable[[str, str], None]


def test_textual_form(golden: Golden) -> None:
    golden("graphs", f"{float_graph()}\n{fixed_graph()}")


@pytest.mark.parametrize("graph", [float_graph(), fixed_graph()])
def test_saved_form_gives_the_graph_back_and_the_same_bytes(graph: Graph, tmp_path: Path) -> None:
    save(graph, tmp_path / "g.spk")
    again = load(tmp_path / "g.spk")
    assert str(again) == str(graph)
    assert dumps(again) == dumps(graph)
    for node in graph:
        if hasattr(node.op, "weight"):
            assert np.array_equal(again[node.name].op.weight.decode(), node.op.weight.decode())  # type: ignore[attr-defined]


def test_saved_form_is_plain_json_and_npy() -> None:
    with zipfile.ZipFile(
        io.BytesIO(dumps(Graph((Node("in", Input((2,))), Node("n", LI(0.5), ("in",)), Node("o", Output(), ("n",))))))
    ) as archive:
        document = json.loads(
            archive.read("graph.json"), parse_constant=lambda text: pytest.fail(f"{text} is not JSON")
        )
    assert document["nodes"][1]["fields"]["v_th"] == {"number": "inf"}


def test_a_damaged_file_is_one_clear_error(golden: Golden, tmp_path: Path) -> None:
    whole = dumps(float_graph())
    messages = []
    for name, data in {"cut": whole[:200], "text": b"hello", "later": _with_format(99)}.items():
        with pytest.raises(CompileError) as caught:
            loads(data, f"{name}.spk")
        messages.append(str(caught.value))
    with pytest.raises(CompileError) as caught:
        load("missing.spk")
    golden("damaged", "\n".join([*messages, str(caught.value)]))


def _with_format(number: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("graph.json", json.dumps({"format": number, "name": "g", "nodes": []}))
    return buffer.getvalue()


def linear(out: int, inputs: int, **fields: object) -> Linear:
    return Linear(Dense(np.ones((out, inputs), "f4")), **fields)  # type: ignore[arg-type]


def chain(*ops: tuple[str, Op, tuple[str, ...]], size: tuple[int, ...] = (4,)) -> Graph:
    nodes = [Node("in", Input(size)), *(Node(*entry) for entry in ops)]
    return Graph((*nodes, Node("out", Output(), (nodes[-1].name,))), "bad")


BROKEN = {
    "unknown-input": lambda: chain(("fc", linear(3, 4), ("nowhere",))),
    "shape": lambda: chain(("fc", linear(3, 5), ("in",)), ("lif", LIF(0.5), ("fc",))),
    "sum": lambda: chain(("a", linear(3, 4), ("in",)), ("b", linear(2, 4), ("in",)), ("lif", LIF(0.5), ("a", "b"))),
    "kernel": lambda: chain(("conv", Conv2d(Dense(np.ones((2, 1, 5, 5)))), ("in",)), size=(1, 3, 3)),
    "loop": lambda: chain(("a", linear(4, 4), ("in", "b")), ("b", linear(4, 4), ("a",))),
    "not-finite": lambda: chain(
        ("fc", Linear(Dense(np.array([[np.nan] * 4]))), ("in",)),
        ("lif", LIF(0.5, np.nan), ("fc",)),
        ("s", Scale(np.inf), ("lif",)),
    ),
    "decay": lambda: chain(("lif", LIF(1.5), ("in",)), ("lif2", LIF(-0.1), ("lif",))),
    "fixed-decay": lambda: chain(("lif", FixedNeuron(threshold=1, v_decay=5000), ("in",))),
    "multi": lambda: chain(("lif", IF(0.0, spike="multi"), ("in",))),
    "delay": lambda: chain(("d", Delay(-1), ("in",))),
    "bias": lambda: chain(("fc", linear(3, 4, bias=np.zeros(2)), ("in",))),
    "parameter": lambda: chain(("lif", LIF(np.full(3, 0.5)), ("in",))),
    "mixed-systems": lambda: chain(
        ("a", linear(4, 4), ("in",)), ("n", FixedNeuron(threshold=1), ("a",)), ("m", LIF(0.5), ("n",))
    ),
    "unbalanced": lambda: chain(
        ("fc", Linear(Fixed(np.ones((4, 4), int)), latency=1, sum=FixedSum()), ("in",)),
        ("n", FixedNeuron(threshold=1), ("fc", "in")),
    ),
    "two-inputs": lambda: Graph((Node("a", Input((1,))), Node("b", Input((1,))), Node("f", Flatten(), ("a", "b")))),
}


def test_each_fault_has_its_message(golden: Golden) -> None:
    texts = []
    for name, make in BROKEN.items():
        with pytest.raises(CompileError) as caught:
            verify(make())
        texts.append(f"== {name}\n{caught.value}")
    golden("broken", "\n".join(texts))


def test_every_fault_is_found_at_once() -> None:
    graph = chain(("fc", linear(3, 5), ("in",)), ("lif", LIF(1.5), ("fc",)), ("d", Delay(-2), ("nowhere",)))
    with pytest.raises(CompileError) as caught:
        verify(graph)
    assert {d.code for d in caught.value.diagnostics} == {
        "neuron/decay-range",
        "graph/bad-delay",
        "graph/unknown-input",
    }


@given(st.randoms(use_true_random=False))
def test_order_of_a_shuffled_network_is_an_execution_order(random: object) -> None:
    nodes = list(float_graph().nodes)
    random.shuffle(nodes)  # type: ignore[attr-defined]
    ordered = Graph(order(nodes))
    verify(ordered)
    place = ordered.position
    assert place["in"] < place["fc"] < place["lif"] < place["out"]
    assert place["rec"] < place["lif"]


def test_a_feedback_loop_over_two_neurons_is_cut_before_the_connection_back() -> None:
    nodes = (
        Node("back", linear(4, 4), ("b",)),
        Node("a", IF(), ("in", "back")),
        Node("forth", linear(4, 4), ("a",)),
        Node("b", IF(), ("forth",)),
        Node("in", Input((4,))),
        Node("out", Output(), ("b",)),
    )
    assert [n.name for n in order(nodes)] == ["back", "in", "a", "forth", "b", "out"]


def test_latency_is_that_of_the_longest_path() -> None:
    assert latencies(fixed_graph()) == {
        "in": 0,
        "conv": 1,
        "lif1": 1,
        "pool": 1,
        "flat": 1,
        "fc": 2,
        "lif2": 2,
        "out": 2,
    }


def test_graph_edits_leave_the_old_graph_alone() -> None:
    graph = float_graph()
    before = str(graph)
    assert graph.map(lambda node: None) is graph
    changed = graph.map(lambda node: replace(node, op=LIF(0.5)) if node.name == "lif" else None)
    assert "a_mem=0.5" in str(changed)
    assert str(graph) == before
    assert [n.inputs for n in graph.without("fc").nodes if n.name == "lif"] == [("in", "rec")]
