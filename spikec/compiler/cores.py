"""The design of an FPGA target as a value: spike cores, the links between them, and what their cycles cost.

The backend makes a Design, the simulator and the co-simulation run it. `docs/integer-neuron.md` and
`docs/spike-core.md` say what the fields mean in hardware.

Order of neurons. A core of P lanes keeps neuron state in P banks. Physical neuron q = a * P + p lies in bank p at
address a = j * M + i: block j of lane p, position i in the block. Blocks are of M consecutive outputs, so the logical
neuron of a core is o = (j * P + p) * M + i. Tokens name physical neurons: group a, bit p of the mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array, frozen

LATENCY = 9
"""Cycles from the issue of a group in the fire pass to the push of its token."""
REUSE_ADD = 3
"""Cycles between two issues of one membrane address while weights are added."""
REUSE_FIRE = 7
"""Cycles from the issue of a membrane address in the fire pass to its next issue."""
FIRE_TAIL = 4
"""Cycles that the write of the fire pass comes later than the write of an addition."""
BANK_WORDS = 1024
"""Words of one bank of weight memory."""
INPUT = "input"
OUTPUT = "output"
SPIKES, END, VALUES, END_CLEAR = 0, 1, 2, 3
"""Kinds of a token: spikes of a group, end of the step, membranes of a group, end of the step and of the sample."""


@dataclass(frozen=True, eq=False)
class EventCore:
    """One event engine: it adds the weights of every spike that arrives and fires at the end of the step.

    `values[r, j * kept + n, p]` is the weight from input row r that lane p adds at block j, entry n;
    `positions` (the same shape) is the position in the block, all different within a block (0 where block is 1).
    A row is the physical number of the source's neuron: group * in_lanes + bit.
    `threshold bias amount initial` are (groups, lanes) in physical order: address a, lane p. `amount` is what a soft
    reset subtracts, the value that a hard reset sets, 0 with reset none; `initial` is v before the first step.
    Lanes without a neuron (padding) have weights, bias and initial 0 and a threshold that 0 does not meet.
    The core holds logical neurons [offset, offset + neurons) of its layer.
    """

    name: str
    layer: str
    rows: int
    in_lanes: int
    neurons: int
    lanes: int
    values: Array
    positions: Array
    threshold: Array
    bias: Array
    amount: Array
    initial: Array
    kept: int = 1
    block: int = 1
    offset: int = 0
    weight_bits: int = 8
    state_bits: int = 16
    bias_bits: int = 16
    sum_bits: int = 24
    decay: Literal["multiply", "shift"] = "multiply"
    decay_constant: int = 0
    cmp: Literal[">", ">="] = ">"
    reset: Literal["value", "subtract", "none"] = "value"
    readout: Literal["spikes", "membrane"] = "spikes"
    bank_words: int = BANK_WORDS

    def __post_init__(self) -> None:
        """Freeze the arrays and refuse a core whose parts do not fit together."""
        for name in ("values", "positions"):
            object.__setattr__(self, name, frozen(np.asarray(getattr(self, name), np.int32)))
        for name in ("threshold", "bias", "amount", "initial"):
            object.__setattr__(self, name, frozen(np.asarray(getattr(self, name), np.int64)))
        for rule in (_shapes, _ranges, _positions, _sums):
            reason = rule(self)
            if reason:
                raise fail("fpga/core", reason, self.name)

    @property
    def blocks(self) -> int:
        """Blocks of each lane."""
        return max(1, -(-self.neurons // (self.lanes * self.block)))

    @property
    def groups(self) -> int:
        """Words of each bank of membranes: addresses a."""
        return self.blocks * self.block

    @property
    def row_words(self) -> int:
        """Words of weight memory that one spike reads."""
        return self.blocks * self.kept

    @property
    def walk_cycles(self) -> int:
        """Cycles that one spike takes: its words, or what keeps two additions to one address apart."""
        return max(self.row_words, self.kept - 1 + REUSE_ADD)

    @property
    def fire_cycles(self) -> int:
        """Cycles of a fire pass: its groups, or what keeps the next addition away from its writes."""
        spread = (self.blocks - 1) * (self.block - self.kept)
        return max(self.groups + FIRE_TAIL, REUSE_FIRE + self.block - 1 + spread)

    @property
    def index_bits(self) -> int:
        """Bits of a position in a block."""
        return (self.block - 1).bit_length()

    @property
    def weight_word_bits(self) -> int:
        """Bits of a word of weight memory: lane 0 lowest, in each lane {position, value}."""
        return self.lanes * (self.weight_bits + self.index_bits)

    @property
    def weight_words(self) -> int:
        """Words of weight memory: row * row_words + j * kept + n."""
        return self.rows * self.row_words

    @property
    def banks(self) -> int:
        """Banks of weight memory, each of `bank_words` words."""
        return -(-self.weight_words // self.bank_words)

    @property
    def neuron_word_bits(self) -> int:
        """Bits of a word of the neuron memory: lane 0 lowest, in each lane threshold, then bias, amount, initial."""
        return self.lanes * (3 * self.state_bits + self.bias_bits)

    @property
    def payload_bits(self) -> int:
        """Bits of an outgoing token beside kind and group: a mask, or every lane's membrane."""
        return self.lanes * self.state_bits if self.readout == "membrane" else self.lanes

    @property
    def room(self) -> int:
        """Free places that every queue behind the core must have before a fire pass starts."""
        return self.groups + 1 + LATENCY

    @cached_property
    def physical(self) -> Array:
        """For each logical neuron of the core, its physical number, (neurons,)."""
        return physical_neurons(self.neurons, self.lanes, self.block)


