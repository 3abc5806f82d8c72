"""Tests of the pass `sbc-quantize`: few levels, masks kept, scales that go together, nothing rounded a second time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.backends.loihi.backend import TARGET
from spikec.compiler.diagnostics import CompileError, Findings
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Conv2d, Linear
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.spec import describe, parse
from spikec.compiler.verify import verify
from spikec.compiler.weights import Fixed, Sparse, unwrapped
from spikec.compiler.weights_grid import Grid
from spikec.passes import ALL
from spikec.passes.quantize import Quantize
from spikec.passes.sbc import SBC, SBCQuantize
from spikec.runtime.engine import Engine
from spikec.runtime.reference import Reference
from tests.passes.networks import conv_net, random_fixed
from tests.passes.sbc.networks import context, convolutional, recurrent, spikes, two_layers
from tests.passes.sbc.test_sbc_fixed import WEIGHTS, layer

DATA = {two_layers: (24,), convolutional: (2, 8, 8), recurrent: (10,)}


def weights(graph: Graph) -> dict:
    return {n.name: n.op.weight for n in graph.of(Linear, Conv2d)}


@pytest.mark.parametrize("build", DATA)
@pytest.mark.parametrize("bits", [1, 2, 3, 8])
@pytest.mark.parametrize("grid", ["symmetric", "power2"])
def test_floats_become_codes(build, bits: int, grid: str) -> None:
    graph = build(0)
    made = verify(SBCQuantize(bits, grid=grid).run(graph, context(spikes(0, 12, 10, *DATA[build]))))
    assert dumps(loads(dumps(made))) == dumps(made)
    for name, weight in weights(made).items():
        assert isinstance(weight, Grid)
        assert weight.decode().dtype == graph[name].op.weight.decode().dtype
        rows = weight.codes.reshape(weight.shape[0], -1)
        assert all(len(np.unique(row)) <= 2**bits for row in rows)
        if grid == "power2" and bits > 1:
            sizes = np.abs(rows[rows != 0])
            assert np.all(sizes & (sizes - 1) == 0)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_compensation_beats_rounding(bits: int) -> None:
    """In sum over networks; `obs` measures by M = I, in which it wins as well."""
    for method in ("sbc", "obs"):
        totals = np.zeros(2)
        for seed in range(6):
            facts: list = []
            ctx = replace(context(spikes(seed, 20, 10, 24)), fact=facts.append)
            SBCQuantize(bits, method=method).run(two_layers(seed), ctx)
            for row in facts[0]["layers"]:
                totals += row["loss"]["result"], row["loss"]["nearest level"]
        assert totals[0] < totals[1] * (0.8 if method == "sbc" else 1)  # M = I: inputs that hardly correlate


def test_rounding_alone_needs_no_data_and_is_the_nearest_level() -> None:
    found = Findings()
    made = SBCQuantize(3, method="rtn").run(two_layers(), replace(context(), remark=found))
    assert next(iter(found)).code == "sbc-quantize/not-measured"
    old = two_layers()["linear1"].op.weight.decode()
    weight = made["linear1"].op.weight
    scale = 2 * np.abs(old).max(axis=1) / 7
    np.testing.assert_allclose(weight.scales, scale, rtol=1e-6)
    wanted = np.clip(np.rint(old / weight.scales[:, None]), -4, 3)
    np.testing.assert_array_equal(weight.codes, wanted)
    measured = SBCQuantize(3, method="rtn").run(two_layers(), context(spikes(0, 5, 5, 24)))
    assert dumps(measured) == dumps(made)


@pytest.mark.parametrize("build", DATA)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_pruned_weights_stay_pruned(build, bits: int) -> None:
    x = spikes(1, 12, 10, *DATA[build])
    sparse = SBC(0.7).run(build(1), context(x))
    made = verify(SBCQuantize(bits).run(sparse, context(x)))
    for name, weight in weights(made).items():
        old = weights(sparse)[name]
        assert isinstance(weight, Sparse)
        assert isinstance(weight.inner, Grid)
        assert np.all(weight.decode()[old.decode() == 0] == 0)
        assert weight.bits < old.bits


@pytest.mark.parametrize("seed", range(4))
def test_weights_into_one_population_have_scales_powers_of_two_apart(seed: int) -> None:
    made = SBCQuantize(4).run(recurrent(seed), context(spikes(seed, 12, 10, 10)))
    scales = np.log2([weights(made)[name].scales for name in ("fc", "slow", "rec")])
    for other in scales[1:]:
        np.testing.assert_allclose(other - scales[0], np.rint(other - scales[0]), atol=1e-12)
    assert np.any(np.abs(np.diff(scales[0])) % 1 > 1e-3)  # rows are free


@pytest.mark.parametrize("scale", ["auto", "layer"])
@pytest.mark.parametrize("build", DATA)
def test_a_target_holds_the_codes_as_they_are(build, scale: str) -> None:
    """`quantize` warns of no second rounding; its integers are the codes times powers of two, row by row."""
    found = Findings()
    ctx = replace(context(spikes(2, 12, 10, *DATA[build])), target=TARGET, remark=found)
    graph = ALL["fold"]().run(build(2), ctx)
    codes = SBCQuantize(3, scale=scale).run(graph, ctx)
    made = verify(Quantize().run(codes, ctx))
    assert "quantize/rounded-again" not in {d.code for d in found}
    for name, weight in weights(codes).items():
        if name not in made:
            continue
        whole = unwrapped(made[name].op.weight).values.reshape(weight.shape[0], -1).astype(float)
        grid = unwrapped(weight).codes.reshape(weight.shape[0], -1)
        np.testing.assert_array_equal(whole != 0, grid != 0)
        ratio = np.abs(whole[grid != 0] / grid[grid != 0])
        np.testing.assert_array_equal(np.log2(ratio), np.rint(np.log2(ratio)))


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("target", [None, TARGET])
def test_integers_get_fewer_levels_of_the_same_unit(kind: str, bits: int, target) -> None:
    graph = layer(WEIGHTS[kind](np.random.default_rng(3)))
    x = spikes(3, 10, 12, 20).astype(np.int32)
    made = verify(SBCQuantize(bits).run(graph, replace(context(x), target=target)))
    old, new = (unwrapped(g["fc"].op.weight) for g in (graph, made))
    assert isinstance(new, Fixed)
    meant = new.values * 2.0 ** np.reshape(new.exponent, (-1, 1))
    before = old.values * 2.0 ** np.reshape(old.exponent, (-1, 1))
    for row, was in zip(meant, before, strict=True):
        assert len(np.unique(row[was != 0])) <= 2**bits
    assert np.all(meant[before == 0] == 0)
    assert new.sign == old.sign
    assert new.bits <= old.bits
    padded = np.concatenate([x, np.zeros_like(x[:, :1])], axis=1)
    np.testing.assert_array_equal(Reference().run(made, padded).spikes, Engine().run(made, padded).spikes)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_random_fixed_networks_are_taken(seed: int) -> None:
    graph = random_fixed(seed)
    x = spikes(seed, 4, 12, 5).astype(np.int32)
    made = verify(SBCQuantize(3).run(graph, replace(context(x), target=TARGET)))
    np.testing.assert_array_equal(Reference().run(made, x).spikes, Engine().run(made, x).spikes)


def test_convolutions_in_integers_have_no_exponent() -> None:
    graph = conv_net(np.random.default_rng(0))
    x = spikes(0, 4, 8, 2, 4, 4).astype(np.int32)
    made = verify(SBCQuantize(3).run(graph, replace(context(x), target=TARGET)))
    assert all(unwrapped(made[n].op.weight).exponent == 0 for n in ("c1", "c2", "skip"))


def test_text_form_and_values() -> None:
    (prune, step) = parse("sbc{sparsity=0.9},sbc-quantize{bits=2,grid=power2,search=mse,workers=2}", ALL)
    assert step == SBCQuantize(2, grid="power2", search="mse", workers=2)
    assert (describe(prune), describe(step)) == ("sbc{sparsity=0.9}", "sbc-quantize{bits=2,grid=power2,search=mse}")
    for bits in (0, 9):
        with pytest.raises(CompileError, match=rf"bits must lie in 1..8, not {bits}"):
            parse(f"sbc-quantize{{bits={bits}}}", ALL)


def test_what_cannot_be_done_is_told_at_once(golden) -> None:
    good = spikes(0, 4, 10, 24)
    narrow = replace(TARGET, name="narrow", weight_bits=4)
    cases = {
        "no data": (SBCQuantize(4), context()),
        "silent": (SBCQuantize(4), context(0 * good)),
        "another shape": (SBCQuantize(4), context(good[..., :20])),
        "bits and names": (SBCQuantize(5, skip=("fc9",)), context(good, target=narrow)),
    }
    texts = []
    for name, (step, ctx) in cases.items():
        with pytest.raises(CompileError) as error:
            step.run(two_layers(), ctx)
        texts.append(f"# {name}\n{error.value}\n")
    golden("sbc-quantize-errors", "\n".join(texts))


def test_integers_that_are_narrow_already_stay() -> None:
    graph = layer(WEIGHTS["few bits"](np.random.default_rng(0)))
    found = Findings()
    ctx = replace(context(spikes(0, 5, 5, 20).astype(np.int32)), remark=found)
    assert SBCQuantize(3).run(graph, ctx) is graph
    assert [d.code for d in found] == ["sbc-quantize/nothing"]
