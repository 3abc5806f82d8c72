"""Verification: the rules that every graph obeys, before the first and after every pass, all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spikec.compiler.diagnostics import Diagnostic, Findings
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import NUMBERS, Neuron
from spikec.compiler.ops import (
    AvgPool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Delay,
    Dropout,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Output,
    Reshape,
    Scale,
    SumPool,
)
from spikec.compiler.schedule import unbalanced
from spikec.compiler.weights import Dense, Fixed, Weight, unwrapped
from spikec.compiler.weights_grid import Grid

Rule = Callable[[Graph, Node], Iterator[Diagnostic]]

FLOAT_ONLY = (Neuron, AvgPool, Scale, BatchNorm, Dropout)


def verify(graph: Graph) -> Graph:
    """Check every rule and give the graph back.

    Raises:
        CompileError: every fault found.
    """
    found = Findings()
    for node in graph:
        for rule in RULES:
            for diagnostic in rule(graph, node):
                found(diagnostic)
    for diagnostic in _whole(graph):
        found(diagnostic)
    found.raise_errors()
    _ = graph.shapes  # raises its own faults
    for diagnostic in unbalanced(graph) if is_lowered(graph) else ():
        found(diagnostic)
    found.raise_errors()
    return graph


def is_fixed(graph: Graph) -> bool:
    """Say whether a graph is in integers: it has a fixed neuron, or a connection with integer arithmetic."""
    return any(isinstance(n.op, FixedNeuron) or getattr(n.op, "sum", None) is not None for n in graph)


def is_lowered(graph: Graph) -> bool:
    """Say whether connections of the graph take time."""
    return any(getattr(n.op, "latency", 0) for n in graph)


def inputs_exist(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """Every input is a node of the graph."""
    for name in node.inputs:
        if name not in graph:
            yield Diagnostic("graph/unknown-input", f"'{node.name}' reads '{name}', which does not exist", node.where)


def only_memory_is_read_late(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A node that stands later may be read only if it remembers."""
    for name in node.inputs:
        if name in graph and graph.is_recurrent(name, node.name) and not graph[name].op.stateful:
            message = f"'{node.name}' reads '{name}', which stands later and does not remember its previous step"
            yield Diagnostic("graph/loop-without-memory", message, node.where, "put a neuron or a delay into the loop")


