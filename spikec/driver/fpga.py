"""FPGA artifacts on the host: the spike-core simulator and the RTL in Verilator as runners, every layer in sight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spikec.backends.fpga.backend import IMAGE, design_of
from spikec.compiler.artifact import Artifact
from spikec.compiler.cores import END, END_CLEAR, SPIKES, VALUES, Design, EventCore, load_cycles
from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.ir import Graph
from spikec.compiler.queues import Queue, queues
from spikec.compiler.runner import Result, Trace
from spikec.compiler.weights import Array
from spikec.driver.measure import encoded
from spikec.runtime.cycle import CycleResult, CycleSimulator, output_rows
from spikec.runtime.ladder import Rung

FpgaEngine = Literal["cycle", "rtl"]
CYCLES = "c/cycles"
"""Trace of the cycles that each sample took from reset, (N, 1)."""
COUNTS = "c/counts"
"""Trace of the counts that leave a design which counts, (N, 1, *shape)."""


@dataclass(frozen=True, eq=False)
class CycleRunner:
    """Runs an artifact's design in the simulator, each sample from reset."""

    design: Design
    threads: int = 0

    def run(self, graph: Graph, inputs: Array, *, trace: Trace = False) -> Result:
        """Run the design (`graph` is what it was made of); see `spikec.compiler.runner.Runner`.

        `trace` records the outputs of layers, and the cycles of every sample as `c/cycles`.
        """
        done = self.simulate(inputs, trace=bool(trace))
        traces = layer_outputs(self.design, done.records, len(inputs), inputs.shape[1]) if trace else {}
        return _result(self.design, done.outputs, traces, done.stream_cycles, trace)

    def simulate(self, inputs: Array, *, trace: bool = False) -> CycleResult:
        """Run the design and give everything that the simulator knows."""
        return CycleSimulator(self.design, threads=self.threads).run(inputs, trace=trace)


@dataclass(frozen=True, eq=False)
class RtlRunner:
    """Runs an artifact's own RTL in Verilator with its memory images, or with `image.bin` loaded into an overlay."""

    artifact: Artifact
    design: Design

    def run(self, graph: Graph, inputs: Array, *, trace: Trace = False) -> Result:
        """Run the RTL; see CycleRunner.

        Raises:
            CompileError: a tool is missing or fails, the image is refused or takes other cycles than it must, or a
                sample takes several times the cycles that it must (`fpga/rtl-hangs`).
        """
        from spikec.runtime.rtl.run import Rtl, cycle_limit

        files = self.artifact.files
        rtl = {name[4:]: data.decode() for name, data in files.items() if name.startswith("rtl/")}
        memories = {name[4:]: data.decode() for name, data in files.items() if name.startswith("mem/")}
        limit = cycle_limit(CycleSimulator(self.design).run(inputs))
        done = Rtl(self.design, rtl, memories, limit=limit, image=files[IMAGE]).run(inputs)
        wanted = load_cycles(len(files[IMAGE]))
        for load in done.loads:
            if load.cycles != wanted:
                raise fail("fpga/load-cycles", f"the RTL took {load.cycles} cycles to load, not {wanted}", IMAGE)
        traces = layer_outputs(self.design, done.records, len(inputs), inputs.shape[1])
        last = traces[f"s/{self.design.layers[-1][0].layer}"]
        outputs = last.reshape(*last.shape[:2], *self.design.output_shape)
        if self.design.count_bits:
            outputs = counts_sent(self.design, done.records, len(inputs))
        return _result(self.design, outputs, traces, done.stream_cycles, trace)


def fpga_runner(artifact: Artifact | None, engine: FpgaEngine) -> CycleRunner | RtlRunner:
    """Give the simulator or the RTL for an artifact.

    Raises:
        CompileError: it is not an artifact of an FPGA, or its image is damaged.
    """
    if artifact is None or not artifact.target.startswith("fpga:"):
        what = "a model" if artifact is None else f"an artifact for '{artifact.target}'"
        message = f"the engine '{engine}' runs what was compiled for an FPGA; this is {what}"
        raise fail("run/not-fpga", message, help="compile it: spikec compile MODEL -t fpga:ulx3s-85f")
    design = design_of(artifact)
    return CycleRunner(design) if engine == "cycle" else RtlRunner(artifact, design)


def fpga_rungs(fixed: Graph, artifact: Artifact, keys: tuple[str, ...], *, rtl: bool) -> list[Rung]:
    """Give the rungs of an FPGA artifact: the simulator, and the RTL in Verilator or why it is skipped.

    Args:
        fixed: the graph that was deployed.
        artifact: what was compiled.
        keys: outputs of every layer, `s/NODE`.
        rtl: whether to run Verilator.
    """
    from spikec.runtime.rtl.tools import find_tools

    simulator = fpga_runner(artifact, "cycle")

    def cycle(inputs: Array) -> Result:
        return simulator.run(fixed, encoded(fixed, inputs), trace=True)

    def verilator(inputs: Array) -> Result:
        return fpga_runner(artifact, "rtl").run(fixed, encoded(fixed, inputs), trace=True)

    counted = (COUNTS,) if design_of(artifact).count_bits else ()
    skipped = "" if rtl else "not asked for"
    try:
        find_tools()
    except CompileError as error:
        skipped = skipped or error.diagnostics[0].message
    return [
        Rung("cycle simulator", cycle, "engine", True, (*keys, *counted)),
        Rung("RTL in Verilator", verilator, "cycle simulator", True, (*keys, *counted, CYCLES), skipped=skipped),
    ]


