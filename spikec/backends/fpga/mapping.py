"""Mapping: lanes and cores of every layer, chosen so that the slowest layer is as quick as the board allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from spikec.backends.fpga.boards import Board
from spikec.backends.fpga.costs import reasons, step_cycles, totals
from spikec.backends.fpga.layers import Choice, Layer, build, layers_of
from spikec.compiler.cores import Design, Memories
from spikec.compiler.diagnostics import CompileError, Findings, fail
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input

Make = Callable[[Sequence[Choice]], Design]
LANES = (4, 8, 16, 32)
CORES = (1, 2, 4)
ACTIVITY = 0.1
"""Share of neurons that spike in a step, where nobody measured it."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """The design that was chosen, and spikes a step into each layer that the choice was made for."""

    design: Design
    choices: tuple[Choice, ...]
    spikes: tuple[float, ...]
    measured: bool

    @property
    def cycles(self) -> tuple[float, ...]:
        """Cycles a step of each layer: its slowest core."""
        return tuple(
            max(step_cycles(core, spikes) for core in cores)
            for cores, spikes in zip(self.design.layers, self.spikes, strict=True)
        )


def choose(
    graph: Graph,
    board: Board,
    activity: Mapping[str, float] | None = None,
    memories: Memories = "baked",
    *,
    count_bits: int = 0,
) -> Mapped:
    """Choose a mapping: every layer starts with the fewest lanes; the slowest layer gets more while the board has room.

    Args:
        graph: one that passed the check.
        board: where it must fit.
        activity: spikes a step that each node sends (`None`: a tenth of its neurons).
        memories: how they are filled.
        count_bits: bits of the counts that leave in place of spikes; 0: spikes leave.

    Raises:
        CompileError: it does not fit, with every reason and what would fit (`fpga/too-small`).
    """
    layers = layers_of(graph)
    spikes = spikes_into(graph, layers, activity)
    make = partial(build, graph, memories=memories, count_bits=count_bits)
    choices = [Choice(LANES[0])] * len(layers)
    best = Mapped(make(choices), tuple(choices), spikes, activity is not None)
    smallest = min(_starts(make, layers, spikes), key=lambda made: _size(made.design, board), default=best)
    if reasons(best.design, board):
        best = smallest
    against = reasons(best.design, board)
    if against:
        raise _too_small(graph, layers, board, against)
    while True:
        better = _step(make, layers, board, best)
        if better is None:
            return best
        best = better


def _starts(make: Make, layers: Sequence[Layer], spikes: tuple[float, ...]) -> list[Mapped]:
    """Give mappings of few blocks: one core a layer, as many lanes in all of them."""
    made = []
    for lanes in LANES:
        choices = tuple(Choice(lanes) for _ in layers)
        made.append(Mapped(make(choices), choices, spikes, False))
    return made


def _step(make: Make, layers: Sequence[Layer], board: Board, now: Mapped) -> Mapped | None:
    """Give the cheapest mapping in which the slowest layer is quicker, or None if none fits."""
    slow = max(range(len(layers)), key=lambda k: now.cycles[k])
    tries = []
    for choice in _larger(layers[slow], now.choices[slow]):
        choices = tuple(choice if k == slow else c for k, c in enumerate(now.choices))
        made = replace(now, design=make(choices), choices=choices)
        if max(made.cycles) < max(now.cycles) and not reasons(made.design, board):
            tries.append(made)
    return min(tries, key=lambda made: (_size(made.design, board), max(made.cycles)), default=None)


def _larger(layer: Layer, now: Choice) -> list[Choice]:
    """Give the choices with twice as many lanes or cores, none of which would stand empty."""
    _, block = layer.structure
    blocks = -(-layer.outputs // block)
    made = [Choice(2 * now.lanes, now.cores), Choice(now.lanes, 2 * now.cores)]
    fits = [c for c in made if c.lanes in LANES and c.cores in CORES]
    return [c for c in fits if (c.cores == 1 or blocks >= c.lanes * c.cores) and c.lanes < 2 * blocks]


def _size(design: Design, board: Board) -> float:
    """Give the share of the board that a design takes: memories or logic, whichever is larger."""
    blocks, luts, _ = totals(design, board)
    return max(blocks / board.blocks, luts / board.luts)


def spikes_into(graph: Graph, layers: Sequence[Layer], activity: Mapping[str, float] | None) -> tuple[float, ...]:
    """Give the spikes a step into each layer: as measured, or a tenth of the neurons before it."""
    sources = [graph.of(Input)[0].name, *(layer.name for layer in layers[:-1])]
    if activity is None:
        return tuple(ACTIVITY * layer.inputs for layer in layers)
    return tuple(float(activity[name]) for name in sources)


def _too_small(graph: Graph, layers: Sequence[Layer], board: Board, against: list[str]) -> CompileError:
    """Say every reason, and how large each layer's weights are."""
    found = Findings()
    kilobits = [f"'{layer.name}' {layer.stored_bits / 1024:.0f} Kb" for layer in layers]
    held = board.blocks * board.memory.kilobits
    help = (
        f"weights: {', '.join(kilobits)}; block memory of the board: {held} Kb. Prune to N:M along the outputs, "
        "quantize to fewer bits, or take a larger board"
    )
    for reason in against:
        found(fail("fpga/too-small", reason, graph.name, help).diagnostics[0])
    return CompileError(tuple(found))
