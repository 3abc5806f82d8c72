"""What the spike core runs: one small rule for each reason why a graph is none of its chains, named like a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spikec.compiler.cores import signed_bits
from spikec.compiler.diagnostics import CompileError, Diagnostic, remark
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import (
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Output,
    Reshape,
    SumPool,
)
from spikec.compiler.target import Target
from spikec.compiler.verify import is_fixed, verify
from spikec.compiler.weights import Array, Fixed, Sparse, unwrapped
from spikec.compiler.weights_nm import NM

Rule = Callable[[Graph, Node, Target], Iterator[Diagnostic]]

PLACED = (Input, Output, Linear, Flatten, Reshape, FixedNeuron)
RETRAIN = "train a fully connected network, every layer followed by spiking neurons"
SUM_BITS = 32
"""Widest accumulator of the core."""


def findings(graph: Graph, target: Target) -> Iterator[Diagnostic]:
    """Yield every reason why a graph does not run, or does not mean the same, on the spike core; and remarks."""
    if not is_fixed(graph):
        message = "the network is in floating point; the spike core computes with integers"
        yield Diagnostic("fpga/not-fixed", message, graph.name, f"quantize it: spikec compile -t {target.name} does")
        return
    try:
        verify(graph)
    except CompileError as error:
        yield from error.diagnostics
        return
    for node in graph:
        for rule in RULES:
            yield from rule(graph, node, target)
    yield from _whole(graph)


def every_op_has_an_engine(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Convolutions, pools and delays have none yet."""
    if isinstance(node.op, Conv1d | Conv2d):
        message = "the spike core runs fully connected layers; this is a convolution"
        yield Diagnostic("fpga/convolution", message, node.where, RETRAIN)
    elif isinstance(node.op, MaxPool | SumPool):
        yield Diagnostic("fpga/pool", f"the spike core has no {node.op.mnemonic}", node.where, RETRAIN)
    elif isinstance(node.op, Delay):
        message = "the spike core delays no spikes"
        yield Diagnostic("fpga/delay", message, node.where, "train without delays")
    elif not isinstance(node.op, PLACED):
        yield Diagnostic("fpga/op", f"the spike core has no {node.op.mnemonic}", node.where, RETRAIN)


