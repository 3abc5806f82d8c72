"""What does not fit on Loihi 2: the message of every rule, and that what fits passes."""

from dataclasses import replace

import numpy as np
import pytest

from spikec.backends.loihi.backend import LoihiBackend
from spikec.compiler.diagnostics import Severity
from spikec.compiler.fixed import LOIHI2_ARITHMETIC
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Conv1d, Delay, FixedSum, Input, Linear, MaxPool, Output, SumPool
from spikec.compiler.weights import Dense, Fixed
from tests.loihi.networks import WEIGHTS, dense, image, linear, neuron


def floats():
    """A float network."""
    nodes = (
        Node("input", Input((3,))),
        Node("fc", Linear(Dense(WEIGHTS.astype(float))), ("input",)),
        Node("lif", LIF(0.9), ("fc",)),
        Node("output", Output(), ("lif",)),
    )
    return Graph(nodes, "trained")


def pooled(pool):
    """A network with a pool between its neurons."""
    graph = image()
    kept = [
        replace(n, inputs=("pool",)) if n.name == "flatten" else n
        for n in graph
        if n.name not in ("fc", "lif2", "output")
    ]
    inner = Node("pool", pool((2, 2)), ("lif1",))
    return Graph((*kept[:3], inner, kept[3], Node("output", Output(), ("flatten",))), "pooled")


def several_inputs(count):
    """A layer with so many inputs."""
    return dense(linear(np.full((2, count), 2)))


def unbalanced():
    """A skip connection that arrives too early."""
    square = np.array([[2, -4], [4, 8]])
    nodes = (
        Node("input", Input((2,))),
        Node("fc1", linear(square), ("input",)),
        Node("lif1", neuron(), ("fc1",)),
        Node("fc2", linear(square), ("lif1",)),
        Node("lif2", neuron(), ("fc1", "fc2")),
        Node("output", Output(), ("lif2",)),
    )
    return Graph(nodes, "skip")


def sends_membrane():
    """A membrane that another layer reads."""
    square = np.array([[2, -4], [4, 8]])
    nodes = (
        Node("input", Input((2,))),
        Node("fc1", linear(square), ("input",)),
        Node("li", neuron(readout="membrane", threshold=1 << 17), ("fc1",)),
        Node("fc2", linear(square, sum=FixedSum(24)), ("li",)),
        Node("lif", neuron(), ("fc2",)),
        Node("output", Output(), ("lif",)),
    )
    return Graph(nodes, "graded")


SUBTRACT = {"reset": "subtract"}
MISFITS = {
    "float": floats,
    "max-pool": lambda: pooled(MaxPool),
    "sum-pool": lambda: pooled(SumPool),
    "weight-range": lambda: dense(linear(WEIGHTS * 2 + 2)),
    "weight-odd": lambda: dense(linear(WEIGHTS + 1)),
    "weight-not-finite": lambda: dense(Linear(Dense(np.array([[np.nan, 1.0]])), latency=1, sum=FixedSum())),
    "channel-exponent": lambda: dense(linear(exponent=np.array([0, 2]))),
    "conv-exponent": lambda: image(exponent=-2),
    "conv-odd": lambda: image(np.arange(-8, 8).reshape(2, 2, 2, 2)),
    "exponent-high": lambda: dense(linear(exponent=9)),
    "exponent-low": lambda: dense(linear(exponent=-12)),
    "no-latency": lambda: dense(linear(latency=0)),
    "synapse-delay": lambda: dense(linear(delays=np.full((2, 3), 63))),
    "node-delay": lambda: Graph(
        (
            Node("input", Input((3,))),
            Node("late", Delay(70), ("input",)),
            Node("fc", linear(), ("late",)),
            Node("lif", neuron(), ("fc",)),
            Node("output", Output(), ("lif",)),
        )
    ),
    "message-bits": lambda: dense(linear(sum=FixedSum(30)), given=Input((3,), "analog", 0.1, 30)),
    "message-lost": lambda: dense(given=Input((3,), "analog", 0.1, 8)),
    "threshold-high": lambda: dense(population=neuron(threshold=1 << 20)),
    "threshold-negative": lambda: dense(population=neuron(threshold=np.array([-1, 5]))),
    "bias-range": lambda: dense(population=neuron(bias=np.array([4096, -5000]))),
    "bias-exponent": lambda: dense(population=neuron(bias=1, bias_exp=8)),
    "decay-range": lambda: dense(population=neuron(v_decay=5000)),
    "arithmetic": lambda: dense(population=neuron(arithmetic=replace(LOIHI2_ARITHMETIC, name="wide", v_bits=30))),
    "soft-reset": lambda: dense(population=neuron(**SUBTRACT)),
    "no-reset": lambda: dense(population=neuron(reset="none")),
    "reset-value": lambda: dense(population=neuron(v_reset=-5)),
    "compare": lambda: dense(population=neuron(cmp=">=")),
    "v-min": lambda: dense(population=neuron(v_min=0)),
    "initial-state": lambda: dense(population=neuron(v_init=100)),
    "several": lambda: dense(linear(WEIGHTS * 2 + 2), neuron(cmp=">=", bias=9999, **SUBTRACT)),
    "unbalanced": unbalanced,
    "sends-membrane": sends_membrane,
    "axons": lambda: several_inputs(16_001),
    "synapse-memory": lambda: several_inputs(12_001),
    "reset-interval": lambda: dense(population=neuron(reset_interval=12)),
}


