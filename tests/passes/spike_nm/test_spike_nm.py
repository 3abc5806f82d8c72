"""Tests of the one-shot pass `spike-nm`: the structure it makes, what is chosen, what that loses, what is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ir import Graph
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Conv2d, Flatten, Input, Linear
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.spec import describe, parse
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense, Sparse
from spikec.compiler.weights_grid import Grid
from spikec.compiler.weights_nm import NM, Axis
from spikec.passes import ALL
from spikec.passes.sbc import SBC, SBCQuantize
from spikec.passes.spike_nm import SpikeNM
from tests.passes.sbc.networks import chain, context, convolutional, dense, recurrent, spikes, two_layers

GOLDEN = Path(__file__).parent / "golden"
DATA = {two_layers: (24,), convolutional: (2, 8, 8), recurrent: (10,)}
AXES: tuple[Axis, ...] = ("in", "out")


def lines(weight: np.ndarray, axis: Axis) -> list[np.ndarray]:
    """The lines that blocks lie along, one by one: channels at a position, or outputs of a channel at a position."""
    places = np.ndindex(*(weight.shape[:1] if axis == "in" else weight.shape[1:2]), *weight.shape[2:])
    return [weight[(k, slice(None), *at) if axis == "in" else (slice(None), k, *at)] for k, *at in places]


def most(weight: np.ndarray, m: int, axis: Axis) -> int:
    """The most non-zeros of any block."""
    return max(np.count_nonzero(line[i : i + m]) for line in lines(weight, axis) for i in range(0, len(line), m))


def layer(rng: np.random.Generator, shape: tuple[int, ...], **options) -> Graph:
    """One layer of weights of any shape with neurons of unlike decays and thresholds."""
    lif = LIF(rng.uniform(0.3, 0.95, shape[0]), rng.uniform(0.2, 2.0, shape[0]), reset="value")
    if len(shape) == 2:
        return chain(Input((shape[1],)), Linear(dense(rng, *shape)), lif)
    spread = LIF(*(np.reshape(value, (-1, 1, 1)) for value in (lif.a_mem, lif.v_th)), reset="value")
    return chain(Input((shape[1], 6, 6)), Conv2d(dense(rng, *shape)), spread)


def losses(graph: Graph, options: dict, x: np.ndarray) -> tuple[Graph, list[dict]]:
    facts: list[dict] = []
    made = verify(SpikeNM(**options).run(graph, replace(context(x), fact=facts.append)))
    return made, [row["loss"] for row in facts[0]["layers"]]


@settings(max_examples=25)
@given(st.data())
def test_at_most_n_of_every_block_and_never_worse_than_the_mask_alone(data: st.DataObject) -> None:
    """For any shape, structure and axis; with and without calibration; and a second run changes nothing."""
    m = data.draw(st.integers(2, 8))
    n, axis = data.draw(st.integers(1, m - 1)), data.draw(st.sampled_from(AXES))
    shape = (data.draw(st.integers(m, 14)), data.draw(st.integers(m, 14)), *data.draw(st.sampled_from([(), (3, 2)])))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    graph = layer(rng, shape)
    x = spikes(1, 4, 6, *graph.shapes["input0"])
    x[:, :, rng.random(shape[1]) < 0.2] = 0  # inputs that never come
    x[0, 0, 0] = 1  # but not all of them
    made, (loss,) = losses(graph, {"n": n, "m": m, "axis": axis}, x)
    bare = SpikeNM(n, m, axis).run(graph, context())
    for one in (made, bare):
        weight = one.nodes[1].op.weight
        assert isinstance(weight, NM)
        assert (weight.n, weight.m, weight.axis) == (n, m, axis)
        assert most(weight.decode(), m, axis) <= n
        full = sum(
            min(n, len(line[i : i + m])) for line in lines(weight.decode(), axis) for i in range(0, len(line), m)
        )
        assert np.count_nonzero(weight.decode()) == full
    assert loss["result"] <= loss["mask alone"] * (1 + 1e-6) + 1e-12
    again = SpikeNM(n, m, axis).run(made, context(x))
    assert again is made or dumps(again) == dumps(made)
    plain = Graph(tuple(
        replace(k, op=replace(k.op, weight=Dense(k.op.weight.decode()))) if k.name == made.nodes[1].name else k
        for k in made
    ))  # fmt: skip
    assert dumps(SpikeNM(n, m, axis).run(plain, context(x))) == dumps(made)


@pytest.mark.parametrize("axis", AXES)
def test_without_data_the_largest_of_each_block_stay_as_they_are(axis: Axis) -> None:
    graph = convolutional(2)
    ctx = context()
    skip = ("last",) if axis == "in" else ("last", "conv2d4")  # 3 outputs in a group are no blocks of 2
    made = SpikeNM(1, 2, axis, skip).run(graph, ctx)
    for node in graph.of(Conv2d)[: 2 if axis == "in" else 1]:
        old, new = node.op.weight.decode(), made[node.name].op.weight.decode()
        for before, after in zip(lines(old, axis), lines(new, axis), strict=True):
            for i in range(0, len(before), 2):
                kept = int(np.argmax(np.abs(before[i : i + 2])))
                assert after[i + kept] == before[i + kept]
                assert np.count_nonzero(after[i : i + 2]) == 1
    assert [d.code for d in ctx.remark if d.code == "spike-nm/magnitude"] == ["spike-nm/magnitude"]
    same = SpikeNM(1, 2, axis, skip, method="magnitude").run(graph, context(spikes(0, 4, 6, 2, 8, 8)))
    assert dumps(same) == dumps(made)


@pytest.mark.parametrize("axis", AXES)
def test_a_convolution_is_pruned_as_the_method_says(axis: Axis) -> None:
    """Plain NumPy: the Hessian from patches, greedy over blocks with compensation, then the normal equations."""
    rng, n, m = np.random.default_rng(0), 1, 3
    weight = dense(rng, 5, 4, 2, 2).decode().astype(float)
    graph = chain(Input((4, 5, 5)), Conv2d(Dense(weight.astype("f4"))), LIF(0.6, 0.5, reset="value"))
    weight = weight.astype("f4").astype(float)
    x = spikes(3, 6, 8, 4, 5, 5)
    membrane = np.zeros(x.shape)
    for t in range(8):
        membrane[:, t] = (0.6 * membrane[:, t - 1] if t else 0) + x[:, t]
    patches = np.lib.stride_tricks.sliding_window_view(membrane, (2, 2), axis=(3, 4))  # (N, T, C, y, x, kh, kw)
    z = np.moveaxis(patches, 2, 4).reshape(-1, 16)
    hessian = 2 * z.T @ z / (6 * 16)
    damped = hessian + 0.01 * np.mean(np.diag(hessian)) * np.eye(16)
    rows = weight.reshape(5, 16)
    # a block of each weight, by its output, channel and position
    o, c, k = np.meshgrid(np.arange(5), np.arange(4), np.arange(4), indexing="ij")
    block = np.stack([o if axis == "in" else o // m, c // m if axis == "in" else c, k], axis=-1).reshape(5, 16, 3)
    keep, w, g = np.ones((5, 16), bool), rows.copy(), np.stack([np.linalg.inv(damped)] * 5)
    while True:
        count = {tuple(b): 0 for b in block.reshape(-1, 3).tolist()}
        for b in block[keep].tolist():
            count[tuple(b)] += 1
        open_ = [(r, p) for r, p in np.argwhere(keep).tolist() if count[tuple(block[r, p].tolist())] > n]
        if not open_:
            break
        r, p = min(open_, key=lambda at: w[at] ** 2 / g[at[0], at[1], at[1]])
        w[r] = w[r] - g[r, :, p] * w[r, p] / g[r, p, p]
        g[r] = g[r] - np.outer(g[r, :, p], g[r, p]) / g[r, p, p]
        keep[r, p] = False
    wanted = np.zeros_like(rows)
    for r in range(5):
        wanted[r, keep[r]] = np.linalg.solve(damped[np.ix_(keep[r], keep[r])], damped[keep[r]] @ rows[r])
    made = SpikeNM(n, m, axis).run(graph, context(x)).nodes[1].op.weight.decode().reshape(5, 16)
    np.testing.assert_array_equal(made != 0, keep)
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("build", [two_layers, recurrent])
def test_losses_against_magnitude_and_against_no_structure(build, axis: Axis) -> None:
    """Over seeds: the second order loses less than magnitude, refit or not, and more than pruning without blocks."""
    totals: dict[str, float] = {}
    for seed in range(4):
        graph, facts = build(seed), []
        x = spikes(seed, 12, 10, *DATA[build])
        skip = ("top",) if build is recurrent else ()  # 3 outputs
        _, rows = losses(graph, {"n": 1, "m": 2, "axis": axis, "skip": skip}, x)
        SBC(0.5, allocation="uniform", skip=skip, block=1).run(graph, replace(context(x), fact=facts.append))
        for row, free in zip(rows, facts[0]["layers"], strict=True):
            for name, value in (*row.items(), ("free", free["loss"]["result"])):
                totals[name] = totals.get(name, 0) + value
    assert totals["free"] < totals["result"] < totals["magnitude refit"] < totals["magnitude"]


def test_rows_of_unlike_thresholds_are_weighed_along_the_outputs() -> None:
    """Of two equal rows the one whose neuron counts ten times as much keeps its weights."""
    weight = np.tile(np.linspace(1, 2, 8, dtype=np.float32), (2, 1))
    graph = chain(Input((8,)), Linear(Dense(weight)), LIF(0.5, np.array([1.0, 0.1]), reset="value"))
    made = SpikeNM(1, 2, "out").run(graph, context(spikes(0, 20, 10, 8)))
    kept = np.count_nonzero(made["linear1"].op.weight.decode(), axis=1)
    assert kept[1] > kept[0]
    assert kept.sum() == 8


def test_zeros_stay_and_inputs_that_never_come_give_way() -> None:
    weight = np.full((2, 4), 0.5, np.float32)
    weight[:, 0], weight[0, 1] = 9, 0
    x = spikes(0, 8, 10, 4)
    x[..., 0] = 0
    graph = chain(Input((4,)), Linear(Sparse(Dense(weight))), LIF(0.5, 0.5, reset="value"))
    made = SpikeNM(2, 4, "in").run(graph, context(x))["linear1"].op.weight.decode()
    assert not made[:, 0].any()
    assert made[0, 1] == 0
    assert np.count_nonzero(made) == 4
    made = SpikeNM(1, 2, "out").run(graph, context(x))["linear1"].op.weight.decode()
    assert made[:, 0].tolist() == [9, 0]  # nothing tells the rows apart: the first of the largest
    assert made[0, 1] == 0
    assert made[1, 1] != 0


@pytest.mark.parametrize("build", DATA)
@pytest.mark.parametrize("axis", AXES)
def test_quantizing_what_is_left_keeps_the_structure(build, axis: Axis) -> None:
    graph, ctx = build(1), context(spikes(1, 8, 8, *DATA[build]))
    skip = ",skip=conv2d4" if build is convolutional and axis == "out" else ""
    for step in parse(f"spike-nm{{n=1,m=2,axis={axis}{skip}}},sbc-quantize{{bits=4}}", ALL):
        graph = verify(step.run(graph, ctx))
    for node in graph.of(Linear, Conv2d):
        if skip and node.name == "conv2d4":
            continue
        weight = node.op.weight
        assert isinstance(weight, NM)
        assert isinstance(weight.inner, Grid)
        assert (weight.n, weight.m, weight.axis) == (1, 2, axis)
    assert dumps(loads(dumps(graph))) == dumps(graph)


def test_shared_weights_stay_shared_and_what_is_skipped_stays() -> None:
    weight = dense(np.random.default_rng(0), 8, 8)
    graph = chain(Input((8,)), Linear(weight), LIF(0.5, 0.3, reset="value"), Linear(weight), LIF(0.9, 0.3))
    graph = Graph(tuple(replace(n, origin=replace(n.origin, path="")) for n in graph))
    made = SpikeNM(2, 4).run(graph, context(spikes(0, 8, 10, 8)))
    assert made["linear1"].op.weight is made["linear3"].op.weight
    graph, ctx = two_layers(), context(spikes(0, 8, 10, 24))
    made = SpikeNM(2, 4, skip=("first",)).run(graph, ctx)
    assert made["linear1"] is graph["linear1"]
    assert isinstance(made["linear3"].op.weight, NM)
    assert [d.where for d in ctx.remark if d.code == "spike-nm/skipped"] == [graph["linear1"].where]


def test_resuming_changes_no_bit(tmp_path: Path) -> None:
    graph, x = two_layers(), spikes(0, 8, 10, 24)
    for axis in AXES:
        want = dumps(SpikeNM(1, 4, axis).run(graph, context(x)))
        for _ in range(2):
            assert dumps(SpikeNM(1, 4, axis, resume=str(tmp_path)).run(graph, context(x))) == want


def test_what_cannot_be_is_said_all_at_once() -> None:
    rng = np.random.default_rng(0)
    graph = chain(
        Input((2, 6, 6)),
        Conv2d(dense(rng, 6, 2, 3, 3)),
        LIF(0.5, 0.5),
        Conv2d(dense(rng, 12, 3, 3, 3), groups=2),
        LIF(0.5, 0.5),
        Flatten(),
        Linear(dense(rng, 3, 48)),
        LIF(0.5, 0.5),
    )
    said = []
    for options in (
        {"m": 4, "axis": "in", "padding": False},
        {"m": 4, "axis": "out", "padding": False},
        {"m": 8, "axis": "out", "skip": ("head",)},
        {"m": 4, "axis": "in", "skip": ("conv2d1", "conv2d3"), "compensate": True},
    ):
        step = SpikeNM(**{"n": 2, **options})
        with pytest.raises(CompileError) as error:
            step.run(graph, context())
        said.append(f"{describe(step)}\n{error.value}")
    wide = chain(Input((600,)), Linear(dense(rng, 32, 600)), LIF(0.5, 0.5))
    for axis in AXES:
        step = SpikeNM(8, 32, axis, memory=4)
        with pytest.raises(CompileError) as error:
            step.run(wide, context(spikes(0, 2, 3, 600)))
        said.append(f"{describe(step)}\n{error.value}")
    ctx = context()
    SpikeNM(2, 4, "out", skip=("conv2d3", "linear6")).run(graph, ctx)
    said.append("\n".join(str(d) for d in ctx.remark))
    text = "\n\n".join(said) + "\n"
    path = GOLDEN / "spike-nm-errors.txt"
    assert text == path.read_text(), text


def test_text_form_and_values() -> None:
    (step,) = parse("spike-nm{n=1,m=16,axis=in,skip=first+last,method=obs,padding=false}", ALL)
    assert step == SpikeNM(1, 16, "in", ("first", "last"), "obs", padding=False)
    assert parse(describe(step), ALL) == (step,)
    assert parse("spike-nm", ALL) == (SpikeNM(2, 8, "out"),)
    for text, message in (
        ("n=4,m=4", "N:M needs 0 < N < M <= 32, not 4:4; N counts what is kept"),
        ("n=0,m=4", "N:M needs 0 < N < M <= 32, not 0:4; N counts what is kept"),
        ("n=2,m=33", "N:M needs 0 < N < M <= 32, not 2:33; N counts what is kept"),
        ("axis=both", "axis"),
        ("damping=-1", "damping must be 0 or more, not -1"),
        ("memory=0", "memory must be 1 or more, not 0"),
    ):
        with pytest.raises(CompileError) as error:
            parse(f"spike-nm{{{text}}}", ALL)
        assert message in str(error.value)


def test_float_grids_stay_grids() -> None:
    graph, ctx = two_layers(3), context(spikes(3, 8, 8, 24))
    graph = SpikeNM(2, 4).run(SBCQuantize(4).run(graph, ctx), ctx)
    for node in graph.of(Linear):
        assert isinstance(node.op.weight, NM)
        assert isinstance(node.op.weight.inner, Grid)
