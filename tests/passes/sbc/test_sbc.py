"""Tests of the pass `sbc` on float networks: what is pruned, what it becomes, what is told."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest

from spikec.compiler.diagnostics import CompileError, Findings
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Conv2d, Delay, Input, Linear, Output
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.spec import describe, parse
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense, Sparse
from spikec.compiler.weights_nm import NM
from spikec.passes import ALL
from spikec.passes.sbc import SBC, SBCQuantize, plan, report, tasks
from spikec.passes.sbc.allocation import removed
from spikec.passes.sbc.collect import collect
from spikec.passes.sbc.kernels import keep_solve
from spikec.passes.sbc.operations import Work, fan_out, work
from spikec.passes.sbc.report import measure
from spikec.passes.spike_nm import SpikeNM
from spikec.runtime.reference import Reference
from tests.passes.sbc.networks import chain, context, convolutional, dense, recurrent, spikes, two_layers

DATA = {
    two_layers: (24,),
    convolutional: (2, 8, 8),
    recurrent: (10,),
}


def pruned(build, seed: int = 0, *, sparsity: float = 0.7, **options) -> tuple[Graph, Graph]:
    graph = build(seed)
    return graph, verify(SBC(sparsity, **options).run(graph, context(spikes(seed, 12, 10, *DATA[build]))))


def matrices(graph: Graph) -> dict[str, np.ndarray]:
    return {
        n.name: np.asarray(n.op.weight.decode(), np.float64).reshape(n.op.weight.shape[0], -1)
        for n in graph.of(Linear, Conv2d)
    }


@pytest.mark.parametrize("build", DATA)
@pytest.mark.parametrize("seed", range(3))
def test_every_layer_loses_what_allocation_says(build, seed: int) -> None:
    graph, made = pruned(build, seed)
    number = removed(matrices(graph), 0.7)
    for name, matrix in matrices(made).items():
        assert np.count_nonzero(matrix == 0) == number[name]
        assert isinstance(made[name].op.weight, Sparse)
    for one, other in zip(graph, made, strict=True):
        assert (one.name, one.inputs, one.origin) == (other.name, other.inputs, other.origin)
        assert getattr(one.op, "bias", None) is getattr(other.op, "bias", None)


def test_a_matrix_is_pruned_as_the_method_says() -> None:
    """Plain NumPy from methods.md 1.3 to 1.7 for the first layer, filter by filter and column by column."""
    graph, made = pruned(two_layers, 3, layers={"linear1": 0.6}, sparsity=0.5, block=1)
    x = spikes(3, 12, 10, 24).astype(np.float64)
    old = matrices(graph)["linear1"]
    membrane = np.zeros_like(x)
    for t in range(10):
        membrane[:, t] = (membrane[:, t - 1] * 0.75 if t else 0) + x[:, t]
    z = membrane.reshape(-1, 24)
    hessian = 2 * z.T @ z / 12
    damped = hessian + 0.01 * np.mean(np.diag(hessian)) * np.eye(24)
    losses = np.zeros_like(old)
    for row, weights in enumerate(old):
        left, w, g = list(range(24)), weights.copy(), np.linalg.inv(damped)
        while left:
            p = min(left, key=lambda i: w[i] ** 2 / g[i, i])
            losses[row, p] = w[p] ** 2 / g[p, p]
            w = w - g[:, p] * w[p] / g[p, p]
            g = g - np.outer(g[:, p], g[p]) / g[p, p]
            left.remove(p)
    number = int(0.6 * old.size)
    keep = np.ones(old.size, bool)
    keep[np.argsort(losses.reshape(-1), kind="stable")[:number]] = False
    keep = keep.reshape(old.shape)
    wanted = np.zeros_like(old)
    for row in range(len(old)):
        k, p = keep[row], ~keep[row]
        wanted[row, k] = old[row, k] + np.linalg.solve(damped[np.ix_(k, k)], damped[np.ix_(k, p)] @ old[row, p])
    np.testing.assert_allclose(matrices(made)["linear1"], wanted, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(matrices(made)["linear1"] != 0, keep)


def test_inputs_of_a_recurrent_and_a_delayed_connection_come_late() -> None:
    """The compensation of `rec` sees the spikes of the step before, that of `slow` the input of two steps before."""
    graph = recurrent(1)
    x = spikes(1, 12, 10, 10)
    sent = Reference().run(graph, x, trace=("n",)).traces["s/n"].astype(np.float64)
    made = matrices(SBC(0.5).run(graph, context(x)))
    for name, given, late in (("rec", sent, 1), ("slow", x.astype(np.float64), 2)):
        moved = np.zeros_like(given)
        moved[:, late:] = given[:, :-late]
        membrane = np.zeros_like(moved)
        for t in range(10):
            membrane[:, t] = (membrane[:, t - 1] * 0.8 if t else 0) + moved[:, t]
        z = membrane.reshape(-1, given.shape[-1])
        damped = z.T @ z
        damped += 0.01 * np.mean(np.diag(damped)) * np.eye(len(damped))
        old, new = matrices(graph)[name], made[name]
        for row in range(len(old)):
            k = new[row] != 0
            best = np.linalg.solve(damped[np.ix_(k, k)], damped[k] @ old[row])
            np.testing.assert_allclose(new[row, k], best, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", DATA)
def test_losses_never_rise_by_compensation_and_the_report_adds_up(build) -> None:
    graph, facts = build(5), []
    made = SBC(0.8).run(graph, replace(context(spikes(5, 12, 10, *DATA[build])), fact=facts.append))
    (report,) = facts
    for row in report["layers"]:
        loss = row["loss"]
        assert loss["result"] <= loss["mask alone"] * (1 + 1e-9)
        assert loss["magnitude refit"] <= loss["magnitude"] * (1 + 1e-9)
        assert row["zeros"] == np.count_nonzero(made[row["layer"]].op.weight.decode() == 0)
        assert row["bits"] == made[row["layer"]].op.weight.bits
    assert report["total"]["sops"] == sum(row["sops"] for row in report["layers"])
    assert report["total"]["weights"] == sum(m.size for m in matrices(graph).values())


def test_spikes_that_differ_are_counted_once_for_each_population() -> None:
    graph, facts = recurrent(2), []
    x = spikes(2, 12, 10, 10)
    made = SBC(0.6).run(graph, replace(context(x), fact=facts.append))
    one = Reference().run(graph, x, trace=("n", "m")).traces
    other = Reference().run(made, x, trace=("n", "m")).traces
    differing = sum(np.count_nonzero(one[f"s/{name}"] != other[f"s/{name}"]) for name in "nm")
    assert facts[0]["total"]["spikes_differing"] == differing


def test_methods_and_options_change_what_they_name() -> None:
    dense_, _ = pruned(two_layers)
    plain = matrices(pruned(two_layers, method="magnitude")[1])
    for name, old in matrices(dense_).items():
        kept = plain[name] != 0
        np.testing.assert_array_equal(plain[name][kept], old[kept])
        assert np.abs(old[~kept]).max() <= np.abs(old[kept]).min()
    bare = matrices(pruned(two_layers, compensate=False)[1])
    full = matrices(pruned(two_layers)[1])
    for name, old in matrices(dense_).items():
        np.testing.assert_array_equal(bare[name] != 0, full[name] != 0)
        np.testing.assert_array_equal(bare[name][bare[name] != 0], old[bare[name] != 0])
    even = matrices(pruned(two_layers, sparsity=0.5, allocation="uniform")[1])
    assert all(np.count_nonzero(m == 0) == m.size // 2 for m in even.values())
    graph, some = pruned(two_layers, skip=("first",))
    assert some["linear1"] is graph["linear1"]
    assert isinstance(some["linear3"].op.weight, Sparse)


def test_exact_obs_is_sbc_where_membranes_keep_nothing() -> None:
    graph = chain(Input((16,)), Linear(dense(np.random.default_rng(0), 6, 16)), LIF(0.0, 0.5, reset="value"))
    x = spikes(0, 8, 10, 16)
    one, other = (SBC(0.6, method=method).run(graph, context(x)) for method in ("sbc", "obs"))
    assert dumps(one) == dumps(other)


@pytest.mark.parametrize("build", DATA)
def test_memory_does_not_change_what_comes_out(build) -> None:
    graph, x = build(4), spikes(4, 12, 10, *DATA[build])
    wide, narrow = (matrices(SBC(0.7, memory=memory).run(graph, context(x))) for memory in (2048, 1))
    for name in wide:
        np.testing.assert_array_equal(wide[name] != 0, narrow[name] != 0)
        np.testing.assert_allclose(wide[name], narrow[name], rtol=1e-5, atol=1e-7)


def test_zeros_stay_and_count_and_structures_stay() -> None:
    rng = np.random.default_rng(0)
    values = dense(rng, 6, 16).values.copy()
    values[:, ::2] = 0
    graph = chain(Input((16,)), Linear(NM(Dense(values), 2, 4, "in")), LIF(0.5, 0.5, reset="value"))
    for sparsity, zeros in ((0.25, 48), (0.75, 72)):
        made = SBC(sparsity).run(graph, context(spikes(0, 8, 10, 16)))
        weight = made["linear1"].op.weight
        assert isinstance(weight, NM)
        assert np.all(weight.decode()[:, ::2] == 0)
        assert np.count_nonzero(weight.decode() == 0) == zeros


def test_shared_weights_stay_shared() -> None:
    """Two layers of one matrix are pruned for both: the Hessian is the mean of theirs."""
    weight = dense(np.random.default_rng(0), 8, 8)
    graph = chain(Input((8,)), Linear(weight), LIF(0.5, 0.3, reset="value"), Linear(weight), LIF(0.9, 0.3))
    nodes = tuple(replace(n, origin=replace(n.origin, path="")) for n in graph)
    graph = Graph(nodes)
    facts: list = []
    made = SBC(0.5).run(graph, replace(context(spikes(0, 8, 10, 8)), fact=facts.append))
    assert made["linear1"].op.weight is made["linear3"].op.weight
    assert facts[0]["total"]["weights"] == 64
    alone = SBC(0.5).run(chain(*(n.op for n in graph.nodes[:3])), context(spikes(0, 8, 10, 8)))
    assert np.any(alone["linear1"].op.weight.decode() != made["linear1"].op.weight.decode())


def test_a_layer_may_lose_everything() -> None:
    graph, made = pruned(two_layers, sparsity=0.5, layers=("linear3:0.999",))
    assert np.count_nonzero(made["linear3"].op.weight.decode()) <= 1
    zero = Graph(tuple(
        replace(n, op=replace(n.op, weight=Sparse(Dense(np.zeros(n.op.weight.shape, np.float32)))))
        if n.name == "linear3" else n for n in graph
    ))  # fmt: skip
    again = verify(SBC(0.5).run(zero, context(spikes(0, 12, 10, 24))))
    assert not np.any(again["linear3"].op.weight.decode())
    assert dumps(loads(dumps(again))) == dumps(again)


def test_operations_are_counted_by_running_each_spike_alone() -> None:
    """A spike's fan-out is how many outputs of a connection of ones it reaches, counted by running it."""
    rng = np.random.default_rng(0)
    mask = (rng.random((4, 2, 3, 2)) < 0.5).astype(np.float32)
    op = Conv2d(Dense(mask), stride=(2, 1), padding=((1, 0), (1, 2)), dilation=(1, 2), groups=2)
    fan = fan_out(op, (4, 6, 5))
    graph = Graph((Node("x", Input((4, 6, 5))), Node("c", op, ("x",)), Node("out", Output(), ("c",))))
    for place in np.ndindex(4, 6, 5):
        one = np.zeros((1, 1, 4, 6, 5), np.float32)
        one[(0, 0, *place)] = 1
        assert fan[place] == Reference().run(graph, one).spikes.sum()
    given = rng.integers(0, 3, (3, 4, 4, 6, 5)).astype(np.float32)
    assert work(op, given, analog=False) == Work(sops=int((given.sum(axis=(0, 1)) * fan).sum()))
    assert work(op, given, analog=True) == Work(macs=int(fan.sum()) * 12)