@dataclass(frozen=True)
class Link:
    """Tokens from the cores of one layer (or the input) to all cores of the next (or the output).

    One source: its tokens are pushed into one queue of `depth` for each target, in the same cycle. Several: each source
    has a queue of its own; a join takes core 0's tokens until its end of step, then core 1's, ..., adds the
    groups of the cores before to each token's group, passes only the last core's end of step on, and pushes into one
    queue for each target, one token a cycle, when all of them have room.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    depth: int = 64


@dataclass(frozen=True, eq=False)
class Design:
    """A feed-forward chain of layers of cores: links[0] from the input, links[-1] to the output.

    Logical input i (C order of `input_shape`) is bit i % in_lanes of group i // in_lanes. `output` names the
    graph's Output node, `output_shape` its shape: the logical neurons of the last layer in C order.
    """

    cores: tuple[EventCore, ...]
    links: tuple[Link, ...]
    in_lanes: int
    input_shape: Shape
    output_shape: Shape
    output: str = OUTPUT
    name: str = "network"

    def __post_init__(self) -> None:
        """Refuse links that do not make a chain, or queues that could block for ever."""
        reason = _chain(self)
        if reason:
            raise fail("fpga/design", reason, self.name)

    def __getitem__(self, name: str) -> EventCore:
        """Give the core of that name."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> Mapping[str, EventCore]:
        return {core.name: core for core in self.cores}

    @property
    def layers(self) -> tuple[tuple[EventCore, ...], ...]:
        """The cores of each layer, in order."""
        return tuple(tuple(self[name] for name in link.targets) for link in self.links[:-1])

    @property
    def input_size(self) -> int:
        """Logical inputs."""
        return int(np.prod(self.input_shape, dtype=np.int64))

    @property
    def input_groups(self) -> int:
        """Groups of input tokens."""
        return -(-self.input_size // self.in_lanes)


def physical_neurons(neurons: int, lanes: int, block: int) -> Array:
    """Give the physical number of each logical neuron 0..neurons-1 of one core, (neurons,) int64."""
    o = np.arange(neurons, dtype=np.int64)
    i, lane = o % block, o // block % lanes
    j = o // (block * lanes)
    return (j * block + i) * lanes + lane


def source_rows(cores: tuple[EventCore, ...]) -> Array:
    """Give for each logical neuron of a layer the row of the next layer's weights that its spike reads."""
    rows, base = [], 0
    for core in cores:
        rows.append(core.physical + base * core.lanes)
        base += core.groups
    return np.concatenate(rows)


def group_bases(cores: tuple[EventCore, ...]) -> tuple[int, ...]:
    """Give what a join adds to the group of each core's tokens."""
    return tuple(sum(core.groups for core in cores[:k]) for k in range(len(cores)))


def signed_bits(low: int, high: int) -> int:
    """Give the bits of a two's complement number that holds both."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def sum_bits(values: Array, positions: Array, bias: Array, state_bits: int, block: int = 1) -> int:
    """Give the smallest accumulator width in which no order of any events overflows.

    A partial sum is D(v) + b and any subset of a neuron's weights: it lies between the sums of the negative and of the
    positive ones. `values` and `positions` are (rows, row_words, lanes), `bias` is (groups, lanes).
    """
    low, high = _extremes(values, positions, bias, block)
    half = 1 << (state_bits - 1)
    return signed_bits(-half + low, half - 1 + high)


def _extremes(values: Array, positions: Array, bias: Array, block: int) -> tuple[int, int]:
    """Give the least and greatest of bias + any subset of weights, over all neurons (0 among them)."""
    _, words, lanes = values.shape
    kept = words * block // max(1, bias.shape[0])
    address = (np.arange(words)[None, :, None] // max(1, kept)) * block + positions
    flat = address * lanes + np.arange(lanes)
    low, high = np.zeros(bias.size, np.int64), np.zeros(bias.size, np.int64)
    np.add.at(low, flat.ravel(), np.minimum(values, 0).ravel())
    np.add.at(high, flat.ravel(), np.maximum(values, 0).ravel())
    own = bias.ravel()
    return int(min(0, (low + own).min())), int(max(0, (high + own).max()))


def _shapes(core: EventCore) -> str:
    if core.block & (core.block - 1) or not 1 <= core.kept <= core.block:
        return f"{core.kept}:{core.block} is not N of a power of two M"
    if core.lanes & (core.lanes - 1) or core.in_lanes & (core.in_lanes - 1):
        return f"lanes must be powers of two, not {core.lanes} and {core.in_lanes}"
    if core.rows < 1 or core.rows % core.in_lanes or core.neurons < 1:
        return f"{core.rows} rows are not whole groups of {core.in_lanes}"
    if core.bank_words < 2 or core.bank_words & (core.bank_words - 1):
        return f"a bank of {core.bank_words} words is not a power of two"
    if core.banks > 100:
        return f"its {core.weight_words} words of weights fill more than 100 banks of {core.bank_words}"
    weights, neurons = (core.rows, core.row_words, core.lanes), (core.groups, core.lanes)
    for name, shape in (("values", weights), ("positions", weights)):
        if getattr(core, name).shape != shape:
            return f"{name} are {list(getattr(core, name).shape)}, not {list(shape)}"
    for name in ("threshold", "bias", "amount", "initial"):
        if getattr(core, name).shape != neurons:
            return f"{name} is {list(getattr(core, name).shape)}, not {list(neurons)}"
    return ""


def _ranges(core: EventCore) -> str:
    if not (2 <= core.weight_bits <= 16 and 2 <= core.state_bits <= 24 and core.sum_bits <= 32):
        return f"widths {core.weight_bits}, {core.state_bits}, {core.sum_bits} are out of range"
    if not (core.state_bits <= core.sum_bits and 1 <= core.bias_bits <= core.sum_bits):
        return f"states of {core.state_bits} and biases of {core.bias_bits} bits exceed sums of {core.sum_bits}"
    limit = 4096 if core.decay == "multiply" else core.state_bits
    if not 0 <= core.decay_constant <= limit:
        return f"decay constant {core.decay_constant} is not in [0, {limit}]"
    widths = {"values": core.weight_bits, "bias": core.bias_bits}
    widths |= dict.fromkeys(("threshold", "amount", "initial"), core.state_bits)
    for name, width in widths.items():
        array = getattr(core, name)
        if signed_bits(int(array.min()), int(array.max())) > width:
            return f"{name} span [{array.min()}, {array.max()}], which {width} bits do not hold"
    return ""


def _positions(core: EventCore) -> str:
    if core.positions.min() < 0 or core.positions.max() >= core.block:
        return f"a position is not in [0, {core.block})"
    entries = core.positions.reshape(core.rows, core.blocks, core.kept, core.lanes)
    if core.kept > 1 and np.any(np.diff(np.sort(entries, axis=2), axis=2) == 0):
        return "two entries of one block have the same position"
    return ""


def _sums(core: EventCore) -> str:
    need = sum_bits(core.values, core.positions, core.bias, core.state_bits, core.block)
    return f"its sums need {need} bits and have {core.sum_bits}" if need > core.sum_bits else ""


def _chain(design: Design) -> str:
    links = design.links
    if len(links) < 2 or links[0].sources != (INPUT,) or links[-1].targets != (OUTPUT,):
        return "links must lead from the input through at least one layer to the output"
    for before, after in pairwise(links):
        if before.targets != after.sources:
            return f"the cores {list(before.targets)} are not those that send on: {list(after.sources)}"
    names = [name for link in links[:-1] for name in link.targets]
    if len(set(names)) != len(names) or tuple(names) != tuple(core.name for core in design.cores):
        return "cores must be named once each, in the order of the links"
    lanes, groups = design.in_lanes, design.input_groups
    for link, layer in zip(links, [*design.layers, ()], strict=True):
        reason = _link(design, link, layer, lanes, groups)
        if reason:
            return reason
        if layer:
            lanes, groups = layer[0].lanes, sum(core.groups for core in layer)
    return ""


def _link(design: Design, link: Link, layer: tuple[EventCore, ...], lanes: int, groups: int) -> str:
    if link.depth < 2 or link.depth & (link.depth - 1):
        return f"a queue of {link.depth} tokens is not a power of two"
    for core in layer:
        if core.in_lanes != lanes or core.rows != groups * lanes:
            return f"{core.name} takes {core.rows} rows by {core.in_lanes}; its source sends {groups} groups of {lanes}"
        if (core.lanes, core.readout) != (layer[0].lanes, layer[0].readout):
            return f"{core.name} and {layer[0].name} share a layer and differ in lanes or readout"
        if core.readout == "membrane" and layer != design.layers[-1]:
            return f"{core.name} sends membranes, which only the output takes"
    for name in link.sources:
        if name != INPUT and design[name].room > link.depth:
            return f"a queue of {link.depth} tokens behind {name} must hold {design[name].room}"
    return ""
