"""The pass `fold`: what does nothing at inference vanishes; scales, normalisation and pools go into the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Diagnostic, remark
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import AvgPool, BatchNorm, Conv1d, Conv2d, Dropout, Linear, Scale, SumPool
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights_grid import grid_of
from spikec.passes.fold.pools import behind_conv, into_conv, into_linear
from spikec.passes.fold.scales import Affine, backward, forward, scale_node, without_gain
from spikec.passes.surgery import with_op

Rule = Callable[[Graph, Node], "Graph | str | None"]
"""Rewrites a graph at a node, says why it leaves the node alone, or has nothing to say about it (None)."""


def dropout(graph: Graph, node: Node) -> Graph | str | None:
    """Drop a Dropout."""
    if not isinstance(node.op, Dropout):
        return None
    return graph.without(node.name) if len(node.inputs) == 1 else with_op(graph, node.name, Scale(1.0))


def batchnorm(graph: Graph, node: Node) -> Graph | str | None:
    """Write a BatchNorm as the scale and offset that it is at inference."""
    if not isinstance(node.op, BatchNorm):
        return None
    op, tail = node.op, (1,) * (len(graph.shapes[node.name]) - 1)
    mean, var, gain, shift = (np.asarray(p, np.float64) for p in (op.mean, op.var, op.gain, op.shift))
    factor = gain / np.sqrt(var + op.eps)
    offset = shift - mean * factor
    return with_op(graph, node.name, Scale(factor.reshape(-1, *tail), offset.reshape(-1, *tail)))


def scale(graph: Graph, node: Node) -> Graph | str | None:
    """Fold a Scale into the weights before or behind it."""
    return scale_node(graph, node) if isinstance(node.op, Scale) else None


def average(graph: Graph, node: Node) -> Graph | str | None:
    """Write an AvgPool as a SumPool, its factor folded into the next weights, or into those before it."""
    if not isinstance(node.op, AvgPool):
        return None
    pool = SumPool(node.op.kernel, node.op.stride, node.op.padding)
    summed = with_op(graph, node.name, pool)
    affine = Affine.of(Scale(1 / prod(pool.kernel)), graph.shapes[node.name])
    ahead = forward(summed, node.name, affine)
    if isinstance(ahead, Graph):
        return ahead
    before = backward(summed, node.name, affine)
    return before if isinstance(before, Graph) else f"{ahead}; {before}"


def graded(graph: Graph, node: Node) -> Graph | str | None:
    """Fold the value of a graded spike into the weights that read it."""
    if not isinstance(node.op, Neuron) or node.op.readout != "spikes" or np.all(np.asarray(node.op.graded) == 1):
        return None
    plain = with_op(graph, node.name, replace(node.op, graded=1.0))
    return forward(plain, node.name, Affine.of(Scale(node.op.graded), graph.shapes[node.name]))


def gains(graph: Graph, node: Node) -> Graph | str | None:
    """Fold the gains of a neuron's current (g_in, and g_syn, which commutes with the synapse) into its weights."""
    if not isinstance(node.op, Neuron):
        return None
    gain = np.asarray(node.op.g_in, np.float64) * np.asarray(node.op.g_syn, np.float64)
    if np.all(np.asarray(node.op.g_in) == 1) and np.all(np.asarray(node.op.g_syn) == 1):
        return None
    return without_gain(graph, node, gain, replace(node, op=replace(node.op, g_in=1.0, g_syn=1.0)))


def sum_pool(graph: Graph, node: Node) -> Graph | str | None:
    """Merge a SumPool into the convolution or Linear that reads it, or into the convolution that it reads."""
    if not isinstance(node.op, SumPool):
        return None
    reasons = []
    for merge in (into_conv, into_linear, behind_conv):
        done = merge(graph, node)
        if isinstance(done, Graph):
            return done
        reasons.append(done)
    return "; ".join(dict.fromkeys(reasons))


EXACT: tuple[Rule, ...] = (dropout, batchnorm, scale, average, graded, gains)


@dataclass(frozen=True)
class Fold:
    """Folds dropout, batch normalisation, scales, spike values, gains and pools of a float graph.

    The function of the network stays; floats are folded in float64 and cast back to the weights' own type. `pools`
    merges sum pools (and average pools, which are sum pools by then) into the connection beside them. Grid weights keep
    their codes; where one scale a row cannot say the result they are written out as floats, with a remark.
    """

    pools: bool = True
    name: ClassVar[str] = "fold"
    description: ClassVar[str] = "fold dropout, batch normalisation, scales and pools into the weights beside them"

    def run(self, graph: Graph, ctx: Context) -> Graph:
        """Fold until nothing more can be folded; remark on what stays, and why."""
        if is_fixed(graph):
            return graph
        rules = (*EXACT, sum_pool) if self.pools else EXACT
        folded, reasons = fold(graph, rules)
        for name, reason in reasons.items():
            node = folded[name]
            ctx.remark(remark("fold/left", f"{node.op.mnemonic} is left as it is: {reason}", node.where))
        for diagnostic in written_out(graph, folded):
            ctx.remark(diagnostic)
        return folded


def fold(graph: Graph, rules: tuple[Rule, ...]) -> tuple[Graph, dict[str, str]]:
    """Apply rules until none changes anything; give the graph and why the nodes that could not be folded stay."""
    changed = True
    reasons: dict[str, str] = {}
    while changed:
        changed, reasons = False, {}
        for node in graph:
            for rule in rules:
                result = rule(graph, node)
                if isinstance(result, str):
                    reasons[node.name] = result
                if isinstance(result, Graph):
                    graph, changed = result, True
                    break
            if changed:
                break
    return graph, reasons


def written_out(before: Graph, after: Graph) -> Iterator[Diagnostic]:
    """Remark on connections whose codes (Grid) are plain floats in a later graph."""
    text = "its codes are written out as floats: what was folded in fits neither one scale a row nor codes of 8 bits"
    help = "let one factor stand before the layer, or one an output channel behind it"
    for node in after:
        if node.name in before and _codes(before[node.name]) and not _codes(node):
            yield remark("fold/codes", text, node.where, help)


def _codes(node: Node) -> bool:
    return isinstance(node.op, Linear | Conv1d | Conv2d) and grid_of(node.op.weight) is not None
