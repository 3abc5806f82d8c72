"""Threshold balancing: what a layer sends on calibration data becomes its threshold, and the value of its spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import Sink, fail, remark
from spikec.compiler.ir import Graph, Node, Op, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import AvgPool, Conv1d, Conv2d, Dropout, Flatten, Input, Linear, MaxPool, Output, Reshape
from spikec.compiler.weights import Array, Dense
from spikec.frontends.onnx.options import OnnxOptions
from spikec.frontends.onnx.probe import run_model
from spikec.frontends.onnx.source import Source

PASSING = (AvgPool, MaxPool, Flatten, Reshape, Dropout)
"""Ops that hand the value of a spike on."""
AT_ONCE = 64
MOST = 512
"""Samples that are used, at most."""


def calibrated(samples: Any, options: OnnxOptions, shape: Shape, source: Source) -> Array:
    """Give the calibration samples (N, *shape); those with a time axis are averaged over it.

    Raises:
        CompileError: there are none, or they do not fit.
    """
    given = options.calibrate if options.calibrate is not None else samples
    if given is None:
        message = "a network with ReLU is converted on samples of its input, and none were given"
        help = "compile with --calibrate DATA; else --onnx calibrate=DATA (in Python onnx={'calibrate': x})"
        raise fail("onnx/needs-calibration", message, source.name, help)
    array = np.asarray(given)[:MOST]
    if array.dtype.kind not in "biuf":
        raise fail("onnx/calibration", f"the calibration data holds {array.dtype}, not numbers", source.name)
    if array.ndim == len(shape) + 2 and array.shape[2:] == shape:
        array = array.mean(axis=1)
    if prod(array.shape[1:]) == prod(shape) and array.ndim == 2:
        array = array.reshape(len(array), *shape)
    if array.shape[1:] != shape or not len(array) or not np.all(np.isfinite(array)):
        wanted = ", ".join(["samples", *map(str, shape)])
        message = f"the calibration data has shape {list(array.shape)}, or is not finite; the network takes ({wanted})"
        raise fail("onnx/calibration", message, source.name, "give samples laid out as the network takes them")
    return array.astype(np.float32)


def thresholds(
    graph: Graph, tensors: Mapping[str, str], model: Any, source: Source, samples: Array, options: OnnxOptions
) -> dict[str, Array]:
    """Run the network as it is on the samples, and give the threshold of each neuron: (), or (C, 1, ...).

    Neurons whose spikes are summed into one layer share theirs: the largest.
    """
    found = {}
    last = {name for node in graph.of(Output) for name in node.inputs}
    values = _recorded(model, source, samples, list(tensors.values()))
    for name, tensor in tensors.items():
        if name not in graph:
            continue
        whole = values[tensor]
        top = np.asarray(np.percentile(whole, options.percentile))
        if options.balance == "channel" and name not in last:
            axes = (0, *range(2, whole.ndim))
            own = np.percentile(whole, options.percentile, axis=axes)
            top = np.where(own > 0, own, top).reshape(-1, *(1,) * (whole.ndim - 2))
        found[name] = np.where(top > 0, top, 1.0)
    for group in _summed(graph, found):
        largest = np.max(np.stack(np.broadcast_arrays(*(found[name] for name in group))), axis=0)
        found.update(dict.fromkeys(group, largest))
    return found


def _recorded(model: Any, source: Source, samples: Array, tensors: list[str]) -> dict[str, Array]:
    """Run the file in ONNX's reference, as many samples at once as it takes."""
    ((main, shape),) = source.inputs.items()
    count = shape[0] or AT_ONCE
    parts: list[dict[str, Array]] = []
    for start in range(0, len(samples), count):
        part = samples[start : start + count]
        fill = count - len(part) if shape[0] else 0
        full = np.concatenate([part, np.repeat(part[:1], fill, axis=0)])
        try:
            made = run_model(model, {main: full}, tensors)
        except Exception as error:  # whatever NumPy or the reference raises
            message = f"ONNX's own reference cannot run the file: {type(error).__name__}"
            raise fail("onnx/not-run", message, source.name, "export it again") from error
        parts.append({name: array[: len(part)] for name, array in made.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in tensors}


def _summed(graph: Graph, found: Mapping[str, Array]) -> list[set[str]]:
    """Give the groups of neurons that one layer reads together, seen through pools."""
    groups: list[set[str]] = []
    for node in graph:
        if isinstance(node.op, Neuron | Input):
            continue
        group = {name for name in _senders(graph, node) if name in found}
        if len(group) > 1:
            joined = [other for other in groups if other & group]
            groups = [other for other in groups if not other & group] + [group.union(*joined)]
    return groups


def _senders(graph: Graph, node: Node) -> set[str]:
    """Give the neurons that a node reads, seen through pools and reshapes."""
    senders: set[str] = set()
    for name in node.inputs:
        source = graph[name]
        senders |= _senders(graph, source) if isinstance(source.op, PASSING) else {name}
    return senders


@dataclass(eq=False)
class _Balancing:
    """Nodes under way, and what a spike of each is worth (1 where it is not listed)."""

    graph: Graph
    tops: Mapping[str, Array]
    options: OnnxOptions
    nodes: list[Node]
    worth: dict[str, Array]

    def node(self, node: Node) -> None:
        """Take over one node."""
        if isinstance(node.op, PASSING) and (
            worths := [self.worth[name] for name in node.inputs if name in self.worth]
        ):
            self.worth[node.name] = _handed_on(worths[0], node.op, self.graph, node)
            self.nodes.append(node)
        elif isinstance(node.op, Linear | Conv1d | Conv2d) and node.inputs[0] in self.worth:
            self.nodes.append(replace(node, op=_weighted(node.op, self.worth[node.inputs[0]])))
        elif isinstance(node.op, Output):
            self.nodes.append(node)
        else:
            plain = replace(node, inputs=tuple(self._plain(name, node) for name in node.inputs))
            self.nodes.append(self._neuron(plain) if node.name in self.tops else plain)

    def _neuron(self, node: Node) -> Node:
        top = self.tops[node.name]
        self.worth[node.name] = top
        value: Any = float(top) if top.ndim == 0 else top
        op = replace(node.op, v_th=value, v_init=self.options.initial * value)  # type: ignore[call-arg]
        return replace(node, op=replace(op, reset=self.options.reset))  # type: ignore[call-arg]

    def _plain(self, name: str, reader: Node) -> str:
        """Give a node whose values are worth what they are: spikes pass a connection that multiplies them."""
        if name not in self.worth:
            return name
        shape = self.graph.shapes[name]
        weighted = f"{name}.to.{reader.name}"
        self.nodes.append(Node(weighted, _multiplied(self.worth[name], shape), (name,), reader.origin))
        return weighted


def balanced(graph: Graph, tops: Mapping[str, Array], options: OnnxOptions, tell: Sink) -> Graph:
    """Give the neurons their thresholds, and the layers behind them the value of their spikes."""
    under_way = _Balancing(graph, tops, options, [], {})
    for node in graph:
        under_way.node(node)
    low, high = (f(float(np.max(top)) for top in tops.values()) for f in (min, max))
    kind = "one a channel" if options.balance == "channel" else "one a layer"
    message = (
        f"{len(tops)} layers of ReLU become integrate-and-fire; thresholds, {kind}, "
        f"{options.percentile:g} % of what they send on the samples: {low:.4g} to {high:.4g}"
    )
    tell(remark("onnx/converted", message, graph.name, "give the input repeated over time: --steps T; 16 and more"))
    return replace(graph, nodes=tuple(under_way.nodes))


def _handed_on(worth: Array, op: Op, graph: Graph, node: Node) -> Array:
    """Give the value of a spike behind a pool or a reshape."""
    if worth.ndim == 0 or not isinstance(op, Flatten | Reshape):
        return worth
    spread = np.broadcast_to(worth, graph.shapes[node.inputs[0]])
    return spread.reshape(graph.shapes[node.name])


def _weighted(op: Linear | Conv1d | Conv2d, worth: Array) -> Op:
    """Multiply the weights by what the spikes that they read are worth."""
    weight = op.weight.decode()
    factor = worth.astype(np.float64)
    if factor.ndim and not isinstance(op, Linear):
        channels = np.broadcast_to(factor.reshape(-1), (weight.shape[1] * op.groups,))
        rows = channels.reshape(op.groups, -1).repeat(weight.shape[0] // op.groups, axis=0)
        factor = rows.reshape(*rows.shape, *(1,) * (weight.ndim - 2))
    return replace(op, weight=Dense((weight * factor).astype(weight.dtype)))


def _multiplied(worth: Array, shape: Shape) -> Op:
    """Give the connection that multiplies each value by what it is worth."""
    if len(shape) == 1:
        return Linear(Dense(np.diag(np.broadcast_to(worth, shape)).astype(np.float32)))
    channels = np.broadcast_to(worth.reshape(-1) if worth.size > 1 else worth, (shape[0],))
    kind = Conv1d if len(shape) == 2 else Conv2d
    return kind(Dense(channels.reshape(-1, 1, *(1,) * (len(shape) - 1)).astype(np.float32)), groups=shape[0])
