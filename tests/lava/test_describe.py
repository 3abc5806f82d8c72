"""What describe refuses and how it says so; that it gives the same bytes; the laws of its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.backends.loihi.lavanet import custom_nodes, describe
from spikec.backends.loihi.lavaweights import RANGES, exponent_of, fixed_of, mantissas, unroll
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Op
from spikec.compiler.ops import Conv1d, Conv2d, Delay, FixedSum, Input, Linear, Output, SumPool
from spikec.compiler.weights import Fixed
from spikec.runtime.reference_connection import convolve
from tests.lava.networks import custom, native

SPIKES = FixedSum()
NEURON = FixedNeuron(100, start=1)


def build(size: tuple[int, ...], *parts: tuple[str, Op, tuple[str, ...]]) -> Graph:
    """Put an input before the parts and an Output behind the last."""
    nodes = [Node("in", Input(size)), *(Node(*part) for part in parts), Node("out", Output(), (parts[-1][0],))]
    return Graph(tuple(nodes))


def linear(values: object, exponent: object = 0, latency: int = 1, total: FixedSum = SPIKES, step: int = 1) -> Linear:
    """Make a Linear of mixed weights of up to 12 bits."""
    return Linear(Fixed(np.array(values), exponent, 12, "mixed", step), latency=latency, sum=total)  # type: ignore[arg-type]


FAULTS = {
    "pool": build((1, 4), ("p", SumPool((2,)), ("in",)), ("l", linear([[2, 2]]), ("p",)), ("n", NEURON, ("l",))),
    "no_step": build((2,), ("l", linear([[2, 2]], latency=0), ("in",)), ("n", NEURON, ("l",))),
    "no_connection": build((2,), ("l", linear([[2, 2], [4, 2]]), ("in",)), ("n", NEURON, ("l", "in"))),
    "channel_exponent": build((2,), ("l", linear([[2, 2], [4, 2]], np.array([0, 1])), ("in",)), ("n", NEURON, ("l",))),
    "weight_range": build((2,), ("l", linear([[300, -3], [4, 2]]), ("in",)), ("n", NEURON, ("l",))),
    "delay_range": build((2,), ("d", Delay(70), ("in",)), ("l", linear([[2, 2]]), ("d",)), ("n", NEURON, ("l",))),
    "sum_width": build((2,), ("l", linear([[2, 2]], 4, total=FixedSum(8, 12)), ("in",)), ("n", NEURON, ("l",))),
    "several": build(
        (2,),
        ("l", linear([[300, -3], [4, 2]]), ("in",)),
        ("n", NEURON, ("l",)),
        ("k", linear([[2, 2]], np.array([0]), latency=0), ("n",)),
        ("m", NEURON, ("k",)),
    ),
    "float": Graph((Node("in", Input((2,))), Node("out", Output(), ("in",)))),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_lava_cannot_say_is_refused(name: str, golden: Callable[[str, str], None]) -> None:
    with pytest.raises(CompileError) as caught:
        describe(FAULTS[name])
    golden(f"describe_{name}", str(caught.value))


@pytest.mark.parametrize("seed", range(12))
def test_the_same_graph_gives_the_same_bytes(seed: int) -> None:
    assert describe(native(seed)[0]) == describe(native(seed)[0])


def test_every_custom_neuron_says_why(golden: Callable[[str, str], None]) -> None:
    reasons = sorted(
        {reason for seed in range(40) for given in custom_nodes(custom(seed)[0]).values() for reason in given}
    )
    golden("reasons", "\n".join(reasons))


def test_a_neuron_that_cannot_fire_needs_no_process_of_our_own() -> None:
    silent = replace(NEURON, threshold=1 << 17, reset="subtract", cmp=">=", readout="membrane")
    assert custom_nodes(build((2,), ("l", linear([[2, 2]]), ("in",)), ("n", silent, ("l",)))) == {}


@given(st.data())
def test_mantissas_mean_the_weights_and_survive_lavas_truncation(data: st.DataObject) -> None:
    sign = data.draw(st.sampled_from(("mixed", "excitatory", "inhibitory")))
    step = data.draw(st.sampled_from((1, 2, 4, 16)))
    low, high = Fixed.limits(7, sign, step)
    values = np.array(data.draw(st.lists(st.integers(low // step, high // step), min_size=1, max_size=6))) * step
    weight = Fixed(values[None], data.draw(st.integers(-6, 6)), 7, sign, step)
    node = Node("l", Linear(weight, latency=1, sum=SPIKES), ("in",))
    try:
        found = mantissas(node, fixed_of(node).values)
    except CompileError:
        limit = max(abs(bound) for bound in RANGES[sign])
        odd = values // (values & -values).max(initial=1)
        assert np.abs(values).max() > limit or np.abs(odd).max() > limit / 2
        return
    assert np.array_equal(found.values * 2.0**found.exponent, weight.values * 2.0 ** exponent_of(node))
    low, high = RANGES[found.sign]
    assert found.values.min() >= low
    assert found.values.max() <= high
    dropped = 8 - found.bits + (found.sign == "mixed")
    assert not np.any(found.values % (1 << dropped))


@given(st.data())
def test_an_unrolled_convolution_is_the_convolution(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    rank = data.draw(st.integers(1, 2))
    groups = data.draw(st.integers(1, 2))
    shape = (groups * int(rng.integers(1, 3)), *rng.integers(4, 8, rank).tolist())
    kernel = rng.integers(1, 4, rank).tolist()
    weight = rng.integers(-9, 10, (groups * int(rng.integers(1, 3)), shape[0] // groups, *kernel))
    stride, padding = (
        tuple(rng.integers(1, 3, rank).tolist()),
        tuple(map(tuple, rng.integers(0, 3, (rank, 2)).tolist())),
    )
    kind = Conv1d if rank == 1 else Conv2d
    op = kind(Fixed(weight), None, stride, padding, (), groups, 1, SPIKES)
    x = rng.integers(-5, 6, shape)
    out = np.zeros(int(np.prod(op.shape(shape))), np.int64)
    synapses = unroll(op, shape)
    np.add.at(out, synapses.target, synapses.value * x.reshape(-1)[synapses.source])
    assert np.array_equal(
        out.reshape(op.shape(shape)), convolve(weight, x[None], stride, padding, op.dilation, groups)[0]
    )


def chain(*starts: int, **fields: object) -> Graph:
    """A chain of layers of two neurons that begin at these steps."""
    parts: list[tuple[str, Op, tuple[str, ...]]] = []
    for index, start in enumerate(starts):
        parts.append((f"l{index}", linear([[2, 4], [4, -2]]), (f"n{index - 1}" if index else "in",)))
        parts.append((f"n{index}", FixedNeuron(100, start=start, bias=3, **fields), (f"l{index}",)))  # type: ignore[arg-type]
    return build((2,), *parts)


def resets(graph: Graph) -> object:
    """How the samples of a network are kept apart in Lava."""
    return json.loads(describe(graph)["network.json"])["resets"]


def test_samples_of_a_lowered_chain_are_kept_apart_by_resets_alone() -> None:
    assert resets(chain(1, 2, 3)) == "interval"
    assert resets(chain(2, 4)) == "interval"
    assert resets(chain(1, 1)) == "host"  # what n0 sends at the end of a sample would reach n1 in the next
    assert resets(chain(0)) == "host"
    assert resets(chain(1, 2, v_init=5)) == "host"
    assert not custom_nodes(chain(1, 2, 3))


def test_a_neuron_that_input_reaches_before_its_start_is_our_own() -> None:
    """Where resets do not do it, a native neuron would take in what comes too early, and might fire."""
    assert not custom_nodes(chain(1, 2, v_init=5))
    assert list(custom_nodes(chain(1, 3, v_init=5))) == ["n1"]
    assert list(custom_nodes(chain(2, 3, v_init=5))) == ["n0"]


def two_delays(exponent: int) -> Graph:
    """A connection of graded messages that reads the input now and two steps later."""
    total = FixedSum(8)
    return build(
        (2,),
        ("d", Delay(2), ("in",)),
        ("l", linear([[2, 4], [4, -2]], exponent, total=total), ("in", "d")),
        ("n", NEURON, ("l",)),
    )


def test_a_connection_is_split_only_where_the_sum_is_shifted_left() -> None:
    """Floors of the parts are not the floor of the sum."""
    for exponent, lines in ((2, 0), (0, 0), (-2, 2)):
        document = json.loads(describe(two_delays(exponent))["network.json"])
        assert len(document["delays"]) == lines
        assert len(document["connections"]) == (1 if lines else 2)
    per_element = build(
        (2,), ("d", Delay(np.array([0, 3])), ("in",)), ("l", linear([[2, 4]], -2), ("d",)), ("n", NEURON, ("l",))
    )
    assert len(json.loads(describe(per_element)["network.json"])["delays"]) == 1


def test_synapses_hold_62_steps_and_no_more() -> None:
    def held(steps: int) -> Graph:
        return build((2,), ("d", Delay(steps), ("in",)), ("l", linear([[2, 2]]), ("d",)), ("n", NEURON, ("l",)))

    assert describe(held(62))
    with pytest.raises(CompileError, match="add up to 63 steps; Loihi 2 has 62"):
        describe(held(63))


def test_odd_weights_are_doubled_only_where_the_sum_has_room() -> None:
    def odd(bits: int) -> Graph:
        return build((2,), ("l", linear([[127, -127]], -1, total=FixedSum(bits)), ("in",)), ("n", NEURON, ("l",)))

    assert describe(odd(20))
    with pytest.raises(CompileError, match="do not fit into 8 bits"):
        describe(odd(24))
