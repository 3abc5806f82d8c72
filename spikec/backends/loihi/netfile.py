"""Writes a fixed graph as a lava-dl `.net` file, where netx can say it; and says why where it cannot."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from spikec.backends.loihi.lavaneuron import never_fires
from spikec.backends.loihi.partition import fixed_of
from spikec.compiler.fixed import LOIHI2_ARITHMETIC, FixedNeuron, Whole
from spikec.compiler.ir import Graph, Node
from spikec.compiler.netx import load
from spikec.compiler.ops import Conv2d, FixedSum, Flatten, Input, Linear, Output
from spikec.compiler.schedule import latencies
from spikec.compiler.weights import Array

BIAS_EXP = 6
"""netx shifts every bias mantissa left by this."""

MAX_DELAY = 62


def reasons(graph: Graph) -> list[str]:
    """Give every reason why netx cannot say this graph; none if `write` can."""
    found = list(_chain_faults(graph))
    if not found:
        found = [reason for node in graph for reason in _node_faults(graph, node)] + list(_reset_faults(graph))
    return found


def netx_arguments(graph: Graph) -> dict[str, Any]:
    """Give the arguments with which netx must load the file so that it means the graph.

    `reset` is `none`, `interval` (the graph's own), or `sample`: layers with biases start late, so netx needs
    `reset_interval` = steps of a sample + latency, and the given offset.
    """
    first = next((node.op.sum for node in graph if isinstance(node.op, Linear | Conv2d)), None)
    bits = first.message_bits if isinstance(first, FixedSum) else 0
    neurons = [node.op for node in graph if isinstance(node.op, FixedNeuron)]
    if neurons and neurons[0].reset_interval:
        interval, offset = neurons[0].reset_interval, neurons[0].reset_offset
        return {"input_message_bits": bits, "reset": "interval", "reset_interval": interval, "reset_offset": offset}
    if any(op.start and not _quiet(op) for op in neurons):
        return {"input_message_bits": bits, "reset": "sample", "reset_interval": None, "reset_offset": 1}
    return {"input_message_bits": bits, "reset": "none", "reset_interval": None, "reset_offset": 0}


def write(graph: Graph) -> bytes:
    """Give the file; the same graph gives the same bytes. Only where `reasons(graph)` finds none."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for index, layer in enumerate(_layers(graph)):
            group = file.create_group(f"layer/{index}")
            for name, value in layer.items():
                group.create_dataset(name, data=value, track_times=False)
    return buffer.getvalue()


def _layers(graph: Graph) -> Iterator[dict[str, Any]]:
    """Give the datasets of each layer in lava-dl's names."""
    for node in graph:
        op, shape = node.op, graph.shapes[node.name]
        if isinstance(op, Input):
            if len(shape) == 1:
                continue  # the first dense layer says how many inputs there are
            yield {"type": _text("input"), "shape": np.array(shape)}
        elif isinstance(op, Flatten):
            yield {"type": _text("flatten")}
        elif isinstance(op, Linear | Conv2d):
            neuron = graph[graph.consumers[node.name][0]]
            yield {**_connection(node), "shape": np.array(shape), **_neuron(neuron, shape)}


def _connection(node: Node) -> dict[str, Any]:
    op = node.op
    given = _netx_weights(node)
    assert not isinstance(given, str)
    weight = given.astype(np.int16)
    if isinstance(op, Conv2d):
        return {
            "type": _text("conv"),
            "weight": weight,
            "stride": np.array(op.stride),
            "padding": np.array([first for first, _ in op.padding]),
            "dilation": np.array(op.dilation),
            "groups": op.groups,
            "inChannels": op.weight.shape[1] * op.groups,
            "outChannels": op.weight.shape[0],
            "kernelSize": np.array(op.kernel),
        }
    assert isinstance(op, Linear)
    delays = {} if op.delays is None or not np.any(op.delays) else {"delay": np.asarray(op.delays, np.int64)}
    out, columns = op.weight.shape
    return {"type": _text("dense"), "weight": weight, "inFeatures": columns, "outFeatures": out, **delays}


def _neuron(node: Node, shape: tuple[int, ...]) -> dict[str, Any]:
    op = node.op
    assert isinstance(op, FixedNeuron)
    bias = _netx_bias(op)
    assert bias is not None
    found: dict[str, Any] = {
        "neuron/type": _text("CUBA", scalar=True),
        "neuron/iDecay": _flat(4096 if op.u_decay is None else op.u_decay),
        "neuron/vDecay": _flat(op.v_decay),
        "neuron/vThMant": _flat(op.threshold),
        "neuron/refDelay": 1,
        "neuron/gradedSpike": False,
    }
    if np.any(bias):
        found["bias"] = _bias_array(bias, shape)
    return found


def _bias_array(bias: Array, shape: tuple[int, ...]) -> Array:
    """Give one bias an output (N,), a channel (C,), or a neuron in netx's order (W, H, C)."""
    full = np.broadcast_to(bias, shape)
    if len(shape) == 1:
        return np.array(full)
    by_channel = full.reshape(shape[0], -1)
    if np.all(by_channel == by_channel[:, :1]):
        return np.array(by_channel[:, 0])
    return np.ascontiguousarray(full.transpose(2, 1, 0))


def _text(value: str, *, scalar: bool = False) -> Any:
    return np.bytes_(value) if scalar else np.array([value.encode()], dtype="S10")


def _flat(value: Whole) -> Whole:
    return np.asarray(value).reshape(-1) if np.ndim(value) else value


def _chain_faults(graph: Graph) -> Iterator[str]:
    """The graph is Input, then connections each with its neurons, flattens between, then one Output."""
    nodes = graph.nodes
    for before, node in zip((None, *nodes[:-1]), nodes, strict=True):
        if node.inputs != (() if before is None else (before.name,)):
            yield f"'{node.name}' does not simply follow the node before it; netx knows chains alone"
    kinds = [type(node.op) for node in nodes]
    if not kinds or kinds[0] is not Input or kinds[-1] is not Output:
        yield "the graph does not run from one input to one output"
        return
    for before, node in pairwise(nodes):
        connection = isinstance(before.op, Linear | Conv2d)
        if connection != isinstance(node.op, FixedNeuron):
            yield f"'{node.name}' stands behind '{before.name}'; in netx every connection has neurons of its own"
        if not isinstance(node.op, Linear | Conv2d | Flatten | FixedNeuron | Output):
            yield f"netx has no {node.op.mnemonic} ('{node.name}')"
        if isinstance(before.op, Flatten) and not isinstance(node.op, Linear):
            yield f"'{before.name}' is not followed by a dense layer"


def _node_faults(graph: Graph, node: Node) -> Iterator[str]:
    op = node.op
    if isinstance(op, Flatten) and len(graph.shapes[node.name]) != 1:
        yield f"'{node.name}' keeps some axes"
    if isinstance(op, Linear | Conv2d):
        yield from _connection_faults(graph, node)
    if isinstance(op, FixedNeuron):
        yield from _neuron_faults(graph, node, op)


def _connection_faults(graph: Graph, node: Node) -> Iterator[str]:
    op = node.op
    assert isinstance(op, Linear | Conv2d)
    given = graph.shapes[node.inputs[0]]
    if op.latency != 1:
        yield f"'{node.name}' does not take one step"
    if isinstance(op, Linear) and len(given) != 1:
        yield f"'{node.name}' is a dense layer over the last of {len(given)} axes"
    if isinstance(op, Linear) and op.delays is not None and np.max(op.delays, initial=0) > MAX_DELAY:
        yield f"'{node.name}' has delays over {MAX_DELAY} steps"
    if isinstance(op, Conv2d) and any(first != last for first, last in op.padding):
        yield f"'{node.name}' is padded unequally"
    sender = next((n.op for n in graph if isinstance(n.op, Linear | Conv2d)), None)
    if op.sum is not None and op.sum.message_bits and op is not sender:
        yield f"'{node.name}' takes graded messages; netx's neurons send spikes"
    weights = _netx_weights(node)
    if isinstance(weights, str):
        yield f"'{node.name}': {weights}"


def _neuron_faults(graph: Graph, node: Node, op: FixedNeuron) -> Iterator[str]:
    name = f"'{node.name}'"
    if op.arithmetic != LOIHI2_ARITHMETIC or op.v_min is not None:
        yield f"{name} is not Loihi's neuron"
    if not never_fires(op):
        if op.cmp != ">" or op.reset != "value" or np.any(op.v_reset):
            yield f"{name} is not Loihi's neuron"
        if op.readout == "membrane":
            yield f"{name} gives its membrane out, and fires"
    if np.any(op.v_init) or np.any(op.u_init):
        yield f"{name} starts from another state than zero"
    if _netx_bias(op) is None:
        yield f"the biases of {name} are not 16-bit multiples of 2**{BIAS_EXP}"
    shape = graph.shapes[node.name]
    allowed = ((), (shape[0],), (shape[0], *(1,) * (len(shape) - 1)))
    given = [value for value in (op.threshold, op.v_decay, op.u_decay) if value is not None]
    if any(np.shape(value) not in allowed for value in given):
        yield f"{name} has parameters that are not one a channel"


def _reset_faults(graph: Graph) -> Iterator[str]:
    """A late start is a reset too: netx resets layer l at its own offset, or not at all."""
    neurons = [node.op for node in graph if isinstance(node.op, FixedNeuron)]
    late = latencies(graph)
    starts = [late[node.name] for node in graph if isinstance(node.op, FixedNeuron)]
    intervals = {op.reset_interval for op in neurons}
    if len(intervals) > 1:
        yield "the layers have different reset intervals"
        return
    interval = intervals.pop()
    if interval:
        first = neurons[0].reset_offset
        if any((op.reset_offset - first - i) % interval for i, op in enumerate(neurons)):
            yield "the layers do not reset one step after another"
        if any(op.start and not _quiet(op) for op in neurons):
            yield "the layers start late and reset at intervals"
        return
    if any(op.start for op in neurons) and any(not op.start and not _quiet(op) for op in neurons):
        yield "some layers with biases start at once, others late"
        return
    loud = [(op.start, late_by) for op, late_by in zip(neurons, starts, strict=True) if not _quiet(op)]
    if any(start for start, _ in loud):
        if any(start != late_by for start, late_by in loud):
            yield "the layers do not start when their input arrives"
        if any(isinstance(n.op, Linear) and n.op.delays is not None and np.any(n.op.delays) for n in graph):
            yield "the layers start late, and delayed spikes would outlive netx's reset"


def _quiet(op: FixedNeuron) -> bool:
    """Say whether a neuron stays at zero until its first input, so that its start does not matter."""
    return not np.any(op.bias) and bool(np.min(op.threshold) >= 0)


def _netx_bias(op: FixedNeuron) -> Array | None:
    """Give the bias mantissas for the exponent 6, or None where there are none."""
    bias = np.asarray(op.bias, np.int64)
    whole = bias << op.bias_exp if op.bias_exp >= 0 else bias >> -op.bias_exp
    mantissa = whole >> BIAS_EXP
    fits = not np.any(whole % (1 << BIAS_EXP)) and np.all(np.abs(mantissa) < 1 << 15)
    return mantissa if fits else None


def _netx_weights(node: Node) -> Array | str:
    """Give the integers of the file from which netx makes these weights, or say why there are none.

    netx finds an exponent of its own; the file holds values * 2**exponent, which must be whole and survive that.
    """
    op = node.op
    assert isinstance(op, Linear | Conv2d)
    fixed = fixed_of(node)
    exponents = np.unique(np.asarray(fixed.exponent))
    if exponents.size != 1:
        return "its channels have exponents of their own"
    exponent, values = int(exponents[0]), np.asarray(fixed.values, np.int64)
    if isinstance(op, Conv2d):
        if exponent:
            return f"its kernel has the exponent {exponent}, and netx's has none"
        return values if _cannot_wrap(node, values, 24) else "its sums may leave 24 bits"
    if exponent < 0 and np.any(values % (1 << -exponent)):
        return f"its weights have fractions (exponent {exponent}), and a file holds whole numbers"
    meant = values << exponent if exponent >= 0 else values >> -exponent
    loaded = load(meant)
    if loaded.fault == "all-zero":
        return "its weights are all 0, at which netx stops"
    if loaded.fault or loaded.altered:
        return f"netx would change its weights, which span [{meant.min()}, {meant.max()}]"
    return meant if _cannot_wrap(node, meant << -loaded.exponent, 32) else "its sums may leave 32 bits"


def _cannot_wrap(node: Node, values: Array, bits: int) -> bool:
    """Say whether no sum leaves the width; else the graph's own width must be it."""
    total = getattr(node.op, "sum", None)
    assert isinstance(total, FixedSum)
    largest = (1 << total.message_bits) - 1 if total.message_bits else 1
    return int(np.abs(values).reshape(values.shape[0], -1).sum(axis=1).max(initial=0)) * largest < 1 << (bits - 1)
