"""The memories of a design: geometry, weights, neurons and neuron map of every core, as segments and `.mem` banks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spikec.backends.fpga.layout.image import Kind, Segment
from spikec.backends.fpga.layout.words import Words, pack, unpack
from spikec.compiler.cores import Design, EventCore
from spikec.compiler.weights import Array

ENGINE = 1
"""Number of the event engine in a geometry segment."""

NUMBERS = (
    "rows", "in_lanes", "neurons", "lanes", "kept", "block", "offset",
    "weight_bits", "state_bits", "bias_bits", "sum_bits", "decay_constant", "bank_words",
)  # fmt: skip
"""Fields of a core that a geometry segment holds as they are, in this order."""

CHOICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("decay", ("multiply", "shift")),
    ("cmp", (">", ">=")),
    ("reset", ("value", "subtract", "none")),
    ("readout", ("spikes", "membrane")),
)
"""Fields of a core that a geometry segment holds as the number of a choice, behind the numbers."""

GEOMETRY_WORDS = 4 + len(NUMBERS) + len(CHOICES)


@dataclass(frozen=True)
class Geometry:
    """What a geometry segment says: the core's own fields, its layer's number, and how many inputs are real."""

    layer: int
    inputs: int
    depth: int
    """Places of each queue behind the core."""
    fields: dict[str, int | str]


def segments(design: Design) -> tuple[Segment, ...]:
    """Give every segment of a design, core by core."""
    made: list[Segment] = []
    inputs = design.input_size
    number = 0
    for layer, cores in enumerate(design.layers):
        for core in cores:
            shape = Geometry(layer, inputs, design.links[layer + 1].depth, _fields(core))
            made.append(Segment(number, Kind.GEOMETRY, geometry_words(shape)))
            made.append(Segment(number, Kind.WEIGHTS, weight_words(core)))
            made.append(Segment(number, Kind.NEURONS, neuron_words(core)))
            made.append(Segment(number, Kind.NEURON_MAP, pack(core.physical.reshape(-1, 1), 32)))
            number += 1
        inputs = sum(core.neurons for core in cores)
    return tuple(made)


def geometry_words(shape: Geometry) -> Words:
    """Give a geometry segment: words of 32 bits."""
    numbers = [int(shape.fields[name]) for name in NUMBERS]
    chosen = [names.index(str(shape.fields[name])) for name, names in CHOICES]
    return pack(np.array([ENGINE, shape.layer, shape.inputs, shape.depth, *numbers, *chosen]).reshape(-1, 1), 32)


def geometry_of(words: Words) -> Geometry:
    """Read a geometry segment.

    Raises:
        ValueError: it is of another engine, or no geometry.
    """
    if words.width != 32 or len(words) != GEOMETRY_WORDS:
        raise ValueError(f"a geometry has {GEOMETRY_WORDS} words of 32 bits, not {len(words)} of {words.width}")
    values = [int(v) for v in unpack(words, 32, signed=False).reshape(-1)]
    if values[0] != ENGINE:
        raise ValueError(f"engine {values[0]} is not known; the event engine is {ENGINE}")
    fields: dict[str, int | str] = dict(zip(NUMBERS, values[4:], strict=False))
    for (name, names), value in zip(CHOICES, values[4 + len(NUMBERS) :], strict=True):
        if value >= len(names):
            raise ValueError(f"{name} {value} is none of {', '.join(names)}")
        fields[name] = names[value]
    return Geometry(values[1], values[2], values[3], fields)


def weight_words(core: EventCore) -> Words:
    """Give the weight memory, word row * row_words + entry: lane 0 lowest; of each the value, then the position."""
    values = core.values.reshape(-1, core.lanes)
    positions = core.positions.reshape(-1, core.lanes)
    both = np.stack([values, positions], axis=-1).reshape(len(values), -1)
    return pack(both, (core.weight_bits, core.index_bits) * core.lanes)


def neuron_words(core: EventCore) -> Words:
    """Give the neuron memory: a word a group; in each lane, from the lowest bit, threshold, bias, amount, initial."""
    parts = np.stack([core.threshold, core.bias, core.amount, core.initial], axis=-1)
    return pack(parts.reshape(core.groups, -1), _neuron_widths(core.state_bits, core.bias_bits, core.lanes))


def weights_from(words: Words, shape: Geometry) -> tuple[Array, Array]:
    """Give values and positions, each (rows, row_words, lanes), of a weight memory.

    Raises:
        ValueError: the memory has another size.
    """
    field = shape.fields
    rows, lanes, width = int(field["rows"]), int(field["lanes"]), int(field["weight_bits"])
    index = (int(field["block"]) - 1).bit_length()
    if words.width != lanes * (width + index) or len(words) % max(1, rows):
        raise ValueError(f"weights of {len(words)} words of {words.width} bits do not fit their geometry")
    both = unpack(words, (width, index) * lanes, signed=(True, False) * lanes).reshape(len(words), lanes, 2)
    form = (rows, len(words) // rows, lanes)
    return both[..., 0].reshape(form), both[..., 1].reshape(form)


def neurons_from(words: Words, shape: Geometry) -> dict[str, Array]:
    """Give threshold, bias, amount and initial, each (groups, lanes), of a neuron memory.

    Raises:
        ValueError: the memory has another size.
    """
    lanes = int(shape.fields["lanes"])
    widths = _neuron_widths(int(shape.fields["state_bits"]), int(shape.fields["bias_bits"]), lanes)
    if words.width != sum(widths):
        raise ValueError(f"neurons of {words.width} bits a word do not fit their geometry")
    parts = unpack(words, widths, signed=True).reshape(len(words), lanes, 4)
    return {name: parts[..., k] for k, name in enumerate(("threshold", "bias", "amount", "initial"))}


def _neuron_widths(state: int, bias: int, lanes: int) -> tuple[int, ...]:
    return (state, bias, state, state) * lanes


def _fields(core: EventCore) -> dict[str, int | str]:
    return {name: getattr(core, name) for name in (*NUMBERS, *(name for name, _ in CHOICES))}


def mem_files(design: Design) -> Iterator[tuple[str, str]]:
    """Yield every `.mem` file by name: weight banks `cN.weights.bNN.mem`, neurons `cN.neurons.mem`.

    A bank has `bank_words` lines; the last one is filled up with zeros.
    """
    for number, core in enumerate(design.cores):
        words = weight_words(core)
        digits = -(-words.width // 4)
        for bank in range(core.banks):
            start, stop = bank * core.bank_words, (bank + 1) * core.bank_words
            filler = ("0" * digits + "\n") * (stop - min(stop, len(words)))
            yield f"c{number}.weights.b{bank:02d}.mem", words.mem(start, stop) + filler
        yield f"c{number}.neurons.mem", neuron_words(core).mem()
