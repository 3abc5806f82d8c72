"""Cycles by cause, counts and queue use, worked out a second time from the trace, which the RTL agrees with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from spikec.compiler.cores import END, END_CLEAR, SPIKES, Design, EventCore
from spikec.compiler.queues import Queue, queues
from spikec.runtime.cycle import CoreActivity, CycleResult, CycleSimulator, expanded_weights
from tests.fpga.designs import random_design, random_spikes

LATENCY = 9
"""Cycles from the issue of a group in a fire pass to its push (docs/spike-core.md)."""


@dataclass(frozen=True)
class Token:
    """A token that moved: when, its kind, and the rows of its spikes."""

    cycle: int
    kind: int
    rows: tuple[int, ...]


def moved(result: CycleResult, number: int, queue: Queue, stream: int, *, popped: bool) -> list[Token]:
    """Give the tokens that were pushed into, or popped from, queue `number` in one stream."""
    events = result.records
    own = events[(events["stream"] == stream) & (events["queue"] == 2 * number + popped)]
    made = []
    for event in own:
        token = sum(int(word) << 32 * k for k, word in enumerate(event["token"]))
        mask = token & ((1 << queue.payload_bits) - 1)
        group = token >> queue.payload_bits & ((1 << queue.group_bits) - 1)
        rows = tuple(group * queue.payload_bits + b for b in range(queue.payload_bits) if mask >> b & 1)
        made.append(Token(int(event["cycle"]), token >> (queue.width - 2), rows))
    return made


def around(design: Design, core: EventCore) -> tuple[int, int]:
    """Give the numbers of the queue before a core and of the (first) one behind it."""
    layer = next(k for k, cores in enumerate(design.layers) if core in cores)
    place = design.layers[layer].index(core)
    into = [k for k, q in enumerate(queues(design)) if q.link == layer and not q.joins][place]
    behind = [k for k, q in enumerate(queues(design)) if q.link == layer + 1]
    joined = any(queues(design)[k].joins for k in behind)
    return into, behind[place] if joined else behind[0]


def worked_out(result: CycleResult, core: EventCore) -> CoreActivity:
    """Follow one core through every stream of a trace by the table of docs/spike-core.md."""
    made = queues(result.design)
    into, behind = around(result.design, core)
    added = np.count_nonzero(expanded_weights(core), axis=1)
    spikes = synapses = sent = passes = idle = stalled = firing = 0
    for stream in range(len(result.stream_cycles)):
        pushed = moved(result, behind, made[behind], stream, popped=False)
        sent += sum(len(t.rows) for t in pushed if t.kind == SPIKES)
        starts = [t.cycle - core.groups - LATENCY for t in pushed if t.kind in (END, END_CLEAR)]
        ready = core.fire_cycles - 1
        passes, firing = passes + 1 + len(starts), firing + ready + len(starts) * core.fire_cycles
        for token in moved(result, into, made[into], stream, popped=True):
            idle += token.cycle - ready
            ready = token.cycle + len(token.rows) * core.walk_cycles
            spikes, synapses = spikes + len(token.rows), synapses + int(added[list(token.rows)].sum())
            if token.kind != SPIKES:
                start = starts.pop(0)
                stalled += start - token.cycle - 1
                ready = start - 1 + core.fire_cycles
    walking = spikes * core.row_words
    padding = spikes * core.walk_cycles - walking
    return CoreActivity(spikes, synapses, sent, passes, walking, padding, firing, stalled, idle)


def most_held(result: CycleResult, number: int) -> int:
    """Give the most tokens that a queue held behind any cycle, in any stream."""
    high = 0
    for stream in range(len(result.stream_cycles)):
        own = result.records[(result.records["stream"] == stream) & (result.records["queue"] // 2 == number)]
        change = np.zeros(int(result.stream_cycles[stream]) + 1, np.int64)
        np.add.at(change, own["cycle"].astype(np.int64), np.where(own["queue"] % 2 == 0, 1, -1))
        high = max(high, int(change.cumsum().max()))
    return high


def run(seed: int) -> CycleResult:
    rng = np.random.default_rng(seed)
    design = random_design(rng)
    inputs = random_spikes(rng, design, 3, 4, 0.3)
    return CycleSimulator(design, batch=2, gap=1 + seed % 3, period=(1, 7, 60)[seed % 3]).run(inputs, trace=True)


@pytest.mark.parametrize("seed", range(18))
def test_causes_and_counts_are_those_of_the_trace(seed: int) -> None:
    result = run(seed)
    for core in result.design.cores:
        wanted, did = worked_out(result, core), result.activity[core.name]
        if core.readout == "membrane":  # what fired inside does not leave
            assert 0 <= did.sent <= (did.passes - len(result.stream_cycles)) * core.neurons
            wanted = CoreActivity(**{**vars(wanted), "sent": did.sent})
        assert did == wanted, core.name
        words = {m.memory: (m.word_bits, m.read, m.written) for m in result.memories if m.core == core.name}
        walked, fired = wanted.spikes * core.blocks * core.kept, wanted.passes * core.groups
        assert words == {
            "weights": (core.lanes * (core.weight_bits + (core.block - 1).bit_length()), walked, 0),
            "membranes": (core.lanes * core.sum_bits, walked + fired, walked + fired),
            "neurons": (core.lanes * (3 * core.state_bits + core.bias_bits), fired, 0),
        }


@pytest.mark.parametrize("seed", range(18))
def test_queues_are_used_as_the_trace_says(seed: int) -> None:
    result = run(seed)
    for number, use in enumerate(result.queues):
        assert use.tokens == np.count_nonzero(result.records["queue"] == 2 * number)
        assert use.high == most_held(result, number), use.queue.name


def test_some_of_these_runs_stall_and_wait_and_fill_queues() -> None:
    results = [run(seed) for seed in range(18)]
    did = [activity for result in results for activity in result.activity.values()]
    assert sum(a.stalled > 0 for a in did) >= 3
    assert sum(a.idle > 0 for a in did) >= 3
    assert sum(a.padding > 0 for a in did) >= 3
    assert sum(use.high > 3 for result in results for use in result.queues) >= 3


@pytest.mark.parametrize("seed", range(6))
def test_times_of_samples_are_those_of_the_trace(seed: int) -> None:
    result = run(seed)
    made = queues(result.design)
    entered, left = [], []
    for stream in range(len(result.stream_cycles)):
        fresh = True
        for token in moved(result, 0, made[0], stream, popped=False):
            entered += [token.cycle] if fresh else []
            fresh = token.kind in (END, END_CLEAR)
        last = moved(result, len(made) - 1, made[-1], stream, popped=True)
        left += [token.cycle for token in last if token.kind in (END, END_CLEAR)]
        assert result.stream_cycles[stream] == last[-1].cycle + 1
    np.testing.assert_array_equal(result.entered.reshape(-1), entered)
    np.testing.assert_array_equal(result.left.reshape(-1), left)
    np.testing.assert_array_equal(result.latency, result.left[:, -1] - result.entered[:, 0] + 1)
