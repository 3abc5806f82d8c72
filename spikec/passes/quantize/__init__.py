"""The pass `quantize`: a float graph becomes one in the target's integers, layer by layer, and every error is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Findings, fail, remark
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Delay, Input, Reshape
from spikec.compiler.target import Target
from spikec.compiler.verify import is_fixed
from spikec.passes.lower import Lower
from spikec.passes.quantize.collect import collect, source_of_spikes
from spikec.passes.quantize.express import Form, express
from spikec.passes.quantize.layer import Feed, Layer
from spikec.passes.quantize.measure import Recording, fixed_connection, recording
from spikec.passes.quantize.prepare import Message, input_message, message_bits, messages, prepare
from spikec.passes.quantize.report import report, rounded_again
from spikec.passes.quantize.search import Choice, search
from spikec.passes.surgery import put, unused


@dataclass(frozen=True)
class Quantize:
    """Puts a float graph on the target's grids; the timing stays as trained (`balance-delays` lowers it afterwards).

    `bits` is the width of a weight; `per_channel` gives every output channel a scale of its own, through its neurons'
    thresholds. The scale of each layer is chosen on calibration data (at most `samples` of them, and 4096 steps) by
    the spikes that come out, given the trained network's spikes in the layers before; without data, by the error of
    the numbers. One remark a layer says what was chosen and which error it makes.

    Weights that are codes already (`Grid`) are not rounded again: only scales are tried at which every integer is its
    code times a power of two, in the narrowest weights up to `bits` that hold it. Where there are none, a warning says
    why, and the codes are rounded like any weights.

    A bias goes into its neuron where that is exact; where it must pass a synapse, or begins late, a neuron that fires
    at every step sends it through weights.
    """

    bits: int = 8
    per_channel: bool = False
    samples: int = 64
    name: ClassVar[str] = "quantize"
    description: ClassVar[str] = "put weights, thresholds, decays and biases on the target's integers"

    def __post_init__(self) -> None:
        """Refuse widths that no weight has."""
        if not 2 <= self.bits <= 8:
            raise ValueError("bits must lie in 2..8")
        if self.samples < 1:
            raise ValueError("samples must be 1 or more")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        """Quantize.

        Raises:
            CompileError: no target, or everything in the graph that the target cannot say, with the alternatives.
        """
        if is_fixed(graph):
            return graph
        if ctx.target is None:
            help = "name one: -t loihi2 (NIR takes the trained network, without this pass)"
            raise fail("quantize/no-target", "quantization needs a target", graph.name, help)
        target = ctx.target
        graph = Lower().run(graph, ctx)
        forms, given = _expressed(graph, target, ctx)
        graph = prepare(graph, given, target, ctx.remark)
        layers = collect(graph, forms, messages(graph, given), target)
        recorded = recording(graph, ctx, self.samples)
        if recorded is None:
            what = "a runner" if ctx.runner is None else "calibration data"
            text = f"without {what} the scales are chosen by the error of the numbers, not by spikes"
            ctx.remark(remark("quantize/not-measured", text, graph.name, "give samples: --calibrate DATA"))
        return self._rewritten(graph, layers, given, recorded, ctx, target)

    def _rewritten(
        self,
        graph: Graph,
        layers: tuple[Layer, ...],
        given: Message,
        recorded: Recording | None,
        ctx: Context,
        target: Target,
    ) -> Graph:
        changes: dict[str, Node | tuple[Node, ...]] = {}
        found = Findings()
        for layer in ctx.progress.track(layers, "quantize", len(layers)):
            with found.catching():
                choice = search(layer, self.bits, target, recorded, self.per_channel)
                changes |= _integers(graph, layer, choice, target)
                ctx.remark(report(layer, choice, target))
                if choice.lost:
                    ctx.remark(rounded_again(layer, choice))
        found.raise_errors()
        source = graph.of(Input)[0]
        assert isinstance(source.op, Input)
        op = replace(source.op, scale=given.unit, message_bits=message_bits(given))
        return put(graph, {**changes, source.name: replace(source, op=op)})


def _expressed(graph: Graph, target: Target, ctx: Context) -> tuple[Mapping[str, Form], Message]:
    """Find the form of every neuron and of the input's messages; all that cannot be said at once."""
    found = Findings()
    forms = {node.name: express(node, target, found, ctx.remark) for node in graph.of(Neuron)}
    given = Message(1.0, 1, binary=True)
    with found.catching():
        given = input_message(graph.of(Input)[0], target, ctx)
    found.raise_errors()
    return forms, given


def _integers(graph: Graph, layer: Layer, choice: Choice, target: Target) -> dict[str, Node | tuple[Node, ...]]:
    """Give the nodes that take the place of a layer's population and its connections."""
    made = choice.made
    changes: dict[str, Node | tuple[Node, ...]] = {}
    before: list[Node] = []
    inputs = list(layer.node.inputs)
    for feed in layer.feeds:
        rows = layer.rows(feed, made.scale)
        scale = 1 / (np.asarray(rows).reshape(-1) * feed.unit)
        op = fixed_connection(feed, made.weights[feed.node.name], float(scale[0]) if scale.size == 1 else scale)
        if feed.constant:
            nodes = _source(graph, layer, replace(feed.node, op=op), feed, target)
            before.extend(nodes)
            inputs.append(nodes[-1].name)
        else:
            changes[feed.node.name] = replace(feed.node, op=op)
    changes[layer.node.name] = (*before, replace(layer.node, op=made.neuron, inputs=tuple(inputs)))
    return changes


def _source(graph: Graph, layer: Layer, connection: Node, feed: Feed, target: Target) -> list[Node]:
    """Give the source of spikes, its delay, the weights of the bias and their shape."""
    origin = layer.node.origin
    nodes = [Node(unused(graph, f"{connection.name}.on"), source_of_spikes(target), (), origin)]
    if feed.late:
        nodes.append(Node(unused(graph, f"{connection.name}.late"), Delay(feed.late), (nodes[-1].name,), origin))
    nodes.append(replace(connection, inputs=(nodes[-1].name,)))
    if len(layer.shape) != 1:
        nodes.append(Node(unused(graph, f"{connection.name}.map"), Reshape(layer.shape), (nodes[-1].name,), origin))
    return nodes
