"""The pass `balance-delays`: gives a fixed graph the target's latency and whatever waits for it the missing delay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Diagnostic, Findings, remark
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Linear
from spikec.compiler.schedule import unbalanced
from spikec.compiler.verify import is_fixed, is_lowered
from spikec.passes.feedback import rotate, split_mixed
from spikec.passes.surgery import unused
from spikec.passes.timing import own_steps, solve


@dataclass(frozen=True)
class BalanceDelays:
    """Lowers the timing of a fixed graph, so that it equals the trained one step for step after its latency.

    Every weighted connection gets the target's latency; what arrives early waits in a `Delay(d, balance=True)`; each
    neuron begins its sample (`start`) when its first true input arrives.

    A recurrent edge already holds one step, and gets no second: a connection that reads nothing but the previous step
    (directly, or through reshapes and delays) has latency 0 in the lowered graph, and the one step that such a
    connection takes on the target *is* the step of its recurrent edges. Whoever emits a lowered graph must count so:
    the steps from a neuron to a neuron are those of the graph, latency, delays and recurrent edges together.
    A loop with a Delay in it takes its latency out of that delay (`Delay.absorbed`); a loop that has fewer steps than
    weighted connections cannot be met.

    In a graph that has latency already (read from a file of the target's own) only missing delays are added.
    """

    name: ClassVar[str] = "balance-delays"
    description: ClassVar[str] = "give connections the target's latency, and parallel paths the delay that they miss"

    def run(self, graph: Graph, ctx: Context) -> Graph:
        """Balance.

        Raises:
            CompileError: a loop cannot be met (`passes/loop-latency`), or a delay is too long (`passes/delay-limit`).
        """
        target = "the target" if ctx.target is None else ctx.target.name
        if is_lowered(graph):
            if not unbalanced(graph):
                return graph
            own: Mapping[str, int] = {node.name: _latency(node) for node in graph}
            balanced = _insert(graph, solve(graph, own, target, loops=False), own, ctx, loops=False)
        elif ctx.target is None or not ctx.target.latency or not is_fixed(graph):
            return graph
        else:
            graph = rotate(split_mixed(graph))
            own = own_steps(graph, ctx.target.latency)
            late = solve(graph, own, target)
            balanced = _insert(_lowered(graph, late, own), late, own, ctx, loops=True)
        if ctx.target is not None:
            _within_limit(balanced, ctx.target.max_delay, target)
        return balanced


def _latency(node: Node) -> int:
    if isinstance(node.op, Linear | Conv1d | Conv2d):
        return node.op.latency
    return int(np.max(node.op.steps)) if isinstance(node.op, Delay) and node.op.balance else 0


def _lowered(graph: Graph, late: Mapping[str, int], own: Mapping[str, int]) -> Graph:
    """Write latencies, starts and shortened delays into the ops."""

    def change(node: Node) -> Node | None:
        op = node.op
        if isinstance(op, Linear | Conv1d | Conv2d) and own[node.name]:
            return replace(node, op=replace(op, latency=own[node.name]))
        if isinstance(op, FixedNeuron) and late[node.name]:
            shift = late[node.name]
            offset = op.reset_offset + shift if op.reset_interval else op.reset_offset
            return replace(node, op=replace(op, start=op.start + shift, reset_offset=offset))
        if isinstance(op, Delay) and own[node.name] < 0:
            gone = max(late[source] for source in node.inputs) - late[node.name]
            if gone > 0:
                return replace(node, op=replace(op, steps=op.steps - gone, absorbed=op.absorbed + gone))
        return None

    return graph.map(change)


def _insert(graph: Graph, late: Mapping[str, int], own: Mapping[str, int], ctx: Context, *, loops: bool) -> Graph:
    """Put a balancing delay on every edge whose source is earlier than its reader expects."""
    delays: dict[tuple[str, int], Node] = {}
    readers: dict[str, dict[str, str]] = {}
    for node in graph:
        taken = {name: name for name in node.inputs}
        for source in taken:
            if graph.is_recurrent(source, node.name) and not loops:
                continue
            wait = late[node.name] - _added(graph, node, late, own) - late[source]
            if wait > 0:
                name = unused(graph, f"{source}.wait{wait}")
                delays.setdefault(
                    (source, wait), Node(name, Delay(wait, balance=True), (source,), graph[source].origin)
                )
                taken[source] = name
                text = f"'{node.name}' reads it {wait} step{'s' * (wait > 1)} later, when its other inputs arrive"
                ctx.remark(remark("balance-delays/waits", text, graph[source].where))
        readers[node.name] = taken
    if not delays:
        return graph

    def change(node: Node) -> tuple[Node, ...]:
        inputs = tuple(readers[node.name][name] for name in node.inputs)
        return (replace(node, inputs=inputs), *(d for (source, _), d in delays.items() if source == node.name))

    return replace(graph, nodes=tuple(new for node in graph for new in change(node)))


def _added(graph: Graph, node: Node, late: Mapping[str, int], own: Mapping[str, int]) -> int:
    """Give the steps between what a node reads and what it sends; a delay in a loop gives up only what it must."""
    if own[node.name] >= 0:
        return own[node.name]
    return min(0, late[node.name] - max(late[source] for source in node.inputs))


def _within_limit(graph: Graph, limit: int, target: str) -> None:
    found = Findings()
    for node in graph.of(Delay):
        assert isinstance(node.op, Delay)
        steps = int(np.max(node.op.steps))
        if steps > limit:
            what = "waits" if node.op.balance else "delays"
            message = f"'{node.name}' {what} {steps} steps; {target} holds {limit}"
            found(Diagnostic("passes/delay-limit", message, node.where, "shorten the delay, or the path beside it"))
    found.raise_errors()
