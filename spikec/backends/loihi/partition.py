"""Partition: on how many cores of Loihi 2 each layer lies, and what it takes of each core's memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from math import ceil, prod
from typing import Any

import networkx as nx
import numpy as np

from spikec.backends.loihi.memory import CoreLimits, conv_words, dense_words
from spikec.compiler.diagnostics import Diagnostic, Findings
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv1d, Conv2d, Linear
from spikec.compiler.schedule import digraph
from spikec.compiler.weights import Fixed, unwrapped

LIMITS = CoreLimits()


@dataclass(frozen=True)
class Row:
    """One layer in the core table; the numbers after `cores` are those of its fullest core.

    `words` are 64-bit words of synapse memory, `axons` inputs, `axon_map` entries for what its neurons send, `groups`
    sets of neurons with parameters of their own.
    """

    layer: str
    kind: str
    size: int
    cores: int
    neurons: int
    words: int
    axons: int
    axon_map: int
    groups: int
    words_total: int

    def use(self, limits: CoreLimits = LIMITS) -> dict[str, float]:
        """Give the share of each resource that the fullest core uses, in percent."""
        parts = {
            "words": self.words / limits.words,
            "neurons": self.neurons / limits.neurons,
            "axons": self.axons / limits.axons_in,
            "axon_map": self.axon_map / limits.axon_map,
            "groups": self.groups / limits.groups,
        }
        return {name: round(100 * part, 2) for name, part in parts.items()}


@dataclass(frozen=True)
class CoreTable:
    """The layers and the cores that they take; each layer has cores of its own."""

    rows: tuple[Row, ...]
    limits: CoreLimits = LIMITS

    @property
    def cores(self) -> int:
        """Cores of all layers."""
        return sum(row.cores for row in self.rows)

    @property
    def chips(self) -> int:
        """Chips that so many cores need."""
        return ceil(self.cores / self.limits.cores)

    @property
    def fact(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        layers = [{**asdict(row), "use_percent": row.use(self.limits)} for row in self.rows]
        return {"total": self.cores, "chips": self.chips, "limits": asdict(self.limits), "layers": layers}


def partition(graph: Graph, limits: CoreLimits = LIMITS) -> CoreTable:
    """Split every layer of neurons over cores.

    A dense layer is split evenly: over as many cores as its synapse memory would fill, doubled until each part fits.
    A convolution is split into tiles, the widest power of two that fits, then the highest. Layers share no core.

    Raises:
        CompileError: a layer that fits no core however it is split.
    """
    found = Findings()
    rows = []
    for node in graph.of(FixedNeuron):
        row = _place(graph, node, incoming(graph, node), limits)
        if isinstance(row, Diagnostic):
            found(row)
        else:
            rows.append(row)
    found.raise_errors()
    return CoreTable(tuple(rows), limits)


def incoming(graph: Graph, node: Node) -> tuple[Node, ...]:
    """Give the connections that feed a population, through reshapes and delays, in the order of the graph."""
    kinds = (Linear, Conv1d, Conv2d)
    passing = [n.name for n in graph if n.name == node.name or not isinstance(n.op, (FixedNeuron, *kinds))]
    feeding: set[str] = set()
    network = digraph(graph)
    for name in nx.ancestors(network.subgraph(passing), node.name) | {node.name}:
        feeding |= {source for source in network.predecessors(name) if isinstance(graph[source].op, kinds)}
    return tuple(graph[name] for name in sorted(feeding, key=lambda name: graph.position[name]))


def _place(graph: Graph, node: Node, connections: tuple[Node, ...], limits: CoreLimits) -> Row | Diagnostic:
    shape = graph.shapes[node.name]
    image = any(isinstance(c.op, Conv1d | Conv2d) for c in connections) and len(shape) > 1
    return _tiles(graph, node, connections, limits) if image else _even(graph, node, connections, limits)


def _even(graph: Graph, node: Node, connections: tuple[Node, ...], limits: CoreLimits) -> Row | Diagnostic:
    """Split a layer evenly, by neurons in their order."""
    size = prod(graph.shapes[node.name])
    total, _ = _fullest(graph, connections, size, 1, limits)
    cores = max(ceil(total / limits.words), ceil(size / limits.neurons), 1)
    while True:
        words, axons = _fullest(graph, connections, size, cores, limits)
        share = ceil(size / cores)
        if axons > limits.axons_in:
            message = f"a core takes {limits.axons_in} inputs, and this layer has {axons} that all its neurons need"
            return Diagnostic("loihi/axons", message, node.where, "give the layer fewer inputs: pool, or a convolution")
        if words <= limits.words and share <= limits.neurons:
            kind = "dense" if connections else "source"
            return Row(
                node.name,
                kind,
                size,
                cores,
                share,
                words,
                axons,
                share,
                1,
                _sum(graph, connections, size, cores, limits),
            )
        if share == 1:
            message = f"one neuron takes {words} words of synapse memory, and a core has {limits.words}"
            return Diagnostic("loihi/synapse-memory", message, node.where, "give the layer fewer inputs")
        cores = min(2 * cores, size)


def _parts(
    graph: Graph, connections: tuple[Node, ...], size: int, cores: int, limits: CoreLimits
) -> list[tuple[int, int]]:
    """Give words and inputs of each core of an even split."""
    bounds = [min(size, i * ceil(size / cores)) for i in range(cores + 1)]
    parts = []
    for first, last in pairwise(bounds):
        words = axons = 0
        for connection in connections:
            op = connection.op
            fixed = fixed_of(connection)
            if isinstance(op, Linear) and fixed.shape[0] == size:
                used = int(np.count_nonzero(fixed.values[first:last].any(axis=0)))
                words += dense_words(used, last - first, fixed.width, limits.overhead) if last > first else 0
            elif isinstance(op, Linear):  # one matrix for each of the leading axes
                used = prod(graph.shapes[connection.inputs[0]])
                words += dense_words(used, min(last - first, fixed.shape[0]), fixed.width, limits.overhead)
            else:
                used = prod(graph.shapes[connection.inputs[0]])
                words += conv_words(fixed.shape[1], prod(fixed.shape[2:]), fixed.shape[0], fixed.width)
            axons += used
        parts.append((words, axons))
    return parts


def _fullest(graph: Graph, connections: tuple[Node, ...], size: int, cores: int, limits: CoreLimits) -> tuple[int, int]:
    parts = _parts(graph, connections, size, cores, limits)
    return max(words for words, _ in parts), max(axons for _, axons in parts)


def _sum(graph: Graph, connections: tuple[Node, ...], size: int, cores: int, limits: CoreLimits) -> int:
    return sum(words for words, _ in _parts(graph, connections, size, cores, limits))


def _tiles(graph: Graph, node: Node, connections: tuple[Node, ...], limits: CoreLimits) -> Row | Diagnostic:
    """Split an image into tiles of a power of two columns; into rows too, if one column is too many neurons."""
    channels, *space = graph.shapes[node.name]
    height, width = (1, space[0]) if len(space) == 1 else (space[0], space[1])
    words = _kernel_words(graph, connections, limits)
    if channels > limits.neurons or words > limits.words:
        what = f"{channels} channels" if channels > limits.neurons else f"a kernel of {words} words"
        message = f"{what} on one place do not fit a core ({limits.neurons} neurons, {limits.words} words)"
        return Diagnostic("loihi/conv-size", message, node.where, "use fewer channels, or groups")
    columns, rows = _tile(width, height, channels, limits)
    while True:
        axons = sum(_seen(graph, c, columns, rows, (channels, height, width)) for c in connections)
        if axons <= limits.axons_in:
            break
        if columns == rows == 1:
            message = f"a core takes {limits.axons_in} inputs, and one place of this layer sees {axons}"
            return Diagnostic("loihi/axons", message, node.where, "use a smaller kernel or fewer channels")
        columns, rows = (columns // 2, rows) if columns > 1 else (1, max(1, rows // 2))
    cores = ceil(width / columns) * ceil(height / rows)
    share = min(columns, width) * min(rows, height) * channels
    return Row(node.name, "conv", channels * height * width, cores, share, words, axons, share, 1, words * cores)


def _tile(width: int, height: int, channels: int, limits: CoreLimits) -> tuple[int, int]:
    columns = 1 << (width - 1).bit_length()
    while columns > 1 and min(columns, width) * height * channels > limits.neurons:
        columns //= 2
    rows = height
    if columns * height * channels > limits.neurons and columns == 1:
        rows = 1 << (height - 1).bit_length()
        while rows > 1 and min(rows, height) * channels > limits.neurons:
            rows //= 2
    return columns, rows


def _kernel_words(graph: Graph, connections: tuple[Node, ...], limits: CoreLimits) -> int:
    words = 0
    for connection in connections:
        fixed = fixed_of(connection)
        if isinstance(connection.op, Linear):
            inputs = prod(graph.shapes[connection.inputs[0]])
            words += dense_words(inputs, fixed.shape[0], fixed.width, limits.overhead)
        else:
            words += conv_words(fixed.shape[1], prod(fixed.shape[2:]), fixed.shape[0], fixed.width)
    return words


def _seen(graph: Graph, connection: Node, columns: int, rows: int, made: tuple[int, int, int]) -> int:
    """Count the inputs that reach one tile through a connection."""
    op = connection.op
    given = graph.shapes[connection.inputs[0]]
    if not isinstance(op, Conv1d | Conv2d):
        return prod(given)
    tile = (min(columns, made[2]),) if isinstance(op, Conv1d) else (min(rows, made[1]), min(columns, made[2]))
    seen = [
        min(n, (t - 1) * s + d * (k - 1) + 1)
        for n, t, s, d, k in zip(given[1:], tile, op.stride, op.dilation, op.kernel, strict=True)
    ]
    return given[0] * prod(seen)


def fixed_of(node: Node) -> Fixed:
    """Give the integer weights of a connection of a fixed graph."""
    op = node.op
    assert isinstance(op, Linear | Conv1d | Conv2d)
    weight = unwrapped(op.weight)
    assert isinstance(weight, Fixed)
    return weight
