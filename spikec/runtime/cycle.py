"""The spike-core simulator: a design run on the host, equal to its RTL in every token, cycle and content."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import _spikecore
import numpy as np
from numpy.typing import NDArray

from spikec.compiler.cores import INPUT, OUTPUT, Design, EventCore
from spikec.compiler.diagnostics import fail
from spikec.compiler.queues import COUNTER, Queue, group_bits, queues, token_words
from spikec.compiler.weights import Array

COUNTS = ("spikes", "synapses", "sent", "passes", "walking", "padding", "firing", "stalled", "idle")


@dataclass(frozen=True)
class CoreActivity:
    """What one core did over a run.

    `spikes` came in, `sent` spikes fired, `synapses` weights other than zero were added, in `passes` fire passes (one
    a reset of the design is silent). Its cycles by cause: `walking` (a word of weights each), `padding` (keeps two
    additions to one membrane apart), `firing`, `stalled` (a queue behind has no room), `idle` (no token).
    """

    spikes: int
    synapses: int
    sent: int
    passes: int
    walking: int
    padding: int
    firing: int
    stalled: int
    idle: int

    @property
    def cycles(self) -> int:
        """All of them."""
        return self.walking + self.padding + self.firing + self.stalled + self.idle

    @property
    def utilisation(self) -> float:
        """Part of the cycles in which every lane adds or fires."""
        return (self.walking + self.firing) / max(1, self.cycles)


@dataclass(frozen=True)
class MemoryTraffic:
    """Words of one memory read and written over a run, each of `word_bits` bits."""

    core: str
    memory: str
    word_bits: int
    read: int
    written: int

    @property
    def bits(self) -> int:
        """Bits moved."""
        return self.word_bits * (self.read + self.written)


@dataclass(frozen=True)
class QueueUse:
    """Tokens that went through a queue, and the most that it held at once."""

    queue: Queue
    tokens: int
    high: int


@dataclass(frozen=True, eq=False)
class CycleResult:
    """What a design did with some samples.

    `outputs` is (N, T, *output_shape), int32: spikes, or membranes after the reset; of a design that counts
    (N, 1, *output_shape): the counts of each sample. `stream_cycles` are the cycles of each stream from reset until its
    last token left; `entered` (N, T) are the cycles of its stream in which a step's first token entered, `left` (N, T),
    or (N, 1) of counts, those in which an end left. `records` (where traced) holds every push and pop.
    """

    design: Design
    outputs: Array
    stream_cycles: Array
    entered: Array
    left: Array
    activity: Mapping[str, CoreActivity]
    queues: tuple[QueueUse, ...]
    records: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def counts(self) -> Array:
        """Sum of the outputs over time, (N, *output_shape)."""
        total: Array = self.outputs.sum(axis=1)
        return total

    @property
    def cycles(self) -> int:
        """Cycles of all streams."""
        return int(self.stream_cycles.sum())

    @cached_property
    def latency(self) -> Array:
        """Cycles from the first token of each sample to its last, (N,)."""
        spent: Array = self.left[:, -1] - self.entered[:, 0] + 1
        return spent

    @cached_property
    def memories(self) -> tuple[MemoryTraffic, ...]:
        """Traffic of every memory, core by core."""
        cores = [traffic for core in self.design.cores for traffic in _traffic(core, self.activity[core.name])]
        return (*cores, self._counter()) if self.design.count_bits else tuple(cores)

    def _counter(self) -> MemoryTraffic:
        """Give the words of counts moved: one for each token of spikes, all for each sample, cleared at the start."""
        groups, bits = self.design.output_groups, self.design.layers[-1][0].lanes * self.design.count_bits
        moved = self.queues[-2].tokens - self.entered.size + groups * len(self.outputs)
        return MemoryTraffic(COUNTER, "counts", bits, moved, moved + groups * len(self.stream_cycles))


class CycleSimulator:
    """Runs a design token by token.

    `batch` samples follow one another without a reset between; each batch is a stream of its own, and streams are
    shared out over `threads` threads (0: one a processor). The source pushes at most one token every `gap` cycles; the
    sink takes at most one every `period`.
    """

    def __init__(self, design: Design, *, batch: int = 1, gap: int = 1, period: int = 1, threads: int = 0) -> None:
        if batch < 1 or gap < 1 or period < 1 or threads < 0:
            raise ValueError(f"batch {batch}, gap {gap}, period {period} and threads {threads} must be 1 or more")
        self.design, self.batch, self.gap, self.period = design, batch, gap, period
        self.threads = threads or os.cpu_count() or 1
        self._network = _network(design)

    def run(self, inputs: Array, *, trace: bool = False) -> CycleResult:
        """Run samples.

        Args:
            inputs: (N, T, *input_shape), spikes: what is not 0 counts as one.
            trace: record every push and pop.

        Raises:
            CompileError: the input does not fit the design, or has no samples or steps.
        """
        given = physical_inputs(self.design, inputs)
        threads = min(self.threads, -(-len(given) // self.batch))
        streams = self._network.run(given, self.batch, self.gap, self.period, trace, threads)
        samples, steps = given.shape[:2]
        sent = 1 if self.design.count_bits else steps
        physical = np.concatenate([stream["outputs"] for stream in streams]).reshape(samples, sent, -1)
        order = output_rows(self.design)
        totals = np.stack([stream["cores"].reshape(-1, len(COUNTS)) for stream in streams]).astype(np.int64).sum(axis=0)
        uses = np.stack([stream["queues"].reshape(-1, 2) for stream in streams])
        words = [stream["records"] for stream in streams] if trace else []
        return CycleResult(
            self.design,
            physical[..., order].reshape(samples, sent, *self.design.output_shape),
            np.array([stream["cycles"] for stream in streams], np.int64),
            np.concatenate([stream["starts"] for stream in streams]).astype(np.int64).reshape(samples, steps),
            np.concatenate([stream["ends"] for stream in streams]).astype(np.int64).reshape(samples, sent),
            {core.name: CoreActivity(*map(int, row)) for core, row in zip(self.design.cores, totals, strict=True)},
            tuple(
                QueueUse(queue, int(uses[:, k, 0].sum()), int(uses[:, k, 1].max()))
                for k, queue in enumerate(queues(self.design))
            ),
            np.concatenate(words).view(record_type(self.design)) if trace else np.zeros(0),
        )


def record_type(design: Design) -> np.dtype[np.void]:
    """Give the form of one record: stream, queue * 2 + (0 push, 1 pop), cycle, and the token, lowest word first."""
    return np.dtype(
        [("stream", "<u4"), ("queue", "<u4"), ("cycle", "<u8"), ("token", "<u4", (token_words(queues(design)),))]
    )


def physical_inputs(design: Design, inputs: Array) -> NDArray[np.uint8]:
    """Give spikes by group and lane, (N, T, groups * lanes), 0 or 1.

    Raises:
        CompileError: the input does not fit.
    """
    array = np.asarray(inputs)
    if array.ndim < 2 or array.shape[2:] != design.input_shape or 0 in array.shape[:2]:
        shape = ", ".join(map(str, design.input_shape))
        raise fail("fpga/input-shape", f"the input is {list(array.shape)}, not (samples, steps, {shape})", design.name)
    given = np.zeros((*array.shape[:2], design.input_groups * design.in_lanes), np.uint8)
    given[..., : design.input_size] = array.reshape(*array.shape[:2], -1) != 0
    return given


def output_rows(design: Design) -> Array:
    """Give for each logical output its place among the physical outputs of the last layer."""
    rows, base = [], 0
    for core in design.layers[-1]:
        rows.append(core.physical + base)
        base += core.groups * core.lanes
    return np.concatenate(rows)


def expanded_weights(core: EventCore) -> NDArray[np.int8]:
    """Give the weights as a matrix (rows, groups * lanes) in physical order, zero where a block keeps nothing."""
    block = np.arange(core.row_words) // core.kept
    address = block[None, :, None] * core.block + core.positions
    flat = address * core.lanes + np.arange(core.lanes)
    full = np.zeros((core.rows, core.groups * core.lanes), np.int8)
    np.put_along_axis(full, flat.reshape(core.rows, -1), core.values.reshape(core.rows, -1).astype(np.int8), axis=1)
    return full


def _network(design: Design) -> _spikecore.CycleNetwork:
    numbers = {core.name: k for k, core in enumerate(design.cores)}
    made = queues(design)
    links = [
        (
            [] if link.sources == (INPUT,) else [numbers[name] for name in link.sources],
            [] if link.targets == (OUTPUT,) else [numbers[name] for name in link.targets],
            link.depth,
            group_bits(design, k),
            next(queue.payload_bits for queue in made if queue.link == k),
        )
        for k, link in enumerate(design.links)
    ]
    last = design.layers[-1]
    return _spikecore.cycle_network(
        cores=[_core(core) for core in design.cores],
        links=links,
        in_lanes=design.in_lanes,
        in_groups=design.input_groups,
        out_lanes=last[0].lanes,
        out_groups=design.output_groups,
        count_bits=design.count_bits,
        record_words=token_words(made),
    )


def _core(core: EventCore) -> _spikecore.CycleCore:
    weights = expanded_weights(core)
    synapses = np.count_nonzero(weights, axis=1).astype(np.uint32)

    def column(array: Array) -> NDArray[np.int32]:
        return np.ascontiguousarray(array.reshape(-1), np.int32)

    return _spikecore.cycle_core(
        rows=core.rows,
        in_lanes=core.in_lanes,
        lanes=core.lanes,
        groups=core.groups,
        row_words=core.row_words,
        walk=core.walk_cycles,
        fire=core.fire_cycles,
        state_bits=core.state_bits,
        shift=core.decay == "shift",
        decay=core.decay_constant,
        at_threshold=core.cmp == ">=",
        reset=core.reset,
        membrane=core.readout == "membrane",
        weights=weights.reshape(-1),
        threshold=column(core.threshold),
        bias=column(core.bias),
        amount=column(core.amount),
        initial=column(core.initial),
        row_synapses=synapses,
    )


def _traffic(core: EventCore, did: CoreActivity) -> tuple[MemoryTraffic, ...]:
    """Give the words that a core's memories moved: every walked word, and every group of every fire pass."""
    fired = did.passes * core.groups
    return (
        MemoryTraffic(core.name, "weights", core.weight_word_bits, did.walking, 0),
        MemoryTraffic(core.name, "membranes", core.lanes * core.sum_bits, did.walking + fired, did.walking + fired),
        MemoryTraffic(core.name, "neurons", core.neuron_word_bits, fired, 0),
    )