def layer_outputs(design: Design, records: Array, samples: int, steps: int) -> dict[str, Array]:
    """Give what every layer sent, `s/LAYER` (N, T, neurons), read from the pushes behind its cores.

    Args:
        design: what ran, each sample a stream of its own.
        records: every push and pop (`spikec.runtime.cycle.record_type`).
        samples: N.
        steps: T.
    """
    made = queues(design)
    found: dict[str, Array] = {}
    for number, layer in enumerate(design.layers):
        behind = [k for k, queue in enumerate(made) if queue.link == number + 1]
        name, joined = layer[0].layer, len(layer) > 1
        parts = []
        for place, core in enumerate(layer):
            own = behind[place] if joined else behind[0]
            pushed = records[records["queue"] == 2 * own]
            parts.append(_sent(core, pushed, made[own], samples, steps))
        found[f"s/{name}"] = np.concatenate(parts, axis=-1)
    return found


def counting(rung: Rung, artifact: Artifact) -> Rung:
    """Give a rung that counts its output's spikes on the host, to be compared with an artifact that counts them."""
    bits = design_of(artifact).count_bits
    if not bits:
        return rung

    def run(inputs: Array) -> Result:
        done = rung.run(inputs)
        counts = np.minimum(done.counts, (1 << bits) - 1)[:, None]
        return replace(done, traces={**done.traces, COUNTS: counts})

    return replace(rung, run=run)


def counts_sent(design: Design, records: Array, samples: int) -> Array:
    """Give the counts that a design sent, (N, 1, *output_shape), int32, from the pushes behind its counter."""
    made = queues(design)
    last, lanes = made[-1], design.layers[-1][0].lanes
    pushed = records[records["queue"] == 2 * (len(made) - 1)]
    kind, group, bits = _parts(pushed, last)
    sent = kind == VALUES
    out = np.zeros((samples, design.output_groups, lanes), np.int32)
    out[pushed["stream"][sent], group[sent]] = _number(bits[sent].reshape(-1, lanes, design.count_bits))
    logical = out.reshape(samples, 1, -1)[..., output_rows(design)]
    return logical.reshape(samples, 1, *design.output_shape)


def _parts(pushed: Array, queue: Queue) -> tuple[Array, Array, Array]:
    """Give kind and group of tokens, and the bits of their payloads."""
    words = np.ascontiguousarray(pushed["token"]).view(np.uint8)
    bits = np.unpackbits(words.reshape(len(pushed), -1), axis=1, bitorder="little")
    payload = queue.payload_bits
    group = _number(bits[:, payload : payload + queue.group_bits])
    return _number(bits[:, queue.width - 2 : queue.width]), group, bits[:, :payload]


def _sent(core: EventCore, pushed: Array, queue: Queue, samples: int, steps: int) -> Array:
    """Read the tokens that one core pushed: what its neurons sent, (N, T, neurons), int32."""
    order = np.lexsort((pushed["cycle"], pushed["stream"]))
    streams = pushed["stream"][order].astype(np.int64)
    kind, group, bits = _parts(pushed[order], queue)
    ends = np.isin(kind, (END, END_CLEAR))
    before: Array = np.cumsum(ends) - ends
    first = np.searchsorted(streams, np.arange(samples))
    step = before - np.append(before, 0)[first][streams]
    out = np.zeros((samples, steps, core.groups, core.lanes), np.int32)
    values = bits.reshape(len(bits), core.lanes, -1)
    sent = kind == (VALUES if core.readout == "membrane" else SPIKES)
    number = _number(values[sent])
    half = np.int64(1) << (values.shape[2] - 1)
    signed = np.where(number >= half, number - 2 * half, number) if core.readout == "membrane" else number
    out[streams[sent], step[sent], group[sent]] = signed
    return out.reshape(samples, steps, -1)[..., core.physical]


def _number(bits: Array) -> Array:
    """Read bits along the last axis as a number, the least significant first."""
    return bits.astype(np.int64) @ (np.int64(1) << np.arange(bits.shape[-1], dtype=np.int64))


def _result(design: Design, outputs: Array, traces: dict[str, Array], cycles: Array, trace: Trace) -> Result:
    wanted = {key: value for key, value in traces.items() if trace is True or (trace and key[2:] in trace)}
    if trace and design.count_bits:
        wanted[COUNTS] = outputs
    if trace:
        wanted[CYCLES] = np.asarray(cycles, np.int64).reshape(-1, 1)
    return Result({design.output: outputs}, wanted)