def test_text_form_and_values() -> None:
    (step,) = parse("sbc{sparsity=0.9,layers=fc1:0.5+conv*:0.8,skip=first+last,compensate=false,method=obs}", ALL)
    assert step == SBC(0.9, layers={"fc1": 0.5, "conv*": 0.8}, skip=("first", "last"), compensate=False, method="obs")
    assert parse(describe(step), ALL) == (step,)
    for text, said in (
        ("sparsity=1", "sparsity must lie in [0, 1), not 1"),
        ("sparsity=-0.1", "sparsity must lie in [0, 1), not -0.1"),
        ("sparsity=nan", "sparsity must lie in [0, 1), not nan"),
        ("sparsity=0.5,layers=fc1", "'fc1' is not LAYER:SPARSITY, such as fc1:0.5"),
        ("sparsity=0.5,layers=fc1:2", "the sparsity of 'fc1' must lie in [0, 1), not 2"),
        ("sparsity=0.5,damping=-1", "damping must be 0 or more, not -1"),
        ("sparsity=0.5,power=0", "power must be above 0, not 0"),
        ("sparsity=0.5,memory=0", "memory must be 1 or more, not 0"),
    ):
        with pytest.raises(CompileError, match="bad-option") as error:
            parse(f"sbc{{{text}}}", ALL)
        assert said in str(error.value)
    with pytest.raises(CompileError, match=r"needs the option 'sparsity'"):
        parse("sbc", ALL)


