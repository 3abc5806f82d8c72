"""The streamed Hessian is the literal one, whatever the memory, the chunks and the order."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.ops import Connection, Conv1d, Conv2d, FixedSum, Linear
from spikec.compiler.weights import Dense, Fixed
from spikec.passes.sbc.hessian import HessianSum
from spikec.passes.sbc.patches import Windows
from spikec.passes.sbc.response import Response

seeds = st.integers(0, 2**32 - 1)
RESPONSES = (Response(), Response(0.5), Response(1.0), Response(0.9, 0.6, "decay_add"), Response(0.5, 0.7, "add_decay"))
STEPS = 9
TOLERANCE = {"spikes": 1e-6, "exact": 1e-12, "analog": 1e-12}


def literal(op: Connection, x: np.ndarray, response: Response) -> np.ndarray:
    """Build M, and every window by torch's unfold; H = mean over samples and positions of 2 (MX)^T (MX)."""
    n, t = x.shape[:2]
    z = np.einsum("ts,ns...->nt...", response.matrix(t), x.astype(np.float64))
    if isinstance(op, Linear):
        rows = z.reshape(n, t, -1, x.shape[-1]).transpose(0, 2, 1, 3).reshape(-1, x.shape[-1])
        return 2 * (rows.T @ rows)[None] / (n * (rows.shape[0] // (n * t)))
    rank = len(op.stride)
    z = np.pad(z, ((0, 0), (0, 0), (0, 0), *op.padding))
    z = z.reshape(n * t, *z.shape[2:])[(..., *(None,) * (2 - rank))]
    share, one = z.shape[1] // op.groups, (1,) * (2 - rank)
    groups = []
    for g in range(op.groups):
        part = torch.from_numpy(z[:, g * share : (g + 1) * share].copy())
        unfolded = torch.nn.functional.unfold(
            part, (*op.kernel, *one), dilation=(*op.dilation, *one), stride=(*op.stride, *one)
        )
        positions = unfolded.shape[2]
        rows = unfolded.numpy().transpose(0, 2, 1).reshape(-1, unfolded.shape[1])
        groups.append(2 * rows.T @ rows / (n * positions))
    return np.stack(groups)


def draw(rng: np.random.Generator) -> tuple[Connection, tuple[int, ...]]:
    """Draw a connection and the shape of its input."""
    rank = int(rng.integers(0, 3))
    if rank == 0:
        shape = (*rng.integers(1, 4, rng.integers(0, 3)), int(rng.integers(1, 8)))
        return Linear(Dense(np.zeros((2, shape[-1])))), tuple(map(int, shape))
    pair = lambda low, high: tuple(int(v) for v in rng.integers(low, high, rank))  # noqa: E731
    groups, kernel, dilation = int(rng.integers(1, 4)), pair(1, 4), pair(1, 3)
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (rank, 2)))
    space = tuple(d * (k - 1) + 1 + int(rng.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True))
    share = int(rng.integers(1, 3))
    kind = Conv1d if rank == 1 else Conv2d
    op = kind(Dense(np.zeros((groups, share, *kernel))), None, pair(1, 3), padding, dilation, groups)
    return op, (share * groups, *space)


def summed(op: Connection, x: np.ndarray, response: Response, memory=1 << 28, cuts=1, exact=False) -> np.ndarray:
    total = HessianSum(op, x.shape[2:], response, memory, exact=exact)
    for part in np.array_split(x, cuts):
        total.add(part)
    return total.value()


@given(seeds, st.sampled_from(RESPONSES), st.sampled_from(["spikes", "exact", "analog"]))
@settings(max_examples=20, deadline=None)
def test_the_sum_is_the_literal_definition(seed: int, response: Response, kind: str) -> None:
    rng = np.random.default_rng(seed)
    op, shape = draw(rng)
    x = rng.normal(size=(4, STEPS, *shape)) if kind == "analog" else rng.random((4, STEPS, *shape)) < 0.2
    h = summed(op, x, response, exact=kind == "exact")
    expected = literal(op, x, response)
    assert h.dtype == np.float64
    assert h.shape == expected.shape
    assert np.array_equal(h, h.transpose(0, 2, 1))
    np.testing.assert_allclose(h, expected, rtol=TOLERANCE[kind], atol=TOLERANCE[kind] * np.abs(expected).max())


