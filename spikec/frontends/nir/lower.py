"""From a NIR file or graph to the IR: read, flatten, understand node by node, order, settle shapes, remark choices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from spikec.compiler.diagnostics import Findings, Sink, fail, ignore, remark
from spikec.compiler.ir import Graph, Node, Origin
from spikec.compiler.ops import Input, Output, Scale
from spikec.compiler.schedule import order
from spikec.compiler.verify import verify
from spikec.frontends.nir import hdf5
from spikec.frontends.nir.choices import overridden, remark_choices
from spikec.frontends.nir.fields import Fields
from spikec.frontends.nir.flat import Flat, flatten
from spikec.frontends.nir.guess import remark_guess
from spikec.frontends.nir.neurons import Reading
from spikec.frontends.nir.ops import op_of
from spikec.frontends.nir.options import NirOptions
from spikec.frontends.nir.own import Note, ordered, read_note, restore
from spikec.frontends.nir.raw import RawGraph, from_object
from spikec.frontends.nir.recurrence import recurrent_biases, start_late
from spikec.frontends.nir.shapes import settle
from spikec.frontends.nir.writers import as_trained, assume, corrected

DEFAULTS = NirOptions()


def lower(path_or_graph: str | Path | Any, options: NirOptions = DEFAULTS, *, remark: Sink = ignore) -> Graph:
    """Read a NIR network into a float graph.

    Args:
        path_or_graph: a `.nir` file of any nir version from 1.0.0 on, or an in-memory `nir.NIRGraph`.
        options: what to take where NIR is silent.
        remark: is told every choice that mattered and how to set it, and every repair of a file.

    Raises:
        CompileError: `nir/...` diagnostics: an unreadable file, an unknown node, a field or shape that makes no
            sense, all of them at once where they are independent; `graph/...` for a loop without memory.
    """
    raw = hdf5.read(path_or_graph) if isinstance(path_or_graph, str | Path) else from_object(path_or_graph)
    note = _believed(raw, options, remark)
    flat = flatten(raw, remark)
    options = assume(options, flat)
    if options.writer is None and not note.nodes:
        remark_guess(flat, remark)
    flat = corrected(flat, options, remark)
    how = Reading.of(options, note.dt)
    nodes = _with_ports(tuple(as_trained(node, flat, options) for node in _understood(flat, how)), raw)
    restored = restore({node.name: node for node in nodes}, flat.nodes, note, remark)
    known_order = ordered(restored, note)
    settled = settle(known_order or order(restored), flat.nodes, remark)
    original = {node.name: node.op for node in restored if node.name in note.nodes}
    graph = Graph(tuple(overridden(node, options) if node.name in original else node for node in settled), note.name)
    late = recurrent_biases(graph)
    remark_choices(graph, flat, options, how, () if known_order else late, set(original), remark)
    return verify(start_late(graph, late) if late and how.recurrent_bias else graph)


def _believed(raw: RawGraph, options: NirOptions, tell: Sink) -> Note:
    """Give the note of spikec, unless the user wants the file read otherwise."""
    note = read_note(raw, tell) if options.metadata else Note()
    same = options.dt == note.dt and replace(options, dt=None).rereads_time is False
    if note.nodes and options.rereads_time and not same:
        message = "spikec's own note is set aside, because the options read the time constants anew"
        tell(remark("nir/note", message, raw.where, "leave dt, method, integrator and syn_order unset to use it"))
        return Note(dt=note.dt, name=note.name)
    return note


def _understood(flat: Flat, how: Reading) -> tuple[Node, ...]:
    """Give every node its op and inputs; all faults at once."""
    found = Findings()
    nodes = []
    for name, raw in flat.nodes.items():
        with found.catching():
            source, _, path = raw.where.partition(":")
            inputs = tuple(a for a, b in flat.edges if b == name)
            nodes.append(Node(name, op_of(Fields(raw), how), inputs, Origin(source, path)))
    found.raise_errors()
    return tuple(nodes)


def _with_ports(nodes: tuple[Node, ...], raw: RawGraph) -> tuple[Node, ...]:
    """Add what a graph leaves out: an Input before its one root, an Output behind each leaf, a sum before an Output."""
    read = {name for node in nodes for name in node.inputs}
    roots = [node for node in nodes if not node.inputs and not isinstance(node.op, Input)]
    if len(roots) > 1 or (roots and any(isinstance(node.op, Input) for node in nodes)):
        listed = ", ".join(f"'{node.name}'" for node in roots)
        raise fail("nir/no-input", f"nothing feeds {listed}", raw.where, "connect it to the Input node")
    found: list[Node] = [Node("input", Input(()), (), Origin(raw.where))] if roots else []
    for node in nodes:
        inputs = ("input",) if node in roots else node.inputs
        if isinstance(node.op, Output) and len(inputs) > 1:
            found.append(Node(f"{node.name}.sum", Scale(1.0), inputs, node.origin))
            inputs = (f"{node.name}.sum",)
        found.append(replace(node, inputs=inputs))
    if not any(isinstance(node.op, Output) for node in nodes):
        leaves = [node for node in nodes if node.name not in read]
        names = ["output"] if len(leaves) == 1 else [f"output.{node.name}" for node in leaves]
        found += [Node(new, Output(), (leaf.name,), leaf.origin) for new, leaf in zip(names, leaves, strict=True)]
    return tuple(found)
