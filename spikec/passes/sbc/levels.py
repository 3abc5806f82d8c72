"""Choosing levels: of floats by row or layer, shared where neurons add weights up; of integers coarser ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

from spikec.compiler.ir import Graph
from spikec.compiler.ops import Linear
from spikec.compiler.target import Target
from spikec.compiler.weights import Array, Fixed, unwrapped
from spikec.passes.sbc.grids import Kind, LevelGrid, Search, Signs, fitted, of_fixed, of_target
from spikec.passes.sbc.layers import Layer

Scale = Literal["auto", "row", "layer"]


@dataclass(frozen=True)
class Levels:
    """What levels are asked for; see `SBCQuantize`."""

    bits: int
    kind: Kind = "uniform"
    search: Search = "minmax"
    scale: Scale = "auto"


def choose_levels(graph: Graph, layers: Sequence[Layer], wanted: Levels, target: Target | None) -> dict[str, LevelGrid]:
    """Give every layer its levels, in stored units; layers that one population adds up go together.

    Their scales are powers of two apart, row by row, so that a target has one unit for the population's membrane.
    """
    made: dict[str, LevelGrid] = {}
    for group in _populations(layers):
        if isinstance(unwrapped(group[0].op.weight), Fixed):
            made |= {layer.name: coarser(layer, wanted.bits) for layer in group}
            continue
        by_row = wanted.scale == "row" or (wanted.scale == "auto" and all(_by_channel(graph, one) for one in group))
        by_row = by_row and len({len(layer.stored) for layer in group}) == 1
        signs: Signs = of_target(target, min(wanted.bits, target.weight_bits)) if target is not None else "row"
        grids = {layer.name: _fit(layer, wanted, "layer" if not by_row and signs == "row" else signs, by_row)
                 for layer in group}  # fmt: skip
        made |= shared({layer.name: layer.weights for layer in group}, grids) if len(group) > 1 else grids
    return made


def _fit(layer: Layer, wanted: Levels, signs: Signs, by_row: bool) -> LevelGrid:
    dtype = layer.op.weight.decode().dtype
    keep = layer.stored != 0
    return fitted(layer.weights, wanted.bits, keep, wanted.kind, wanted.search, signs, by_row, dtype)


def _populations(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Put layers together that feed the same neurons, in their order; integers have their units already."""
    groups: list[tuple[set[str], list[Layer]]] = []
    for layer in layers:
        reached = {path.neuron for path in layer.paths if path.neuron is not None}
        fixed = isinstance(unwrapped(layer.op.weight), Fixed)
        mine = [] if fixed else [group for group in groups if group[0] & reached]
        members = [one for group in mine for one in group[1]]
        groups = [group for group in groups if group not in mine]
        groups.append((reached.union(*(group[0] for group in mine)) if not fixed else set(), [*members, layer]))
    return [members for _, members in groups]


def _by_channel(graph: Graph, layer: Layer) -> bool:
    """Say whether each row is a channel of all populations that it reaches: it may have a threshold of its own."""
    for path in layer.paths:
        if path.neuron is None:
            continue
        shape = graph.shapes[path.neuron]
        one = isinstance(layer.op, Linear)
        if not shape or shape[0] != len(layer.stored) or (one and prod(shape) != len(layer.stored)):
            return False
    return True


def shared(weights: Mapping[str, Array], grids: Mapping[str, LevelGrid]) -> dict[str, LevelGrid]:
    """Move scales so that those of one row are powers of two apart, each to the power that rounds with less error.

    The base of a row is the scale of the first grid that has weights in it.
    """
    base = np.zeros(len(next(iter(grids.values())).scale))
    made: dict[str, LevelGrid] = {}
    for name, grid in grids.items():
        live = np.any(weights[name] != 0, axis=1) & (grid.scale > 0)
        base = np.where((base == 0) & live, grid.scale, base)
        safe = np.where(base > 0, base, 1.0)
        power = np.floor(np.log2(np.where(live, grid.scale, safe) / safe))
        tries = [replace(grid, scale=np.where(live, safe * 2.0**p, safe)) for p in (power, power + 1)]
        errors = [np.sum((one.decode(one.nearest(weights[name])) - weights[name]) ** 2, axis=1) for one in tries]
        made[name] = replace(grid, scale=np.where(errors[0] <= errors[1], tries[0].scale, tries[1].scale))
    return made


def coarser(layer: Layer, bits: int) -> LevelGrid:
    """Give the levels of integers of fewer bits: multiples of a power of two of the step, that loses least."""
    weight = unwrapped(layer.op.weight)
    assert isinstance(weight, Fixed)
    whole = of_fixed(weight)
    low, high = (bound // weight.step for bound in Fixed.limits(bits, weight.sign, weight.step))
    codes = np.array([-1, 1]) if bits == 1 and weight.sign == "mixed" else np.arange(low, high + 1)
    counts = (layer.unit * layer.scales)[:, None] ** 2
    best: tuple[float, LevelGrid] | None = None
    for shift in range(weight.width - bits, -1, -1):
        grid = LevelGrid((codes, codes, codes), whole.sign, whole.scale * 2.0**shift, bits)
        gap = np.where(layer.stored != 0, grid.decode(grid.nearest(layer.stored)) - layer.stored, 0.0)
        error = float(np.sum(counts * gap**2))
        if best is None or error < best[0]:
            best = error, grid
    assert best is not None
    return best[1]
