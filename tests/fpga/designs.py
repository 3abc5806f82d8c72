"""Random designs: chains of cores of random geometry, dense and N:M, several cores a layer, tight queues."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikec.compiler.cores import INPUT, OUTPUT, Design, EventCore, Link, physical_neurons, source_rows, sum_bits
from spikec.compiler.fixed import FixedNeuron, fpga_arithmetic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import FixedSum, Input, Linear, Output
from spikec.compiler.weights import Fixed
from spikec.runtime.cycle import expanded_weights

Rng = np.random.Generator


@dataclass(frozen=True)
class Knobs:
    """What a random design may be made of."""

    layers: tuple[int, ...] = (1, 2, 3, 4)
    cores: tuple[int, ...] = (1, 1, 2, 3)
    lanes: tuple[int, ...] = (1, 2, 4, 8, 16)
    structures: tuple[tuple[int, int], ...] = ((1, 1), (1, 2), (2, 4), (1, 4), (4, 8), (1, 8), (4, 4))
    neurons: tuple[int, int] = (1, 40)
    inputs: tuple[int, int] = (1, 60)
    style: Style | None = None


def random_design(rng: Rng, knobs: Knobs | None = None) -> Design:
    """Make a design; the same generator state gives the same design."""
    knobs = knobs or Knobs()
    in_lanes = int(rng.choice([1, 4, 8, 16, 32]))
    inputs = int(rng.integers(*knobs.inputs, endpoint=True))
    depth = int(rng.choice([2, 4, 16, 64]))
    rows, live, lanes = -(-inputs // in_lanes) * in_lanes, np.arange(inputs), in_lanes
    cores: list[EventCore] = []
    links: list[Link] = []
    sources: tuple[str, ...] = (INPUT,)
    total = int(rng.choice(knobs.layers))
    for number in range(total):
        layer = _layer(rng, knobs, number, len(cores), (rows, live, lanes), final=number == total - 1)
        links.append(Link(sources, tuple(core.name for core in layer), depth))
        cores.extend(layer)
        sources = links[-1].targets
        need = max(core.room for core in layer)
        depth = 1 << int(need - 1).bit_length() << int(rng.integers(2))
        rows = sum(core.groups for core in layer) * layer[0].lanes
        live, lanes = source_rows(layer), layer[0].lanes
    links.append(Link(sources, (OUTPUT,), depth))
    return Design(tuple(cores), tuple(links), in_lanes, (inputs,), (len(live),))


def _layer(
    rng: Rng, knobs: Knobs, number: int, named: int, source: tuple[int, Any, int], *, final: bool
) -> tuple[EventCore, ...]:
    lanes = int(rng.choice(knobs.lanes))
    style = knobs.style or random_style(rng, final=final)
    if knobs.style and final:
        style = replace(style, readout="membrane")
    cores, offset = [], 0
    for k in range(int(rng.choice(knobs.cores))):
        core = random_core(rng, knobs, f"c{named + k}", source, lanes, style)
        cores.append(replace(core, layer=f"layer{number}", offset=offset))
        offset += core.neurons
    return tuple(cores)


@dataclass(frozen=True)
class Style:
    """What the cores of one layer have in common."""

    state_bits: int
    decay: Any
    decay_constant: int
    cmp: Any
    reset: Any
    readout: Any


def random_style(rng: Rng, *, final: bool) -> Style:
    """Choose a neuron; only a last layer may send membranes."""
    shift = bool(rng.random() < 0.4)
    return Style(
        state_bits=int(rng.choice([6, 8, 12, 16])),
        decay="shift" if shift else "multiply",
        decay_constant=int(rng.integers(0, 6)) if shift else int(rng.choice([0, 1, 400, 2048, 4096])),
        cmp=">=" if rng.random() < 0.5 else ">",
        reset=("value", "subtract", "none")[rng.integers(3)],
        readout="membrane" if final and rng.random() < 0.4 else "spikes",
    )


def random_core(rng: Rng, knobs: Knobs, name: str, source: tuple[int, Any, int], lanes: int, style: Style) -> EventCore:
    """Make a core; `source` is rows, those of them that can spike, and the lanes of the incoming tokens."""
    rows, live, in_lanes = source
    kept, block = knobs.structures[rng.integers(len(knobs.structures))]
    neurons = int(rng.integers(*knobs.neurons, endpoint=True))
    blocks = -(-neurons // (lanes * block))
    bits, state = int(rng.integers(2, 9)), style.state_bits
    half = 1 << (state - 1)
    values = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (rows, blocks * kept, lanes))
    order = np.argsort(rng.random((rows, blocks, lanes, block)), axis=-1)[..., :kept]
    positions = np.moveaxis(order, -1, 2).reshape(rows, blocks * kept, lanes)
    shape = (blocks * block, lanes)
    fan = max(1, int(len(live) * 0.3))
    level = int(min(half - 1, max(1, (1 << (bits - 1)) * np.sqrt(fan) * rng.choice([0.1, 0.5, 1.0]))))
    real = np.zeros(shape[0] * lanes, bool)
    real[physical_neurons(neurons, lanes, block)] = True
    real = real.reshape(shape)
    bias = np.where(real, rng.integers(-level // 4 - 1, level // 4 + 2, shape), 0)
    address = (np.arange(blocks * kept) // kept)[None, :, None] * block + positions
    values = np.where(real[address, np.arange(lanes)], values, 0)
    return EventCore(
        name=name,
        layer="",
        rows=rows,
        in_lanes=in_lanes,
        neurons=neurons,
        lanes=lanes,
        values=values,
        positions=positions,
        threshold=np.where(real, rng.integers(max(1, level // 2), level + 1, shape), half - 1),
        bias=bias,
        amount=rng.integers(-level // 2, level + 1, shape),
        initial=np.where(real, rng.integers(-level // 2, level // 2 + 1, shape), 0),
        kept=kept,
        block=block,
        weight_bits=bits,
        state_bits=state,
        bias_bits=state,
        sum_bits=sum_bits(values, positions, bias, state, block) + int(rng.integers(2)),
        decay=style.decay,
        decay_constant=style.decay_constant,
        cmp=style.cmp,
        reset=style.reset,
        readout=style.readout,
        bank_words=int(rng.choice([16, 64, 256])) if rows * blocks * kept < 1600 else 1024,
    )


def random_spikes(rng: Rng, design: Design, samples: int, steps: int, rate: float) -> Any:
    """Give random input spikes (samples, steps, inputs)."""
    return (rng.random((samples, steps, *design.input_shape)) < rate).astype(np.uint8)


def graph_of(design: Design) -> Graph:
    """Give the fixed graph that a design means: a linear and a neuron for each layer."""
    nodes = [Node("input", Input(design.input_shape))]
    live = np.arange(design.input_size)
    for number, layer in enumerate(design.layers):
        weights = np.concatenate([_logical(core, expanded_weights(core)[live].astype(np.int32)) for core in layer], 1)
        linear = Linear(Fixed(weights.T), sum=FixedSum())
        nodes.append(Node(f"linear{number}", linear, (nodes[-1].name,)))
        nodes.append(Node(f"neuron{number}", _neuron(layer), (f"linear{number}",)))
        live = source_rows(layer)
    nodes.append(Node("output", Output(), (nodes[-1].name,)))
    return Graph(tuple(nodes))


def _logical(core: EventCore, array: Any) -> Any:
    """Bring physical neurons (last axis or axes) into logical order."""
    return array.reshape(-1, core.groups * core.lanes)[:, core.physical]


def _neuron(layer: tuple[EventCore, ...]) -> FixedNeuron:
    first = layer[0]
    parts = {
        name: np.concatenate([_logical(core, getattr(core, name))[0] for core in layer])
        for name in ("threshold", "bias", "amount", "initial")
    }
    return FixedNeuron(
        threshold=parts["threshold"],
        bias=parts["bias"],
        v_decay=first.decay_constant,
        cmp=first.cmp,
        reset=first.reset,
        reset_amount=parts["amount"] if first.reset == "subtract" else None,
        v_reset=parts["amount"] if first.reset == "value" else 0,
        v_init=parts["initial"],
        readout=first.readout,
        arithmetic=fpga_arithmetic(first.state_bits, first.decay),
    )


def at_the_ends(bits: int, decay: Any) -> tuple[Design, Any]:
    """Make a design that sends membranes near both ends of their range, with thresholds and resets to match."""
    rng = np.random.default_rng(bits)
    style = Style(bits, decay, 3 if decay == "shift" else 400, ">", "subtract", "membrane")
    shape = Knobs((1,), (1,), (4,), ((1, 1),), neurons=(24, 24), inputs=(16, 16), style=style)
    design = random_design(rng, shape)
    half = 1 << (bits - 1)
    core = replace(
        design.cores[0],
        threshold=rng.integers(-half, -half // 4, (6, 4)),
        amount=rng.integers(half // 2, half, (6, 4)) * rng.choice([-1, 1], (6, 4)),
        initial=rng.integers(-half, half, (6, 4)),
        bias=rng.integers(-half, half, (6, 4)),
        sum_bits=min(32, bits + 6),
    )
    need = sum_bits(core.values, core.positions, core.bias, bits, core.block)
    return replace(design, cores=(replace(core, sum_bits=max(need, bits + 1)),)), random_spikes(rng, design, 4, 12, 0.4)