@given(seeds, st.sampled_from(RESPONSES), st.integers(1, 4), st.floats(0, 1), st.sampled_from([0.1, 0.9]))
@settings(max_examples=20, deadline=None)
def test_the_value_depends_neither_on_memory_nor_on_chunks_nor_on_order(seed, response, cuts, size, rate) -> None:
    rng = np.random.default_rng(seed)
    op, shape = draw(rng)
    x = (rng.random((4, STEPS, *shape)) < rate) * rng.choice([1, 3, 0.3])
    total = HessianSum(op, shape, response)
    whole = total._bytes(total.windows.whole, 4, STEPS)
    memory = int(total.least + size * (whole - total.least))
    for exact, near in ((True, 1e-12), (False, 1e-6)):
        expected = summed(op, x, response, exact=exact)
        h = summed(op, x[rng.permutation(4)], response, memory, cuts, exact)
        np.testing.assert_allclose(h, expected, rtol=near, atol=near * np.abs(expected).max())


def test_analog_samples_and_many_spikes_go_the_dense_way(monkeypatch) -> None:
    ways = []
    for way in ("_dense", "_spikes"):
        real = getattr(HessianSum, way)
        monkeypatch.setattr(
            HessianSum, way, lambda s, x, *a, way=way, real=real: (ways.append((way, len(x))), real(s, x, *a))
        )
    rng = np.random.default_rng(0)
    spikes, analog = rng.random((6, STEPS, 4, 5)) < 0.1, rng.normal(size=(6, STEPS, 4, 5))
    mixed = np.where(np.array([1, 1, 0, 0, 1, 1], bool).reshape(6, 1, 1, 1), spikes, analog)
    op = Linear(Dense(np.zeros((2, 5))))
    expected = literal(op, mixed, Response(0.5))
    np.testing.assert_allclose(summed(op, mixed, Response(0.5)), expected, rtol=1e-5)
    assert ways == [("_spikes", 2), ("_dense", 2), ("_spikes", 2)]
    for x, memory in ((~spikes, 1 << 20), (spikes * 0.5, 1 << 20), (spikes * 3e7, 1 << 20), (spikes, 500)):
        ways.clear()
        summed(op, x, Response(0.5), memory)
        assert {way for way, _ in ways} == {"_dense"}
    ways.clear()
    summed(op, spikes, Response(0.5), exact=True)
    assert ways == [("_dense", 6)]
    ways.clear()
    summed(op, spikes * -3.0, Response(0.5))
    assert ways == [("_spikes", 6)]


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_windows_lie_where_their_offsets_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    op, shape = draw(rng)
    windows = Windows.of(op, shape)
    slab = np.ascontiguousarray(windows.slab(windows.channels_first(rng.random((2, 3, *shape))), windows.whole))
    for group in range(windows.groups):
        first, column = windows.offsets(slab.shape, group)
        assert np.array_equal(slab.reshape(-1)[first[:, None] + column], windows.rows(slab, group))


def test_the_published_vector() -> None:
    op = Linear(Dense(np.zeros((1, 1))))
    x = np.array([1, 0, 1, 0]).reshape(1, 4, 1)
    assert summed(op, x, Response(0.5)).tolist() == [[[1.6015625 * 4]]]  # without the input gain 1 / tau = 0.5
    assert summed(op, np.concatenate([x, 0 * x]), Response(0.5)).tolist() == [[[1.6015625 * 2]]]