def a_node_reads_one_earlier_node(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Cores form a chain: no recurrence, no sum of several, no skip."""
    for name in node.inputs:
        if graph.is_recurrent(name, node.name):
            message = f"it reads the previous step of '{name}'; the spike core has no recurrent links"
            yield Diagnostic("fpga/recurrent", message, node.where, "train without recurrent connections")
            return
    if len(node.inputs) > 1:
        message = f"it sums {len(node.inputs)} inputs; cores form a chain"
        yield Diagnostic("fpga/branches", message, node.where, "train a network without skip connections")


def a_node_is_read_once(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """A link has one end."""
    readers = graph.consumers[node.name]
    if len(readers) > 1:
        message = f"it is read by {', '.join(readers)}; cores form a chain"
        yield Diagnostic("fpga/branches", message, node.where, "train a network of one path and one output")


def layers_are_flat(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """A fully connected layer reads and makes a vector."""
    if isinstance(node.op, Linear) and len(graph.shapes[node.name]) != 1:
        shape = list(graph.shapes[node.name])
        message = f"it gives values of shape {shape}; a core makes one vector"
        yield Diagnostic("fpga/not-flat", message, node.where, "flatten its input")


def connections_take_no_time(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Spikes pass all layers within one step."""
    if isinstance(node.op, Linear) and node.op.latency:
        message = f"the connection takes {node.op.latency} steps; in the spike core it takes none"
        yield Diagnostic("fpga/latency", message, node.where, "compile the trained network for this target")
    if isinstance(node.op, Linear) and node.op.delays is not None:
        yield Diagnostic("fpga/delay", "the spike core delays no spikes", node.where, "train without delays")


def messages_are_spikes(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """A link carries one bit a neuron."""
    sum_ = getattr(node.op, "sum", None)
    if (sum_ is not None and sum_.message_bits) or (isinstance(node.op, Input) and node.op.message_bits):
        message = "it takes graded messages; the links of the spike core carry single spikes"
        yield Diagnostic("fpga/graded", message, node.where, "encode the input as spikes and train with that")


def weights_are_small_integers(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Weights are of 2 to 8 bits, two's complement, without an exponent."""
    if not isinstance(node.op, Linear):
        return
    weight = unwrapped(node.op.weight)
    if not isinstance(weight, Fixed):
        message = f"the spike core has no form for {node.op.weight.encoding} weights"
        yield Diagnostic("fpga/weights", message, node.where, "quantize them: quantize{bits=8}")
        return
    if np.any(np.asarray(weight.exponent)):
        message = "its weights have an exponent, which the spike core does not shift by"
        yield Diagnostic("fpga/exponent", message, node.where, "compile the trained network for this target")
    if not 2 <= weight.width <= 8 or weight.sign != "mixed" or weight.step != 1:
        message = f"its weights are of {weight.width} bits, {weight.sign}, step {weight.step}"
        help = "the spike core takes 2 to 8 bits in two's complement, step 1: quantize{bits=8}"
        yield Diagnostic("fpga/weights", message, node.where, help)


def blocks_are_powers_of_two_along_the_outputs(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """A lane owns a block of M neurons, addressed by log2 M bits."""
    weight = getattr(node.op, "weight", None)
    if not isinstance(weight, NM):
        return
    if weight.axis != "out":
        message = f"its blocks of {weight.n}:{weight.m} lie along the inputs; a lane owns a block of outputs"
        help = f"prune along the outputs: spike-nm{{n={weight.n},m={weight.m},axis=out}}"
        yield Diagnostic("fpga/nm-axis", message, node.where, help)
    if weight.m & (weight.m - 1):
        message = f"its blocks are {weight.n}:{weight.m}; the spike core takes M of 2, 4, 8, 16 and 32"
        yield Diagnostic("fpga/nm", message, node.where, "prune with such an M")


def zeros_of_sparse_weights_are_stored(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Weights without a pattern are dense words: their zeros take memory and cycles."""
    weight = getattr(node.op, "weight", None)
    if isinstance(weight, Sparse) and isinstance(weight.inner, Fixed):
        zeros = weight.inner.values.size - np.count_nonzero(weight.inner.values)
        message = f"the spike core stores its zeros too: {zeros} of {weight.inner.values.size} weights"
        help = "prune to N:M along the outputs, spike-nm{axis=out}: that saves memory and cycles here"
        yield remark("fpga/zeros", message, node.where, help)


def neurons_are_the_cores(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """The core's neuron leaks at one rate a layer, fires, and is reset to a value or by subtraction."""
    op = node.op
    if not isinstance(op, FixedNeuron):
        return
    if op.has_current:
        message = "it has a synaptic current, which the spike core has not"
        yield Diagnostic("fpga/synapse", message, node.where, "train with neurons without a synaptic current")
    rules = {
        "a lower bound of its membrane": op.v_min is not None,
        "a start later than step 0": bool(op.start),
        "a reset at intervals": bool(op.reset_interval),
        "no input": op.units is not None,
        "decays that differ within the layer": np.unique(op.v_decay).size > 1,
        "another current before the first step": bool(np.any(op.u_init)),
    }
    for what, broken in rules.items():
        if broken:
            message = f"the neuron has {what}; the spike core's has not"
            yield Diagnostic("fpga/neuron", message, node.where, "compile the trained network for this target")


def the_arithmetic_is_the_cores(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Widths and rounding are fixed in the RTL."""
    if isinstance(node.op, FixedNeuron) and node.op.arithmetic != target.arithmetic:
        message = f"its neurons compute as on '{node.op.arithmetic.name}', in other widths than the spike core"
        yield Diagnostic("fpga/arithmetic", message, node.where, "compile the trained network for this target")


def numbers_fit_their_memories(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Threshold, bias, reset and initial value are stored at the width of the membrane."""
    op = node.op
    if not isinstance(op, FixedNeuron):
        return
    low, high = -(1 << (op.arithmetic.v_bits - 1)), (1 << (op.arithmetic.v_bits - 1)) - 1
    numbers = {"biases": np.asarray(op.bias) * 2.0**op.bias_exp, "initial membranes": np.asarray(op.v_init)}
    if op.reset != "none" or op.readout == "spikes":
        numbers |= {"thresholds": np.asarray(op.threshold)}
    if op.reset != "none":
        numbers |= {"resets": np.asarray(op.amount if op.reset == "subtract" else op.v_reset)}
    for name, values in numbers.items():
        if np.any((values < low) | (values > high) | (values != np.rint(values))):
            message = f"{name} span [{values.min():g}, {values.max():g}], which {op.arithmetic.v_bits} bits do not hold"
            yield Diagnostic("fpga/range", message, node.where, "bring them nearer to the weights of the layer")


def sums_fit_the_accumulator(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Inputs of a step are summed in a width that cannot overflow."""
    weight = unwrapped(node.op.weight) if isinstance(node.op, Linear) else None
    readers = graph.consumers[node.name]
    if not isinstance(weight, Fixed) or len(readers) != 1:
        return
    neuron = graph[readers[0]].op
    if not isinstance(neuron, FixedNeuron):
        return
    bits = _sum_bits(np.asarray(weight.values, np.int64).reshape(weight.shape[0], -1), neuron)
    if bits > SUM_BITS:
        message = f"a sum of its inputs may need {bits} bits; the accumulator of the spike core has {SUM_BITS}"
        yield Diagnostic("fpga/sum", message, node.where, "use fewer inputs or smaller weights")


def _sum_bits(values: Array, neuron: FixedNeuron) -> int:
    """Give the bits of an accumulator that holds a membrane, a bias and any part of a row's weights."""
    bias = np.asarray(neuron.bias, np.int64).reshape(-1)
    half = 1 << (neuron.arithmetic.v_bits - 1)
    high = int((np.maximum(values, 0).sum(axis=1) + bias).max(initial=0))
    low = int((np.minimum(values, 0).sum(axis=1) + bias).min(initial=0))
    return signed_bits(min(0, low) - half, max(0, high) + half - 1)


RULES: tuple[Rule, ...] = (
    every_op_has_an_engine,
    a_node_reads_one_earlier_node,
    a_node_is_read_once,
    layers_are_flat,
    connections_take_no_time,
    messages_are_spikes,
    weights_are_small_integers,
    blocks_are_powers_of_two_along_the_outputs,
    zeros_of_sparse_weights_are_stored,
    neurons_are_the_cores,
    the_arithmetic_is_the_cores,
    numbers_fit_their_memories,
    sums_fit_the_accumulator,
)


def _whole(graph: Graph) -> Iterator[Diagnostic]:
    """Every layer is a connection and its neurons; the last may be read by its membrane."""
    for node in graph.of(Linear):
        readers = graph.consumers[node.name]
        if len(readers) == 1 and not isinstance(graph[readers[0]].op, FixedNeuron):
            message = f"'{node.name}' is not followed by neurons"
            yield Diagnostic("fpga/no-neuron", message, node.where, RETRAIN)
    for node in graph.of(FixedNeuron):
        fed = [graph[name].op for name in node.inputs]
        if fed and all(isinstance(op, PLACED) and not isinstance(op, Linear) for op in fed):
            message = "its neurons are not fed by a fully connected layer"
            yield Diagnostic("fpga/no-weights", message, node.where, RETRAIN)
        last = all(isinstance(graph[name].op, Output) for name in graph.consumers[node.name])
        if isinstance(node.op, FixedNeuron) and node.op.readout == "membrane" and not last:
            message = "it sends its membrane to another layer; the links of the spike core carry spikes"
            yield Diagnostic("fpga/graded", message, node.where, RETRAIN)
