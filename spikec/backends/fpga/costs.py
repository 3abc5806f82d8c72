"""What a mapping costs: block memories and logic, counted from the cores' own memories, and cycles by the formulas.

Weight memories are block memories, whole banks at a time, because the RTL asks for it: their count is exact. Neuron
memories, membranes and queues are shallow: up to 64 words (32 of a neuron memory that is written) they are counted as
tables of logic (a table of 4 inputs holds 16 bits), deeper ones as block memories. Where tables cannot be written
(iCE40), all that is written counts as yosys makes it: flip-flops up to 4 words, block memories beyond. Logic beside
memories is an estimate, fitted to a prototype of the core.

In an overlay there is a loader; its tables are fitted to yosys's count for ECP5 and iCE40 (4 to 24 segments, words of
256 to 2048 bits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spikec.backends.fpga.boards import Board
from spikec.compiler.cores import Design, EventCore, Link, Memories

SHALLOW = 64
"""Up to so many words a memory is made of logic."""
LUT_BITS = 16
LUTS_PER_LANE = 110
LUTS_PER_CORE = 450
"""Front end, address generation, bank choice."""
LUTS_PER_BANK_BIT = 0.5
"""Of the choice between banks, for each bit of a word and bank."""
SHALLOW_WRITTEN = 32
"""As SHALLOW, of a neuron memory that is written."""
WRITTEN = 1.5
"""Tables of a memory that is written for each of one that is only read: the ports of a slice of ECP5."""
WRITTEN_WORDS = 4
"""Up to so many written words lie in flip-flops where tables cannot be written; yosys prefers a block beyond."""
SEGMENTS_PER_CORE = 4
LOADER_LUTS = 500
LOADER_LUTS_PER_SEGMENT = 6
LOADER_CELLS_PER_SEGMENT = 64
"""A segment's CRC where it lies in flip-flops."""


@dataclass(frozen=True)
class Cost:
    """What one core needs on a board: block memories and look-up tables (of 4 inputs), by what they are for."""

    core: str
    weight_blocks: int
    neuron_blocks: int
    membrane_blocks: int
    luts: int
    dsps: int

    @property
    def blocks(self) -> int:
        """All block memories."""
        return self.weight_blocks + self.neuron_blocks + self.membrane_blocks


def core_cost(core: EventCore, board: Board, memories: Memories = "baked") -> Cost:
    """Count one core."""
    memory = board.memory
    weights = core.banks * memory.blocks(core.bank_words, core.weight_word_bits)
    place = _either if memories == "baked" else _written
    neurons, neuron_luts = place(core.groups, core.neuron_word_bits, board)
    membranes, membrane_luts = _state(core.groups, core.sum_bits, board)
    luts = LUTS_PER_CORE + LUTS_PER_LANE * core.lanes + neuron_luts + core.lanes * membrane_luts
    if core.banks > 1:
        luts += int(LUTS_PER_BANK_BIT * core.weight_word_bits * core.banks)
    dsps = core.lanes if core.multiplies else 0
    if dsps > board.dsps:
        luts, dsps = luts + 120 * core.lanes, 0
    return Cost(core.name, weights, neurons, core.lanes * membranes, luts, dsps)


@dataclass(frozen=True)
class Between:
    """What stands between the cores: queues, the loader and the counter, in block memories and look-up tables."""

    blocks: int = 0
    luts: int = 0

    def __add__(self, other: Between) -> Between:
        """Give both together."""
        return Between(self.blocks + other.blocks, self.luts + other.luts)


def queue_cost(link: Link, width: int, board: Board) -> Between:
    """Count the queues of a link whose tokens have `width` bits: behind each source of a join, before each target."""
    queues = len(link.targets) + (len(link.sources) if len(link.sources) > 1 else 0)
    blocks, luts = _state(link.depth, width, board)
    return Between(queues * blocks, queues * luts)


