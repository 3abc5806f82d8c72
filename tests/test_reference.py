"""The reference's stateless ops against torch, its delays and latencies against a plain shift, its sums against int."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import LOIHI2_ARITHMETIC, Arithmetic, FixedNeuron
from spikec.compiler.ir import Graph, Node, Op
from spikec.compiler.neurons import IF, LI, LIF
from spikec.compiler.ops import (
    AvgPool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Delay,
    FixedSum,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Output,
    Scale,
    SumPool,
)
from spikec.compiler.runner import align, encode_input, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.weights import Dense, Fixed
from spikec.runtime.reference import Reference
from spikec.runtime.reference_connection import wrap
from spikec.runtime.reference_fixed import decay, overflow


def run_op(op: Op, x: np.ndarray) -> np.ndarray:
    """Run one op on (N, T, *shape)."""
    graph = Graph((Node("in", Input(x.shape[2:])), Node("op", op, ("in",)), Node("out", Output(), ("op",))))
    return Reference(np.float64).run(graph, x).spikes


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Small whole numbers, on which any order of summation is exact."""
    return rng.integers(-4, 5, shape).astype(np.float64)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_convolution_is_torchs(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from([1, 2]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    groups = data.draw(st.sampled_from([1, 2]))
    pick = lambda low, high: tuple(int(k) for k in rng.integers(low, high, rank))  # noqa: E731
    kernel, stride, dilation, pad = pick(1, 4), pick(1, 3), pick(1, 3), pick(0, 3)
    w, b = whole(rng, 4, 6 // groups, *kernel), whole(rng, 4)
    x = whole(rng, 2, 2, 6, *pick(8, 12))
    op = (Conv1d if rank == 1 else Conv2d)(Dense(w), b, stride, tuple((p, p) for p in pad), dilation, groups)
    torch_conv = torch.nn.functional.conv1d if rank == 1 else torch.nn.functional.conv2d
    expected = torch_conv(torch.tensor(x[:, 1]), torch.tensor(w), torch.tensor(b), stride, pad, dilation, groups)
    assert np.array_equal(run_op(op, x)[:, 1], expected.numpy())


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_pools_are_torchs(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    k, s = int(rng.integers(2, 4)), int(rng.integers(1, 4))
    pad = int(rng.integers(0, k // 2 + 1))
    x = whole(rng, 2, 1, 3, 9, 8)
    given_torch, both = torch.tensor(x[:, 0]), ((pad, pad), (pad, pad))
    assert np.array_equal(
        run_op(MaxPool((k, k), (s, s), both), x)[:, 0], torch.max_pool2d(given_torch, k, s, pad).numpy()
    )
    average = torch.nn.functional.avg_pool2d(given_torch, k, s, pad)
    assert np.allclose(run_op(AvgPool((k, k), (s, s), both), x)[:, 0], average.numpy())
    assert np.allclose(run_op(SumPool((k, k), (s, s), both), x)[:, 0], average.numpy() * k * k)


def test_normalisation_scale_and_flatten() -> None:
    rng = np.random.default_rng(0)
    x, p = rng.normal(size=(2, 1, 3, 4, 4)), rng.normal(size=(4, 3))
    norm = BatchNorm(p[0], p[1] ** 2, p[2], p[3], 1e-3)
    expected = torch.nn.functional.batch_norm(
        *(torch.tensor(a) for a in (x[:, 0], p[0], p[1] ** 2, p[2], p[3])), eps=1e-3
    )
    assert np.allclose(run_op(norm, x)[:, 0], expected.numpy())
    assert np.array_equal(run_op(Scale(np.full((3, 1, 1), 2.0), 1.0), x), x * 2 + 1)
    assert run_op(Flatten(1), x).shape == (2, 1, 3, 16)


def impulse(steps: int, size: int) -> np.ndarray:
    x = np.zeros((1, steps, size))
    x[0, 0] = np.arange(1, size + 1)
    return x


def test_delay_shifts_each_element_by_its_own_steps() -> None:
    out = run_op(Delay(np.array([0, 1, 3])), impulse(5, 3))[0]
    assert np.array_equal(np.argwhere(out), [[0, 0], [1, 1], [3, 2]])


def test_reading_a_later_delay_of_zero_adds_one_step() -> None:
    nodes = (
        Node("in", Input((1,))),
        Node("n", IF(10.0), ("in", "d")),
        Node("d", Delay(0), ("in",)),
        Node("out", Output(), ("n",)),
    )
    x = impulse(4, 1)
    assert Reference().run(Graph(nodes), x, trace=True).traces["v/n"][0, :, 0].tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("latency", [0, 1, 3])
def test_latency_and_synapse_delays_add_up(latency: int) -> None:
    weights = Fixed(np.array([[1, 2], [4, 8]]))
    op = Linear(weights, latency=latency, delays=np.array([[0, 1], [2, 0]]), sum=FixedSum(message_bits=4))
    graph = Graph(
        (
            Node("in", Input((2,))),
            Node("fc", op, ("in",)),
            Node("n", FixedNeuron(threshold=99), ("fc",)),
            Node("out", Output(), ("n",)),
        )
    )
    x = np.zeros((1, 8, 2), int)
    x[0, 0] = (3, 5)
    out = Reference().run(graph, x, trace=True).traces["s/fc"][0]
    expected = np.zeros((8, 2), int)
    expected[latency + 0] += (1 * 3, 8 * 5)
    expected[latency + 1] += (2 * 5, 0)
    expected[latency + 2] += (0, 4 * 3)
    assert np.array_equal(out, expected)


@given(st.integers(-(2**40), 2**40), st.sampled_from([8, 24, 32]))
def test_wrap_is_twos_complement(value: int, bits: int) -> None:
    wrapped = int(wrap(np.array(value), bits))
    assert -(1 << (bits - 1)) <= wrapped < 1 << (bits - 1)
    assert (wrapped - value) % (1 << bits) == 0


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 4096))
def test_decay_multiplies_toward_zero(value: int, constant: int) -> None:
    exact = int(abs(value) * (4096 - constant) // 4096) * (1 if value >= 0 else -1)
    assert int(decay(np.array(value), constant, LOIHI2_ARITHMETIC)) == exact


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 12))
def test_decay_by_a_shift_takes_a_power_of_two_away_toward_zero(value: int, shift: int) -> None:
    rules = Arithmetic("test", decay="shift")
    left = int(decay(np.array(value), shift, rules))
    assert left == (value if shift == 0 else value - (abs(value) >> shift) * (1 if value >= 0 else -1))


@given(st.integers(-(2**26), 2**26))
def test_current_wraps_once_and_potential_saturates(value: int) -> None:
    half = 1 << 23
    wrapped = int(overflow(np.array(value), 24, "wrap", symmetric=True))
    assert wrapped == (value - 2 * half if value > half else value + 2 * half if value <= -half else value)
    assert int(overflow(np.array(value), 24, "saturate", symmetric=True)) == max(-half + 1, min(half - 1, value))


def test_loihi_neuron_by_hand() -> None:
    """Four steps computed with pencil and paper from semantics.md part 2 B."""
    neuron = FixedNeuron(threshold=3, v_decay=2048, u_decay=1024, bias=5, bias_exp=1)
    graph = Graph((Node("in", Input((1,))), Node("n", neuron, ("in",)), Node("out", Output(), ("n",))))
    traces = Reference().run(graph, np.array([[[2], [-1], [0], [3]]]), trace=True).traces
    # u: 128; 96 - 64 = 32; 24; 18 + 192 = 210. v: 138; 69 + 32 + 10 = 111; 55 + 24 + 10 = 89; 44 + 210 + 10 = 264 > 192
    assert traces["u/n"][0, :, 0].tolist() == [128, 32, 24, 210]
    assert traces["v/n"][0, :, 0].tolist() == [138, 111, 89, 0]
    assert traces["s/n"][0, :, 0].tolist() == [0, 0, 0, 1]


def test_start_holds_a_layer_back_and_begins_it_anew() -> None:
    neuron = FixedNeuron(threshold=1, v_decay=0, bias=40, start=3)
    graph = Graph((Node("in", Input((1,))), Node("n", neuron, ("in",)), Node("out", Output(), ("n",))))
    traces = Reference().run(graph, np.zeros((1, 7, 1), int), trace=True).traces
    assert traces["s/n"][0, :, 0].tolist() == [0, 0, 0, 0, 1, 0, 1]
    assert traces["v/n"][0, 3:, 0].tolist() == [40, 0, 40, 0]


def test_reset_interval_zeroes_before_the_update() -> None:
    neuron = FixedNeuron(threshold=99, reset_interval=3, reset_offset=4)
    graph = Graph((Node("in", Input((1,))), Node("n", neuron, ("in",)), Node("out", Output(), ("n",))))
    v = Reference().run(graph, np.ones((1, 6, 1), int), trace=True).traces["v/n"][0, :, 0]
    assert v.tolist() == [64, 64, 128, 192, 64, 128]


def test_membrane_readout_and_alignment() -> None:
    weights = Fixed(np.array([[2]]))
    nodes = (
        Node("in", Input((1,))),
        Node("fc", Linear(weights, latency=1, sum=FixedSum()), ("in",)),
        Node("n", FixedNeuron(threshold=99, start=1), ("fc",)),
        Node("out", Output(), ("n",)),
    )
    graph = Graph(nodes)
    x = np.array([[[1], [0], [1]]])
    result = align(Reference().run(graph, pad_steps(x, 1), trace=True), latencies(graph), 3)
    assert result.traces["v/n"][0, :, 0].tolist() == [128, 128, 256]
    li = Graph((Node("in", Input((1,))), Node("n", LI(0.5), ("in",)), Node("out", Output(), ("n",))))
    assert Reference().run(li, x).spikes[0, :, 0].tolist() == [1, 0.5, 1.25]


def test_input_is_checked() -> None:
    graph = Graph((Node("in", Input((2,))), Node("n", LIF(0.5), ("in",)), Node("out", Output(), ("n",))))
    with pytest.raises(CompileError, match=r"input has shape \[1, 3\]; the network takes \(samples, steps, 2\)"):
        Reference().run(graph, np.zeros((1, 3)))
    fixed = Graph(
        (Node("in", Input((1,))), Node("n", FixedNeuron(threshold=1), ("in",)), Node("out", Output(), ("n",)))
    )
    with pytest.raises(CompileError, match="takes whole numbers"):
        Reference().run(fixed, np.full((1, 1, 1), 0.5))
    for value in (1 << 31, -(1 << 31) - 1, 1 << 40, 1e300, np.inf):
        with pytest.raises(CompileError, match="do not fit in 32 bits"):
            Reference().run(fixed, np.full((1, 1, 1), value))
    assert Reference().run(graph, np.zeros((2, 0, 2))).spikes.shape == (2, 0, 2)


@given(st.lists(st.floats(-100, 100), min_size=1), st.floats(0.01, 10), st.integers(1, 8))
def test_analog_input_is_rounded_and_clipped(values: list[float], scale: float, bits: int) -> None:
    sent = encode_input(np.array(values), scale, bits)
    assert np.all(np.abs(sent) <= (1 << bits) - 1)
    inside = np.abs(np.array(values)) <= ((1 << bits) - 1) * scale
    assert np.all(np.abs(sent * scale - values)[inside] <= scale / 2 * (1 + 1e-9))


def test_a_sum_wraps_at_32_bits_before_its_exponent_shifts_it() -> None:
    weights = Fixed(np.full((1, 3), 254), exponent=-4, step=2)
    graph = Graph(
        (
            Node("in", Input((3,), message_bits=24)),
            Node("c", Linear(weights, sum=FixedSum(24)), ("in",)),
            Node("out", Output(), ("c",)),
        )
    )
    total = 3 * 254 * 8_000_000
    wrapped = (total + (1 << 31)) % (1 << 32) - (1 << 31)
    assert wrapped != total
    assert Reference().run(graph, np.full((1, 1, 3), 8_000_000)).spikes.item() == wrapped >> 4
