"""Max pools: of spikes they are relay neurons, which fire if any of the window does; of currents they have no form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Findings, fail, remark
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.neurons import NUMBERS, Neuron
from spikec.compiler.ops import Conv1d, Conv2d, Input, MaxPool
from spikec.compiler.target import in_python
from spikec.compiler.weights import Dense
from spikec.passes.surgery import is_connection, only_input, put, read_by_one, sources_through, unused

RELAY = Neuron(a_mem=0.0, v_th=0.0, reset="value")
"""Fires if anything arrives, and remembers nothing."""


def max_pools(graph: Graph, ctx: Context) -> Graph:
    """Replace every MaxPool.

    Raises:
        CompileError: pools of currents (`lower/maxpool-currents`), or of what is neither spike nor current.
    """
    found = Findings()
    for node in graph.of(MaxPool):
        with found.catching():
            graph = _replaced(graph, graph[node.name], ctx)
    found.raise_errors()
    return graph


def _replaced(graph: Graph, pool: Node, ctx: Context) -> Graph:
    source = only_input(graph, pool.name)
    if source is not None and is_connection(source):
        return _behind_neuron(graph, pool, ctx)
    sources = [graph[name] for name in sources_through(graph, pool.name)]
    if len(sources) != 1 or len(pool.inputs) != 1 or not is_spiking(sources[0], ctx):
        names = ", ".join(f"'{node.name}'" for node in sources)
        raise fail(
            "lower/maxpool-values",
            f"a max pool of {names} has no spiking form: only one population of single spikes can be relayed",
            pool.where,
            "use average pooling, or put the pool directly behind spiking neurons",
        )
    ctx.remark(remark("lower/relay", "max pooling of spikes becomes relay neurons, one step more", pool.where))
    relay = unused(graph, f"{pool.name}.any")
    assert isinstance(pool.op, MaxPool)
    gather = replace(pool, name=relay, op=ones(pool.op.kernel, graph.shapes[pool.inputs[0]][0], pool.op))
    return put(graph, {pool.name: (gather, Node(pool.name, RELAY, (relay,), pool.origin))})


def is_spiking(node: Node, ctx: Context) -> bool:
    """Say whether a node sends 0 or 1."""
    if isinstance(node.op, Neuron):
        plain = bool(np.all(np.asarray(node.op.graded) == 1))
        return node.op.readout == "spikes" and node.op.spike == "single" and plain
    if isinstance(node.op, Input) and node.op.kind == "spikes":
        given = None if ctx.calibration is None else np.asarray(ctx.calibration.inputs)
        return given is None or bool(np.all((given == 0) | (given == 1)))
    return False


def ones(kernel: Shape, channels: int, pool: MaxPool | None = None) -> Conv1d | Conv2d:
    """Give a convolution that sums the windows of each channel, as a pool does (without one: of its kernel's size)."""
    weight = Dense(np.ones((channels, 1, *kernel), np.float32))
    kind = Conv1d if len(kernel) == 1 else Conv2d
    if pool is None:
        return kind(weight, groups=channels)
    return kind(weight, groups=channels, stride=pool.stride, padding=pool.padding)


def _behind_neuron(graph: Graph, pool: Node, ctx: Context) -> Graph:
    """Move a pool of currents behind the neuron that reads it, if the user allows that."""
    choice = "error" if ctx.target is None else ctx.target.choices.maxpool
    reader = read_by_one(graph, pool.name)
    reason = ""
    if reader is None or not isinstance(reader.op, Neuron) or reader.inputs != (pool.name,):
        reason = "what reads it is no neuron that reads the pool alone"
    elif any(np.prod(np.shape(getattr(reader.op, n))[1:]) > 1 for n in NUMBERS if getattr(reader.op, n) is not None):
        reason = "its neurons differ within a channel"
    elif choice == "spikes" and not is_spiking(reader, ctx):
        reason = "its neuron does not send single spikes"
    if reason or choice == "error" or reader is None:
        allowed = f"the pool cannot be moved behind the neuron: {reason}" if reason else _HELP
        raise fail(
            "lower/maxpool-currents",
            "max pooling of currents, between a connection and its neuron, has no spiking form",
            pool.where,
            f"{allowed}; or train with average pooling, or with the pool behind the neuron",
        )
    ctx.remark(remark("lower/maxpool-moved", f"max pooling moves behind neuron '{reader.name}'", pool.where))
    full = unused(graph, f"{reader.name}.full")
    assert isinstance(pool.op, MaxPool)
    gather = replace(pool, op=ones(pool.op.kernel, graph.shapes[pool.inputs[0]][0], pool.op), inputs=(full,))
    relay = Node(reader.name, RELAY, (pool.name,), reader.origin)
    first = replace(reader, name=full, inputs=pool.inputs)
    without = replace(graph, nodes=tuple(node for node in graph if node.name != pool.name))
    return put(without, {reader.name: (first, gather, relay)})


_PYTHON = in_python(maxpool="spikes")
_HELP = f"--maxpool=spikes pools the spikes behind the neuron instead, and measures what that changes ({_PYTHON})"
