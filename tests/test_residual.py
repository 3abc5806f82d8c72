"""Residual networks compile for Loihi 2 whatever their weights are, and exactly: sums of what waits differently."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spikec
from spikec.backends.loihi.lavanet import custom_nodes
from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import Findings
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Delay, FixedSum, Flatten, Input, Linear, Output
from spikec.compiler.serialize import loads
from spikec.compiler.verify import verify
from spikec.compiler.weights import Array, Dense, Fixed
from spikec.runtime.lava.env import find
from tests.residual import residual


def spikes_for(graph: Graph, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.random((2, 12, *graph.shapes["x"])) < 0.4).astype(np.int32)


def compiled(graph: Graph, inputs: Array) -> tuple[Artifact, Findings]:
    remarks = Findings()
    return spikec.compile(graph, "loihi2", calibrate=inputs, remark=remarks), remarks


def exact_rungs(graph: Graph, artifact: Artifact, inputs: Array, *, lava: bool = False) -> set[str]:
    """Climb the ladder; every exact rung agrees. Gives their names."""
    rungs = [r for r in spikec.verify(graph, artifact, inputs, lava=lava) if r.exact and not r.skipped]
    assert not [rung.error for rung in rungs if rung.error]
    assert [rung.agreement.differing for rung in rungs] == [0] * len(rungs)
    return {rung.name for rung in rungs}


def exponents(artifact: Artifact) -> set[int]:
    ops = [node.op for node in loads(artifact.files["graph.spk"]).of(Linear)]
    return {int(op.weight.exponent) for op in ops if isinstance(op, Linear) and isinstance(op.weight, Fixed)}


def agree(seed: int) -> tuple[Artifact, Findings]:
    graph = residual(seed)
    inputs = spikes_for(graph, seed)
    artifact, remarks = compiled(graph, inputs)
    assert exact_rungs(graph, artifact, inputs) == {"fixed reference", "engine"}
    return artifact, remarks


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_residual_network_compiles_exactly(seed: int) -> None:
    agree(seed)


@pytest.mark.slow
def test_three_hundred_residual_networks_compile_exactly() -> None:
    found = [agree(seed) for seed in range(300)]
    apart = [artifact for artifact, remarks in found if any(d.code == "quantize/apart" for d in remarks)]
    assert len(apart) >= 200
    assert sum(min(exponents(artifact), default=0) < 0 for artifact in apart) >= 50
    assert sum(max(exponents(artifact), default=0) > 0 for artifact in apart) >= 150


def two_layers(factor: float, sources: tuple[str, ...] = ("n2", "n1"), *, flat: bool = False) -> Graph:
    """`fc(s2 + s1)`: the first layer's spikes are a step earlier than the second's."""
    rng = np.random.default_rng(7)

    def dense(rows: int, columns: int, size: float) -> Linear:
        return Linear(Dense((rng.normal(0.2, 0.6, (rows, columns)) * size).astype(np.float32)))

    nodes = [
        Node("x", Input((6,))),
        Node("c1", dense(6, 6, 1.0), ("x",)),
        Node("n1", LIF(0.9, reset="value"), ("c1",)),
        Node("c2", dense(6, 6, 1.0), ("n1",)),
        Node("n2", LIF(0.9, reset="value"), ("c2",)),
        *([Node("f", Flatten(), sources)] if flat else []),
        Node("fc", dense(4, 6, factor), ("f",) if flat else sources),
        Node("side", dense(4, 6, 1.0), ("n2",)),
        Node("n3", LIF(0.9, v_th=4.0, reset="value"), ("fc", "side")),
        Node("out", Output(), ("n3",)),
    ]
    return verify(Graph(tuple(nodes)))


@pytest.mark.parametrize("flat", [False, True])
def test_whether_a_sum_compiles_does_not_depend_on_its_weights(flat: bool) -> None:
    signs = set()
    for factor in 2.0 ** np.arange(-5, 7):
        graph = two_layers(factor, flat=flat)
        inputs = spikes_for(graph, 1)
        artifact, remarks = compiled(graph, inputs)
        assert {"engine"} <= exact_rungs(graph, artifact, inputs)
        lowered = loads(artifact.files["graph.spk"])
        assert {"fc", "fc.n1"} < {node.name for node in lowered}
        fc = lowered["fc"].op
        assert isinstance(fc, Linear)
        assert isinstance(fc.weight, Fixed)
        signs.add(int(np.sign(fc.weight.exponent)))
        assert [str(d.message) for d in remarks if d.code == "quantize/apart"] == [
            "'n2', 'n1' reach loihi2 with different delays: each gets a connection of the same weights"
        ]
    assert signs == {-1, 0, 1}


def test_sources_that_wait_alike_keep_one_connection() -> None:
    graph = two_layers(1.0, ("n2", "n2"))
    artifact, remarks = compiled(graph, spikes_for(graph, 1))
    assert "fc.n2" not in loads(artifact.files["graph.spk"])
    assert not [d for d in remarks if d.code == "quantize/apart"]


def test_a_delay_line_waits_before_its_connection_and_nothing_arrives_early() -> None:
    """A sum that someone lowered whole, its exponent below 0: the connection alone needs a process of our own."""
    rng = np.random.default_rng(0)

    def dense(exponent: int = 0, bits: int = 0) -> Linear:
        weight = Fixed(rng.integers(-20, 60, (4, 4)) * 2, exponent, step=2)
        return Linear(weight, latency=1, sum=FixedSum(message_bits=bits))

    nodes = (
        Node("x", Input((4,))),
        Node("c1", dense(), ("x",)),
        Node("n1", FixedNeuron(threshold=80, v_decay=400, start=1), ("c1",)),
        Node("c2", dense(), ("n1",)),
        Node("n2", FixedNeuron(threshold=80, v_decay=400, start=2), ("c2",)),
        Node("wait", Delay(1, balance=True), ("n1",)),
        Node("fc", dense(-2, 2), ("n2", "wait")),
        Node("n3", FixedNeuron(threshold=20, v_decay=400, start=3), ("fc",)),
        Node("out", Output(), ("n3",)),
    )
    assert set(custom_nodes(verify(Graph(nodes)))) == {"fc"}


@pytest.mark.lava
@pytest.mark.parametrize("seed", [1, 4, 9])
def test_residual_networks_are_equal_in_lava(seed: int) -> None:
    if find() is None:
        pytest.skip("Lava is not installed (spikec lava install)")
    graph = residual(seed)
    inputs = spikes_for(graph, seed)
    artifact, _ = compiled(graph, inputs)
    assert exact_rungs(graph, artifact, inputs, lava=True) == {"fixed reference", "engine", "Lava"}


@pytest.mark.lava
def test_a_split_sum_with_an_exponent_below_0_is_equal_in_lava() -> None:
    if find() is None:
        pytest.skip("Lava is not installed (spikec lava install)")
    graph = two_layers(2.0**-5)
    inputs = spikes_for(graph, 1)
    artifact, _ = compiled(graph, inputs)
    assert min(exponents(artifact)) < 0
    assert "Lava" in exact_rungs(graph, artifact, inputs, lava=True)
