"""What the spike core refuses, by name: one message a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikec.backends.fpga.backend import TARGET, FpgaBackend
from spikec.backends.fpga.boards import BOARDS
from spikec.backends.fpga.check import findings
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import LOIHI2_ARITHMETIC, FixedNeuron, fpga_arithmetic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import CubaLIF
from spikec.compiler.ops import Conv2d, Delay, FixedSum, Input, Linear, Output, Reshape, SumPool
from spikec.compiler.weights import Fixed, Sparse
from spikec.compiler.weights_nm import NM
from tests.fpga.networks import float_mlp, prune

RULES = fpga_arithmetic(16)
SUM = FixedSum()


def weights(rows: int = 4, columns: int = 4, **fields: Any) -> Fixed:
    return Fixed(np.arange(rows * columns).reshape(rows, columns) % 5 - 2, **fields)


def neuron(**fields: Any) -> FixedNeuron:
    return FixedNeuron(**{"threshold": 9, "arithmetic": RULES, **fields})


def net(op: Any = None, lif: Any = None, **more: Any) -> Graph:
    """Give a network of one layer, with an op and a neuron of one's choice."""
    nodes = (
        Node("in", more.get("input", Input((4,)))),
        Node("fc", op or Linear(weights(), sum=SUM), ("in",)),
        Node("lif", lif or neuron(), ("fc",)),
        Node("out", Output(), ("lif",)),
    )
    return Graph(nodes, "net")


def recurrent() -> Graph:
    graph = net()
    back = Node("back", Linear(weights(), sum=SUM), ("lif",))
    own, lif = graph["lif"], replace(graph["lif"], inputs=("fc", "back"))
    return Graph(tuple(node for n in graph for node in ((back, lif) if n is own else (n,))), "net")


def skip() -> Graph:
    nodes = net().nodes
    more = (
        Node("fc2", Linear(weights(), sum=SUM), ("lif",)),
        Node("fc3", Linear(weights(), sum=SUM), ("in",)),
        Node("lif2", neuron(), ("fc2", "fc3")),
        Node("out", Output(), ("lif2",)),
    )
    return Graph((*nodes[:3], *more), "net")


def image(op: Any) -> Graph:
    return Graph(
        (
            Node("in", Input((1, 4, 4))),
            Node("conv", op, ("in",)),
            Node("lif", neuron(), ("conv",)),
            Node("out", Output(), ("lif",)),
        ),
        "net",
    )


def delayed() -> Graph:
    nodes = net().nodes
    return Graph((nodes[0], Node("wait", Delay(2), ("in",)), replace(nodes[1], inputs=("wait",)), *nodes[2:]), "net")


PRUNED = prune(np.arange(1.0, 17.0).reshape(4, 4), 1, 3)
IN_AXIS = prune(np.arange(1.0, 17.0).reshape(4, 4), 2, 4, "in")

CASES: dict[str, Graph] = {
    "as trained": float_mlp((4, 4, 2)),
    "convolution": image(Conv2d(Fixed(np.ones((1, 1, 3, 3), int)), padding=((1, 1), (1, 1)), sum=SUM)),
    "pool": image(SumPool((2, 2))),
    "delay": delayed(),
    "delays of synapses": net(Linear(weights(), delays=np.eye(4, dtype=int), sum=SUM)),
    "latency": net(Linear(weights(), latency=1, sum=SUM)),
    "recurrent": recurrent(),
    "skip": skip(),
    "not flat": Graph(
        (
            Node("in", Input((8,))),
            Node("two", Reshape((2, 4)), ("in",)),
            *(replace(n, inputs=("two",)) if n.name == "fc" else n for n in net().nodes[1:]),
        ),
        "net",
    ),
    "graded": net(Linear(weights(), sum=FixedSum(message_bits=4)), input=Input((4,), "analog", 0.1, 4)),
    "synaptic current": net(lif=neuron(u_decay=2048)),
    "lower bound": net(lif=neuron(v_min=-3)),
    "decays": net(lif=neuron(v_decay=np.array([1, 2, 3, 4]))),
    "start": net(lif=neuron(start=2)),
    "resets at intervals": net(lif=neuron(reset_interval=5)),
    "arithmetic": net(lif=neuron(arithmetic=LOIHI2_ARITHMETIC)),
    "threshold": net(lif=neuron(threshold=40000)),
    "bias": net(lif=neuron(bias=70000)),
    "exponent": net(Linear(weights(exponent=2), sum=SUM)),
    "step": net(Linear(Fixed(weights().values * 2, step=2), sum=SUM)),
    "one sign": net(Linear(Fixed(abs(weights().values), sign="excitatory"), sum=SUM)),
    "wide": net(Linear(weights(width=12), sum=SUM)),
    "sparse and wide": net(Linear(Sparse(weights(width=12)), sum=SUM)),
    "blocks along the inputs": net(Linear(NM(Fixed(IN_AXIS.decode().astype(int)), 2, 4, "in"), sum=SUM)),
    "blocks of three": net(Linear(NM(Fixed(PRUNED.decode().astype(int)), 1, 3), sum=SUM)),
}


def test_messages(golden: Callable[[str, str], None]) -> None:
    said = []
    for name, graph in CASES.items():
        found = list(FpgaBackend(BOARDS["ulx3s-85f"]).check(graph))
        assert found, name
        said.append("\n".join([name, *map(str, found)]))
    golden("check", "\n\n".join(said))


def test_what_the_core_runs_passes() -> None:
    assert not list(findings(net(), TARGET))
    assert not list(findings(net(lif=neuron(reset="none", readout="membrane", threshold=1 << 15)), TARGET))
    assert not list(findings(net(lif=neuron(reset="subtract", reset_amount=3, v_init=4, cmp=">=")), TARGET))


def test_a_board_that_is_too_small_says_what_is_missing(golden: Callable[[str, str], None]) -> None:
    rng = np.random.default_rng(0)
    wide = Fixed(rng.integers(-128, 128, (512, 784)))
    graph = Graph(
        (
            Node("in", Input((784,))),
            Node("fc", Linear(wide, sum=SUM), ("in",)),
            Node("lif", neuron(threshold=500), ("fc",)),
            Node("out", Output(), ("lif",)),
        ),
        "wide",
    )
    said = []
    for name in ("colorlight-i5", "icebreaker"):
        said.extend(str(d) for d in FpgaBackend(BOARDS[name]).check(graph))
    golden("too-small", "\n".join(said))
    assert not list(FpgaBackend(BOARDS["ulx3s-85f"]).check(graph))


def test_a_synaptic_current_is_refused_before_anything_is_quantized() -> None:
    import spikec

    graph = float_mlp((4, 4, 2))
    lif = replace(graph["lif0"], op=CubaLIF(0.5, 0.9))
    with pytest.raises(CompileError, match="synaptic current, which a neuron of fpga:ulx3s-85f has not") as caught:
        spikec.compile(graph.map(lambda n: lif if n.name == "lif0" else None), "fpga:ulx3s-85f")
    assert caught.value.diagnostics[0].code == "quantize/synapse"