@pytest.mark.parametrize("name", MISFITS)
def test_every_misfit_has_its_message(golden, name):
    """All reasons, each with where and what to do."""
    found = list(LoihiBackend().check(MISFITS[name]()))
    assert found
    golden(name, "\n".join(map(str, found)))


@pytest.mark.parametrize("name", ["soft-reset", "no-reset", "reset-value", "compare", "v-min", "initial-state"])
def test_a_process_of_our_own_may_be_allowed(name):
    """Then it is a remark, which says that a real chip needs microcode."""
    found = list(LoihiBackend(allow_custom=True).check(MISFITS[name]()))
    assert [d.severity for d in found] == [Severity.REMARK]
    assert "microcode" in found[0].help


def test_a_process_is_not_allowed_for_what_it_cannot_do():
    """Weights out of range stay an error."""
    found = list(LoihiBackend(allow_custom=True).check(MISFITS["several"]()))
    assert {d.code for d in found if d.severity is Severity.ERROR} == {"loihi/weight-range", "loihi/bias-range"}


FITS = {
    "dense": dense,
    "image": image,
    "small-odd": lambda: dense(linear([[1, -3, 127], [5, -128, 0]])),
    "excitatory": lambda: dense(Linear(Fixed(np.array([[255, 3, 0]]), 0, 8, "excitatory"), latency=1, sum=FixedSum())),
    "zeros": lambda: dense(linear(np.zeros((2, 3), int))),
    "exponent": lambda: dense(linear(exponent=7)),
    "limits": lambda: dense(
        population=neuron(threshold=(1 << 17) - 1, bias=np.array([4095, -4096]), bias_exp=7, u_decay=None)
    ),
    "delays": lambda: dense(linear(delays=np.array([[0, 62, 1], [5, 6, 7]]))),
    "graded": lambda: dense(linear(sum=FixedSum(8)), given=Input((3,), "analog", 0.1, 8)),
    "membrane": lambda: dense(population=neuron(threshold=1 << 17, readout="membrane", reset="none")),
    "reset-interval": lambda: dense(population=neuron(reset_interval=16)),
}


@pytest.mark.parametrize("name", FITS)
def test_what_fits_passes(name):
    """No finding at all, and an artifact."""
    graph = FITS[name]()
    backend = LoihiBackend()
    assert [str(d) for d in backend.check(graph)] == []
    assert "graph.spk" in backend.emit(graph).files


def test_a_row_of_pixels_is_a_convolution_too():
    """Conv1d has the rules of Conv2d."""
    conv = Conv1d(Fixed(np.arange(-8, 8).reshape(2, 2, 4), 3, 8), latency=1, sum=FixedSum(0, 24))
    nodes = (
        Node("input", Input((2, 9))),
        Node("conv", conv, ("input",)),
        Node("lif", neuron(), ("conv",)),
        Node("output", Output(), ("lif",)),
    )
    assert {d.code for d in LoihiBackend().check(Graph(nodes))} == {"loihi/weight-range", "loihi/conv-exponent"}


@pytest.mark.parametrize(
    ("name", "inside", "outside", "code"),
    [
        ("threshold", 131071, 131072, "loihi/threshold-range"),
        ("threshold", 0, -1, "loihi/threshold-range"),
        ("bias", 4095, 4096, "loihi/bias-range"),
        ("bias", -4096, -4097, "loihi/bias-range"),
        ("bias_exp", 7, 8, "loihi/bias-exponent"),
        ("bias_exp", 0, -1, "loihi/bias-exponent"),
        ("v_decay", 4096, 4097, "neuron/decay-range"),
        ("u_decay", 4096, 4097, "neuron/decay-range"),
    ],
)
def test_limits_are_exact(name, inside, outside, code):
    for value, codes in ((inside, []), (outside, [code])):
        graph = dense(linear(WEIGHTS), neuron(**{name: value}))
        found = [d.code for d in LoihiBackend().check(graph) if d.severity is Severity.ERROR]
        assert [c for c in found if c.endswith(("range", "exponent"))] == codes