def test_what_cannot_be_done_is_told_at_once(golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)  # threads are part of the memory
    graph = two_layers()
    rows = np.arange(48).reshape(4, 12) % 5
    uneven = Graph(tuple(
        replace(n, op=replace(n.op, delays=rows)) if n.name == "linear3" else n for n in graph
    ))  # fmt: skip
    good = spikes(0, 4, 10, 24)
    cases = {
        "no data": (SBC(0.5), graph, context()),
        "no runner": (SBC(0.5), graph, context(good, runner=None)),
        "no samples": (SBC(0.5), graph, context(good[:0])),
        "no steps": (SBC(0.5), graph, context(good[:, :0])),
        "silent": (SBC(0.5), graph, context(0 * good)),
        "another shape": (SBC(0.5), graph, context(good[..., :20])),
        "not finite": (SBC(0.5), graph, context(np.where(good, np.inf, 0))),
        "names and delays": (SBC(0.5, skip=("fc9",), layers={"conv*": 0.5}), uneven, context(good)),
        "nothing left": (SBC(0.5, skip=("first", "last")), graph, context(good)),
        "no weights": (SBC(0.5), chain(Input((24,)), LIF(0.5)), context(good)),
        "little memory": (SBC(0.5, memory=1), wide(), context(spikes(0, 2, 3, 400))),
    }
    texts = []
    for name, (step, given, ctx) in cases.items():
        with pytest.raises(CompileError) as error:
            step.run(given, ctx)
        texts.append(f"# {name}\n{error.value}\n")
    golden("sbc-errors", "\n".join(texts))


