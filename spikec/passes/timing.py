"""Timing: by how many steps each node may be late in a lowered graph, so that all that it reads arrives together."""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx
import numpy as np

from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Delay, Input, Output
from spikec.compiler.schedule import digraph
from spikec.passes.surgery import PASSING, is_connection


def reads_late(graph: Graph) -> frozenset[str]:
    """Name the nodes that read nothing but the previous step: directly, or through reshapes and delays."""
    late: set[str] = set()
    for node in graph:
        if node.inputs and all(
            graph.is_recurrent(name, node.name) or (name in late and isinstance(graph[name].op, (*PASSING, Delay)))
            for name in node.inputs
        ):
            late.add(node.name)
    return frozenset(late)


def own_steps(graph: Graph, latency: int) -> Mapping[str, int]:
    """Give what each node adds: a connection its latency, a delay inside a loop what it can give up (below 0).

    A connection that reads only the previous step adds nothing: the step of its recurrent edges is its own.
    """
    late = reads_late(graph)
    in_loop = {name for part in nx.strongly_connected_components(digraph(graph)) if len(part) > 1 for name in part}
    own: dict[str, int] = {}
    for node in graph:
        own[node.name] = 0
        if is_connection(node):
            own[node.name] = 0 if node.name in late else latency
        elif isinstance(node.op, Delay):
            if node.op.balance:
                own[node.name] = int(np.max(node.op.steps))
            elif node.name in in_loop:
                own[node.name] = -int(np.min(node.op.steps))
    return own


def solve(graph: Graph, own: Mapping[str, int], target: str, *, loops: bool = True) -> dict[str, int]:
    """Give for every node by how many steps it is late: neurons as early as can be, all else as late as that allows.

    So what waits, waits as spikes. `loops` says whether recurrent edges count as well.

    Raises:
        CompileError: a loop has more connections than steps (`passes/loop-latency`); it is named node by node.
    """
    edges = [(s, n.name) for n in graph for s in n.inputs if loops or not graph.is_recurrent(s, n.name)]
    late = _earliest(graph, edges, own, target)
    fixed = {
        n.name for n in graph if isinstance(n.op, Input | Output) or (n.op.stateful and not isinstance(n.op, Delay))
    }
    fixed -= {n.name for n in graph if n.op.stateful and not n.inputs}  # constant sources may start whenever needed
    fixed |= {n.name for n in graph if not graph.consumers[n.name]}
    latest: dict[str, int] = {name: late[name] for name in fixed}
    changed = True
    while changed:
        changed = False
        for source, reader in reversed(edges):
            if source in fixed or reader not in latest:
                continue
            bound = latest[reader] - own[reader]
            if own[reader] < 0:  # a delay gives up no more than it must
                bound = max(latest[reader], late[source])
            if bound < latest.get(source, bound + 1):
                latest[source], changed = bound, True
    return {node.name: latest.get(node.name, late[node.name]) for node in graph}


def _earliest(graph: Graph, edges: list[tuple[str, str]], own: Mapping[str, int], target: str) -> dict[str, int]:
    late = {node.name: max(0, own[node.name]) if not node.inputs else 0 for node in graph}
    cause: dict[str, str] = {}
    touched = ""
    for _ in range(len(graph) + 1):
        touched = ""
        for source, reader in edges:
            if late[source] + own[reader] > late[reader]:
                late[reader], cause[reader], touched = late[source] + own[reader], source, reader
        if not touched:
            return late
    raise _too_slow(graph, _cycle(cause, touched), target)


def _cycle(cause: Mapping[str, str], start: str) -> list[str]:
    """Walk back along the causes until a node comes again; give the loop in the order in which it runs."""
    walk: list[str] = []
    name = start
    while name not in walk:
        walk.append(name)
        name = cause[name]
    return walk[walk.index(name) :][::-1]


def _too_slow(graph: Graph, cycle: list[str], target: str) -> CompileError:
    first = min(range(len(cycle)), key=lambda i: graph.position[cycle[i]])
    cycle = [*cycle[first:], *cycle[:first]]
    nodes: list[Node] = [graph[name] for name in cycle]
    takes = sum(is_connection(node) for node in nodes)
    has = sum(int(np.min(n.op.steps)) for n in nodes if isinstance(n.op, Delay))
    has += sum(graph.is_recurrent(s, r) for s, r in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    return fail(
        "passes/loop-latency",
        f"the loop {' -> '.join([*cycle, cycle[0]])} was trained to take {_steps(has)}, but its {takes} weighted "
        f"connections take {_steps(takes)} on {target}",
        nodes[0].where,
        f"train it with {_steps(takes - has)} more of delay in the loop, or with fewer weighted layers in it",
    )


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