@pytest.mark.parametrize("kind", ["spikes", "analog"])
def test_the_work_on_a_chunk_stays_within_the_bound(kind: str) -> None:
    rng = np.random.default_rng(0)
    op = Conv2d(Dense(np.zeros((1, 4, 3, 3))), padding=((1, 1), (1, 1)))
    x = rng.random((3, 20, 4, 12, 12)) < 0.1 if kind == "spikes" else rng.random((3, 20, 4, 12, 12))
    summed(op, x[:1, :1], Response(0.5))  # what is imported and cached at the first call is no matter
    for memory in (1 << 17, 1 << 19, 1 << 21):
        total = HessianSum(op, x.shape[2:], Response(0.5, 0.5, "decay_add"), memory)
        tracemalloc.start()
        total.add(x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= memory + 8 * 36**2  # and the product of a chunk


def test_padding_counts_as_zeros() -> None:
    op = Conv1d(Dense(np.zeros((1, 1, 3))), padding=((1, 1),))
    h = summed(op, np.ones((1, 1, 1, 2)), Response())
    assert h[0].tolist() == [[1, 1, 0], [1, 2, 1], [0, 1, 1]]


def test_latency_and_delays_make_inputs_late() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((3, STEPS, 4))
    weight, delays = Dense(np.zeros((2, 4))), np.array([0, 2, 5, STEPS + 3])
    late = np.zeros_like(x)
    for j, d in enumerate(delays + 1):
        late[:, d:, j] = x[:, : STEPS - d, j] if d < STEPS else 0
    response = Response(0.9, 0.6, "decay_add")
    expected = literal(Linear(weight), late, response)
    for total in (
        HessianSum(Linear(weight, latency=1, delays=np.tile(delays, (2, 1))), (4,), response, 400),
        HessianSum(Linear(weight, latency=1), (4,), response, delays=delays),
        HessianSum(Linear(weight, latency=1, delays=rng.integers(0, 9, (2, 4))), (4,), response, delays=delays),
    ):
        total.add(x)
        np.testing.assert_allclose(total.value(), expected, rtol=1e-12)
    op = Conv1d(Dense(np.zeros((1, 4, 2))), latency=2)
    np.testing.assert_allclose(
        summed(op, rng.random((2, 3, 4, 5))[:, :2], response), np.zeros((1, 8, 8)), err_msg="nothing has arrived yet"
    )
    with pytest.raises(ValueError, match="unlike delays"):
        HessianSum(Linear(weight, delays=np.arange(8).reshape(2, 4)), (4,), response)
    with pytest.raises(ValueError, match=r"4 inputs, and delays of shape \[3\]"):
        HessianSum(Linear(weight), (4,), response, delays=np.zeros(3))


def test_a_fixed_connection_counts_any_message_as_one_unless_they_are_graded() -> None:
    x = np.random.default_rng(0).integers(-1, 3, (2, STEPS, 3))
    weight = Fixed(np.zeros((2, 3), np.int64))
    spikes = summed(Linear(weight, sum=FixedSum(message_bits=0)), x, Response(0.5))
    np.testing.assert_allclose(spikes, literal(Linear(weight), x != 0, Response(0.5)))
    graded = summed(Linear(weight, sum=FixedSum(message_bits=8)), x, Response(0.5))
    np.testing.assert_allclose(graded, literal(Linear(weight), x, Response(0.5)))


def test_what_does_not_fit_is_refused_and_nothing_given_gives_zero() -> None:
    op = Linear(Dense(np.zeros((2, 3))))
    total = HessianSum(op, (3,), Response(0.5))
    assert not total.value().any()
    total.add(np.zeros((0, 5, 3)))
    total.add(np.zeros((2, 0, 3)))
    assert not total.value().any()
    assert total.samples == 2
    with pytest.raises(ValueError, match=r"inputs of shape \[2, 5, 4\]"):
        total.add(np.zeros((2, 5, 4)))
    with pytest.raises(ValueError, match=f"takes {total.least} bytes; the bound is {total.least - 1}"):
        HessianSum(op, (3,), Response(0.5), total.least - 1)
    with pytest.raises(ValueError, match="3 inputs"):
        HessianSum(op, (4,), Response(0.5))