def wide() -> Graph:
    return chain(Input((400,)), Linear(dense(np.random.default_rng(0), 2, 400)), LIF(0.5))


def test_remarks(golden) -> None:
    """A layer left out, one that nothing reaches on the samples, delays and decays that differ: each is named."""
    rng = np.random.default_rng(0)
    decays = np.linspace(0.1, 0.9, 12)
    nodes = (
        Node("x", Input((6,))),
        Node("a", Linear(dense(rng, 12, 6)), ("x",)),
        Node("late", Delay(np.arange(12) % 3), ("a",)),
        Node("n", LIF(decays, 0.3, reset="value"), ("late",)),
        Node("b", Linear(dense(rng, 4, 12)), ("n",)),
        Node("m", LIF(0.5, 100.0, reset="value"), ("b",)),
        Node("c", Linear(dense(rng, 2, 4)), ("m",)),
        Node("k", LIF(0.5, 0.5, reset="value"), ("c",)),
        Node("out", Output(), ("k",)),
    )
    found = Findings()
    SBC(0.5, skip=("b",)).run(verify(Graph(nodes)), replace(context(spikes(0, 8, 6, 6)), remark=found))
    golden("sbc-remarks", "\n".join(map(str, found)))


def test_without_data_magnitude_is_told_to_be_unmeasured() -> None:
    found = Findings()
    ctx = replace(context(), remark=found)
    made = SBC(0.5, method="magnitude").run(two_layers(), ctx)
    assert [d.code for d in found] == ["sbc/not-measured", "sbc/layer", "sbc/layer"]
    assert sum(np.count_nonzero(m == 0) for m in matrices(made).values()) == (24 * 12 + 12 * 4) // 2


