"""The RTL of a design run through Verilator: tokens in, every push and pop out."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikec.compiler.cores import Design
from spikec.compiler.diagnostics import Findings, fail
from spikec.compiler.queues import queues
from spikec.compiler.weights import Array
from spikec.runtime.cycle import CycleResult, physical_inputs, record_type
from spikec.runtime.rtl.build import build_model
from spikec.runtime.rtl.loads import Load, Loaded, encode_loads

Words = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class RtlResult:
    """What the RTL did: every record (or only what left it), the cycles of each stream, and the time it took.

    `loads` says what an overlay's loader made of each image that it was given.
    """

    records: Array
    stream_cycles: Array
    seconds: float
    loads: tuple[Loaded, ...] = ()

    @property
    def cycles(self) -> int:
        """Cycles of all streams."""
        return int(self.stream_cycles.sum())


@dataclass(frozen=True)
class Window:
    """The part of a run to draw: cycles [start, stop) of one stream, into a VCD file."""

    stream: int
    start: int
    stop: int
    path: Path


@dataclass(frozen=True, eq=False)
class Rtl:
    """A design's RTL and memory images, and how its samples follow one another (as in `CycleSimulator`).

    `image` is what an overlay loads before the first sample, one byte every `load_gap` cycles; it needs no `memories`.
    `limit` are the cycles in which a stream must end (`cycle_limit`); `checked` compiles the assertions in; `optimise`
    is the level of the C++ compiler; `keep` a folder to run in.
    """

    design: Design
    rtl: Mapping[str, str]
    memories: Mapping[str, str]
    batch: int = 1
    gap: int = 1
    period: int = 1
    limit: int = 1 << 40
    optimise: str = "-O1"
    checked: bool = True
    keep: Path | None = field(default=None)
    image: bytes = b""
    load_gap: int = 1

    def run(self, inputs: Array, *, trace: bool = True, window: Window | None = None) -> RtlResult:
        """Run samples from reset, batch by batch.

        Args:
            inputs: (N, T, *input_shape), spikes.
            trace: record every push and pop, else only what leaves the design.
            window: draw a VCD of it.

        Raises:
            CompileError: a tool is missing or fails, an assertion of the RTL fails, the loader refuses the image, or a
                stream does not end.
        """
        loads = [Load(0, self.image, self.load_gap)] if self.design.memories == "overlay" else []
        done = self._run(encode_streams(self.design, inputs, self.batch), loads, trace=trace, window=window)
        for load in done.loads:
            if not load.loaded:
                raise load.refusal()
        return done

    def run_in_turn(self, turns: Sequence[tuple[bytes, Array]]) -> RtlResult:
        """Load an image into an overlay, run its samples, load the next, and so on, all in one model.

        Streams are numbered on. A turn whose image is refused does not run, nor do those behind it.
        """
        parts, loads, streams = [], [], 0
        for image, inputs in turns:
            loads.append(Load(streams, image, self.load_gap))
            words = encode_streams(self.design, inputs, self.batch)
            streams += int(words[0])
            parts.append(words[1:])
        return self._run(np.concatenate([np.array([streams], np.uint32), *parts]), loads)

    def load(self, images: Sequence[bytes]) -> tuple[Loaded, ...]:
        """Load one image after another into an overlay, and run nothing."""
        loads = [Load(0, image, self.load_gap) for image in images]
        return self._run(np.zeros(1, np.uint32), loads).loads

    def _run(
        self, tokens: Words, loads: Sequence[Load], *, trace: bool = True, window: Window | None = None
    ) -> RtlResult:
        """Run streams of tokens (`encode_streams`), with images before some of them."""
        if self.design.memories == "baked":
            check_memories(self.design, self.memories)
        drawn = window is not None
        program = build_model(self.design, self.rtl, waves=drawn, checked=self.checked, optimise=self.optimise)
        with self._folder() as folder:
            (folder / "mem").mkdir(exist_ok=True)
            for name, text in self.memories.items():
                (folder / "mem" / name).write_text(text, encoding="utf-8")
            tokens.tofile(folder / "tokens.bin")
            encode_loads(loads).tofile(folder / "loads.bin")
            command = [str(program), "tokens.bin", "loads.bin", "records.bin", str(int(trace))]
            command += [str(self.gap), str(self.period), str(self.limit)]
            if window is not None:
                command += [str(window.stream), str(window.start), str(window.stop), str(window.path.resolve())]
            (folder / "replay.sh").write_text(f'cd "$(dirname "$0")" && {shlex.join(command)}\n', encoding="utf-8")
            told = _execute(command, folder)
            records = np.fromfile(folder / "records.bin", record_type(self.design))
        made = tuple(
            Loaded(stream, cycles, bool(ok), fault, bool(room)) for stream, cycles, ok, fault, room in told["loads"]
        )
        return RtlResult(records, np.array(told["cycles"], np.int64), float(told["seconds"]), made)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Give the folder to run in: `keep`, or one that goes away."""
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            yield self.keep
            return
        with tempfile.TemporaryDirectory(prefix="spikec-rtl-") as made:
            yield Path(made)


