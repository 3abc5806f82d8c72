"""Tests of the pass `lower`: the structure changes, the spikes do not; what has no form says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.context import Calibration, Context
from spikec.compiler.diagnostics import CompileError, Findings
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import IF, LI, LIF, CubaLIF, Neuron
from spikec.compiler.ops import AvgPool, Conv2d, Delay, Flatten, Input, Linear, MaxPool, Output, Scale, SumPool
from spikec.compiler.target import Choices, Target
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense
from spikec.passes.lower import Lower
from spikec.passes.lower.neurons import normal_form
from spikec.runtime.reference import Reference
from tests.passes.test_fold import PADDED, chain, dyadic, mnemonics

seeds = st.integers(0, 2**32 - 1)


def lower(graph: Graph, **choices) -> tuple[Graph, Findings]:
    remarks = Findings()
    context = Context(target=Target("loihi2", choices=Choices(**choices)), remark=remarks)
    return verify(Lower().run(graph, context)), remarks


def assert_same(graph: Graph, lowered: Graph, rng, *, spikes: bool = True) -> None:
    size = graph.of(Input)[0].op.size
    x = rng.integers(0, 2, (3, 12, *size)) if spikes else rng.integers(-4, 5, (3, 12, *size)) / 4
    for key, array in Reference(np.float64).run(graph, x).outputs.items():
        np.testing.assert_array_equal(array, Reference(np.float64).run(lowered, x).outputs[key])
        assert np.any(array)


neurons = st.fixed_dictionaries(
    {
        "a_mem": st.sampled_from([0.5, 1.0, 0.25]),
        "v_th": st.sampled_from([0.5, 1.0, 0.75]),
        "reset": st.sampled_from(["subtract", "value", "none"]),
        "reset_when": st.sampled_from(["post", "next", "next_post"]),
        "drop_input": st.booleans(),
        "cmp": st.sampled_from([">", ">="]),
        "v_reset": st.sampled_from([0.0, 0.25, -0.5]),
        "v_leak": st.sampled_from([0.0, 0.5]),
        "v_init": st.sampled_from([0.0, 0.25, 2.0]),
        "v_min": st.sampled_from([None, -1.0]),
        "bias": st.sampled_from([0.0, 0.125]),
        "spike": st.sampled_from(["single", "single", "multi"]),
        "max_spikes": st.sampled_from([0, 1, 3]),
        "syn_order": st.sampled_from(["none", "decay_add", "add_decay", "add_use_decay"]),
        "a_syn": st.sampled_from([0.0, 0.5, 0.25]),
        "readout": st.sampled_from(["spikes", "spikes", "membrane"]),
    }
)


@settings(max_examples=150, deadline=None)
@given(seeds, neurons)
def test_normal_forms_have_the_same_output(seed, fields):
    op = Neuron(**fields)
    new = normal_form(op)
    assert normal_form(new) is new
    x = np.random.default_rng(seed).integers(-8, 12, (4, 8, 6)) / 8
    outputs = [Reference(np.float64).run(chain(Input((6,)), n), x).spikes for n in (op, new)]
    np.testing.assert_array_equal(*outputs)


def test_normal_forms_reach_what_hardware_has():
    assert normal_form(LIF(0.5, reset_when="next")).reset_amount == 2.0
    assert normal_form(LIF(0.5, reset_when="next")).reset_when == "post"
    assert normal_form(LIF(0.5, reset="value", reset_when="next")).reset_when == "post"
    centred = normal_form(LIF(0.5, 1.0, reset="value", v_reset=0.25, v_init=0.25, v_leak=0.25))
    assert (centred.v_reset, centred.v_th, centred.v_init, centred.bias) == (0.0, 0.75, 0.0, 0.0)
    assert np.isinf(normal_form(LIF(0.5, reset="none", reset_when="next", readout="membrane")).v_th)
    dropped = LIF(0.5, reset="value", reset_when="next", drop_input=True)
    assert normal_form(dropped) is dropped


@pytest.mark.parametrize("reset", ["subtract", "value"])
@pytest.mark.parametrize(("cmp", "v_init"), [(">", 1.5), (">=", 1.0)])
def test_a_spike_of_the_initial_membrane_is_not_missed(reset, cmp, v_init):
    op = LIF(0.5, reset=reset, reset_when="next", cmp=cmp, v_init=v_init)
    new = normal_form(op)
    x = np.random.default_rng(0).integers(0, 9, (4, 8, 6)) / 8
    outputs = [Reference(np.float64).run(chain(Input((6,)), n), x).spikes for n in (op, new)]
    np.testing.assert_array_equal(*outputs)
    late = replace(op, reset_when="post")  # what would be wrong is seen in these spikes
    assert not np.array_equal(outputs[0], Reference(np.float64).run(chain(Input((6,)), late), x).spikes)


@settings(max_examples=25, deadline=None)
@given(seeds, st.data())
def test_max_pool_of_spikes_is_a_relay(seed, data):
    rng = np.random.default_rng(seed)
    pair = lambda low, high: (data.draw(st.integers(low, high)), data.draw(st.integers(low, high)))  # noqa: E731
    pool = MaxPool(pair(2, 3), pair(1, 2), (pair(0, 1), pair(0, 1)))
    outs = int(np.prod(pool.shape((2, 6, 6))))
    conv = Conv2d(Dense(dyadic(rng, 2, 1, 3, 3)), padding=((1, 1), (1, 1)))
    fc = Linear(Dense(dyadic(rng, 4, outs)))
    graph = chain(Input((1, 6, 6)), conv, LIF(0.5, 0.25), pool, Flatten(), fc, LIF(0.5, 0.25))
    lowered, remarks = lower(graph)
    assert [str(r.code) for r in remarks] == ["lower/relay"]
    assert "maxpool" not in mnemonics(lowered)
    x = rng.integers(0, 2, (3, 12, 1, 6, 6))
    before, after = (Reference(np.float64).run(g, x, trace=("n3",)).traces["s/n3"] for g in (graph, lowered))
    np.testing.assert_array_equal(before, after)


def pooled_currents(**fields) -> Graph:
    conv = Conv2d(Dense(np.random.default_rng(0).integers(-8, 12, (2, 1, 3, 3)) / 8))
    neuron = LIF(0.5, 1.0, reset="value", **fields)
    fc = Linear(Dense(np.ones((3, 18)) / 4))
    return chain(Input((1, 8, 8)), conv, MaxPool((2, 2)), neuron, Flatten(), fc, LIF(0.5))


def test_max_pool_of_currents_moves_when_allowed():
    graph = pooled_currents()
    lowered, remarks = lower(graph, maxpool="spikes")
    assert [r.code for r in remarks] == ["lower/maxpool-moved"]
    assert mnemonics(lowered)[1:5] == ["conv2d", "neuron", "conv2d", "neuron"]
    assert lowered.shapes["n3"] == graph.shapes["n3"]  # the pooled spikes keep the name of the trained layer


def test_spikes_that_reach_a_neuron_without_weights_get_a_connection():
    rng = np.random.default_rng(1)
    nodes = (
        Node("x", Input((2, 4, 4))),
        Node("c", Conv2d(Dense(dyadic(rng, 2, 2, 1, 1))), ("x",)),
        Node("n", LIF(0.5, 0.5), ("c",)),
        Node("c2", Conv2d(Dense(dyadic(rng, 2, 2, 1, 1))), ("n",)),
        Node("m", LIF(0.5, 0.5, g_in=0.5), ("c2", "x", "m")),  # a residual sum, and its own spikes
        Node("p", AvgPool((2, 2)), ("m",)),
        Node("k", LIF(0.5, 0.25), ("p",)),
        Node("f", Flatten(), ("k",)),
        Node("o", LIF(0.5, 0.5), ("f",)),
        Node("out", Output(), ("o",)),
    )
    graph = verify(Graph(nodes))
    lowered, remarks = lower(graph)
    assert {r.code for r in remarks} == {"lower/identity"}
    assert mnemonics(lowered).count("conv2d") == 5
    assert mnemonics(lowered).count("linear") == 1
    assert_same(graph, lowered, rng)
    assert Lower().run(lowered, Context()) is lowered


def test_currents_are_read_out_through_neurons():
    rng = np.random.default_rng(2)
    graph = chain(Input((5,)), Linear(Dense(dyadic(rng, 3, 5)), dyadic(rng, 3)))
    lowered, _ = lower(graph)
    assert mnemonics(lowered) == ["input", "linear", "neuron", "output"]
    assert_same(graph, lowered, rng)


def test_connection_of_both_steps_is_split():
    rng = np.random.default_rng(3)
    w = Linear(Dense(dyadic(rng, 4, 4)), dyadic(rng, 4))
    nodes = (
        Node("x", Input((4,))),
        Node("w", w, ("x", "n")),
        Node("n", LIF(0.5), ("w",)),
        Node("out", Output(), ("n",)),
    )
    graph = verify(Graph(nodes))
    lowered, _ = lower(graph)
    assert lowered["w"].inputs == ("x",)
    assert lowered["w.back"].inputs == ("n",)
    assert_same(graph, lowered, rng)


W = Linear(Dense(np.ones((4, 4))))
C = Conv2d(Dense(np.ones((1, 1, 1, 1))))
FAULTS = {
    "maxpool-currents": pooled_currents,
    "maxpool-currents-per-neuron": lambda: pooled_currents(bias=np.arange(9.0).reshape(1, 3, 3)),
    "maxpool-analog": lambda: chain(Input((1, 4, 4), "analog"), MaxPool((2, 2)), C, IF()),
    "maxpool-counts": lambda: chain(Input((1, 4, 4)), MaxPool((2, 2)), C, IF()),
    "no-neuron-between": lambda: chain(Input((4,)), W, W, IF()),
    "membrane-sent": lambda: chain(Input((4,)), W, LI(0.5), W, IF()),
    "pool": lambda: chain(Input((1, 9)), SumPool((3,), (2,)), PADDED, IF()),
    "scale-of-two-steps": lambda: chain(Input((4,)), Scale(2.0, 1.0), Delay(1), W, IF()),
    "rank": lambda: chain(Input((1, 1, 2, 2)), IF()),
    "output": lambda: verify(
        Graph((Node("x", Input((4,))), Node("s", Scale(2.0), ("x",)), Node("out", Output(), ("s",))))
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_has_no_form_says_why(name, golden):
    counts = Calibration(np.full((1, 2, 1, 4, 4), 3)) if name == "maxpool-counts" else None
    with pytest.raises(CompileError) as error:
        Lower().run(FAULTS[name](), Context(target=Target("loihi2"), calibration=counts))
    golden(f"lower-{name}", str(error.value))


def test_synapses_keep_their_spikes():
    rng = np.random.default_rng(4)
    for order in ("decay_add", "add_decay", "add_use_decay"):
        neuron = CubaLIF(0.5, 0.5, 0.5, order, g_in=2.0, g_syn=0.5)
        graph = chain(Input((4,)), Linear(Dense(dyadic(rng, 4, 4))), neuron)
        lowered, _ = lower(graph)
        assert lowered["n2"].op.syn_order == "decay_add"
        assert lowered["n2"].op.g_in == 1.0
        assert_same(graph, lowered, rng)
