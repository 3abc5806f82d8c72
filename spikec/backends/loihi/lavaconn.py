"""Connections for Lava: which process says a weighted connection exactly, with the delays around it taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np

from spikec.backends.loihi.lavapaths import Path, input_shape, paths_into
from spikec.backends.loihi.lavaweights import Synapses, bound, exponent_of, fixed_of, mantissas, sum_of, unroll
from spikec.compiler.diagnostics import fail
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.ops import Conv1d, Conv2d, Linear
from spikec.compiler.weights import Array, Sparse

MAX_DELAY = 62
"""Steps that a synapse may add: what lava-dl's netx allows."""

INT8 = 127
"""Lava's Conv keeps its geometry in 8 bits."""

Kind = Literal["dense", "sparse", "delay_dense", "delay_sparse", "conv"]


@dataclass(frozen=True, eq=False)
class Link:
    """One connection process: what it is, whom it reads, its parameters, the least and most steps it adds to one."""

    name: str
    node: str
    kind: Kind
    sources: tuple[str, ...]
    given: Shape
    made: Shape
    delay: tuple[int, int]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Line:
    """A delay that no synapse can take in: a process of our own between `source` and the links that read it."""

    name: str
    source: str
    shape: Shape
    steps: Array
    reason: str


@dataclass(eq=False)
class Wiring:
    """The processes made for one connection: links that its readers sum, and delay lines before them."""

    links: list[Link] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


def wire(graph: Graph, node: Node, after: Array, name: str) -> Wiring:
    """Make the processes of one connection.

    Args:
        graph: the lowered graph.
        node: a Linear or a convolution.
        after: steps that each output takes to reach the reader, in the shape of the output.
        name: the name of the first process.

    Raises:
        CompileError: the connection takes no step, or more than a synapse can add, or is nothing that Lava has.
    """
    op = _op(node)
    paths = paths_into(graph, node)
    groups = _by_delay(paths)
    keeps_split = exponent_of(node) >= 0  # shifting the parts left is shifting the sum left; to the right it is not
    linear = sum_of(node).message_bits > 0
    wiring = Wiring()
    if len(groups) == 1 and (groups[0][0].uniform or keeps_split):
        wiring.links.append(_link(graph, node, groups[0], after, name))
    elif linear and keeps_split:
        wiring.links += [_link(graph, node, group, after, f"{name}.{i}") for i, group in enumerate(groups)]
    else:
        reason = "inputs of one connection have different delays, which its synapses cannot tell apart exactly"
        for i, path in enumerate(paths):
            steps = path.delay + op.latency - 1
            _check_step(node, steps)
            wiring.lines.append(Line(f"{name}.delay{i}", path.source, input_shape(graph, node), steps, reason))
        lined = tuple(line.name for line in wiring.lines)
        now = Path("", np.full(input_shape(graph, node), 1 - op.latency, np.int64))
        wiring.links.append(_link(graph, node, (now, lined), after, name))
    return wiring


def _by_delay(paths: Sequence[Path]) -> list[tuple[Path, tuple[str, ...]]]:
    """Put the paths of equal delay together."""
    groups: dict[bytes, tuple[Path, list[str]]] = {}
    for path in paths:
        groups.setdefault(path.delay.tobytes(), (path, []))[1].append(path.source)
    return [(path, tuple(sources)) for path, sources in groups.values()]


def _link(graph: Graph, node: Node, group: tuple[Path, tuple[str, ...]], after: Array, name: str) -> Link:
    """Make one process that reads sources of equal delay."""
    op, (path, sources) = _op(node), group
    given, made = input_shape(graph, node), graph.shapes[node.name]
    before = path.delay + op.latency - 1
    if isinstance(op, Linear) and len(given) == 1:
        own = 0 if op.delays is None else op.delays
        delays = np.broadcast_to(own + before[None, :] + after[:, None], op.weight.shape)
        _check_delay(node, delays)
        kind, parameters = _dense(node, delays)
    elif _is_native_conv(node, before, after):
        delays = np.zeros(1, np.int64)
        kind, parameters = "conv", _conv(node, given)
    else:
        synapses = unroll(op, given)
        delays = before.reshape(-1)[synapses.source] + after.reshape(-1)[synapses.target]
        if isinstance(op, Linear) and op.delays is not None:
            row, column = synapses.target % op.weight.shape[0], synapses.source % op.weight.shape[1]
            delays = delays + op.delays[row, column]
        _check_delay(node, delays)
        kind, parameters = _sparse(node, synapses, delays, (prod(made), prod(given)))
    least, most = int(delays.min(initial=MAX_DELAY)), int(delays.max(initial=0))
    return Link(name, node.name, kind, sources, given, made, (min(least, most), most), parameters)


