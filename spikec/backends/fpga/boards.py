"""The boards that spikec knows: part, logic and block memory of each, and how block memories may be shaped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """Block memory of a family: its size and the shapes (depth, width) that one block can take.

    `tables_written`: whether the family's look-up tables can be small memories that are written (else flip-flops are).
    """

    kilobits: int
    shapes: tuple[tuple[int, int], ...]
    tables_written: bool = True

    def blocks(self, words: int, width: int) -> int:
        """Give how many blocks hold `words` words of `width` bits, in the shape that needs the fewest."""
        if words == 0 or width == 0:
            return 0
        return min(-(-words // depth) * -(-width // bits) for depth, bits in self.shapes)


EBR = Memory(18, ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)))
"""ECP5's embedded block RAM: 18 Kb; 36 bits wide as a pseudo dual-port memory."""

BSRAM = Memory(18, ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)))
"""Gowin's block SRAM: 18 Kb."""

ICE_EBR = Memory(4, ((256, 16), (512, 8), (1024, 4), (2048, 2)), tables_written=False)
"""iCE40's embedded block RAM: 4 Kb."""

RAMB18 = Memory(18, ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)))
"""Xilinx 7-series block RAM, in halves of 18 Kb."""


@dataclass(frozen=True)
class Board:
    """A board: `luts` look-up tables of 4 inputs, `blocks` block memories, `dsps` multipliers (18 bits)."""

    name: str
    title: str
    part: str
    family: str
    luts: int
    memory: Memory
    blocks: int
    dsps: int
    mhz: int
    """Clock that the report assumes, before anything was placed and routed."""


BOARDS = {
    board.name: board
    for board in (
        Board("ulx3s-85f", "ULX3S 85F", "LFE5U-85F-6BG381C", "ecp5", 83_640, EBR, 208, 156, 80),
        Board("colorlight-i5", "Colorlight i5", "LFE5U-25F-6BG381C", "ecp5", 24_288, EBR, 56, 28, 80),
        Board("orangecrab", "OrangeCrab 25F", "LFE5U-25F-8MG285C", "ecp5", 24_288, EBR, 56, 28, 80),
        Board("tang-nano-20k", "Tang Nano 20K", "GW2AR-LV18QN88C8/I7", "gowin", 20_736, BSRAM, 46, 48, 80),
        Board("icebreaker", "iCEBreaker", "iCE40UP5K-SG48", "ice40", 5_280, ICE_EBR, 30, 8, 20),
        Board("arty-a7", "Arty A7-35T", "XC7A35TICSG324-1L", "xc7", 33_280, RAMB18, 100, 90, 80),
    )
}
"""Every board by its name. Logic is counted in tables of 4 inputs; the Artix has 20 800 of 6, counted 1.6 each."""
