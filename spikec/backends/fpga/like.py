"""Mapping a network as another one was, so that the RTL of the one takes the image of the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spikec.backends.fpga.boards import Board
from spikec.backends.fpga.costs import reasons
from spikec.backends.fpga.layers import Choice, build, layers_of
from spikec.backends.fpga.layout.memories import CHOICES, NUMBERS
from spikec.backends.fpga.mapping import Mapped, spikes_into
from spikec.compiler.cores import Design, EventCore
from spikec.compiler.diagnostics import Findings, fail
from spikec.compiler.ir import Graph

FIELDS = (*NUMBERS, *(name for name, _ in CHOICES))
HELP = "train and quantize it as the first one was, or compile without --like and build the bitstream anew"


def map_like(graph: Graph, board: Board, activity: Mapping[str, float] | None, like: Design) -> Mapped:
    """Map a graph onto the lanes and cores of an overlay.

    Args:
        graph: one that passed the check.
        board: where it must fit.
        activity: spikes a step that each node sends, for the report.
        like: the overlay.

    Raises:
        CompileError: it comes out in another geometry (`fpga/other-geometry`, every reason), or does not fit.
    """
    layers = layers_of(graph)
    if len(layers) != len(like.layers):
        message = f"it has {len(layers)} layers of neurons, the design has {len(like.layers)}"
        raise fail("fpga/other-geometry", message, graph.name, HELP)
    choices = tuple(Choice(cores[0].lanes, len(cores)) for cores in like.layers)
    design = build(graph, choices, like.memories, count_bits=like.count_bits)
    found = Findings()
    for reason in differences(design, like):
        found(fail("fpga/other-geometry", reason, graph.name, HELP).diagnostics[0])
    for reason in reasons(design, board):
        found(fail("fpga/too-small", reason, graph.name, "take the board of the first design").diagnostics[0])
    found.raise_errors()
    return Mapped(design, choices, spikes_into(graph, layers, activity), activity is not None)


def differences(design: Design, like: Design) -> Iterator[str]:
    """Yield everything in which the geometry of a design is not that of another of as many layers."""
    wholes = {
        "inputs": (design.input_size, like.input_size),
        "lanes of the input": (design.in_lanes, like.in_lanes),
        "bits of a count": (design.count_bits, like.count_bits),
        "places of the queues": ([link.depth for link in design.links], [link.depth for link in like.links]),
    }
    for name, (own, wanted) in wholes.items():
        if own != wanted:
            yield f"{name}: {own}, the design has {wanted}"
    for mine, theirs in zip(design.layers, like.layers, strict=True):
        layer = mine[0].layer
        if len(mine) != len(theirs):
            yield f"'{layer}' takes {len(mine)} cores, the design has {len(theirs)}"
            continue
        for core, other in zip(mine, theirs, strict=True):
            yield from (f"'{layer}' ({core.name}): {told}" for told in _fields(core, other))


def _fields(core: EventCore, other: EventCore) -> Iterator[str]:
    for name in FIELDS:
        value, wanted = getattr(core, name), getattr(other, name)
        if value != wanted:
            yield f"{name.replace('_', ' ')} {value}, the design has {wanted}"