def cycle_limit(simulated: CycleResult) -> int:
    """Give the cycles after which a stream of the RTL counts as one that never ends: far more than simulated."""
    return int(simulated.stream_cycles.max()) * 4 + 10_000


def check_memories(design: Design, memories: Mapping[str, str]) -> None:
    """Refuse memory images that are not there or have another number of words than their memory.

    Raises:
        CompileError: fpga/memory-image, one diagnostic a file.
    """
    findings = Findings()
    for number, core in enumerate(design.cores):
        sizes = {f"c{number}.weights.b{bank:02d}.mem": core.bank_words for bank in range(core.banks)}
        for name, words in (sizes | {f"c{number}.neurons.mem": core.groups}).items():
            lines = [line for line in memories.get(name, "").splitlines() if line.partition("//")[0].strip()]
            if len(lines) != words:
                message = f"the image has {len(lines)} words, and its memory {words}"
                findings(fail("fpga/memory-image", message, name, "emit the artifact again").diagnostics[0])
    findings.raise_errors()


def _execute(command: list[str], folder: Path) -> dict[str, Any]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    broken = [line for line in lines if "Assertion failed" in line or "%Error" in line or "%Warning" in line]
    if done.returncode or broken:
        told = "\n".join(broken[:3]) or f"it ended with status {done.returncode}"
        raise fail("fpga/rtl-failed", f"the RTL stopped: {told}", " ".join(command[:1]))
    told_last: dict[str, Any] = json.loads(lines[-1])
    if told_last["status"]:
        hung, spent = len(told_last["cycles"]) - 1, told_last["cycles"][-1]
        help = "the RTL and design.json do not belong together, or the RTL is damaged: compile again"
        raise fail("fpga/rtl-hangs", f"stream {hung} did not end within {spent} cycles", "the RTL in Verilator", help)
    return told_last


def encode_streams(design: Design, inputs: Array, batch: int) -> Words:
    """Give the tokens of every stream as the harness reads them."""
    given = physical_inputs(design, inputs)
    samples, steps = given.shape[:2]
    words = -(-queues(design)[0].width // 32)
    masks = given.reshape(samples, steps, design.input_groups, design.in_lanes)
    starts = range(0, samples, batch)
    parts: list[Words] = [np.array([len(starts)], np.uint32)]
    for start in starts:
        tokens = [token for sample in masks[start : start + batch] for token in _tokens(design, sample, words)]
        ends = (1 if design.count_bits else steps) * len(masks[start : start + batch])
        parts += [np.array([len(tokens), ends], np.uint32), np.array(tokens, np.uint32).reshape(-1)]
    return np.concatenate(parts)


def _tokens(design: Design, sample: NDArray[np.uint8], words: int) -> Iterator[list[int]]:
    """Yield the tokens of one sample (T, groups, lanes): spikes of each group that has some, an end a step."""
    first = queues(design)[0]
    for step, groups in enumerate(sample):
        for group in np.flatnonzero(groups.any(axis=1)):
            mask = int(np.packbits(groups[group], bitorder="little").tobytes()[::-1].hex(), 16)
            yield _split(int(group) << first.payload_bits | mask, words)
        kind = 3 if step == len(sample) - 1 else 1
        yield _split(kind << (first.width - 2), words)


def _split(token: int, words: int) -> list[int]:
    return [token >> (32 * k) & 0xFFFFFFFF for k in range(words)]
