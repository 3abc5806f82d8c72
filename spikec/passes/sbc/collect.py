"""Collecting Hessians: the dense network is run once on the calibration data, and every layer's inputs are added up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import fail, remark
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Conv1d, Conv2d, Linear
from spikec.compiler.weights import Array
from spikec.passes.sbc.hessian import HessianSum
from spikec.passes.sbc.layers import Layer, Path, by_row
from spikec.passes.sbc.record import run
from spikec.passes.sbc.response import Group, farthest, of
from spikec.passes.surgery import edit

ALIKE = 1e-9
"""Distance of two responses that are the same but for rounding."""


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a layer that share a Hessian (d, d): those of a group of channels whose neurons respond alike."""

    rows: Array
    hessian: Array


@dataclass(frozen=True, eq=False)
class Way:
    """A path of a layer, with the responses of the rows at its end."""

    path: Path
    groups: tuple[Group, ...]


def ways(graph: Graph, layer: Layer, ctx: Context, *, filtered: bool) -> tuple[Way, ...]:
    """Give the paths of a layer with their responses; M = I throughout where not `filtered`, and said where rounded."""
    paths = layer.paths or tuple(Path(node.name, None) for node in layer.nodes)
    made = []
    for path in paths:
        op, shape = by_row(graph, path)
        groups = of(op if filtered else None, shape)
        off = farthest(op, shape, groups) if filtered else 0.0
        if off > ALIKE:
            text = f"its neurons' responses are taken as {len(groups)}; one lies {off:.2g} from its own"
            ctx.remark(remark("sbc/responses", text, graph[path.connection].where))
        if not path.even:
            text = f"its currents come after delays that differ; they are taken as the least, {path.late} steps"
            ctx.remark(remark("sbc/delays-differ", text, graph[path.connection].where))
        made.append(Way(path, groups))
    return tuple(made)


def hessian_bytes(layer: Layer, found: Sequence[Way]) -> int:
    """Give the bytes of a layer's sums."""
    return 8 * layer.columns**2 * layer.groups * sum(len(way.groups) for way in found)


def collect(
    graph: Graph, layers: Sequence[tuple[Layer, tuple[Way, ...]]], ctx: Context, inputs: Array, memory: int
) -> dict[str, tuple[Part, ...]]:
    """Run the network on all samples and give the Hessians of layers, by layer.

    Args:
        graph: the dense network, float or fixed.
        layers: with their ways.
        ctx: runner and progress.
        inputs: (N, T, *shape).
        memory: bytes for the records of a chunk of samples; a quarter of it for the work on them.
    """
    sums = {(layer.name, index): _sums(graph, way, memory // 4) for layer, found in layers
            for index, way in enumerate(found)}  # fmt: skip
    names = frozenset(source for layer, _ in layers for node in layer.nodes for source in node.inputs)
    for chunk in run(graph, ctx, inputs, names, memory // 2, "collecting Hessians"):
        for layer, found in layers:
            for index, way in enumerate(found):
                given = chunk.given(way.path.connection, way.path.late)
                for total in sums[layer.name, index]:
                    total.add(given)
    return {layer.name: tuple(_parts(graph, layer, found, [
        [total.value() for total in sums.pop((layer.name, index))] for index in range(len(found))
    ])) for layer, found in layers}  # fmt: skip


def _sums(graph: Graph, way: Way, memory: int) -> list[HessianSum]:
    node = graph[way.path.connection]
    assert isinstance(node.op, Linear | Conv1d | Conv2d)
    op = edit(node.op, latency=0)  # of runs whose latency was removed
    try:
        return [HessianSum(op, graph.shapes[node.inputs[0]], group.response, memory) for group in way.groups]
    except ValueError as error:
        raise fail("sbc/memory", str(error), node.where, "allow more: memory=MIB") from error


def _parts(graph: Graph, layer: Layer, found: Sequence[Way], values: list[list[Array]]) -> Iterator[Part]:
    """Add up the Hessians of all ways, for every set of rows that has the same ones."""
    rows = layer.stored.shape[0]
    labels = [np.arange(rows) // (rows // layer.groups)]
    for way in found:
        label = np.empty(rows, np.int64)
        for index, group in enumerate(way.groups):
            label[group.rows] = index
        labels.append(label)
    positions = [_positions(graph, way.path.connection, layer) for way in found]
    kinds, which = np.unique(np.stack(labels, axis=1), axis=0, return_inverse=True)
    for kind, (group, *chosen) in enumerate(kinds.tolist()):
        mine = [value[index][group] for value, index in zip(values, chosen, strict=True)]
        total = mine[0]
        if len(mine) > 1:
            total = sum(count * value for count, value in zip(positions, mine, strict=True)) / sum(positions)
        yield Part(np.flatnonzero(which.reshape(-1) == kind), np.asarray(total))


def _positions(graph: Graph, name: str, layer: Layer) -> int:
    """Give at how many places a connection applies its weights: a mean over them weighs that much in a sum."""
    shape = graph.shapes[name]
    along = shape[:-1] if isinstance(layer.op, Linear) else shape[1:]
    return int(np.prod(along, dtype=np.int64))
