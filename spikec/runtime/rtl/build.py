"""Verilated models: SystemVerilog and the harness compiled once a geometry, and kept in a cache by their content."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from spikec.compiler.cores import Design
from spikec.compiler.queues import queues, token_words
from spikec.runtime.rtl.tools import Tools, execute, find_tools

FLAGS = ("--cc", "-Wall", "-Wno-fatal", "-O3", "--x-assign", "fast", "--top-module", "snn_probe")
RUNTIME = ("verilated", "verilated_threads")
WAVES_RUNTIME = (*RUNTIME, "verilated_vcd_c")


def cache_folder() -> Path:
    """Give where models are kept: $SPIKEC_CACHE, else $XDG_CACHE_HOME/spikec, else ~/.cache/spikec."""
    named = os.environ.get("SPIKEC_CACHE")
    if named:
        return Path(named).absolute() / "rtl"  # the compiler runs elsewhere
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "spikec" / "rtl"


def build_model(
    design: Design, rtl: Mapping[str, str], *, waves: bool = False, checked: bool = True, optimise: str = "-O1"
) -> Path:
    """Compile the SystemVerilog of a design and give the program; the same text is compiled once.

    Args:
        design: whose queues the harness records.
        rtl: file name to text, `snn_probe.sv` among them.
        waves: with a VCD writer.
        checked: with the assertions of the RTL.
        optimise: the C++ compiler's level for the model: -O1 builds fastest, -O3 runs fastest.

    Raises:
        CompileError: a tool is missing or fails.
    """
    tools = find_tools()
    harness = (files("spikec.runtime.rtl") / "harness.cc").read_text(encoding="utf-8")
    texts = {**rtl, "harness.cc": harness, "queues.inc": queue_header(design)}
    key = hashlib.sha256(repr((sorted(texts.items()), waves, checked, optimise, FLAGS, _versions(tools))).encode())
    program = cache_folder() / f"{key.hexdigest()[:32]}"
    if program.is_file():
        return program
    objects = _runtime(tools, WAVES_RUNTIME if waves else RUNTIME)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="build-") as made:
        folder = Path(made)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        _verilate(tools, folder, [name for name in rtl if name.endswith(".sv")], waves=waves, checked=checked)
        sources = sorted(path.name for path in (folder / "obj").glob("*.cpp"))
        merged = "".join(f'#include "obj/{name}"\n' for name in sources) + '#include "harness.cc"\n'
        (folder / "model.cpp").write_text(merged, encoding="utf-8")
        command = [
            *_compile(tools, optimise),
            f"-DVM_TRACE={int(waves)}",
            f"-DVM_TRACE_VCD={int(waves)}",
            *(["-DSPIKEC_WAVES"] if waves else []),
            "-I.",
            "-Iobj",
            "model.cpp",
        ]
        execute([*command, *map(str, objects), "-pthread", "-o", "program"], folder, "the C++ compiler")
        (folder / "program").replace(program)
    return program


def queue_header(design: Design) -> str:
    """Give what the harness must know of the queues, and whether there is a loader."""
    made = queues(design)
    first, last = made[0], made[-1]
    lines = [
        f"#define IN_WORDS {-(-first.width // 32)}",
        f"#define WORDS {token_words(made)}",
        f"#define OUT_WIDTH {last.width}",
        f"#define OUT_QUEUE {len(made) - 1}",
        "#define QUEUES " + " ".join(f"QUEUE({k}, {q.name}_in, {q.name}_out)" for k, q in enumerate(made)),
    ]
    lines += ["#define OVERLAY"] if design.memories == "overlay" else []
    return "\n".join([*lines, ""])


def _versions(tools: Tools) -> str:
    return (
        execute([str(tools.verilator), "--version"], Path.cwd(), "Verilator", env=_env(tools)).strip() + tools.compiler
    )


def _env(tools: Tools) -> dict[str, str]:
    return {"VERILATOR_ROOT": str(tools.root)}


def _verilate(tools: Tools, folder: Path, sources: list[str], *, waves: bool, checked: bool) -> None:
    flags = [*FLAGS, "--assert" if checked else "--no-assert", *(["--trace-vcd"] if waves else []), "--Mdir", "obj"]
    execute([str(tools.verilator), *flags, *sources], folder, "Verilator", env=_env(tools))


def _compile(tools: Tools, level: str) -> list[str]:
    include = tools.root / "include"
    return [
        tools.compiler, "-std=c++20", level, "-w", "-DVL_TIME_CONTEXT", "-DVM_COVERAGE=0", "-DVM_SC=0",
        "-DVM_TRACE_FST=0", f"-I{include}", f"-I{include / 'vltstd'}",
    ]  # fmt: skip


def _runtime(tools: Tools, names: tuple[str, ...]) -> list[Path]:
    """Compile Verilator's own runtime once for all models."""
    folder = cache_folder() / hashlib.sha256(f"{tools} {_versions(tools)}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in names:
        target = folder / f"{name}.o"
        if not target.is_file():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                source = tools.root / "include" / f"{name}.cpp"
                command = [
                    *_compile(tools, "-O2"),
                    "-DVM_TRACE=1",
                    "-DVM_TRACE_VCD=1",
                    "-c",
                    str(source),
                    "-o",
                    f"{scratch}/made.o",
                ]
                execute(command, folder, "the C++ compiler")
                shutil.move(f"{scratch}/made.o", target)
        made.append(target)
    return made
