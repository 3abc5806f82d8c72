"""The SystemVerilog of random designs: no warning from Verilator or slang, and two families can synthesize it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikec.backends.fpga.layout.memories import mem_files
from spikec.backends.fpga.top import rtl_files
from spikec.compiler.cores import Memories
from spikec.runtime.rtl.tools import find_tools
from tests.fpga.designs import Knobs, random_design

SYNTHESIS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
sources = " ".join(sys.argv[2:])
libyosys.run_pass(f"read_slang --top snn_top -DSYNTHESIS -Werror {sources}", design)
if sys.argv[1]:
    libyosys.run_pass(f"{sys.argv[1]} -top snn_top", design)
libyosys.run_pass("check -assert", design)
libyosys.run_pass("tee -q -o stat.json stat -json", design)
"""

MEMORIES: tuple[Memories, ...] = ("baked", "overlay")


def write(seed: int, folder: Path, knobs: Knobs, memories: Memories) -> list[str]:
    """Write a random design and give the names of its SystemVerilog without the probe."""
    design = replace(random_design(np.random.default_rng(seed), knobs), memories=memories)
    if design.layers[-1][0].readout == "spikes":
        design = replace(design, count_bits=(0, 16, 5)[seed % 3])
    (folder / "mem").mkdir()
    for name, text in mem_files(design) if memories == "baked" else ():
        (folder / "mem" / name).write_text(text, encoding="utf-8")
    for name, text in rtl_files(design).items():
        (folder / name).write_text(text, encoding="utf-8")
    return [name for name in rtl_files(design) if name != "snn_probe.sv"]


def yosys(synth: str, sources: list[str], folder: Path) -> None:
    command = [sys.executable, "-c", SYNTHESIS, synth, *sources]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "0 errors, 0 warnings" in done.stdout + done.stderr


@pytest.mark.parametrize("memories", MEMORIES)
@pytest.mark.parametrize("seed", range(6))
def test_verilator_has_no_warning(seed: int, memories: Memories, tmp_path: Path) -> None:
    sources = write(seed, tmp_path, Knobs(), memories)
    tools = find_tools()
    command = [str(tools.verilator), "--lint-only", "-Wall", "--assert", "--top-module", "snn_probe", *sources]
    done = subprocess.run(
        [*command, "snn_probe.sv"],
        cwd=tmp_path,
        env={"VERILATOR_ROOT": str(tools.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr


@pytest.mark.parametrize("memories", MEMORIES)
@pytest.mark.parametrize("seed", range(3))
def test_slang_has_no_warning(seed: int, memories: Memories, tmp_path: Path) -> None:
    yosys("", write(seed, tmp_path, Knobs(), memories), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("memories", MEMORIES)
@pytest.mark.parametrize("synth", ["synth_ecp5", "synth_xilinx"])
def test_families_synthesize_it(synth: str, memories: Memories, tmp_path: Path) -> None:
    small = Knobs(layers=(2,), cores=(1, 2), lanes=(4,), structures=((1, 1), (2, 4)), neurons=(8, 16), inputs=(16, 16))
    yosys(synth, write(2, tmp_path, small, memories), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("synth", "cells"), [("synth_ecp5", ("DP16KD", "PDPW16KD")), ("synth_xilinx", ("RAMB",))])
def test_loaded_weights_lie_in_as_many_block_memories(synth: str, cells: tuple[str, ...], tmp_path: Path) -> None:
    large = Knobs(layers=(1,), cores=(1,), lanes=(4,), structures=((1, 1),), neurons=(40, 40), inputs=(170, 170))
    counts = []
    for memories in MEMORIES:
        folder = tmp_path / memories
        folder.mkdir()
        yosys(synth, write(1, folder, large, memories), folder)
        used = json.loads((folder / "stat.json").read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
        counts.append(sum(count for cell, count in used.items() if cell.startswith(cells)))
    assert counts[0] == counts[1] > 0
