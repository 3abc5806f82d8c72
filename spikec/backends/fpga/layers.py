"""From a checked graph to cores: the layers of a chain, and the design that lanes and cores make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import numpy as np

from spikec.compiler.cores import (
    BANK_WORDS,
    INPUT,
    OUTPUT,
    Design,
    EventCore,
    Link,
    Memories,
    physical_neurons,
    source_rows,
    sum_bits,
    widest_sum_bits,
)
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input, Linear, Output
from spikec.compiler.weights import Array, Fixed, Weight, unwrapped
from spikec.compiler.weights_nm import NM

MOST_BANKS = 64
INPUT_LANES = 16
INPUT_DEPTH = 64
"""Places of the queue that takes the network's input."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A fully connected layer: its neurons' node, its weights, and how many inputs and outputs it has."""

    name: str
    weight: Weight
    neuron: FixedNeuron
    inputs: int
    outputs: int

    @property
    def structure(self) -> tuple[int, int]:
        """Kept entries and length of a block: 1, 1 where the weights are dense."""
        return (self.weight.n, self.weight.m) if isinstance(self.weight, NM) else (1, 1)

    @property
    def fixed(self) -> Fixed:
        """The integers inside."""
        inner = unwrapped(self.weight)
        assert isinstance(inner, Fixed)
        return inner

    @property
    def stored_bits(self) -> int:
        """Bits of the weights as a core stores them, before padding: zeros of sparse weights as well."""
        return self.weight.bits if isinstance(self.weight, NM) else self.fixed.bits


@dataclass(frozen=True)
class Choice:
    """How a layer is mapped: lanes of each core, and over how many cores it is split."""

    lanes: int
    cores: int = 1


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """Give the layers of a graph that passed the check, in order."""
    found = []
    for node in graph.of(FixedNeuron):
        connection = graph[node.inputs[0]].op
        assert isinstance(connection, Linear)
        assert isinstance(node.op, FixedNeuron)
        rows, columns = connection.weight.shape
        found.append(Layer(node.name, connection.weight, node.op, columns, rows))
    return tuple(found)


def shares(layer: Layer, choice: Choice) -> list[tuple[int, int]]:
    """Give first neuron and number of neurons of each core of a layer: whole blocks, as even as they go."""
    _, block = layer.structure
    blocks = -(-layer.outputs // block)
    cores = min(choice.cores, blocks)
    edges = [min(layer.outputs, block * (blocks * k // cores)) for k in range(cores + 1)]
    return [(start, stop - start) for start, stop in pairwise(edges)]


def build(graph: Graph, choices: Sequence[Choice], memories: Memories = "baked", *, count_bits: int = 0) -> Design:
    """Make the design; its cores are named c0, c1, ... as in the files of their memories.

    Args:
        graph: one that passed the check.
        choices: how to map each layer.
        memories: how they are filled. The sums of an overlay are wide enough for any weights of the same widths.
        count_bits: bits of the counts that leave in place of spikes; 0: spikes leave.
    """
    layers = layers_of(graph)
    source, output = graph.of(Input)[0], graph.of(Output)[0]
    assert isinstance(source.op, Input)
    width = prod(source.op.size)
    lanes, rows = INPUT_LANES, np.arange(width)
    total = -(-width // lanes) * lanes
    made: list[tuple[EventCore, ...]] = []
    number = 0
    for layer, choice in zip(layers, choices, strict=True):
        parts = shares(layer, choice)
        cores = tuple(_core(layer, choice, part, rows, total, lanes, f"c{number + k}") for k, part in enumerate(parts))
        if memories == "overlay":
            cores = tuple(_any_weights(core, layer.inputs) for core in cores)
        made.append(cores)
        number += len(cores)
        rows, lanes = source_rows(cores), choice.lanes
        total = sum(core.groups for core in cores) * lanes
    names = [(INPUT,), *(tuple(core.name for core in cores) for cores in made), (OUTPUT,)]
    depths = [INPUT_DEPTH, *(_depth(cores) for cores in made)]
    links = tuple(Link(*ends, depth) for ends, depth in zip(pairwise(names), depths, strict=True))
    return Design(
        tuple(core for cores in made for core in cores),
        links,
        INPUT_LANES,
        source.op.size,
        graph.shapes[output.name],
        output.name,
        graph.name,
        memories,
        count_bits,
    )


def _any_weights(core: EventCore, inputs: int) -> EventCore:
    """Give a core whose sums no other weights of these widths overflow: what is loaded later needs no other RTL."""
    return replace(core, sum_bits=widest_sum_bits(inputs, core.weight_bits, core.bias_bits, core.state_bits))


def _depth(cores: tuple[EventCore, ...]) -> int:
    """Give the places of the queues behind a layer: a whole fire pass, to the next power of two."""
    return _power(max(core.room for core in cores))


def _core(
    layer: Layer, choice: Choice, part: tuple[int, int], rows: Array, total: int, in_lanes: int, name: str
) -> EventCore:
    start, neurons = part
    kept, block = layer.structure
    op, rules, lanes = layer.neuron, layer.neuron.arithmetic, choice.lanes
    values, positions = _entries(layer, part, lanes, rows, total)
    groups = values.shape[1] // kept * block
    place = physical_neurons(neurons, lanes, block)

    def placed(value: Array | int, empty: int) -> Array:
        full = np.full(groups * lanes, empty, np.int64)
        full[place] = np.broadcast_to(value, (layer.outputs,))[start : start + neurons]
        return full.reshape(groups, lanes)

    bias = placed(np.asarray(op.bias, np.int64) << max(0, op.bias_exp), 0)
    never = (1 << (rules.v_bits - 1)) - 1
    silent = op.reset == "none" and op.readout == "membrane"
    threshold = placed(never if silent else op.threshold, never)
    amount = {"subtract": op.amount, "value": op.v_reset, "none": 0}[op.reset]
    bits = sum_bits(values, positions, bias, rules.v_bits, block)
    words = total * values.shape[1]
    return EventCore(
        name=name,
        layer=layer.name,
        rows=total,
        in_lanes=in_lanes,
        neurons=neurons,
        lanes=lanes,
        values=values,
        positions=positions,
        threshold=threshold,
        bias=bias,
        amount=placed(amount, 0),
        initial=placed(op.v_init, 0),
        kept=kept,
        block=block,
        offset=start,
        weight_bits=layer.fixed.width,
        state_bits=rules.v_bits,
        bias_bits=rules.v_bits,
        sum_bits=bits,
        decay=rules.decay,
        decay_constant=int(np.asarray(op.v_decay).reshape(-1)[0]),
        cmp=op.cmp,
        reset=op.reset,
        readout=op.readout,
        bank_words=_bank(words),
    )


def _entries(layer: Layer, part: tuple[int, int], lanes: int, rows: Array, total: int) -> tuple[Array, Array]:
    """Give values and positions (rows, row_words, lanes) of one core; entries of no weight are 0 at free positions."""
    start, neurons = part
    kept, block = layer.structure
    columns = layer.inputs
    if isinstance(layer.weight, NM):
        first, last = start // block, -(-(start + neurons) // block)
        values = np.asarray(layer.weight.values[:, first:last], np.int32)
        positions = layer.weight.positions[:, first:last].astype(np.int32)
    else:
        values = np.asarray(layer.weight.decode()[start : start + neurons].T, np.int32)[..., None]
        positions = np.zeros_like(values)
    blocks = max(1, -(-neurons // (lanes * block)))
    whole = np.zeros((total, blocks * lanes, kept), np.int32)
    where = np.broadcast_to(np.arange(kept, dtype=np.int32), whole.shape).copy()
    whole[rows[:columns], : values.shape[1]] = values
    where[rows[:columns], : values.shape[1]] = positions

    def by_word(entries: Array) -> Array:
        form = entries.reshape(total, blocks, lanes, kept).transpose(0, 1, 3, 2)
        return np.ascontiguousarray(form.reshape(total, blocks * kept, lanes))

    return by_word(whole), by_word(where)


def _bank(words: int) -> int:
    """Give the words of a bank: 1024, fewer in a small core, more in one that would have too many banks."""
    return max(min(BANK_WORDS, _power(max(2, words))), _power(-(-words // MOST_BANKS)))


def _power(value: int) -> int:
    """Give the next power of two."""
    return 1 << max(0, value - 1).bit_length()
