"""What a run of an FPGA artifact in the simulator looks like: every token as an AER table, the queues as a VCD."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikec.compiler.artifact import Artifact
from spikec.compiler.context import Progress, Quiet
from spikec.compiler.diagnostics import fail
from spikec.compiler.weights import Array
from spikec.driver.data import to_array
from spikec.driver.fpga import CycleRunner, fpga_runner
from spikec.driver.load import compiled_graph
from spikec.driver.measure import encoded
from spikec.driver.running import BATCH, ready
from spikec.runtime.waves import aer_table, waves

Window = tuple[int, int]
"""Cycles [from, to) of one sample, counted from its reset."""


def write_aer(
    artifact: Artifact, inputs: Any, path: Path, *, steps: int | None = None, progress: Progress | None = None
) -> int:
    """Write every push and pop of every sample as CSV, and give how many there are; `stream` is the sample.

    Args:
        artifact: of an FPGA target.
        inputs: (N, T, *shape), or (N, *shape) repeated for `steps` steps.
        path: the file, whole or not at all.
        steps: see `inputs`.
        progress: shows how far the work has come.

    Raises:
        CompileError: it is no FPGA artifact, it is damaged, or the input does not fit.
    """
    simulator, given = _given(artifact, inputs, steps)
    starts = (progress or Quiet()).track(range(0, len(given), BATCH), "tracing", -(-len(given) // BATCH))
    return _write(path, _lines(simulator, given, starts)) - 1


def write_vcd(
    artifact: Artifact,
    inputs: Any,
    path: Path,
    *,
    sample: int = 0,
    window: Window | None = None,
    steps: int | None = None,
) -> Window:
    """Draw the queues of one sample as a VCD, a cycle every 10 ns, and give the window that was drawn.

    Args:
        artifact: of an FPGA target.
        inputs: (N, T, *shape), or (N, *shape) repeated for `steps` steps.
        path: the file, whole or not at all.
        sample: which of them.
        window: cycles; None: all of the sample's.
        steps: see `inputs`.

    Raises:
        CompileError: as `write_aer`; or the sample or the window is not there.
    """
    simulator, given = _given(artifact, inputs, steps)
    if not 0 <= sample < len(given):
        raise fail("run/no-sample", f"there is no sample {sample} among {len(given)}", help="they are numbered from 0")
    done = simulator.simulate(given[sample : sample + 1], trace=True)
    start, stop = window or (0, done.cycles)
    if not 0 <= start < min(stop, done.cycles):
        message = f"sample {sample} takes {done.cycles} cycles; there is no window {start}:{stop}"
        raise fail("run/no-window", message, help=f"such as --window 0:{min(done.cycles, 1000)}")
    drawn = (start, min(stop, done.cycles))
    _write(path, waves(done, 0, *drawn).splitlines())
    return drawn


def _given(artifact: Artifact, inputs: Any, steps: int | None) -> tuple[CycleRunner, Array]:
    simulator = fpga_runner(artifact, "cycle")
    assert isinstance(simulator, CycleRunner)
    graph = compiled_graph(artifact)
    return simulator, encoded(graph, ready(graph, to_array(inputs), steps))


def _lines(simulator: CycleRunner, given: Array, starts: Iterable[int]) -> Iterator[str]:
    """Give the lines of the table, a batch at a time so that no more is held."""
    for start in starts:
        done = simulator.simulate(given[start : start + BATCH], trace=True)
        records = done.records.copy()
        records["stream"] += start
        lines = aer_table(replace(done, records=records))
        if start:
            next(lines)
        yield from lines


def _write(path: Path, lines: Iterable[str]) -> int:
    """Write lines beside the file first, then put it in place; give how many there are."""
    part = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with part.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(f"{line}\n")
                count += 1
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count