def test_rows_count_in_units_of_their_thresholds() -> None:
    """Weights and threshold of each neuron times a power of two: the same network, so the same mask."""
    rng = np.random.default_rng(0)
    weight, factor = dense(rng, 8, 16).values, 2.0 ** rng.integers(-3, 4, 8).astype(np.float32)
    x = spikes(0, 8, 10, 16)
    one, other = (
        SBC(0.6).run(chain(Input((16,)), Linear(Dense(w)), LIF(0.5, th, reset="value")), context(x))
        for w, th in ((weight, np.full(8, 0.5)), (weight * factor[:, None], 0.5 * factor.astype(float)))
    )
    values = [made["linear1"].op.weight.decode() for made in (one, other)]
    np.testing.assert_array_equal(values[0] != 0, values[1] != 0)
    np.testing.assert_allclose(values[0] * factor[:, None], values[1], rtol=1e-6)
    gained = chain(Input((16,)), Linear(Dense(weight)), LIF(0.5, np.full(8, 0.5), g_in=factor.astype(float)))
    scaled = chain(Input((16,)), Linear(Dense(weight * factor[:, None])), LIF(0.5, np.full(8, 0.5)))
    masks = [SBC(0.6).run(g, context(x))["linear1"].op.weight.decode() != 0 for g in (gained, scaled)]
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize(
    "step",
    [
        SBC(0.5, memory=2),
        SBCQuantize(3, memory=2),
        SpikeNM(2, 4, "in", memory=2),
        SpikeNM(1, 2, "out", memory=2),
    ],
    ids=describe,
)
def test_hessians_of_a_batch_are_gone_when_the_next_are_made(step, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    matrices = [Linear(dense(rng, 180, 180)) for _ in range(3)]
    graph = chain(Input((180,)), *(op for one in matrices for op in (one, LIF(0.5, 0.5, reset="value"))))
    held: list[weakref.ref] = []
    batches = []

    def collected(*args):
        assert not [one for one in held if one() is not None]
        made = collect(*args)
        batches.append(len(made))
        held.extend(weakref.ref(part.hessian) for parts in made.values() for part in parts)
        return made

    def measured(*args):
        assert not [one for one in held if one() is not None]
        return measure(*args)

    monkeypatch.setattr(plan, "collect", collected)
    monkeypatch.setattr(report, "measure", measured)
    step.run(graph, context(spikes(0, 4, 6, 180)))
    assert batches == [1, 1, 1]


@pytest.mark.parametrize(("share", "threads"), [(0.0, 7), (0.2, 7), (0.45, 4), (0.9, 1), (1.0, 1)])
def test_rows_are_solved_by_no_more_threads_than_the_memory_has_room_for(share, threads, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    asked = []

    def solve(damped, rows, keep, count):
        asked.append(count)
        return keep_solve(damped, rows, keep, count)

    monkeypatch.setattr(tasks, "keep_solve", solve)
    keep = np.zeros((5, 60), bool)
    for row in range(5):
        keep[row, rng.permutation(60)[: int(share * 60) - (row if 0 < share < 1 else 0)]] = True
    hessian, rows = np.eye(60) + 0.1, rng.normal(size=(5, 60))
    made = tasks.refit_block(hessian, rows, keep, threads=7)["rows"]
    assert asked == [threads]
    np.testing.assert_array_equal(made, keep_solve(hessian, rows, keep, 1))