def _dense(node: Node, delays: Array) -> tuple[Kind, dict[str, Any]]:
    """Give a Dense, or a Sparse where the weights are encoded so, with delays where there are any."""
    op = _op(node)
    if isinstance(op.weight, Sparse):
        values = fixed_of(node).values
        row, column = np.nonzero(values)
        synapses = Synapses(row, column, values[row, column])
        return _sparse(node, synapses, delays[row, column], (values.shape[0], values.shape[1]))
    parameters = _weights(node, fixed_of(node).values)
    if not delays.any():
        return "dense", parameters
    return "delay_dense", {**parameters, "delays": delays.astype(np.int32)}


def _sparse(node: Node, synapses: Synapses, delays: Array, shape: Shape) -> tuple[Kind, dict[str, Any]]:
    parameters = {
        **_weights(node, synapses.value),
        "target": synapses.target.astype(np.int32),
        "source": synapses.source.astype(np.int32),
        "shape": list(shape),
    }
    if not delays.any():
        return "sparse", parameters
    return "delay_sparse", {**parameters, "delays": delays.astype(np.int32)}


def _weights(node: Node, values: Array) -> dict[str, Any]:
    """Give what Lava's Dense and Sparse are told of the weights."""
    _check_width(node, 32)
    found = mantissas(node, values)
    return {
        "weights": found.values,
        "weight_exp": found.exponent,
        "num_weight_bits": found.bits,
        "sign_mode": found.sign,
        "num_message_bits": sum_of(node).message_bits,
    }


def _is_native_conv(node: Node, before: Array, after: Array) -> bool:
    """Say whether Lava's Conv is this convolution: no exponent, no delay, equal padding, sums of 24 bits."""
    op = node.op
    if not isinstance(op, Conv1d | Conv2d) or before.any() or after.any() or exponent_of(node) != 0:
        return False
    values = fixed_of(node).values
    geometry = (*op.kernel, *op.stride, *op.dilation, *(side for pair in op.padding for side in pair), op.groups)
    return (
        max(geometry) <= INT8
        and all(first == last for first, last in op.padding)
        and bool(values.min(initial=0) >= -256 and values.max(initial=0) <= 255)
        and _fits(node, 24)
    )


def _conv(node: Node, given: Shape) -> dict[str, Any]:
    """Give Lava's Conv its kernel: flipped (it convolves), axes (out, width, height, in); one row for a Conv1d."""
    op = node.op
    assert isinstance(op, Conv1d | Conv2d)
    kernel = fixed_of(node).values
    flat = isinstance(op, Conv1d)
    if flat:
        kernel = kernel[:, :, None, :]

    def pair(values: Sequence[int], one: int) -> list[int]:
        return [values[0], one] if flat else [values[1], values[0]]

    channels, height, width = (given[0], 1, given[1]) if flat else given
    return {
        "weight": np.ascontiguousarray(kernel[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)),
        "input_shape": [width, height, channels],
        "stride": pair(op.stride, 1),
        "padding": pair([side[0] for side in op.padding], 0),
        "dilation": pair(op.dilation, 1),
        "groups": op.groups,
        "num_message_bits": sum_of(node).message_bits,
    }


def _fits(node: Node, width: int) -> bool:
    """Say whether sums wrap at this width, or cannot reach any width at which they would differ."""
    total = sum_of(node)
    return total.width == width or bound(node) < 1 << (min(width, total.width) - 1)


def _check_width(node: Node, width: int) -> None:
    if not _fits(node, width):
        message = f"sums wrap at {sum_of(node).width} bits, in Lava at {width}, and can grow that large"
        raise fail("loihi/sum-width", message, node.where, "quantize to smaller weights, or to messages of fewer bits")


def _check_step(node: Node, delays: Array) -> None:
    if delays.min(initial=0) < 0:
        message = "the connection takes no time step; on Loihi every connection takes one"
        raise fail("loihi/no-step", message, node.where, "lower the graph for loihi2 first, which gives it latency 1")


def _check_delay(node: Node, delays: Array) -> None:
    _check_step(node, delays)
    if delays.max(initial=0) > MAX_DELAY:
        message = f"synapses of this connection add up to {delays.max()} steps; Loihi 2 has {MAX_DELAY}"
        raise fail("loihi/delay-range", message, node.where, "train with shorter delays, or a larger time step")


def _op(node: Node) -> Linear | Conv1d | Conv2d:
    assert isinstance(node.op, Linear | Conv1d | Conv2d)
    return node.op