def number_of_inputs_fits(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """An input reads nothing, an output reads one node, everything else at least one."""
    count = len(node.inputs)
    source = isinstance(node.op, Input) or (isinstance(node.op, FixedNeuron) and node.op.units is not None)
    if source != (count == 0) or (isinstance(node.op, Output) and count != 1):
        yield Diagnostic("graph/wrong-arity", f"{node.op.mnemonic} '{node.name}' has {count} inputs", node.where)


def numbers_are_finite(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """No parameter is NaN; weights are finite; a threshold may be infinite (a neuron that never fires)."""
    weight = getattr(node.op, "weight", None)
    if isinstance(weight, Weight) and not np.all(np.isfinite(weight.decode())):
        bad = int(np.count_nonzero(~np.isfinite(weight.decode())))
        yield Diagnostic(
            "graph/not-finite", f"{bad} weights are NaN or infinite", node.where, "train again, or repair the weights"
        )
    names = NUMBERS if isinstance(node.op, Neuron) else ("bias", "factor", "offset", "mean", "var", "gain", "shift")
    for name in names:
        value = getattr(node.op, name, None)
        endless = name in ("v_th", "reset_amount")
        if value is not None and (np.any(np.isnan(value)) or (not endless and np.any(np.isinf(value)))):
            yield Diagnostic(
                "graph/not-finite", f"{name} is NaN or infinite", node.where, "train again, or repair the parameter"
            )


def decays_lie_in_unit_interval(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A decay keeps between none and all of a state."""
    if isinstance(node.op, Neuron):
        for name in ("a_mem", "a_syn"):
            value = np.asarray(getattr(node.op, name))
            if np.any(value < 0) or np.any(value > 1):
                message = f"{name} lies in [{value.min():.6g}, {value.max():.6g}], outside [0, 1]"
                yield Diagnostic("neuron/decay-range", message, node.where, "clamp the decay while training")
    if isinstance(node.op, FixedNeuron) and node.op.arithmetic.decay == "multiply":
        top = 1 << node.op.arithmetic.decay_bits
        for name in ("v_decay", "u_decay"):
            given = getattr(node.op, name)
            value = np.asarray(0 if given is None else given)
            if np.any(value < 0) or np.any(value > top):
                yield Diagnostic(
                    "neuron/decay-range",
                    f"{name} lies in [{value.min()}, {value.max()}], outside [0, {top}]",
                    node.where,
                )


def thresholds_are_positive(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A multi-spiking neuron divides by its threshold."""
    if isinstance(node.op, Neuron) and node.op.spike == "multi" and np.any(np.asarray(node.op.v_th) <= 0):
        yield Diagnostic(
            "neuron/threshold-range", "a neuron that sends several spikes needs a threshold above 0", node.where
        )


def delays_are_steps(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A delay is a whole number of steps, not negative."""
    value = node.op.steps if isinstance(node.op, Delay) else getattr(node.op, "delays", None)
    if value is None:
        return
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer) or np.any(array < 0):
        yield Diagnostic("graph/bad-delay", "a delay must be a whole number of steps, 0 or more", node.where)
    if isinstance(node.op, Linear) and array.shape != node.op.weight.shape:
        message = f"synapse delays of shape {list(array.shape)} stand beside weights of {list(node.op.weight.shape)}"
        yield Diagnostic("graph/shape-mismatch", message, node.where)


def biases_fit(graph: Graph, node: Node) -> Iterator[Diagnostic]:
    """A connection's bias has one entry an output."""
    if isinstance(node.op, Linear | Conv1d | Conv2d) and node.op.bias is not None:
        expected = (node.op.weight.shape[0],)
        if np.shape(node.op.bias) != expected:
            message = f"bias of shape {list(np.shape(node.op.bias))} beside {expected[0]} outputs"
            yield Diagnostic("graph/shape-mismatch", message, node.where)


RULES: tuple[Rule, ...] = (
    inputs_exist,
    only_memory_is_read_late,
    number_of_inputs_fits,
    numbers_are_finite,
    decays_lie_in_unit_interval,
    thresholds_are_positive,
    delays_are_steps,
    biases_fit,
)


def _whole(graph: Graph) -> Iterator[Diagnostic]:
    if len(graph.of(Input)) != 1:
        yield Diagnostic("graph/inputs", f"a network has one input, this one has {len(graph.of(Input))}", graph.name)
    if not graph.of(Output):
        yield Diagnostic(
            "graph/no-output", "the network has no output", graph.name, "return the spikes of the last layer"
        )
    if is_fixed(graph):
        for node in graph:
            yield from _fixed_rules(node)


def _fixed_rules(node: Node) -> Iterator[Diagnostic]:
    """What holds in a fixed graph alone: integer weights, no float op, biases in the neurons."""
    if isinstance(node.op, FLOAT_ONLY):
        yield Diagnostic(
            "graph/float-in-fixed",
            f"{node.op.mnemonic} has no integer form here",
            node.where,
            "fold it before quantizing",
        )
    if isinstance(node.op, Linear | Conv1d | Conv2d):
        weight = unwrapped(node.op.weight)
        if isinstance(weight, Dense | Grid) or node.op.sum is None:
            yield Diagnostic(
                "graph/float-in-fixed", "a connection of a fixed graph has integer weights and a sum", node.where
            )
        if node.op.bias is not None:
            yield Diagnostic("graph/float-in-fixed", "in a fixed graph the bias belongs to the neuron", node.where)
        if (
            isinstance(weight, Fixed)
            and isinstance(weight.exponent, np.ndarray)
            and weight.exponent.shape != (weight.shape[0],)
        ):
            yield Diagnostic("graph/shape-mismatch", "one exponent an output channel is needed", node.where)


KNOWN_OPS = (
    Input,
    Output,
    Linear,
    Conv1d,
    Conv2d,
    AvgPool,
    SumPool,
    MaxPool,
    Flatten,
    Reshape,
    Scale,
    BatchNorm,
    Dropout,
    Delay,
    Neuron,
    FixedNeuron,
)
"""Every op of the language, for the textual and the saved form."""