def design_cost(design: Design, board: Board) -> tuple[tuple[Cost, ...], Between]:
    """Count every core; and all queues, the loader and the counter."""
    between = Between(luts=loader_luts(design, board) if design.memories == "overlay" else 0)
    between += queue_cost(design.links[0], 2 + design.in_lanes + (design.input_groups - 1).bit_length(), board)
    for link, layer in zip(design.links[1:], design.layers, strict=True):
        width = 2 + layer[0].payload_bits + (sum(core.groups for core in layer) - 1).bit_length()
        between += queue_cost(link, width, board)
    between += counter_cost(design, board) if design.count_bits else Between()
    return tuple(core_cost(core, board, design.memories) for core in design.cores), between


def counter_cost(design: Design, board: Board) -> Between:
    """Count the counter: its memory, two tables a bit of a word to add and to saturate, and the queue behind it."""
    groups, word = design.output_groups, design.layers[-1][0].lanes * design.count_bits
    behind = _state(design.links[-1].depth, 2 + word + (groups - 1).bit_length(), board)
    return Between(luts=2 * word) + Between(*_state(groups, word, board)) + Between(*behind)


def loader_luts(design: Design, board: Board) -> int:
    """Count the loader; the register that gathers a word counts where a flip-flop takes a table's place."""
    count = SEGMENTS_PER_CORE * len(design.cores)
    if board.memory.tables_written:
        return LOADER_LUTS + LOADER_LUTS_PER_SEGMENT * count
    widest = max(max(core.weight_word_bits, core.neuron_word_bits) for core in design.cores)
    return LOADER_LUTS + LOADER_CELLS_PER_SEGMENT * count + widest


def totals(design: Design, board: Board) -> tuple[int, int, int]:
    """Give all block memories, look-up tables and multipliers of a design."""
    costs, between = design_cost(design, board)
    blocks = sum(cost.blocks for cost in costs) + between.blocks
    return blocks, sum(cost.luts for cost in costs) + between.luts, sum(cost.dsps for cost in costs)


def step_cycles(core: EventCore, spikes: float) -> float:
    """Give the cycles of one step in which `spikes` spikes arrive: walks, the end of the step, the fire pass."""
    return spikes * core.walk_cycles + 1 + core.fire_cycles


def _either(words: int, width: int, board: Board, shallow: int = SHALLOW) -> tuple[int, int]:
    """Give block memories and tables of a memory: one of the two is 0."""
    if words <= shallow:
        return 0, -(-words // LUT_BITS) * width
    return board.memory.blocks(words, width), 0


def _state(words: int, width: int, board: Board) -> tuple[int, int]:
    """Give block memories and tables of what the cores write: membranes, queues, counts.

    Where tables cannot be written, flip-flops take their place: the memory's, if it is small, and those behind it.
    """
    if board.memory.tables_written:
        return _either(words, width, board)
    if words <= WRITTEN_WORDS:
        return 0, (words + 2) * width
    return board.memory.blocks(words, width), width


def _written(words: int, width: int, board: Board) -> tuple[int, int]:
    """Give block memories and tables of a neuron memory that the loader writes."""
    if not board.memory.tables_written:
        return _state(words, width, board)
    blocks, luts = _either(words, width, board, SHALLOW_WRITTEN)
    return blocks, int(WRITTEN * luts)


def reasons(design: Design, board: Board) -> list[str]:
    """Give every reason why a design does not fit a board."""
    blocks, luts, _ = totals(design, board)
    found = []
    if blocks > board.blocks:
        found.append(
            f"it needs {blocks} block memories of {board.memory.kilobits} Kb, {board.title} has {board.blocks}"
        )
    if luts > board.luts:
        found.append(f"it needs about {luts} look-up tables, {board.title} has {board.luts}")
    found.extend(_banks(design.cores))
    return found


def _banks(cores: Sequence[EventCore]) -> list[str]:
    return [f"{core.name} has {core.banks} banks of weights, a core at most 100" for core in cores if core.banks > 100]
