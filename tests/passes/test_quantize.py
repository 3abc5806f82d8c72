"""Tests of the pass `quantize`: what lies on the grid stays exact, what does not is measured, and faults are told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spikec.compiler.context import Calibration, Context
from spikec.compiler.diagnostics import CompileError, Findings
from spikec.compiler.fixed import Arithmetic, FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import IF, LI, LIF, CubaLIF, Neuron
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Flatten, Input, Linear, MaxPool, Output
from spikec.compiler.runner import align, encode_input, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.serialize import dumps
from spikec.compiler.target import Choices, Target
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense, Fixed
from spikec.passes.balance_delays import BalanceDelays
from spikec.passes.quantize import Quantize
from spikec.passes.quantize.grid import bias_on_grid, decay_on_grid, kept_by, on_grid
from spikec.runtime.reference import Reference
from tests.passes.test_fold import chain

seeds = st.integers(0, 2**32 - 1)


def on(target: Target = Target("loihi2"), x=None, *, remarks: Findings | None = None, measured: bool = True) -> Context:  # noqa: B008
    return Context(
        calibration=None if x is None else Calibration(x),
        target=target,
        runner=Reference(np.float64) if measured else None,
        remark=Findings() if remarks is None else remarks,
    )


def quantize(graph: Graph, context: Context, **options) -> Graph:
    return verify(Quantize(**options).run(graph, context))


def dense(rng, out: int, given: int, *, bias: bool = True) -> Linear:
    weight = rng.integers(-60, 90, (out, given)) / 64
    return Linear(
        Dense(weight.astype(np.float32)), (rng.integers(-16, 32, out) / 64).astype(np.float32) if bias else None
    )


def lif(rng, **fields) -> Neuron:
    """A neuron whose states decay by halves or not at all: exact in floats and in integers for some steps."""
    return LIF(float(rng.choice([1.0, 0.5])), float(rng.choice([1.0, 0.75, 1.25])), reset="value", **fields)


def deep(rng) -> Graph:
    ops = [op for _ in range(3) for op in (dense(rng, 6, 6), lif(rng))]
    return chain(Input((6,)), *ops)


def skip(rng) -> Graph:
    conv = lambda: Conv2d(  # noqa: E731
        Dense((rng.integers(-40, 60, (2, 2, 3, 3)) / 64).astype(np.float32)),
        (rng.integers(-16, 32, 2) / 64).astype(np.float32),
        padding=((1, 1), (1, 1)),
    )
    nodes = (
        Node("x", Input((2, 4, 4))),
        Node("c1", conv(), ("x",)),
        Node("n1", lif(rng), ("c1",)),
        Node("c2", conv(), ("n1",)),
        Node("n2", lif(rng), ("c2",)),
        Node("c3", conv(), ("n2", "n1")),  # a sum of spikes
        Node("n3", lif(rng), ("c3", "n1", "x")),  # spikes added as currents
        Node("f", Flatten(), ("n3",)),
        Node("fc", dense(rng, 4, 32), ("f",)),
        Node("n4", lif(rng), ("fc",)),
        Node("out", Output(), ("n4",)),
    )
    return verify(Graph(nodes))


def recurrent(rng) -> Graph:
    synapse = CubaLIF(0.5, 0.5, 1.0, reset="value", bias=0.125)
    nodes = (
        Node("x", Input((5,))),
        Node("fc", dense(rng, 6, 5), ("x",)),
        Node("rec", dense(rng, 6, 6), ("n",)),
        Node("n", lif(rng), ("fc", "rec")),
        Node("fc2", dense(rng, 6, 6), ("n",)),
        Node("back", Delay(0), ("rec2",)),
        Node("m", synapse, ("fc2", "back")),
        Node("rec2", dense(rng, 6, 6), ("m",)),
        Node("out", Output(), ("m",)),
    )
    order = [0, 1, 2, 3, 4, 6, 7, 5, 8]
    return verify(Graph(tuple(nodes[i] for i in order)))


def pooled(rng) -> Graph:
    conv = Conv2d(Dense((rng.integers(-40, 60, (2, 1, 3, 3)) / 64).astype(np.float32)))
    return chain(
        Input((1, 8, 8)), conv, lif(rng), MaxPool((2, 2)), Flatten(), dense(rng, 6, 18), lif(rng), dense(rng, 3, 6)
    )


def assert_exact(graph: Graph, x: np.ndarray, lowered: Graph) -> int:
    """No spike of any trained neuron differs, before and after balancing; gives how many spikes there were."""
    names = tuple(n.name for n in graph if isinstance(n.op, Neuron) and n.name in lowered)
    trained = Reference(np.float64).run(graph, x, trace=names)
    late = latencies(lowered)
    run = align(Reference().run(lowered, pad_steps(x, max(late.values())), trace=names), late, x.shape[1])
    for name in names:
        np.testing.assert_array_equal(trained.traces[f"s/{name}"], run.traces[f"s/{name}"], name)
    return sum(int(trained.traces[f"s/{name}"].sum()) for name in names)


@pytest.mark.parametrize("network", [deep, skip, recurrent, pooled])
@pytest.mark.parametrize("measured", [True, False])
def test_networks_on_the_grid_keep_every_spike(network, measured):
    spikes = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        graph = network(rng)
        x = rng.integers(0, 2, (4, 12, *graph.of(Input)[0].op.size))
        context = on(x=x, measured=measured)
        fixed = quantize(graph, context)
        lowered = verify(BalanceDelays().run(fixed, context))
        assert max(latencies(fixed).values()) == 0
        assert max(latencies(lowered).values()) >= 2
        spikes += assert_exact(graph, x, fixed)
        assert assert_exact(graph, x, lowered)
    assert spikes > 1000


def test_membranes_and_currents_are_read_in_trained_units():
    rng = np.random.default_rng(0)
    for last in ([LI(0.5)], []):
        graph = chain(Input((6,)), dense(rng, 6, 6), lif(rng), dense(rng, 3, 6), *last)
        x = rng.integers(0, 2, (4, 10, 6))
        fixed = quantize(graph, on(x=x))
        readout = fixed[fixed["out"].inputs[0]].op
        wanted = Reference(np.float64).run(graph, x).spikes
        np.testing.assert_allclose(Reference().run(fixed, x).spikes * readout.scale, wanted, atol=1e-3)
        assert np.ptp(wanted) > 1


def test_analog_input_becomes_graded_messages():
    rng = np.random.default_rng(1)
    graph = chain(Input((6,), "analog"), dense(rng, 5, 6), lif(rng), dense(rng, 3, 5), lif(rng))
    sixteenths = np.repeat(rng.integers(0, 17, (4, 1, 6)) / 16, 10, axis=1)
    fixed = quantize(graph, on(x=sixteenths))
    source = fixed["n0"].op
    assert (source.scale, source.message_bits, fixed["n1"].op.sum.message_bits) == (1 / 16, 5, 5)
    codes = encode_input(sixteenths, source.scale, source.message_bits)
    wanted = Reference(np.float64).run(graph, sixteenths).spikes
    np.testing.assert_array_equal(Reference().run(fixed, codes).spikes, wanted)
    assert wanted.sum() > 10
    real = np.repeat(rng.random((4, 1, 6)), 10, axis=1)
    source = quantize(graph, on(x=real))["n0"].op
    assert source.scale == pytest.approx(real.max() / 255)


def test_counts_are_sent_as_numbers():
    rng = np.random.default_rng(2)
    graph = chain(Input((6,)), dense(rng, 5, 6), lif(rng))
    x = rng.integers(0, 4, (4, 10, 6))
    fixed = quantize(graph, on(x=x))
    assert fixed["n0"].op.message_bits == fixed["n1"].op.sum.message_bits == 2
    assert_exact(graph, x, fixed)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("low", [-1.0, 0.0])
@pytest.mark.parametrize("per_channel", [False, True])
def test_any_width_and_sign_stays_on_the_target_s_grid(bits, low, per_channel):
    rng = np.random.default_rng(bits)
    weight = rng.uniform(low, 1.0, (8, 12)) * np.logspace(0, -1, 8)[:, None]
    graph = chain(Input((12,)), Linear(Dense(weight)), LIF(0.9, 0.5, reset="value"))
    x = (rng.random((6, 20, 12)) < 0.3).astype(np.int64)
    remarks = Findings()
    fixed = quantize(graph, on(x=x, remarks=remarks), bits=bits, per_channel=per_channel)
    made = fixed["n1"].op.weight
    assert isinstance(made, Fixed)
    assert (made.width, made.sign, made.step) == (bits, "mixed" if low else "excitatory", 2 ** (8 - bits + (low < 0)))
    assert np.size(made.exponent) == 1
    assert np.size(fixed["n2"].op.threshold) == (8 if per_channel else 1)
    trained = Reference(np.float64).run(graph, x).spikes
    differing = int((Reference().run(fixed, x).spikes != trained).sum())
    assert f"{differing} spikes differ of {int(trained.sum())}" in [str(r) for r in remarks][-1]
    assert differing < trained.sum() * {2: 1.0, 3: 0.8, 4: 0.5, 6: 0.4, 8: 0.05}[bits]


def test_a_scale_by_channel_is_finer():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 2, 3, 3)) * np.logspace(0, -2, 8)[:, None, None, None]
    th = np.logspace(0, -2, 8)[:, None, None]
    graph = chain(Input((2, 6, 6)), Conv2d(Dense(weight)), LIF(0.9, th, reset="value"))
    x = (rng.random((4, 20, 2, 6, 6)) < 0.3).astype(np.int64)
    differing = []
    for per_channel in (False, True):
        fixed = quantize(graph, on(x=x), per_channel=per_channel)
        trained, run = Reference(np.float64).run(graph, x).spikes, Reference().run(fixed, x).spikes
        differing.append(int((trained != run).sum()))
    assert differing[1] < differing[0] / 2
    assert fixed["n2"].op.scale.shape == (8, 1, 1)


@pytest.mark.parametrize("values", [np.zeros((2, 3)), -np.ones((2, 3)), np.full((1, 3), 1e-6), np.full((1, 3), 1e3)])
def test_layers_of_one_sign_and_of_nothing(values):
    graph = chain(Input((3,)), Linear(Dense(values)), LIF(0.5, float(np.abs(values).max()) or 1.0, reset="value"))
    x = np.ones((1, 5, 3), np.int64)
    fixed = quantize(graph, on(x=x))
    np.testing.assert_array_equal(Reference().run(fixed, x).spikes, Reference(np.float64).run(graph, x).spikes)


def test_thresholds_far_below_the_weights_still_have_a_form():
    """As NeuroBench's WISDM network: threshold 0.001, convolution weights above 1 and no exponent for them."""
    rng = np.random.default_rng(6)
    graph = chain(Input((2, 5, 5)), Conv2d(Dense(rng.normal(size=(3, 2, 2, 2)))), LIF(0.25, 0.001, reset="value"))
    x = (rng.random((4, 20, 2, 5, 5)) < 0.2).astype(np.int64)
    remarks = Findings()
    fixed = quantize(graph, on(x=x, remarks=remarks))
    trained, run = Reference(np.float64).run(graph, x).spikes, Reference().run(fixed, x).spikes
    assert np.count_nonzero(trained != run) < trained.sum() / 10
    assert "threshold error 100 %" in str(next(iter(remarks)))


