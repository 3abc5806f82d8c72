"""Simulator against RTL: the same pushes and pops in the same cycles, or the first difference and how to see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spikec.compiler.cores import Design, load_cycles
from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.compiler.queues import Queue, queues
from spikec.compiler.weights import Array
from spikec.runtime.cycle import CycleResult, CycleSimulator
from spikec.runtime.rtl.loads import Loaded
from spikec.runtime.rtl.run import Rtl, RtlResult, Window, cycle_limit

MARGIN = 50
"""Cycles that a VCD window shows before and after the first difference."""
BROKEN = ("fpga/rtl-failed", "fpga/rtl-hangs", "fpga/load-failed")
"""Diagnostics of a run that are a verdict on the RTL, not on the tools."""
KINDS = ("spikes", "end of step", "membranes", "end of sample")


@dataclass(frozen=True)
class Difference:
    """The first event in which RTL and simulator differ; an event that one of them lacks is an empty text."""

    stream: int
    cycle: int
    queue: str
    simulated: str
    rtl: str
    waves: Path | None = None
    replay: str = ""

    def __str__(self) -> str:
        """Say what differs, line by line."""
        lines = [
            f"first difference in stream {self.stream}, cycle {self.cycle}, at {self.queue}",
            f"  simulator: {self.simulated or 'nothing'}",
            f"  RTL:       {self.rtl or 'nothing'}",
        ]
        lines += [f"  waves: {self.waves}"] if self.waves else []
        lines += [f"  replay: {self.replay}"] if self.replay else []
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a comparison found; `difference` is None where every event is equal; `broken` is why the RTL gave up."""

    simulated: CycleResult
    rtl: RtlResult | None
    difference: Difference | None = None
    broken: tuple[Diagnostic, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every push and pop agrees in cycle and content, and no assertion failed."""
        return self.difference is None and not self.broken

    def __str__(self) -> str:
        """Give the verdict in one line, or what differs."""
        if self.broken:
            return "\n".join(str(diagnostic) for diagnostic in self.broken)
        if self.difference is not None:
            return str(self.difference)
        assert self.rtl is not None
        mine, theirs = self.simulated, self.rtl
        loaded = "".join(f"loaded in {load.cycles} cycles, " for load in theirs.loads)
        return (
            f"RTL = simulator: {loaded}{theirs.cycles} / {mine.cycles} cycles, "
            f"{len(theirs.records)} / {len(mine.records)} events, 0 differences"
        )


def verify_rtl(rtl: Rtl, inputs: Array, *, waves: Path | None = None) -> Verdict:
    """Run simulator and RTL on the same samples and compare every push and pop.

    Args:
        rtl: design, SystemVerilog and memory images.
        inputs: (N, T, *input_shape), spikes.
        waves: a folder: where they differ, a VCD of the window around and a script to replay the run go there.

    Raises:
        CompileError: a tool is missing or fails. (An assertion that fails, or a stream that hangs, is a verdict.)
    """
    simulator = CycleSimulator(rtl.design, batch=rtl.batch, gap=rtl.gap, period=rtl.period)
    simulated = simulator.run(inputs, trace=True)
    bounded = replace(rtl, limit=cycle_limit(simulated), keep=waves if waves is not None else rtl.keep)
    try:
        done = bounded.run(inputs)
    except CompileError as error:
        if any(d.code not in BROKEN for d in error.diagnostics):
            raise
        return Verdict(simulated, None, broken=error.diagnostics)
    late = next((found for load in done.loads if (found := _load_difference(rtl, load)) is not None), None)
    if late is not None:
        return Verdict(simulated, done, late)
    found = first_difference(rtl.design, simulated.records, done.records)
    if found is not None and waves is not None:
        path = waves / "difference.vcd"
        bounded.run(inputs, window=Window(found.stream, max(0, found.cycle - MARGIN), found.cycle + MARGIN, path))
        found = replace(found, waves=path, replay=f"sh {waves / 'replay.sh'}")
    return Verdict(simulated, done, found)


def verify_in_turn(turns: Sequence[tuple[Rtl, Array]]) -> list[Verdict]:
    """Load and run several networks of one geometry one after another in one model, and compare each.

    Args:
        turns: each network with its samples; the RTL is the first one's.

    Raises:
        CompileError: a tool is missing or fails, or an image is refused.
    """
    simulated = [
        CycleSimulator(rtl.design, batch=rtl.batch, gap=rtl.gap, period=rtl.period).run(inputs, trace=True)
        for rtl, inputs in turns
    ]
    done = turns[0][0].run_in_turn([(rtl.image, inputs) for rtl, inputs in turns])
    verdicts, first = [], 0
    for (rtl, _), mine, load in zip(turns, simulated, done.loads, strict=False):
        if not load.loaded:
            raise load.refusal()
        stop = first + len(mine.stream_cycles)
        own = done.records[(done.records["stream"] >= first) & (done.records["stream"] < stop)].copy()
        own["stream"] -= first
        theirs = RtlResult(own, done.stream_cycles[first:stop], done.seconds, (load,))
        found = _load_difference(rtl, load) or first_difference(rtl.design, mine.records, own)
        verdicts.append(Verdict(mine, theirs, found))
        first = stop
    return verdicts


def _load_difference(rtl: Rtl, load: Loaded) -> Difference | None:
    """Compare the cycles that an image took with what they must be."""
    wanted = load_cycles(len(rtl.image), rtl.load_gap)
    if load.cycles == wanted:
        return None
    return Difference(
        load.stream, min(load.cycles, wanted), "the loader", f"runs from cycle {wanted}", f"from {load.cycles}"
    )


def first_difference(design: Design, simulated: Array, rtl: Array) -> Difference | None:
    """Give the first event that differs; both arrays of records are in order of stream, cycle and queue."""
    if np.array_equal(simulated, rtl):
        return None
    shared = min(len(simulated), len(rtl))
    unequal = np.flatnonzero(simulated[:shared] != rtl[:shared])
    at = int(unequal[0]) if len(unequal) else shared
    mine = simulated[at] if at < len(simulated) else None
    theirs = rtl[at] if at < len(rtl) else None
    made = queues(design)
    first = min((r for r in (mine, theirs) if r is not None), key=lambda r: (r["stream"], r["cycle"], r["queue"]))
    queue = made[int(first["queue"]) // 2]
    return Difference(
        int(first["stream"]),
        int(first["cycle"]),
        f"{queue.name} ({queue.ends})",
        _event(made, mine),
        _event(made, theirs),
    )


def _event(made: tuple[Queue, ...], record: Array | None) -> str:
    if record is None:
        return ""
    queue = made[int(record["queue"]) // 2]
    token = sum(int(word) << (32 * k) for k, word in enumerate(record["token"]))
    payload = token & ((1 << queue.payload_bits) - 1)
    group = token >> queue.payload_bits & ((1 << queue.group_bits) - 1)
    kind = KINDS[token >> (queue.width - 2)]
    verb = "pop" if int(record["queue"]) % 2 else "push"
    what = f"{kind}, group {group}, payload {payload:#x}" if kind in ("spikes", "membranes") else kind
    return f"cycle {int(record['cycle'])}: {verb} of {queue.name} ({queue.ends}): {what}"
