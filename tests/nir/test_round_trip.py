"""The law of the NIR backend: spikec reads back exactly what it wrote, and others read what the report says."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from spikec.backends.nir import NirBackend
from spikec.backends.nir.check import faults
from spikec.compiler.diagnostics import Diagnostic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import CubaLIF, Neuron
from spikec.compiler.ops import Input, Linear, Output
from spikec.compiler.runner import Result
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense
from spikec.frontends.nir import NirOptions, lower
from spikec.runtime.reference import Reference
from tests.nir.networks import Draw

HARMLESS = {"dt", "weight", "groups", "kernel"}
"""Losses that change no spike, if the reader is told dt."""


def drawn(seed: int, *, plain: bool) -> Graph:
    graph = verify(Draw(seed, plain=plain).graph())
    assume(not list(faults(graph)))
    return graph


def run(graph: Graph, seed: int, dtype: type[np.floating] = np.float32) -> Result:
    size = graph.shapes[graph.of(Input)[0].name]
    inputs = np.random.default_rng(seed).integers(0, 3, size=(2, 8, *size))
    return Reference(dtype).run(graph, inputs.astype(np.float32), trace=True)


def written(graph: Graph, folder: Path) -> Path:
    path = folder / "network.nir"
    path.write_bytes(NirBackend().emit(graph).files["network.nir"])
    return path


def plain_names(graph: Graph) -> Graph:
    """Give nodes the names that they have in the file."""
    names = {node.name: node.name.replace("/", ".") for node in graph}
    return graph.map(lambda n: replace(n, name=names[n.name], inputs=tuple(names[i] for i in n.inputs)))


def check_same(one: Result, other: Result) -> None:
    assert one.traces.keys() == other.traces.keys()
    for name, array in one.traces.items():
        np.testing.assert_array_equal(array, other.traces[name], err_msg=name)


EXAMPLES = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@EXAMPLES
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_own_round_trip_is_exact(tmp_path: Path, seed: int, plain: bool) -> None:
    """File, in-memory graph, and a file that nir read and wrote again: all give the same trace of every node."""
    graph = drawn(seed, plain=plain)
    told: list[Diagnostic] = []
    path = written(graph, tmp_path)
    expected = run(graph, seed)
    check_same(expected, run(lower(path, remark=told.append), seed))
    losses = json.loads(NirBackend().emit(graph).files["loss.json"])["losses"]
    crooked = any(loss["field"] == "kernel" for loss in losses)
    event(f"type check {not crooked}")
    network = nir.read(path, type_check=not crooked)
    check_same(expected, run(lower(network, remark=told.append), seed))
    again = io.BytesIO()
    nir.write(again, network)
    path.write_bytes(again.getvalue())
    check_same(expected, run(lower(path, remark=told.append), seed))
    assert [d for d in told if d.code in ("nir/edited", "nir/note")] == []


@EXAMPLES
@given(st.integers(0, 2**32 - 1))
def test_what_nir_can_say_is_read_alike_by_all(tmp_path: Path, seed: int) -> None:
    """A reader that knows dt but nothing of the metadata finds the same spikes, unless a loss says why not."""
    graph = drawn(seed, plain=True)
    expected = run(graph, seed, np.float64)
    literal = run(plain_names(NirBackend().as_read_by_others(graph)), seed, np.float64)
    read = run(lower(written(graph, tmp_path), NirOptions(metadata=False, dt=step_of(graph))), seed, np.float64)
    check_same(literal, read)
    fields = {loss["field"] for loss in NirBackend().emit(graph).facts["losses"]}
    event(f"harmless {fields <= HARMLESS}")
    if fields <= HARMLESS:
        np.testing.assert_array_equal(expected.spikes, read.spikes)


def step_of(graph: Graph) -> float:
    """Give the step that the backend writes with."""
    return float(NirBackend().emit(graph).facts["dt"])


@EXAMPLES
@given(st.integers(0, 2**32 - 1))
def test_the_literal_graph_is_what_the_plain_file_says(tmp_path: Path, seed: int) -> None:
    """For networks that NIR cannot say as well: `as_read_by_others` is the file without its metadata."""
    graph = drawn(seed, plain=False)
    literal = plain_names(NirBackend().as_read_by_others(graph))
    read = lower(written(graph, tmp_path), NirOptions(metadata=False, dt=step_of(graph)))
    assert [(n.name, n.inputs) for n in literal] == [(n.name, n.inputs) for n in read]
    for one, other in zip(literal.of(Neuron), read.of(Neuron), strict=True):
        assert isinstance(one.op, Neuron)
        assert isinstance(other.op, Neuron)
        for name in ("a_mem", "a_syn", "g_in", "g_syn", "v_leak", "v_th", "v_reset"):
            values = np.broadcast_arrays(getattr(one.op, name), getattr(other.op, name))
            np.testing.assert_allclose(*values, rtol=1e-12, atol=1e-15, err_msg=name)
        words = ("cmp", "spike", "reset", "readout", "syn_order")
        assert [getattr(one.op, w) for w in words] == [getattr(other.op, w) for w in words]


def small() -> Graph:
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    neuron = CubaLIF(np.linspace(0.1, 0.9, 4), 0.9, cmp=">=", v_min=-1.0, dt=1e-3)
    nodes = Node("in", Input((3,))), Node("fc", Linear(Dense(weight)), ("in",)), Node("lif", neuron, ("fc",))
    return Graph((*nodes, Node("out", Output(), ("lif",))))


def test_the_same_graph_gives_the_same_bytes_in_every_process() -> None:
    program = (
        "import hashlib, time; from tests.nir.test_round_trip import small; from spikec.backends.nir import NirBackend;"
        "time.sleep(1.1); files = NirBackend().emit(small()).files;"
        "print([hashlib.sha256(files[name]).hexdigest() for name in sorted(files)])"
    )
    command = [sys.executable, "-c", program]
    root = Path(__file__).resolve().parents[2]
    runs = [subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 128


def test_a_change_by_another_program_is_believed(tmp_path: Path) -> None:
    network = nir.read(written(small(), tmp_path))
    network.nodes["lif"].v_threshold = network.nodes["lif"].v_threshold * 2
    network.nodes["fc"].weight = network.nodes["fc"].weight * 3
    told: list[Diagnostic] = []
    graph = lower(network, remark=told.append)
    lif, fc, original = graph["lif"].op, graph["fc"].op, small()["fc"].op
    assert isinstance(lif, Neuron)
    assert isinstance(fc, Linear)
    assert isinstance(original, Linear)
    assert lif.v_th == pytest.approx(2.0)
    assert (lif.v_min, lif.cmp, lif.dt) == (None, ">", 1e-3)
    np.testing.assert_array_equal(fc.weight.decode(), 3 * original.weight.decode())
    assert [d.code for d in told if d.severity.value == "warning"] == ["nir/edited"]


def test_options_of_the_user_win_over_the_metadata(tmp_path: Path) -> None:
    path = written(small(), tmp_path)
    told: list[Diagnostic] = []
    op = lower(path, NirOptions(reset="value", v_min=-3.0), remark=told.append)["lif"].op
    assert isinstance(op, Neuron)
    assert (op.reset, op.v_min, op.cmp, op.a_mem) == ("value", -3.0, ">=", 0.9)
    assert told == []
    anew = lower(path, NirOptions(dt=5e-4), remark=told.append)["lif"].op
    assert isinstance(anew, Neuron)
    assert (anew.a_mem, anew.dt) == (pytest.approx(0.95), 5e-4)
    assert told[0].code == "nir/note"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("}}", "}"),
        ('"format":1', '"format":2'),
        ('"chain"', '"change"'),
        ('"dt":0.001', '"dt":-1'),
        ('"note"', '"nine"'),
    ],
)
def test_a_damaged_note_is_set_aside(tmp_path: Path, old: str, new: str) -> None:
    network = nir.read(written(small(), tmp_path))
    text = network.metadata["spikec"]["text"]
    assert old in text
    network.metadata["spikec"]["text"] = text.replace(old, new)
    told: list[Diagnostic] = []
    op = lower(network, NirOptions(dt=1e-3), remark=told.append)["lif"].op
    assert isinstance(op, Neuron)
    assert op.v_min is None
    assert told[0].code == "nir/note"


def test_time_constants_for_another_step(tmp_path: Path) -> None:
    """The step is the writer's choice where neurons state none, and the decays come back whatever it is."""
    graph = small().map(lambda node: replace(node, op=replace(node.op, dt=0.0)) if node.name == "lif" else None)
    for dt in (None, 1e-3, 0.37):
        artifact = NirBackend(dt=dt).emit(graph)
        assert artifact.facts["dt"] == (1e-4 if dt is None else dt)
        path = tmp_path / "a.nir"
        path.write_bytes(artifact.files["network.nir"])
        op = lower(path, NirOptions(metadata=False, dt=dt))["lif"].op
        assert isinstance(op, Neuron)
        np.testing.assert_allclose(op.a_mem, 0.9, rtol=1e-15)
        np.testing.assert_allclose(op.a_syn, np.linspace(0.1, 0.9, 4), rtol=1e-14)
        np.testing.assert_allclose(op.g_in, 1.0, rtol=1e-14)
