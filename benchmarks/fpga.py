"""Spike-core simulator against Verilator: the same design, the same input, equal outputs; writes build/bench/fpga.json.

Run by `make bench-fpga`; QUICK=1 for a short form. One thread, the two interleaved, the best of several times each;
Verilator without assertions, at -O3.
The weights and inputs of that part are random. The second part (`_accuracy.py`) trains on real recordings: bits, block
memories, cycles and accuracy of the formats.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from _accuracy import measure_formats, show

from spikec.backends.fpga.boards import EBR
from spikec.backends.fpga.layout.memories import mem_files
from spikec.backends.fpga.top import rtl_files
from spikec.compiler.cores import INPUT, OUTPUT, Design, EventCore, Link, source_rows, sum_bits
from spikec.runtime.cycle import CycleResult, CycleSimulator
from spikec.runtime.rtl.run import Rtl

QUICK = os.environ.get("QUICK", "") not in ("", "0")
TIMES = 2 if QUICK else 5
SAMPLES = 50 if QUICK else 200
STEPS, RATE, LANES = 10, 0.13, 16
TRAININGS = (1, 10) if QUICK else (3, 30)
"""How often each format is trained in the second part, and for how many epochs."""


@dataclass(frozen=True)
class Row:
    """One line: a format, what its weights cost, and how long the same cycles take in each simulator."""

    format: str
    weight_bits: int
    blocks: int
    cycles: int
    rtl_s: float
    simulator_s: float

    @property
    def ratio(self) -> float:
        """How many times faster the simulator is."""
        return self.rtl_s / self.simulator_s


def main() -> None:
    """Measure, print the table, write the figures."""
    cases = [("dense int8", 1, 1, 8), ("2:4 int8", 2, 4, 8), ("1:4 int8", 1, 4, 8), ("1:4 int4", 1, 4, 4)]
    rows = [measure(name, design_of(kept, block, bits)) for name, kept, block, bits in cases]
    print(f"784-512-16, {SAMPLES} samples of {STEPS} steps, {RATE:.0%} of inputs spike, one thread")
    print(f"{'format':12} {'Kb':>8} {'EBR':>5} {'cycles':>10} {'Verilator s':>12} {'simulator ms':>13} {'ratio':>7}")
    for row in rows:
        print(
            f"{row.format:12} {row.weight_bits / 1024:8.0f} {row.blocks:5d} {row.cycles:10d} {row.rtl_s:12.3f}"
            f" {row.simulator_s * 1e3:13.2f} {row.ratio:7.1f}"
        )
    what, formats = measure_formats(*TRAININGS)
    print(f"\n{what}")
    show(formats)
    out = Path("build/bench/fpga.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = {"machine": platform.machine(), "cores": os.cpu_count()}
    lines = [asdict(row) | {"ratio": row.ratio} for row in rows]
    accuracy = {"what": what, "rows": [asdict(row) for row in formats]}
    out.write_text(json.dumps(figures | {"rows": lines, "accuracy": accuracy}, indent=2) + "\n", encoding="utf-8")


def design_of(kept: int, block: int, bits: int) -> Design:
    """Make 784-512-16 with random weights, about 13 % of the hidden neurons active."""
    rng = np.random.default_rng(0)
    first = core_of(rng, "c0", (784, LANES), 512, (kept, block, bits))
    rows = first.groups * LANES
    second = core_of(rng, "c1", (rows, LANES), LANES * block if block > 1 else LANES, (kept, block, bits))
    links = (Link((INPUT,), ("c0",), 64), Link(("c0",), ("c1",), 128), Link(("c1",), (OUTPUT,), 64))
    return Design((first, second), links, LANES, (784,), (len(source_rows((second,))),))


def core_of(
    rng: np.random.Generator, name: str, source: tuple[int, int], neurons: int, form: tuple[int, int, int]
) -> EventCore:
    """Make a core of random weights; `form` is kept entries, block, bits of a weight."""
    (rows, lanes), (kept, block, bits) = source, form
    blocks = neurons // (LANES * block)
    values = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (rows, blocks * kept, LANES))
    order = np.argsort(rng.random((rows, blocks, LANES, block)), axis=-1)[..., :kept]
    positions = np.moveaxis(order, -1, 2).reshape(values.shape)
    shape = (blocks * block, LANES)
    bias = np.zeros(shape, np.int64)
    level = round(1.2 * (1 << bits) / 3.46 * np.sqrt(rows * RATE * kept / block))
    return EventCore(
        name=name, layer=name, rows=rows, in_lanes=lanes, neurons=neurons, lanes=LANES, values=values,
        positions=positions, threshold=np.full(shape, level), bias=bias, amount=bias, initial=bias, kept=kept,
        block=block, weight_bits=bits, state_bits=16, bias_bits=16,
        sum_bits=sum_bits(values, positions, bias, 16, block), decay_constant=512,
    )  # fmt: skip


def measure(name: str, design: Design) -> Row:
    """Time both, in turns."""
    inputs = (np.random.default_rng(1).random((SAMPLES, STEPS, 784)) < RATE).astype(np.uint8)
    simulator = CycleSimulator(design, batch=SAMPLES, threads=1)
    rtl = Rtl(design, rtl_files(design), dict(mem_files(design)), batch=SAMPLES, optimise="-O3", checked=False)
    spent: list[float] = []
    result: CycleResult | None = None
    verilated = []
    for _ in range(TIMES):
        start = time.perf_counter()
        result = simulator.run(inputs)
        spent.append(time.perf_counter() - start)
        verilated.append(rtl.run(inputs, trace=False))
    assert result is not None
    if result.cycles != verilated[0].cycles:
        raise SystemExit(f"{name}: the simulator says {result.cycles} cycles, Verilator {verilated[0].cycles}")
    bits = sum(core.weight_words * core.weight_word_bits for core in design.cores)
    blocks = sum(core.banks * EBR.blocks(core.bank_words, core.weight_word_bits) for core in design.cores)
    return Row(name, bits, blocks, result.cycles, min(run.seconds for run in verilated), min(spent))


if __name__ == "__main__":
    main()
