"""The rules of the NIR backend: every reason why NIR could not hold a network, one small rule each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spikec.backends.nir.kernels import crooked
from spikec.backends.nir.neurons import bias_is_lost
from spikec.compiler.diagnostics import Diagnostic
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import AvgPool, BatchNorm, Conv1d, Conv2d, Dropout, Linear, MaxPool, Reshape, Scale, SumPool
from spikec.compiler.verify import is_fixed

Rule = Callable[[Graph, Node], Iterator[Diagnostic]]


def faults(graph: Graph) -> Iterator[Diagnostic]:
    """Yield every error."""
    if is_fixed(graph):
        message = "NIR holds the network in real numbers; this one is quantized to integers"
        yield Diagnostic("nir/fixed", message, graph.name, "give the NIR backend the graph before quantize")
        return
    for node in graph:
        for rule in RULES:
            yield from rule(graph, node)


def no_max_pooling(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """NIR has sum and average pooling alone."""
    if isinstance(node.op, MaxPool):
        help = "train with average or sum pooling, or deploy to a target that has max pooling"
        yield Diagnostic("nir/no-maxpool", "NIR has no max pooling", node.where, help)


def pools_are_over_two_axes(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """NIR's pools are SumPool2d and AvgPool2d, with one padding for both ends of an axis."""
    if not isinstance(node.op, SumPool | AvgPool):
        return
    if len(node.op.kernel) != 2:
        help = "use a convolution of stride and kernel alike, or a 2d pool"
        yield Diagnostic("nir/no-pool1d", "NIR pools over two axes only", node.where, help)
    if any(before != after for before, after in node.op.padding):
        message = f"NIR pads both ends of an axis alike; this pool has {[list(p) for p in node.op.padding]}"
        yield Diagnostic("nir/padding", message, node.where, "pad the ends alike")


def nothing_is_left_to_fold(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """NIR has no normalisation and no dropout."""
    if isinstance(node.op, BatchNorm | Dropout):
        yield Diagnostic("nir/not-folded", f"NIR has no {node.op.mnemonic}", node.where, "run the fold passes first")


def connections_take_no_time(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """NIR's connections act at once, and all synapses of one alike."""
    if isinstance(node.op, Linear | Conv1d | Conv2d) and node.op.latency:
        message = f"the connection takes {node.op.latency} steps: the graph was lowered for another target"
        yield Diagnostic("nir/lowered", message, node.where, "give the NIR backend the graph as it was trained")
    if isinstance(node.op, Linear) and node.op.delays is not None:
        message = "NIR has no delays of single synapses"
        yield Diagnostic("nir/synapse-delays", message, node.where, "use one Delay node a connection")


def linear_reads_a_vector(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """NIR's Affine and Linear read one axis."""
    if isinstance(node.op, Linear) and len(graph.shapes[node.name]) != 1:
        message = f"NIR's Linear reads a vector, this one reads shape {list(graph.shapes[node.inputs[0]])}"
        yield Diagnostic("nir/linear-axes", message, node.where, "flatten its input")


def paddings_can_be_evened(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """NIR pads both ends of an axis alike; zeros in the kernel make up for a difference of whole dilations."""
    if isinstance(node.op, Conv1d | Conv2d) and crooked(node.op) is None:
        padding, dilation = [list(p) for p in node.op.padding], list(node.op.dilation)
        message = f"NIR pads both ends of an axis alike; padding {padding} of dilation {dilation} cannot be evened"
        yield Diagnostic("nir/padding", message, node.where, "pad the ends alike")


def a_reshape_is_a_flatten(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """NIR can join axes, not part them."""
    if isinstance(node.op, Reshape) and len(node.op.size) != 1:
        message = f"NIR has no reshape to {list(node.op.size)}"
        yield Diagnostic("nir/no-reshape", message, node.where, "give the network its input in the shape it works in")


def a_scale_has_no_offset(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """NIR's Scale multiplies."""
    if isinstance(node.op, Scale) and np.any(np.asarray(node.op.offset)):
        yield Diagnostic("nir/scale-offset", "NIR's Scale has no offset", node.where, "run fold-scales first")


def a_bias_needs_a_leak(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A neuron's own bias is written as a shift of v_leak, which a membrane that keeps everything does not feel."""
    if isinstance(node.op, Neuron) and bias_is_lost(node.op):
        message = "NIR's neurons have no bias, and this membrane has no leak that could stand for it"
        yield Diagnostic("nir/neuron-bias", message, node.where, "put the bias into the connection before the neuron")


RULES: tuple[Rule, ...] = (
    no_max_pooling,
    pools_are_over_two_axes,
    nothing_is_left_to_fold,
    connections_take_no_time,
    linear_reads_a_vector,
    paddings_can_be_evened,
    a_reshape_is_a_flatten,
    a_scale_has_no_offset,
    a_bias_needs_a_leak,
)
