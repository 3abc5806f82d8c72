"""Tests of the pass `sbc` on networks in integers: weights stay on their grid, and everything takes the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.backends.loihi.netfile import write
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import FixedSum, Input, Linear, Output
from spikec.compiler.runner import pad_steps
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.verify import verify
from spikec.compiler.weights import Fixed, Sparse, unwrapped
from spikec.compiler.weights_grid import Grid
from spikec.frontends.netx import lower
from spikec.passes.sbc import SBC
from spikec.passes.sbc.encode import levels_of
from spikec.runtime.engine import Engine
from spikec.runtime.reference import Reference
from tests.passes.networks import conv_net, random_fixed
from tests.passes.sbc.networks import context, spikes


def layer(weight: Fixed, inputs: int = 20) -> Graph:
    """A Loihi layer of one step of latency."""
    nodes = (
        Node("x", Input((inputs,))),
        Node("fc", Linear(weight, latency=1, sum=FixedSum()), ("x",)),
        Node("n", FixedNeuron(threshold=80, v_decay=512, u_decay=2048, start=1), ("fc",)),
        Node("out", Output(), ("n",)),
    )
    return verify(Graph(nodes))


WEIGHTS = {
    "even": lambda rng: Fixed(rng.integers(-100, 120, (7, 20)) * 2, step=2),
    "few bits": lambda rng: Fixed(rng.integers(-4, 4, (7, 20)) * 64, 1, 3, "mixed", 64),
    "excitatory": lambda rng: Fixed(rng.integers(0, 256, (7, 20)), sign="excitatory"),
    "inhibitory": lambda rng: Fixed(-rng.integers(0, 16, (7, 20)), 2, 4, "inhibitory"),
    "exponent a row": lambda rng: Fixed(rng.integers(-100, 120, (7, 20)), np.arange(7) % 3, 8),
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("method", ["sbc", "obs", "magnitude"])
def test_weights_stay_on_their_grid(kind: str, method: str) -> None:
    old = WEIGHTS[kind](np.random.default_rng(0))
    graph, facts = layer(old), []
    ctx = replace(context(spikes(0, 10, 12, 20).astype(np.int32)), fact=facts.append)
    made = verify(SBC(0.6, method=method).run(graph, ctx))
    weight = made["fc"].op.weight
    assert isinstance(weight, Sparse)
    new = unwrapped(weight)
    assert isinstance(new, Fixed)  # which itself refuses what width, step and sign do not hold
    assert (new.width, new.sign, new.step) == (old.width, old.sign, old.step)
    np.testing.assert_array_equal(new.exponent, old.exponent)
    assert np.count_nonzero(new.values == 0) >= int(0.6 * 140)
    assert made["fc"].op.sum == graph["fc"].op.sum
    loss = facts[0]["layers"][0]["loss"]
    if method == "sbc" and kind != "few bits":
        assert loss["result"] < loss["mask alone"]
        assert loss["result"] < loss["magnitude"]


def test_compensated_integers_lose_less_than_rounded_ones() -> None:
    """Rounding the real-valued optimum for the same mask loses more than requantization, summed over ten draws."""
    totals = np.zeros(2)
    for seed in range(10):
        graph = layer(WEIGHTS["few bits"](np.random.default_rng(seed)))
        x = spikes(seed, 10, 12, 20).astype(np.int32)
        new = unwrapped(SBC(0.4).run(graph, context(x))["fc"].op.weight).values.astype(float)
        old = graph["fc"].op.weight.values.astype(float)
        u, v = np.zeros((10, 20)), np.zeros((10, 20))
        rows = []
        for t in range(12):
            u = u * 0.5 + x[:, t]
            v = v * 0.875 + u
            rows.append(v)
        z = np.concatenate(rows)
        hessian = z.T @ z
        damped = hessian + 0.01 * np.mean(np.diag(hessian)) * np.eye(20)
        rounded = np.zeros_like(old)
        for row in range(7):
            k = new[row] != 0
            best = np.linalg.solve(damped[np.ix_(k, k)], damped[k] @ old[row])
            rounded[row, k] = np.clip(np.rint(best / 64), -4, 3) * 64
        for i, made in enumerate((new, rounded)):
            totals[i] += np.einsum("rd,de,re->", made - old, hessian, made - old)
    assert totals[0] < totals[1]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_random_fixed_networks_run_alike_on_reference_and_engine(seed: int) -> None:
    """Skips, recurrence, feedback over delays and constant sources."""
    graph = random_fixed(seed)
    x = spikes(seed, 4, 12, 5).astype(np.int32)
    made = verify(SBC(0.5, block=1).run(graph, context(x)))
    assert dumps(loads(dumps(made))) == dumps(made)
    one, other = Reference().run(made, x, trace=True), Engine().run(made, x, trace=True)
    for name, values in one.traces.items():
        np.testing.assert_array_equal(values, other.traces[name])


def test_a_convolution_in_integers_and_nothing_left_of_a_layer() -> None:
    graph = conv_net(np.random.default_rng(0))
    x = spikes(0, 4, 8, 2, 4, 4).astype(np.int32)
    made = verify(SBC(0.7).run(graph, context(x)))
    empty = Sparse(replace(unwrapped(made["fc"].op.weight), values=np.zeros((3, 32), int)))
    nodes = tuple(replace(n, op=replace(n.op, weight=empty)) if n.name == "fc" else n for n in made)
    for one in (made, verify(Graph(nodes))):
        np.testing.assert_array_equal(Reference().run(one, x).spikes, Engine().run(one, x).spikes)


def test_latency_changes_nothing() -> None:
    graph = layer(WEIGHTS["even"](np.random.default_rng(1)))
    flat = Graph(tuple(
        replace(n, op=replace(n.op, latency=0)) if n.name == "fc" else
        replace(n, op=replace(n.op, start=0)) if n.name == "n" else n for n in graph
    ))  # fmt: skip
    x = spikes(1, 6, 12, 20).astype(np.int32)
    one, other = (SBC(0.6).run(g, context(x))["fc"].op.weight for g in (graph, verify(flat)))
    np.testing.assert_array_equal(one.decode(), other.decode())


def test_a_netfile_holds_the_result(tmp_path) -> None:
    graph = layer(WEIGHTS["even"](np.random.default_rng(2)))
    x = spikes(2, 6, 12, 20).astype(np.int32)
    made = SBC(0.8).run(graph, context(x))
    path = tmp_path / "made.net"
    path.write_bytes(write(made))
    padded = pad_steps(x, 1)
    np.testing.assert_array_equal(Engine().run(lower(path), padded).spikes, Engine().run(made, padded).spikes)


@pytest.mark.parametrize(
    ("grid", "levels"),
    [
        (Grid(np.array([[1, -4], [2, 0]]), np.float32(0.5), 4), [-4, -2, -1, 0, 1, 2, 4]),
        (Grid(np.array([[1, -3], [2, 0]]), np.float32(0.5), 3), list(range(-4, 4))),
        (Grid(np.array([[1, -1], [1, 0]]), np.float32(0.5), 1), [-1, 1]),
        (Grid(np.array([[1, 3], [2, 0]]), np.float32(0.5), 2, "excitatory"), [0, 1, 2, 3]),
    ],
)
def test_codes_stay_codes_of_their_kind(grid: Grid, levels: list[int]) -> None:
    found = levels_of(grid)
    assert found is not None
    assert all(found.levels[sign].tolist() == levels for sign in np.unique(found.sign))
