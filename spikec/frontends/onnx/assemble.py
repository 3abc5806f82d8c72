"""From recognised neurons, layers and delayed tensors to a graph of the IR."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx
import numpy as np

from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.ir import Graph, Node, Op, Origin, Shape
from spikec.compiler.neurons import NUMBERS
from spikec.compiler.ops import Delay, Input, Output, Scale
from spikec.frontends.onnx.algebra import NONE, Value, minus, scaled
from spikec.frontends.onnx.recognise import Found, State, shaped
from spikec.frontends.onnx.walk import Walk


@dataclass(frozen=True)
class Read:
    """One thing that a node reads: a node in the same step, or (`late`) what was kept from the step before."""

    name: str
    late: bool = False


@dataclass(eq=False)
class Assembly:
    """Nodes under way: neurons by the number of their spike, tensors that are kept for a step, layers."""

    walk: Walk
    found: Sequence[Found]
    kept: Sequence[State]
    names: dict[int, str] = field(default_factory=dict)
    nodes: dict[str, tuple[Op, list[Read], Origin]] = field(default_factory=dict)
    stores: set[str] = field(default_factory=set)

    def graph(self, outputs: Iterable[tuple[str, Value, str]], name: str, *, membrane: bool) -> Graph:
        """Give the graph whose outputs are these (name, value, place), and what they need.

        Raises:
            CompileError: a value is no sum of messages.
        """
        for label, value, where in outputs:
            reads = self.reads(value, (), where, label)
            if membrane:
                reads = [Read(self._membrane_of(read.name)) for read in reads]
            if len(reads) != 1 or reads[0].late:
                total = self.walk.name(f"{label}.sum")
                self.nodes[total] = (Scale(1.0), reads, Origin(name, where))
                reads = [Read(total)]
            self.nodes[self.walk.name(label)] = (Output(), reads, Origin(name, where))
        return Graph(_merged(_ordered(self)), name)

    def reads(self, value: Value, shape: Shape, where: str, label: str) -> list[Read]:
        """Give what a node reads to get a value; layers and neurons that make it are added."""
        found: list[Read] = []
        value = self._whole_messages(value, found, where, label)
        rest = {term: factor for term, factor in value.terms.items() if term != (frozenset(), NONE)}
        for (steps, variable), factor in sorted(rest.items(), key=lambda item: (item[0][1], sorted(item[0][0]))):
            numbers = [*steps, *([] if variable == NONE else [variable])]
            if len(numbers) != 1:
                raise _no_message(self.walk, numbers, where)
            found.append(self._scaled(Read(*self._message(numbers[0], where)), factor, where, label))
        if np.any(value.constant) or not found:
            name = self.walk.name(f"{label}.offset")
            if not found:
                raise fail("onnx/constant", "it reads nothing but a constant", where, "remove it")
            self.nodes[name] = (Scale(1.0, _field(value.constant, where)), found, Origin("", where))
            return [Read(name)]
        return found

    def _whole_messages(self, value: Value, found: list[Read], where: str, label: str) -> Value:
        """Take out of a value the membranes and spike counts that stand in it, which are sums of several terms."""
        for neuron in self.found:
            count = neuron.op.spike == "multi"
            for whole, membrane in ((neuron.membrane.after, True), *(((neuron.sent, False),) if count else ())):
                key = next((t for t in whole.terms if t in value.terms and t[1] != NONE), None)
                if key is None or (membrane and neuron.membrane.number not in value.variables()):
                    continue
                factor = value.terms[key] / whole.terms[key]
                value = minus(value, scaled(whole, factor))
                name = self._neuron(neuron, membrane=membrane)
                found.append(self._scaled(Read(name), factor, where, label))
        return value

    def _scaled(self, read: Read, factor: Any, where: str, label: str) -> Read:
        if np.all(factor == 1):
            return read
        name = self.walk.name(f"{label}.scale")
        self.nodes[name] = (Scale(_field(factor, where)), [read], Origin("", where))
        return Read(name)

    def _message(self, number: int, where: str) -> tuple[str, bool]:
        """Give the node that makes a variable or spike, and whether it is kept from the step before."""
        for neuron in self.found:
            if neuron.spike == number and neuron.op.spike == "single":
                return self._neuron(neuron, membrane=False), False
        for state in self.kept:
            if state.number == number:
                return self._store(state, where), True
        if number in self.walk.signals:
            return self._layer(number), False
        raise _no_message(self.walk, [number], where)

    def _layer(self, number: int) -> str:
        signal = self.walk.signals[number]
        if signal.name not in self.nodes:
            self.nodes[signal.name] = (signal.op, [], signal.origin)
            if not isinstance(signal.op, Input):
                reads = self.reads(signal.given, (), signal.origin.path, signal.name)
                self.nodes[signal.name] = (signal.op, reads, signal.origin)
        return signal.name

    def _store(self, state: State, where: str) -> str:
        if np.any(state.start):
            message = f"'{state.name}' is kept from step to step and does not start at 0"
            raise fail("onnx/initial", message, where, "start it at 0")
        name = f"{state.name}.kept"
        if name not in self.nodes:
            self.stores.add(name)
            self.nodes[name] = (Delay(1), [], Origin(self.walk.source.name, state.name))
            self.nodes[name] = (Delay(1), self.reads(state.after, (), where, state.name), self.nodes[name][2])
        return name

    def _neuron(self, neuron: Found, *, membrane: bool) -> str:
        name = self.names[neuron.membrane.number]
        own = f"{name}.membrane" if membrane and neuron.op.readout == "spikes" else name
        if own not in self.nodes:
            origin = Origin(self.walk.source.name, name)
            op = replace(neuron.op, readout="membrane" if membrane else "spikes")
            shape = neuron.membrane.shape
            try:
                op = shaped(op, shape, {k: v for k in NUMBERS if (v := getattr(op, k)) is not None})
            except ValueError as error:
                raise fail("onnx/per-sample", str(error), name, "use the same neuron for every sample") from error
            self.nodes[own] = (op, [], origin)
            self.nodes[own] = (op, self.reads(neuron.given, shape, name, name), origin)
        return own

    def _membrane_of(self, name: str) -> str:
        for neuron in self.found:
            if self.names[neuron.membrane.number] == name:
                return self._neuron(neuron, membrane=True)
        return name


def _no_message(walk: Walk, numbers: Sequence[int], where: str) -> CompileError:
    kinds = [walk.algebra.atoms[number].kind for number in numbers]
    if len(numbers) > 1:
        message = "it reads a product of " + " and ".join("a spike" if k == "step" else f"a {k}" for k in kinds)
        return fail("onnx/product", message, where, "join spikes by addition; an AND join has no form here")
    if kinds == ["step"]:
        message = "a comparison makes spikes and has no state: the memory of this neuron is lost"
        help = "export one step with every state as an input and an output (snnTorch: init_hidden=False)"
        return fail("onnx/lost-state", message, where, help)
    message = f"it reads {walk.algebra.word(numbers[0])} of the step before, which belongs to another neuron"
    return fail("onnx/foreign-state", message, where, "let neurons send spikes, or what they sent a step before")


def _field(array: Any, where: str) -> Any:
    array = np.asarray(array)
    return float(array) if array.ndim == 0 else array


def _ordered(parts: Assembly) -> tuple[Node, ...]:
    """Put the nodes in order, and decide for every kept tensor how it is read: forward, or back in a loop."""
    place = {name: index for index, name in enumerate(parts.nodes)}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(parts.nodes)
    for name, (_, reads, _) in parts.nodes.items():
        graph.add_edges_from((read.name, name) for read in reads if not read.late)
    inputs = {name: [read.name for read in reads] for name, (_, reads, _) in parts.nodes.items()}
    ops = {name: op for name, (op, _, _) in parts.nodes.items()}
    for store in sorted(parts.stores, key=place.__getitem__):
        for reader in [name for name, (_, reads, _) in parts.nodes.items() if Read(store, True) in reads]:
            if nx.has_path(graph, reader, store):
                back = _way_back(parts, store, inputs, ops, graph)
                inputs[reader] = [back if source == store else source for source in inputs[reader]]
            else:
                graph.add_edge(store, reader)
    used = set().union(*inputs.values())
    names = nx.lexicographical_topological_sort(graph, key=lambda name: place.get(name, len(place)))
    origins = {name: origin for name, (_, _, origin) in parts.nodes.items()}
    return tuple(
        Node(name, ops[name], tuple(inputs[name]), origins.get(name, Origin()))
        for name in names
        if name not in parts.stores or name in used
    )


def _way_back(
    parts: Assembly, store: str, inputs: dict[str, list[str]], ops: dict[str, Op], graph: nx.DiGraph[str]
) -> str:
    """Give the node that a reader in a loop reads: the neuron itself, or a delay of no steps behind a sum."""
    sources = parts.nodes[store][1]
    if len(sources) == 1 and not sources[0].late and ops[sources[0].name].stateful:
        return sources[0].name
    name = f"{store}.back"
    if name not in ops:
        ops[name], inputs[name] = Delay(0), inputs[store]
        graph.add_edges_from((source, name) for source in graph.predecessors(store))
    return name


def _merged(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Join delays that stand one behind the other with no other reader."""
    by_name = {node.name: node for node in nodes}
    place = {node.name: index for index, node in enumerate(nodes)}
    for node in nodes:
        before = by_name.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if not isinstance(node.op, Delay) or before is None or not isinstance(before.op, Delay):
            continue
        readers = [other for other in by_name.values() if before.name in other.inputs]
        if len(readers) == 1 and before.op.steps and node.op.steps and place[before.name] < place[node.name]:
            op = Delay(int(node.op.steps) + int(before.op.steps))
            by_name[node.name] = replace(node, op=op, inputs=before.inputs)
            del by_name[before.name]
    return tuple(by_name.values())
