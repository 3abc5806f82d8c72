"""The plan of a NIR file: its nodes, edges, note and losses, before a byte is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from spikec.backends.nir.loss import Loss
from spikec.backends.nir.nodes import form_of
from spikec.backends.nir.parts import Form, Part, full
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Delay, Input, Scale
from spikec.compiler.schedule import order

DEFAULT_DT = 1e-4
"""Seconds a step where nobody said: what snnTorch's importer takes, which cannot be told another."""


@dataclass(frozen=True, eq=False)
class Plan:
    """NIR nodes by name, edges in the order in which they are summed, the note, what is lost, seconds a step."""

    parts: Mapping[str, Part]
    edges: tuple[tuple[str, str], ...]
    note: Mapping[str, Any]
    losses: tuple[Loss, ...]
    dt: float


def time_step(graph: Graph, dt: float | None) -> float:
    """Give the seconds a step to write with: those asked for, or the neurons' own, or the default."""
    stated = [node.op.dt for node in graph.of(Neuron) if isinstance(node.op, Neuron) and node.op.dt > 0]
    return dt if dt is not None else next(iter(stated), DEFAULT_DT)


def plan(graph: Graph, dt: float | None = None) -> Plan:
    """Plan the file for a graph that `check` allows."""
    step = time_step(graph, dt)
    names = _names(graph)
    parts: dict[str, Part] = {}
    edges: list[tuple[str, str]] = []
    entries: dict[str, Any] = {}
    again: dict[str, str] = {}
    losses: list[Loss] = []
    for node in graph:
        given = graph.shapes[node.inputs[0]] if node.inputs else ()
        form = form_of(node, given, graph.shapes[node.name], step)
        chain = _chain(names[node.name], form, {*names.values(), *parts})
        parts |= dict(zip(chain, form.parts, strict=True))
        edges += _edges_into(chain[0], node, names, graph, parts, again)
        edges += list(pairwise(chain))
        entries |= _entry(node, chain, form)
        losses += form.losses
    note = {"name": graph.name, "dt": step, "order": tuple(graph.position), "nodes": entries, "again": again}
    found = Plan(parts, tuple(edges), note, (), step)
    return replace(found, losses=(*_of_time(graph, step), *losses, *_of_order(graph, found, names)))


def _names(graph: Graph) -> Mapping[str, str]:
    """Give every node a name that HDF5 can hold: no slash, not empty, not a dot alone."""
    taken: set[str] = set()
    names = {}
    for node in graph:
        plain = node.name.replace("/", ".").replace("\0", "") or "node"
        plain = "node" if set(plain) == {"."} else plain
        names[node.name] = _free(plain, taken)
        taken.add(names[node.name])
    return names


def _free(name: str, taken: set[str]) -> str:
    count, free = 0, name
    while free in taken:
        count += 1
        free = f"{name}.{count}"
    return free


def _chain(name: str, form: Form, taken: set[str]) -> list[str]:
    """Name the parts of a node; the last has the node's own name, so that its readers read it."""
    return [*(_free(name + part.suffix, taken) for part in form.parts[:-1]), name]


def _edges_into(
    head: str, node: Node, names: Mapping[str, str], graph: Graph, parts: dict[str, Part], again: dict[str, str]
) -> list[tuple[str, str]]:
    """Give the edges to a node; NIR cannot say an edge twice, so the second goes through a Scale of ones."""
    edges: list[tuple[str, str]] = []
    for source in node.inputs:
        edge = (names[source], head)
        if edge in edges:
            copy = _free(f"{names[source]}.again", {*names.values(), *parts})
            parts[copy] = Part("Scale", {"scale": full(1.0, graph.shapes[source])}, Scale(1.0))
            again[copy] = parts[copy].mark
            edges.append((names[source], copy))
            edge = (copy, head)
        edges.append(edge)
    return edges


def _entry(node: Node, chain: list[str], form: Form) -> dict[str, Any]:
    """Give what the note says of a node: its parts with their marks, and the fields that NIR cannot say."""
    if form.true is None and chain == [node.name]:
        return {}
    marks = {name: part.mark for name, part in zip(chain, form.parts, strict=True)}
    known = {} if form.true is None else {"op": node.op.mnemonic, "fields": form.true}
    return {node.name: {"chain": tuple(chain), "parts": marks, **known}}


def _of_time(graph: Graph, dt: float) -> list[Loss]:
    """Tell that NIR has no time step, where anything depends on it."""
    timed = [n for n in graph if isinstance(n.op, Delay) or (isinstance(n.op, Neuron) and _has_time(n.op))]
    if not timed:
        return []
    effect = f"decays come out right only where a step of {dt:.6g} s and forward Euler are chosen"
    return [Loss(", ".join(n.name for n in timed), "dt", f"{dt:.6g} s a step", "the reader's own choice", effect)]


def _has_time(op: Neuron) -> bool:
    return op.syn_order != "none" or bool(np.any(np.asarray(op.a_mem) != 1))


def _of_order(graph: Graph, found: Plan, names: Mapping[str, str]) -> list[Loss]:
    """Tell which inputs a reader, who must find an order itself, takes from another step than the graph does."""
    literal = literal_graph(found, graph.name)
    losses = []
    for node in graph:
        head = next((n for n in found.note["nodes"].get(node.name, {}).get("chain", ())), names[node.name])
        for source in dict.fromkeys(node.inputs):
            late = graph.is_recurrent(source, node.name)
            if names[source] in literal[head].inputs and literal.is_recurrent(names[source], head) != late:
                steps = ("the step before", "the same step")
                trained, read_as = steps if late else steps[::-1]
                effect = "NIR says what is connected, not in which order it acts"
                losses.append(Loss(node.name, f"input {source}", trained, read_as, effect))
    return losses


def literal_graph(found: Plan, name: str) -> Graph:
    """Give the float graph that a reader of NIR alone builds: the plain nodes, in an order that it finds itself.

    Nodes come in alphabetical order, as from the file; see `spikec.compiler.schedule.order` for how loops are cut.
    """
    nodes = []
    for part_name in sorted(found.parts):
        inputs = tuple(a for a, b in found.edges if b == part_name)
        op = found.parts[part_name].literal
        nodes.append(Node(part_name, replace(op, kind="spikes") if isinstance(op, Input) else op, inputs))
    return Graph(order(nodes), name)
