"""A response is what the real neuron does below its threshold; neurons that respond alike are found and clustered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.fixed import LOIHI2_ARITHMETIC, FixedNeuron, fpga_arithmetic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import IF, LIF, CubaLIF, Neuron
from spikec.compiler.ops import Input, Output
from spikec.passes.sbc.response import Group, Response, State, distance, farthest, gains, of
from spikec.runtime.reference import Reference
from spikec.runtime.reference_fixed import FixedState

ORDERS = ("none", "decay_add", "add_decay", "add_use_decay")
parts = st.floats(0, 1, width=32)


def membrane(op: Neuron, x: np.ndarray) -> np.ndarray:
    """Give the membrane potential (T,) that the reference has for an input (T,)."""
    nodes = (Node("x", Input((1,), "analog")), Node("n", op, ("x",)), Node("out", Output(), ("n",)))
    run = Reference(np.float64).run(Graph(nodes), x[None, :, None], trace=("n",))
    return run.traces["v/n"].reshape(-1)


def test_the_matrix_of_a_lif_of_tau_2_is_the_published_one() -> None:
    half = Response(0.5).matrix(4) / 2  # the neuron's input gain is 1 / tau
    assert half.tolist() == [[0.5, 0, 0, 0], [0.25, 0.5, 0, 0], [0.125, 0.25, 0.5, 0], [0.0625, 0.125, 0.25, 0.5]]
    filtered = half @ np.array([1, 0, 1, 0])
    assert filtered.tolist() == [0.5, 0.25, 0.625, 0.3125]
    assert 2 * np.sum(filtered**2) == 1.6015625
    assert gains(LIF(0.5, g_in=0.5), (1,)).tolist() == [0.5]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ORDERS), parts, parts, st.floats(-2, 2), st.floats(-2, 2))
def test_the_kernel_is_what_the_reference_does_with_one_input(order, a_mem, a_syn, g_in, g_syn) -> None:
    op = Neuron(a_mem, np.inf, a_syn, order, g_in, g_syn, reset="none")
    impulse = np.zeros(30)
    impulse[0] = 1
    ((response, rows),) = of(op, (1,))
    assert rows.tolist() == [0]
    expected = membrane(op, impulse)
    np.testing.assert_allclose(abs(g_in * g_syn) * response.kernel(30), np.abs(expected), rtol=1e-12, atol=1e-14)
    assert gains(op, (1,)) == pytest.approx(abs(g_in * g_syn))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ORDERS), parts, parts, st.integers(0, 2**32 - 1))
def test_filtering_is_m_times_x_and_its_adjoint_m_transposed(order, a_mem, a_syn, seed) -> None:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, 3, 12, 2, 2))
    response = Response(a_mem, a_syn, order)
    m = response.matrix(12)
    np.testing.assert_allclose(response.filtered(x), np.einsum("ts,ns...->nt...", m, x), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(response.adjoint(z), np.einsum("ts,nt...->ns...", m, z), rtol=1e-10, atol=1e-10)
    assert np.isclose(np.sum(response.filtered(x) * z), np.sum(x * response.adjoint(z)))
    state = State.zero(x[:, 0].shape)
    chunks = [response.filtered(part, state) for part in np.split(x, [5, 6], axis=1)]
    assert np.array_equal(np.concatenate(chunks, axis=1), response.filtered(x))


def test_an_if_neuron_sums_exactly_and_no_neuron_or_no_memory_changes_nothing() -> None:
    ((response, _),) = of(IF(), (3,))
    assert np.array_equal(response.kernel(1000), np.ones(1000))
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    for nothing in (of(None, (3,)), of(LIF(0.0), (3,)), of(CubaLIF(0.0, 0.0), (3,))):
        ((response, rows),) = nothing
        assert response.identity
        assert np.array_equal(rows, np.arange(3))
        assert np.array_equal(response.filtered(x), x)
        assert np.array_equal(response.adjoint(x), x)
        assert np.array_equal(response.matrix(4), np.eye(4))


FIXED = st.one_of(
    st.builds(
        lambda v, u: FixedNeuron(1, v_decay=v, u_decay=u, arithmetic=LOIHI2_ARITHMETIC),
        st.integers(0, 4096), st.one_of(st.none(), st.integers(0, 4096)),
    ),
    st.builds(lambda v: FixedNeuron(1, v_decay=v, arithmetic=fpga_arithmetic(24)), st.integers(0, 4096)),
    st.builds(lambda v: FixedNeuron(1, v_decay=v, arithmetic=fpga_arithmetic(24, "shift")), st.integers(0, 12)),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(FIXED, st.integers(-2000, 2000))
def test_a_fixed_neuron_responds_as_its_decays_say_but_for_rounding(op: FixedNeuron, size: int) -> None:
    steps = 40
    never = FixedNeuron(
        (1 << 23) >> op.arithmetic.threshold_exp, v_decay=op.v_decay, u_decay=op.u_decay, arithmetic=op.arithmetic
    )
    state = FixedState(never, (1, 1))
    ((response, _),) = of(op, (1,))
    expected = gains(op, (1,)) * size * response.kernel(steps)
    lost_u = lost_v = 0.0
    for t in range(steps):
        state.step(t, np.full((1, 1), size if t == 0 else 0))
        lost_u = response.a_syn * lost_u + 1  # a decay rounds toward zero, by less than 1
        lost_v = response.a_mem * lost_v + 1 + lost_u
        assert abs(float(state.v.item()) - expected[t]) < lost_v


def test_rows_are_grouped_by_equal_decays() -> None:
    op = CubaLIF(np.array([0.5, 0.25, 0.5, 0.5]), np.array([0.9, 0.9, 0.9, 0.8]))
    groups = of(op, (4,))
    assert [(g.response, g.rows.tolist()) for g in groups] == [
        (Response(0.8, 0.5, "decay_add"), [3]),
        (Response(0.9, 0.25, "decay_add"), [1]),
        (Response(0.9, 0.5, "decay_add"), [0, 2]),
    ]
    assert farthest(op, (4,), groups) == 0
    spread = LIF(np.array([0.5, 0.75]).reshape(2, 1, 1))
    assert [(g.response.a_mem, g.rows.tolist()) for g in of(spread, (2, 3, 3))] == [(0.5, [0]), (0.75, [1])]
    last = LIF(np.array([0.5, 0.75]))
    assert [(g.response.a_mem, g.rows.tolist()) for g in of(last, (3, 2), axis=-1)] == [(0.5, [0]), (0.75, [1])]


def test_a_row_of_unlike_neurons_has_the_decays_of_its_median_and_that_is_told() -> None:
    op = LIF(np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3]]))
    groups = of(op, (2, 3))
    assert [(g.response.a_mem, g.rows.tolist()) for g in groups] == [(0.3, [1]), (0.5, [0])]
    assert farthest(op, (2, 3), groups) == pytest.approx(distance(Response(0.5), Response(0.9)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_too_many_responses_are_clustered_by_farthest_points(limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    op = CubaLIF(rng.random(12).round(2), rng.random(12).round(2))
    groups = of(op, (12,), limit=limit)
    assert len(groups) <= limit
    assert sorted(np.concatenate([g.rows for g in groups]).tolist()) == list(range(12))
    own = of(op, (12,), limit=12)
    assert {g.response for g in groups} <= {g.response for g in own}
    chosen = [g.response for g in groups]
    worst = 0.0
    for group in groups:
        for each, rows in own:
            if np.isin(rows, group.rows).any():
                assert distance(each, group.response) == min(distance(each, r) for r in chosen)
                worst = max(worst, distance(each, group.response))
    assert farthest(op, (12,), groups) == pytest.approx(worst)
    gap = min((distance(a, b) for a in chosen for b in chosen if a != b), default=2.0)
    assert worst <= gap + 1e-12  # the bound of farthest-point clustering: twice the best radius there is


def test_the_response_that_most_rows_have_stands_first() -> None:
    op = LIF(np.array([0.9, 0.5, 0.5, 0.51, 0.2]))
    assert [(g.response.a_mem, g.rows.tolist()) for g in of(op, (5,), limit=1)] == [(0.5, [0, 1, 2, 3, 4])]
    groups = of(op, (5,), limit=2)
    assert [(g.response.a_mem, g.rows.tolist()) for g in groups] == [(0.5, [1, 2, 3, 4]), (0.9, [0])]
    with pytest.raises(ValueError, match="the limit is 0"):
        of(op, (5,), limit=0)


def test_gains_are_by_row_and_the_root_mean_square_of_unlike_ones() -> None:
    assert gains(LIF(0.5, g_in=np.array([2.0, -3.0]), g_syn=0.5), (2,)).tolist() == [1.0, 1.5]
    assert gains(LIF(0.5, g_in=np.array([[3.0, 4.0]])), (1, 2)).tolist() == [pytest.approx(12.5**0.5)]
    assert gains(FixedNeuron(1), (2,)).tolist() == [64.0, 64.0]
    assert gains(None, (2,)).tolist() == [1.0, 1.0]
    assert isinstance(of(None, (2,))[0], Group)
