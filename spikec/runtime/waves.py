"""What a traced run looks like: an AER table of its tokens, and a VCD of any window, made without the RTL."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikec.compiler.queues import Queue, queues
from spikec.compiler.weights import Array
from spikec.runtime.cycle import CycleResult

KINDS = ("spikes", "end", "membranes", "end_of_sample")


def aer_table(result: CycleResult) -> Iterator[str]:
    """Yield the lines of a CSV file: one a push or pop, in order of stream and cycle.

    Raises:
        ValueError: the run was not traced.
    """
    made = queues(result.design)
    yield "stream,cycle,queue,between,event,kind,group,payload"
    for record in _records(result):
        queue = made[int(record["queue"]) // 2]
        token = _token(record)
        group = token >> queue.payload_bits & ((1 << queue.group_bits) - 1)
        payload = token & ((1 << queue.payload_bits) - 1)
        event = "pop" if int(record["queue"]) % 2 else "push"
        kind = KINDS[token >> (queue.width - 2)]
        place = f"{int(record['stream'])},{int(record['cycle'])},{queue.name},{queue.ends}"
        yield f"{place},{event},{kind},{group},{payload:x}"


def waves(result: CycleResult, stream: int, start: int, stop: int) -> str:
    """Draw the queues of one stream in cycles [start, stop) as a VCD: push, pop, their tokens, tokens held.

    A cycle is 10 time units, as in the VCD of the RTL.

    Raises:
        ValueError: the run was not traced, or it has no such window.
    """
    if not 0 <= stream < len(result.stream_cycles) or not 0 <= start < stop:
        raise ValueError(f"there is no window [{start}, {stop}) of stream {stream}")
    made = queues(result.design)
    records = _records(result)
    own = records[(records["stream"] == stream) & (records["cycle"] < stop)]
    held = [0] * len(made)
    lines = [*_header(result.design.name, made)]
    cycles = own["cycle"].astype(np.int64)
    for record in own[cycles < start]:
        held[int(record["queue"]) // 2] += -1 if int(record["queue"]) % 2 else 1
    shown: set[int] = set()
    for cycle in range(start, stop):
        lines.append(f"#{cycle * 10}")
        if cycle == start:
            lines += [f"b{count:b} u{k}" for k, count in enumerate(held)]
            lines += [f"0{kind}{k}" for k in range(len(made)) for kind in "io"]
        events = own[np.searchsorted(cycles, cycle) : np.searchsorted(cycles, cycle + 1)]
        now = {int(record["queue"]): _token(record) for record in events}
        lines += [f"0{_wire(number)}" for number in sorted(shown - set(now))]
        for number, token in now.items():
            lines += [f"1{_wire(number)}", f"b{token:b} t{_wire(number)}"]
        changed = sorted({number // 2 for number in shown})
        lines += [f"b{held[k]:b} u{k}" for k in changed]
        for number in now:
            held[number // 2] += -1 if number % 2 else 1
        shown = set(now)
    return "\n".join([*lines, f"#{stop * 10}", ""])


def _wire(number: int) -> str:
    return f"{'o' if number % 2 else 'i'}{number // 2}"


def _header(name: str, made: tuple[Queue, ...]) -> Iterator[str]:
    yield "$timescale 1ns $end"
    yield f"$scope module {name.replace(' ', '_')} $end"
    for k, queue in enumerate(made):
        yield f"$scope module {queue.name} $end"
        yield f"$comment {queue.ends} $end"
        yield f"$var wire 1 i{k} push $end"
        yield f"$var wire {queue.width} ti{k} push_token $end"
        yield f"$var wire 1 o{k} pop $end"
        yield f"$var wire {queue.width} to{k} pop_token $end"
        yield f"$var wire {queue.depth.bit_length()} u{k} used $end"
        yield "$upscope $end"
    yield "$upscope $end"
    yield "$enddefinitions $end"


def _records(result: CycleResult) -> Array:
    if result.records.dtype.names is None:
        raise ValueError("the run was not traced: run(inputs, trace=True)")
    return result.records


def _token(record: Array) -> int:
    return sum(int(word) << (32 * k) for k, word in enumerate(record["token"]))