def test_large_layers_do_not_wrap():
    graph = chain(Input((2000,)), Linear(Dense(np.ones((2, 2000)))), LIF(0.5, 1500.0, reset="value"))
    for x in (np.ones((1, 4, 2000), np.int64), None):
        fixed = quantize(graph, on(x=x))
        assert fixed["n1"].op.weight.decode().sum(axis=1).max() * 2.0 ** fixed["n1"].op.weight.exponent < 2**17
        ones = np.ones((1, 4, 2000), np.int64)
        np.testing.assert_array_equal(
            Reference().run(fixed, ones).spikes, Reference(np.float64).run(graph, ones).spikes
        )


def test_at_or_above_is_exact_where_the_membrane_has_whole_steps():
    rng = np.random.default_rng(3)
    weight = rng.integers(-4, 6, (6, 6)) / 4
    graph = chain(Input((6,)), Linear(Dense(weight), np.full(6, 0.25)), IF(1.0, cmp=">=", reset="value"))
    x = rng.integers(0, 2, (4, 20, 6))
    fixed = quantize(graph, on(x=x))
    assert fixed["n2"].op.cmp == ">"
    assert assert_exact(graph, x, fixed) > 50


CHOICES = {
    "soft-hard": (LIF(0.5), Choices(reset="hard")),
    "soft-exact": (LIF(0.5), Choices(reset="exact")),
    "next-exact": (LIF(0.5, reset_when="next"), Choices(reset="exact")),
    "none-exact": (LIF(0.5, reset="none"), Choices(reset="exact")),
    "min-exact": (LIF(0.5, reset="value", v_min=-0.5), Choices(reset="exact")),
    "ge-exact": (LIF(0.5, cmp=">=", reset="value"), Choices(compare="exact")),
    "ge-strict": (LIF(0.5, cmp=">=", reset="value"), Choices(compare="strict")),
    "start-exact": (LIF(0.5, reset="value", v_init=0.75), Choices(initial="exact")),
    "start-zero": (LIF(0.5, reset="value", v_init=0.75), Choices(initial="zero")),
    "centre": (LIF(0.5, 1.0, reset="value", v_reset=-0.5, v_init=-0.5, v_leak=0.25), Choices()),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_exact_or_say_what_they_cost(name):
    neuron, choices = CHOICES[name]
    rng = np.random.default_rng(5)
    graph = chain(Input((6,)), dense(rng, 6, 6), neuron)
    x = rng.integers(0, 2, (4, 12, 6))
    remarks = Findings()
    fixed = quantize(graph, on(Target("loihi2", choices=choices), x, remarks=remarks))
    trained, run = Reference(np.float64).run(graph, x).spikes, Reference().run(fixed, x).spikes
    differing = int((trained != run).sum())
    if name.endswith("exact") or name == "centre":
        assert differing == 0
    else:
        assert len(remarks) == 2
    assert f"{differing} spikes differ of {int(trained.sum())}" in [str(r) for r in remarks][-1]


W = Linear(Dense(np.eye(2)))
FPGA = Target("core", Arithmetic("core", decay="shift"), even_mixed=False, message_bits=0, latency=0)
HARD = LIF(0.5, reset="value")
LOST = LIF(0.5, reset="value", reset_when="next", drop_input=True)
START = LIF(0.5, cmp=">=", v_init=0.5, v_min=-1.0)
SEVERAL, TAKEN_BACK, NEVER = LIF(0.5, spike="multi"), LIF(0.5, reset_when="next_post"), LIF(0.5, reset="none")
SEEN = LIF(0.5, reset="value", reset_when="next", readout="membrane")
UNEVEN = LIF(0.5, reset="value", g_in=np.array([[1.0, 2.0]]))
BIASED, BARELY = (Linear(Dense(np.eye(2)), np.full(2, b)) for b in (1e8, 1e-5))
LOIHI = Target("loihi2")
NARROW = Target("narrow", message_bits=1)
UNEVEN_DELAY = Delay(np.array([0, 1]))


def late_bias() -> Graph:
    return chain(Input((2,)), Linear(Dense(np.eye(2)), np.ones(2)), UNEVEN_DELAY, HARD)


def wide_sum() -> Graph:
    """Three populations summed by a delay, which then sends more than a narrow message holds."""
    nodes = [Node("x", Input((2,)))]
    for name in "abc":
        nodes += [Node(f"w{name}", W, ("x",)), Node(name, HARD, (f"w{name}",))]
    nodes += [Node("d", Delay(1), ("a", "b", "c")), Node("w", W, ("d",)), Node("n", HARD, ("w",))]
    return verify(Graph((*nodes, Node("out", Output(), ("n",)))))


FAULTS = {
    "all-at-once": (chain(Input((2,)), W, START, W, LOST, W, SEVERAL, W, TAKEN_BACK, W, NEVER), LOIHI, None),
    "analog": (chain(Input((2,), "analog"), W, HARD), LOIHI, None),
    "analog-on-spikes-only": (chain(Input((2,), "analog"), W, HARD), FPGA, None),
    "counts": (chain(Input((2,)), W, HARD), LOIHI, np.full((1, 2, 2), 300)),
    "graded": (chain(Input((2,)), W, LIF(0.5, reset="value", graded=2.0)), LOIHI, None),
    "gain": (chain(Input((1, 2)), Delay(0), UNEVEN), LOIHI, None),
    "bias-range": (chain(Input((2,)), BIASED, HARD), LOIHI, None),
    "threshold-range": (chain(Input((2,)), BARELY, LIF(0.5, 1e9, reset="value")), LOIHI, None),
    "synapse-on-shifts": (chain(Input((2,)), W, CubaLIF(0.5, 0.5, reset="value")), FPGA, None),
    "late-bias": (late_bias(), LOIHI, None),
    "membrane-seen": (chain(Input((2,)), W, SEEN), LOIHI, None),
    "wide-sum": (wide_sum(), NARROW, None),
    "no-target": (chain(Input((2,)), W, HARD), None, None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_the_place_and_the_alternatives(name, golden):
    graph, target, given = FAULTS[name]
    with pytest.raises(CompileError) as error:
        Quantize().run(graph, on(target, given))
    golden(f"quantize-{name}", str(error.value))


@pytest.mark.parametrize(("top", "words"), [(1.0, "1 bit, 1 a unit"), (2.5, "3 bits, 0.5 a unit")])
def test_analog_input_says_how_many_bits_its_messages_have(top, words):
    remarks = Findings()
    x = np.random.default_rng(0).integers(0, 2, (2, 5, 3)) * top
    graph = quantize(
        chain(Input((3,), "analog"), dense(np.random.default_rng(1), 3, 3), HARD), on(x=x, remarks=remarks)
    )
    assert f"analog input is sent as messages of {words}" in [remark.message for remark in remarks]
    assert graph["n0"].op.message_bits == int(words[0])


def test_remarks_tell_the_errors_of_each_layer(golden):
    rng = np.random.default_rng(7)
    graph = recurrent(rng)
    x = rng.integers(0, 2, (4, 10, 5))
    remarks = Findings()
    quantize(graph, on(x=x, remarks=remarks), bits=4)
    golden("quantize-remarks", "\n".join(map(str, remarks)))
    remarks = Findings()
    quantize(graph, on(remarks=remarks))
    golden("quantize-remarks-unmeasured", "\n".join(map(str, remarks)))


def test_same_input_same_bytes():
    graph = recurrent(np.random.default_rng(8))
    x = np.random.default_rng(9).integers(0, 2, (4, 10, 5))
    assert dumps(quantize(graph, on(x=x), bits=5)) == dumps(quantize(graph, on(x=x), bits=5))


@pytest.mark.parametrize(("conv", "v_th", "zero"), [(False, 1e-3, False), (True, 1e-3, False), (True, 1e-4, True)])
def test_a_threshold_is_rounded_to_0_only_where_the_grid_has_no_other(conv, v_th, zero):
    """Of scales with equal spikes one is taken at which the threshold is 1 or more; where there is none, it is told."""
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 1, (2, 2, 1) if conv else (2, 2))
    op = Conv1d(Dense(weight)) if conv else Linear(Dense(weight))
    x = rng.integers(0, 2, (4, 10, *((2, 1) if conv else (2,))))
    remarks = Findings()
    graph = quantize(chain(Input(x.shape[2:]), op, LIF(0.0, v_th, reset="value")), on(x=x, remarks=remarks))
    assert (graph["n2"].op.threshold == 0) == zero
    told = [r.message for r in remarks if r.code == "quantize/layer"]
    assert ["its threshold is rounded to 0" in message for message in told] == [zero]
    assert "0 spikes differ" in told[0]


def test_fixed_graphs_are_left_alone():
    graph = quantize(deep(np.random.default_rng(0)), on())
    assert Quantize().run(graph, on()) is graph
    assert all(isinstance(n.op, FixedNeuron) for n in graph if n.op.stateful)


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(2, 8), st.booleans(), st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-3, 14))
@example(seed=0, bits=4, exponent=True, sign=0.0, size=-3.0)
def test_weights_are_rounded_to_the_nearest_of_the_grid(seed, bits, exponent, sign, size):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, (3, 4)) if sign == 0 else sign * rng.uniform(0, 1, (3, 4))
    target = Target("loihi2")
    made = on_grid(values * 2.0**size, bits, target, exponent=exponent)
    made.fixed(1.0)  # refuses what is not on the grid
    unit = made.step * 2.0**made.exponent
    inside = np.abs(made.meant - values * 2.0**size) <= unit / 2 + 1e-9
    assert int(np.count_nonzero(~inside)) <= made.clipped
    plain = on_grid(values * 2.0**size, bits, target, exponent=False)
    assert np.sum((made.meant - values * 2.0**size) ** 2) <= np.sum((plain.meant - values * 2.0**size) ** 2)
    if exponent and bits >= 4 and 0 <= size < 13:  # else the exponent is at the end of its range
        assert np.abs(made.meant - values * 2.0**size).max() <= 2.0**size * 2.0 ** (2 - bits)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.floats(-4e5, 4e5))
def test_decays_and_biases_are_nearest(kept, bias):
    target = Target("loihi2")
    constant = decay_on_grid(np.asarray(kept), target)
    assert abs(float(kept_by(constant, target)) - kept) <= 1 / 8192
    mantissa, exponent, over = bias_on_grid(np.asarray([bias]), target)
    assert over == 0
    assert abs(float(mantissa[0]) * 2**exponent - bias) <= 2.0 ** (exponent - 1)
    shift = Target("core", Arithmetic("core", decay="shift"))
    if kept >= 0.5:
        parts = [1.0, *(1 - 2.0**-d for d in range(1, 24))]
        wanted = min(abs(p - kept) for p in parts)
        assert abs(float(kept_by(decay_on_grid(np.asarray(kept), shift), shift)) - kept) == wanted
