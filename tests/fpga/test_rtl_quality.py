"""The SystemVerilog of random designs: no warning from Verilator or slang, and two families can synthesize it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from spikec.backends.fpga.boards import EBR, ICE_EBR, Memory
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


ONE_MEMORY = """
module t (input logic clk, load, input logic [AW-1:0] address, load_address, input logic [LW-1:0] load_word,
          output logic [WIDTH-1:0] word);
  snn_memory #(.WIDTH(WIDTH), .WORDS(WORDS), .FILE("m.mem"), .STYLE("block"), .LOADED(LOADED), .LOAD_WIDTH(LW)) m (.*);
endmodule
"""


@pytest.mark.slow
@pytest.mark.parametrize("loaded", [0, 1])
@pytest.mark.parametrize(("synth", "memory", "cells"), [("ecp5", EBR, "DP16KD"), ("ice40", ICE_EBR, "SB_RAM40_4K")])
def test_weights_take_as_many_block_memories_as_counted(
    synth: str, memory: Memory, cells: str, loaded: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    source = files("spikec.backends.fpga") / "rtl" / "snn_memory.sv"
    (tmp_path / "snn_memory.sv").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    for words, width in ((16, 32), (64, 20), (128, 48), (256, 8), (512, 40), (1024, 24)):
        text = "".join(rng.bytes(-(-width // 8)).hex()[: width // 4] + "\n" for _ in range(words))
        (tmp_path / "m.mem").write_text(text, encoding="utf-8")
        sizes = {"AW": (words - 1).bit_length(), "LW": -(-width // 8) * 8, "WIDTH": width, "WORDS": words}
        lines = [f"`define {name} {value}" for name, value in (sizes | {"LOADED": loaded}).items()]
        body = re.sub(r"(?<!\.)\b(AW|LW|WIDTH|WORDS|LOADED)\b", r"`\1", ONE_MEMORY)
        (tmp_path / "t.sv").write_text("\n".join(lines) + body, encoding="utf-8")
        command = [sys.executable, "-c", SYNTHESIS.replace("snn_top", "t"), f"synth_{synth}", "snn_memory.sv", "t.sv"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
        used = json.loads((tmp_path / "stat.json").read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
        assert used.get(cells, 0) == memory.blocks(words, width), (words, width)
