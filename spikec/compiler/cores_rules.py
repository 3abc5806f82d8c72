"""What a spike core and a design must fulfil, one small rule each."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import get_args

import numpy as np

from spikec.compiler.cores import INPUT, OUTPUT, Design, EventCore, Link, Memories, signed_bits, sum_bits


def core_fault(core: EventCore) -> str:
    """Say why the parts of a core do not fit together; nothing if they do."""
    for rule in (_shapes, _ranges, _positions, _sums):
        reason = rule(core)
        if reason:
            return reason
    return ""


def _shapes(core: EventCore) -> str:
    if core.block & (core.block - 1) or not 1 <= core.kept <= core.block:
        return f"{core.kept}:{core.block} is not N of a power of two M"
    if core.lanes & (core.lanes - 1) or core.in_lanes & (core.in_lanes - 1):
        return f"lanes must be powers of two, not {core.lanes} and {core.in_lanes}"
    if max(core.lanes, core.in_lanes) > 64:
        return f"more than 64 lanes: {core.lanes} and {core.in_lanes}"
    if core.rows < 1 or core.rows % core.in_lanes or core.neurons < 1:
        return f"{core.rows} rows are not whole groups of {core.in_lanes}"
    return _memories(core)


def _memories(core: EventCore) -> str:
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
    if not (2 <= core.weight_bits <= 8 and 2 <= core.state_bits <= 24 and core.sum_bits <= 32):
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


def design_fault(design: Design) -> str:
    """Say why the links do not make a chain, or a queue could block for ever; else nothing."""
    links = design.links
    if not 1 <= design.in_lanes <= 64 or min(design.input_shape, default=1) < 1:
        return f"inputs of shape {list(design.input_shape)} do not come by {design.in_lanes} lanes"
    if design.memories not in get_args(Memories):
        return f"memories are {' or '.join(get_args(Memories))}, not '{design.memories}'"
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
    return _output(design)


def _output(design: Design) -> str:
    sent = sum(core.neurons for core in design.layers[-1])
    if prod(design.output_shape) != sent:
        return f"the last layer has {sent} neurons, and the output is of shape {list(design.output_shape)}"
    if not 0 <= design.count_bits <= 24:
        return f"counts of {design.count_bits} bits; a counter has 1 to 24"
    if design.count_bits and design.layers[-1][0].readout != "spikes":
        return "its output is membranes, which have no spikes to count"
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
