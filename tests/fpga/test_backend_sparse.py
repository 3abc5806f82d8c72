"""Sparse weights on the spike core: dense words with their zeros; and layers of nothing but zeros on every target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import spikec
from spikec.backends.fpga.backend import FpgaBackend, bits_on_target, design_of
from spikec.backends.fpga.boards import BOARDS
from spikec.compiler.diagnostics import Diagnostic
from spikec.compiler.fixed import FixedNeuron, fpga_arithmetic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import FixedSum, Input, Linear, Output
from spikec.compiler.weights import Dense, Fixed, Sparse
from tests.fpga.networks import float_mlp, spikes

BACKEND = FpgaBackend(BOARDS["colorlight-i5"])


def sparse(graph: Graph, kept: float, zero: tuple[str, ...] = ()) -> Graph:
    """Keep a share of all weights at random, none of the connections named; biases of those that make spikes."""
    rng = np.random.default_rng(0)

    def change(node: Node) -> Node | None:
        if not isinstance(node.op, Linear):
            return None
        weight = np.array(node.op.weight.decode())
        weight[rng.random(weight.shape) >= (0 if node.name in zero else kept)] = 0
        bias = np.linspace(0, 0.4, len(weight)).astype("f4") if node.name in zero else node.op.bias
        return replace(node, op=Linear(Sparse(Dense(weight)), bias))

    return graph.map(change)


def fixed_net(weight: Fixed | Sparse) -> Graph:
    rules = fpga_arithmetic(16)
    nodes = (
        Node("in", Input((weight.shape[1],))),
        Node("fc", Linear(weight, sum=FixedSum()), ("in",)),
        Node("lif", FixedNeuron(threshold=9, arithmetic=rules), ("fc",)),
        Node("out", Output(), ("lif",)),
    )
    return Graph(nodes, "net")


def test_sparse_weights_are_stored_as_the_dense_ones_and_a_remark_says_so() -> None:
    rng = np.random.default_rng(1)
    fixed = Fixed(rng.integers(-8, 8, (11, 20)) * (rng.random((11, 20)) < 0.3), width=4)
    dense, kept = fixed_net(fixed), fixed_net(Sparse(fixed))
    found = list(BACKEND.check(kept))
    zeros = 220 - np.count_nonzero(fixed.values)
    assert [str(d) for d in found] == [
        f"remark[fpga/zeros]: the spike core stores its zeros too: {zeros} of 220 weights\n"
        "  where: fc\n"
        "  help: prune to N:M along the outputs, spike-nm{axis=out}: that saves memory and cycles here"
    ]
    assert not list(BACKEND.check(dense))
    one, two = BACKEND.emit(dense), BACKEND.emit(kept)
    assert {k: v for k, v in one.files.items() if k != "graph.spk"} == {
        k: v for k, v in two.files.items() if k != "graph.spk"
    }
    assert bits_on_target(design_of(two)) == one.facts["bits_on_target"] == two.facts["bits_on_target"]
    assert two.facts["bits_on_target"]["weights"] >= 220 * 4


def test_a_sparse_network_climbs_the_ladder() -> None:
    graph = sparse(float_mlp((36, 24, 10)), 0.4)
    given = spikes(graph, 6)
    told: list[Diagnostic] = []
    made = spikec.compile(graph, "fpga:colorlight-i5", calibrate=given, remark=told.append)
    assert [d.where for d in told if d.code == "fpga/zeros"] == ["fc0", "fc1"]
    reports = spikec.verify(made, inputs=given, rtl=False)
    assert not any(report.failed or report.error for report in reports)
    assert {"engine", "cycle simulator", "RTL in Verilator"} <= {report.name for report in reports if report.exact}


@pytest.mark.parametrize("target", ["fpga:colorlight-i5", "loihi2", "nir"])
@pytest.mark.parametrize("zero", [("fc0",), ("fc1",), ("fc0", "fc1")])
def test_a_layer_of_zeros_runs_on_every_rung(target: str, zero: tuple[str, ...]) -> None:
    graph = sparse(float_mlp((20, 16, 5), reset="value"), 0.5, zero)
    given = spikes(graph, 3)
    made = spikec.compile(graph, target, calibrate=given)
    reports = spikec.verify(made, inputs=given, rtl=zero == ("fc0",), lava=zero == ("fc0",))
    assert not any(report.error for report in reports)
    last = [report for report in reports if report.exact or report.name.startswith("NIR")]
    assert len(last) >= 2
    for report in last:
        if report.skipped:
            continue
        assert report.agreement.differing == 0
        assert report.agreement.spikes_active > 0
