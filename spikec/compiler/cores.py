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
LOAD_TAIL = 2
"""Cycles from the last byte of an image to the first cycle in which the cores of an overlay run."""
Memories = Literal["baked", "overlay"]
"""How weights and neurons get into their memories: with the bitstream, or as an image over the link."""
COUNT_BITS = 16
"""Bits of a count where spikes are counted: exact in samples of up to 65 535 steps."""
SPIKES, END, VALUES, END_CLEAR = 0, 1, 2, 3
"""Kinds of a token: spikes of a group, end of the step, membranes or counts of a group, end of step and of sample."""


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
        from spikec.compiler.cores_rules import core_fault

        reason = core_fault(self)
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
    def multiplies(self) -> bool:
        """Whether its decay needs a product: keeping all or nothing needs none."""
        return self.decay == "multiply" and self.decay_constant not in (0, 4096)

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
    graph's Output node, `output_shape` its shape: the logical neurons of the last layer in C order. `memories` says how
    they are filled, which changes nothing once the cores run.
    `count_bits`: a counter stands behind the last link and sends the spikes of each output neuron over a sample, in so
    many bits, saturated; 0: the spikes of every step leave, or membranes.
    """

    cores: tuple[EventCore, ...]
    links: tuple[Link, ...]
    in_lanes: int
    input_shape: Shape
    output_shape: Shape
    output: str = OUTPUT
    name: str = "network"
    memories: Memories = "baked"
    count_bits: int = 0

    def __post_init__(self) -> None:
        """Refuse links that do not make a chain, or queues that could block for ever."""
        from spikec.compiler.cores_rules import design_fault

        reason = design_fault(self)
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
    def output_groups(self) -> int:
        """Groups of the last layer."""
        return sum(core.groups for core in self.layers[-1])

    @property
    def input_size(self) -> int:
        """Logical inputs."""
        return int(np.prod(self.input_shape, dtype=np.int64))

    @property
    def input_groups(self) -> int:
        """Groups of input tokens."""
        return -(-self.input_size // self.in_lanes)


def load_cycles(image_bytes: int, gap: int = 1) -> int:
    """Give the cycles from the first byte of an image, one every `gap` cycles, until the cores of an overlay run."""
    return (image_bytes - 1) * gap + LOAD_TAIL


def widest_sum_bits(inputs: int, weight_bits: int, bias_bits: int, state_bits: int) -> int:
    """Give the accumulator width that no weights and biases of these widths overflow, from so many inputs."""
    lows = [1 << (state_bits - 1), 1 << (bias_bits - 1), inputs << (weight_bits - 1)]
    return signed_bits(-sum(lows), sum(lows) - 2 - inputs)


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
