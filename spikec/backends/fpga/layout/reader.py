"""Reading an image back: the cores it describes, and the weights, thresholds and biases of every layer as trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikec.backends.fpga.layout.image import Kind, Segment, read
from spikec.backends.fpga.layout.memories import Geometry, geometry_of, neurons_from, weights_from
from spikec.compiler.cores import EventCore, source_rows
from spikec.compiler.diagnostics import CompileError, Findings, fail
from spikec.compiler.weights import Array, Fixed
from spikec.compiler.weights_nm import NM, entries_to_tensor

PARTS = (Kind.GEOMETRY, Kind.WEIGHTS, Kind.NEURONS, Kind.NEURON_MAP)


@dataclass(frozen=True, eq=False)
class Placed:
    """A core as an image describes it, with its layer's number, the layer's real inputs, and its queues' depth."""

    core: EventCore
    layer: int
    inputs: int
    depth: int


def read_cores(
    data: bytes, names: Sequence[tuple[str, str]] | None = None, where: str = "image.bin"
) -> tuple[Placed, ...]:
    """Read the cores of an image and check that every part fits.

    Args:
        data: the image.
        names: name and layer of each core; the image itself holds none.
        where: the file, for diagnostics.

    Raises:
        CompileError: the image is damaged, or a core in it is incomplete or impossible.
    """
    found = Findings()
    parts: dict[int, dict[Kind, Segment]] = {}
    for segment in read(data, where):
        if parts.setdefault(segment.core, {}).setdefault(segment.kind, segment) is not segment:
            name = segment.kind.name.lower()
            found(_bad(f"core {segment.core} has two segments of {name}", where).diagnostics[0])
    if names is not None and len(names) != len(parts):
        found(_bad(f"the image has {len(parts)} cores, the design {len(names)}", where).diagnostics[0])
    found.raise_errors()
    cores: list[Placed] = []
    for number, given in sorted(parts.items()):
        name, layer = (f"core{number}", "") if names is None else names[number]
        with found.catching():
            cores.append(_core(number, given, name, layer, where))
    found.raise_errors()
    return tuple(cores)


def _core(number: int, given: Mapping[Kind, Segment], name: str, layer: str, where: str) -> Placed:
    missing = [kind.name.lower() for kind in PARTS if kind not in given]
    if missing:
        raise _bad(f"core {number} has no {', '.join(missing)}", where)
    try:
        shape = geometry_of(given[Kind.GEOMETRY].words)
        values, positions = weights_from(given[Kind.WEIGHTS].words, shape)
        core = _event_core(name, layer or f"layer{shape.layer}", shape, values, positions, given)
        physical = np.frombuffer(given[Kind.NEURON_MAP].words.bytes, "<u4")
    except CompileError as error:
        raise _bad(f"core {number}: {error.diagnostics[0].message}", where) from error
    except ValueError as error:
        raise _bad(f"core {number}: {error}", where) from error
    if not np.array_equal(physical, core.physical):
        raise _bad(f"core {number}: its neuron map is not that of its geometry", where)
    return Placed(core, shape.layer, shape.inputs, shape.depth)


def _event_core(
    name: str, layer: str, shape: Geometry, values: Array, positions: Array, given: Mapping[Kind, Segment]
) -> EventCore:
    fields: dict[str, Any] = {**shape.fields, **neurons_from(given[Kind.NEURONS].words, shape)}
    return EventCore(name=name, layer=layer, values=values, positions=positions, **fields)


def layer_weights(before: Sequence[Placed] | int, cores: Sequence[Placed]) -> Fixed | NM:
    """Give the weights of a layer as the graph has them: (out, in), N:M where the cores hold them so.

    Args:
        before: the cores of the layer before, or the number of the network's inputs.
        cores: the cores of the layer, in order.
    """
    first = cores[0].core
    rows = np.arange(before) if isinstance(before, int) else source_rows(tuple(placed.core for placed in before))
    parts = [_matrix(placed.core, rows) for placed in cores]
    fixed = Fixed(np.concatenate(parts), width=first.weight_bits)
    return fixed if first.kept == first.block else NM(fixed, first.kept, first.block, "out")


def _matrix(core: EventCore, rows: Array) -> Array:
    """Give the weights (neurons, inputs) of one core."""
    form = (len(rows), core.blocks, core.kept, core.lanes)
    values = core.values[rows].reshape(form).transpose(0, 1, 3, 2).reshape(len(rows), -1, core.kept)
    positions = core.positions[rows].reshape(form).transpose(0, 1, 3, 2).reshape(len(rows), -1, core.kept)
    return entries_to_tensor(values, positions, (core.neurons, len(rows)), core.block, "out")


def neuron_values(cores: Sequence[Placed], name: str) -> Array:
    """Give `threshold`, `bias`, `amount` or `initial` of a layer's neurons in their logical order."""
    return np.concatenate([getattr(placed.core, name).reshape(-1)[placed.core.physical] for placed in cores])


def _bad(message: str, where: str) -> CompileError:
    return fail("fpga-image/core", message, where, "compile again")
