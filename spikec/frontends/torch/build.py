"""Builds the graph of a folded trace: leaves, functions, recurrent edges and delays, in execution order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import networkx as nx
import numpy as np

from spikec.compiler.diagnostics import Findings, fail
from spikec.compiler.ir import Graph, Node, Op, Origin, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Delay, Input, Output, Scale
from spikec.compiler.weights import Array
from spikec.frontends.torch.folding import Folded, Function, Leaf, Source, Sum, Term
from spikec.frontends.torch.layers import array
from spikec.frontends.torch.registry import adapter_of, plain_layer_ops
from spikec.frontends.torch.states import check_states
from spikec.frontends.torch.values import Call, Const, Expr, Port

Late = tuple[str, str, int]
"""A node, what it reads, and how many steps late."""


@dataclass(eq=False)
class Built:
    """Nodes under way: by name, with forward and late inputs; and which node is which leaf's port."""

    source: str
    nodes: dict[str, Node] = field(default_factory=dict)
    ports: dict[tuple[Leaf, Port], str] = field(default_factory=dict)
    late: set[tuple[str, str]] = field(default_factory=set)
    functions: dict[Function, str] = field(default_factory=dict)
    entries: dict[Leaf, tuple[str, ...]] = field(default_factory=dict)  # the nodes that read what a leaf is given
    nothing: dict[Leaf, Term] = field(default_factory=dict)  # layers that do nothing, and what they pass on
    place: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, op: Op, path: str, place: int, inputs: tuple[str, ...] = ()) -> str:
        """Add a node under a name that is free."""
        free, count = name, 1
        while free in self.nodes:
            free, count = f"{name}.{count}", count + 1
        self.nodes[free] = Node(free, op, inputs, Origin(self.source, path))
        self.place[free] = place
        return free

    def connect(self, name: str, source: str, *, late: bool = False) -> None:
        """Let a node read another."""
        self.nodes[name] = replace(self.nodes[name], inputs=(*self.nodes[name].inputs, source))
        if late:
            self.late.add((source, name))

    def feeds(self, first: str, last: str) -> bool:
        """Say whether `last` depends on `first` within a step."""
        graph = self.forward()
        return first == last or bool(nx.has_path(graph, first, last))

    def forward(self) -> nx.DiGraph[str]:
        """Give the edges that act within a step."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.nodes)
        edges = ((source, node.name) for node in self.nodes.values() for source in node.inputs)
        graph.add_edges_from(edge for edge in edges if edge not in self.late)
        return graph


def build(folded: Folded, output: Term, size: Shape, kind: str, dt: float, source: str) -> tuple[Graph, Built]:
    """Build the graph whose output is the given term.

    Raises:
        CompileError: a parameter or setting that no op can express, all of them.
    """
    built = Built(source)
    built.add("input", Input(size, "analog" if kind == "analog" else "spikes"), "", -1)
    _add_leaves(folded, built, _used_ports(folded, output), dt)
    late: list[Late] = []
    for leaf, term in folded.inputs.items():
        for name in built.entries.get(leaf, ()):
            _wire(built, name, term, late)
    result = built.add("output", Output(), "", 1 << 30)
    if isinstance(output, Sum):
        together = built.add("add", Scale(1.0), output.scope, 1 << 29)
        _wire(built, together, output, late)
        built.connect(result, together)
    else:
        _wire(built, result, output, late)
    for name, read, lag in late:
        _wire_late(built, name, read, lag)
    ordered = nx.lexicographical_topological_sort(built.forward(), key=lambda name: (built.place[name], name))
    return Graph(tuple(built.nodes[name] for name in ordered)), built


def _used_ports(folded: Folded, output: Term) -> dict[Leaf, set[Port]]:
    """Give which results of each leaf anything reads; a neuron that nothing reads still sends its spikes."""
    used: dict[Leaf, set[Port]] = {leaf: set() for leaf in folded.calls}

    def look(term: Term) -> None:
        if isinstance(term, Source) and term.leaf is not None:
            used[term.leaf].add(term.port)
        elif isinstance(term, Function):
            look(term.arg)
        elif isinstance(term, Sum):
            for part in term.terms:
                look(part)

    for term in (*folded.inputs.values(), output):
        look(term)
    for leaf, calls in folded.calls.items():
        adapter = adapter_of(calls[0].module)
        if adapter is None or "spikes" not in calls[-1].outputs:
            continue
        if not used[leaf] or adapter.recurs(calls[0].module):
            used[leaf].add("spikes")
    return used


def _shape(call: Call) -> Shape:
    ports: tuple[Port, ...] = ("value", "spikes", "membrane")
    return tuple(next(call.outputs[port] for port in ports if port in call.outputs).shape[1:])


def _add_leaves(folded: Folded, built: Built, used: dict[Leaf, set[Port]], dt: float) -> None:
    found = Findings()
    starts = _initial_states(folded)
    for leaf, calls in folded.calls.items():
        where = folded.name(leaf[0])
        with found.catching():
            if "synapse" in used[leaf]:
                raise fail(
                    "torch/state", "the synaptic current is read by another layer", where, "read spikes or the membrane"
                )
            try:
                if calls[0].neuron:
                    _add_neuron(built, leaf, calls, used[leaf], starts.get(leaf[0]), dt)
                else:
                    _add_layer(built, folded, leaf, calls)
            except ValueError as error:
                raise fail("torch/unsupported", f"{type(calls[0].module).__name__}: {error}", where) from error
    found.raise_errors()


def _initial_states(folded: Folded) -> dict[str, float | Array]:
    """Give the initial membranes that forward hands to neurons, for those that it hands one to.

    Raises:
        CompileError: `torch/initial-state`: samples differ, or it is not a membrane.
    """
    starts: dict[str, float | Array] = {}

    def initial(call: Call, state: str, value: Expr) -> None:
        assert isinstance(value, Const)
        adapter, shape = adapter_of(call.module), (call.arg.tensor.shape[0], *_shape(call))
        assert adapter is not None
        try:
            given = adapter.initial(value.tensor, shape)
        except RuntimeError as error:
            message = f"'{state}' starts as a tensor {list(value.tensor.shape)}, which does not fit {list(shape)}"
            raise fail("torch/initial-state", message, folded.name(call.path), "start it from zeros") from error
        membrane = adapter.states(call.module)[state] == "membrane"
        if given is None or not (membrane or bool(given.any())):
            return
        values = array(given)
        if not membrane:
            message = f"'{state}' starts from something other than zero"
            raise fail("torch/initial-state", message, folded.name(call.path), "start it from zeros")
        if not np.all(values == values[:1]):
            message = "the initial membrane differs from sample to sample"
            raise fail(
                "torch/initial-state", message, folded.name(call.path), "start every sample from the same membrane"
            )
        one = values[0]
        starts[call.path] = float(one.flat[0]) if np.all(one == one.flat[0]) else one

    check_states(folded, initial)
    return starts


def _name(leaf: Leaf, kind: str) -> str:
    return leaf[0] or kind.lower()


def _add_neuron(
    built: Built, leaf: Leaf, calls: tuple[Call, ...], used: set[Port], v_init: float | Array | None, dt: float
) -> None:
    call = calls[-1]
    adapter = adapter_of(call.module)
    assert adapter is not None
    shape = _shape(call)
    op = adapter.neuron(call.module, shape, v_init, dt)
    path, name = leaf[0], _name(leaf, type(call.module).__name__)
    inner = adapter.inner(call.module, shape)
    feed = _add_chain(built, f"{name}.input", inner.feed, f"{path}.input", call.order)
    back = _add_chain(built, f"{name}.recurrent", inner.recurrent, f"{path}.recurrent", call.order)
    if "spikes" in used:
        built.ports[leaf, "spikes"] = built.add(name, op, path, call.order)
    if "membrane" in used:
        if (refusal := adapter.membrane_refusal(call.module)) is not None:
            raise ValueError("; ".join(refusal))
        second = f"{name}.membrane" if "spikes" in used else name
        built.ports[leaf, "membrane"] = built.add(second, replace(op, readout="membrane"), path, call.order)
    neurons = tuple(built.ports[leaf, port] for port in sorted(used))
    built.entries[leaf] = feed[:1] or neurons
    for neuron in neurons if feed else ():
        built.connect(neuron, feed[-1])
    if back:
        _close_loop(built, back, built.ports[leaf, "spikes"], neurons, at_once=inner.at_once)


def _add_chain(built: Built, name: str, ops: tuple[Op, ...], path: str, place: int) -> tuple[str, ...]:
    """Add ops that read one another, and give their names."""
    names: tuple[str, ...] = ()
    for op in ops:
        names = (*names, built.add(name, op, path.lstrip("."), place, names[-1:]))
    return names


def _close_loop(built: Built, chain: tuple[str, ...], spikes: str, neurons: tuple[str, ...], *, at_once: bool) -> None:
    """Lead a neuron's spikes back through a chain: the step lies before the chain, or behind it if not `at_once`."""
    biased = any(
        getattr(built.nodes[name].op, field, None) is not None for name in chain for field in ("bias", "shift")
    )
    end = chain[-1]
    if biased and not at_once:
        node = built.nodes[end]
        end = built.add(f"{end}.delay", Delay(0), node.origin.path, built.place[end], (end,))
    for neuron in neurons:
        built.connect(neuron, end, late=end != chain[-1])
    built.connect(chain[0], spikes, late=end == chain[-1])


def _add_layer(built: Built, folded: Folded, leaf: Leaf, calls: tuple[Call, ...]) -> None:
    call = calls[-1]
    made = _shape(call)
    ops = plain_layer_ops(call.module, tuple(call.arg.tensor.shape[1:]), made)
    if call.arg.tensor.shape[0] != call.outputs["value"].shape[0]:
        raise ValueError("it joins the batch with other axes; keep start_dim at 1")
    if not ops:
        built.nothing[leaf] = folded.inputs[leaf]
        return
    name = _name(leaf, type(call.module).__name__)
    first = _add_chain(built, f"{name}.input", ops[:-1], leaf[0], call.order)
    last = built.add(name, ops[-1], leaf[0], call.order, first[-1:])
    built.ports[leaf, "value"] = last
    built.entries[leaf] = first[:1] or (last,)


def _wire(built: Built, name: str, term: Term, late: list[Late], lag: int = 0) -> None:
    """Let a node read a term; what it reads of earlier steps is kept for later, when all edges are known."""
    if isinstance(term, Sum):
        for part in term.terms:
            _wire(built, name, part, late, lag)
    elif isinstance(term, Function):
        _read(built, name, _function(built, term, late), late, lag)
    elif isinstance(term, Source):
        if term.leaf in built.nothing:
            assert term.leaf is not None
            _wire(built, name, built.nothing[term.leaf], late, term.lag + lag)
        else:
            _read(built, name, _named(built, term), late, term.lag + lag)


def _read(built: Built, name: str, source: str, late: list[Late], lag: int) -> None:
    """Read a node; a value added to itself goes through a scale."""
    if lag:
        late.append((name, source, lag))
        return
    if source in built.nodes[name].inputs:
        origin = built.nodes[source].origin
        source = built.add(f"{source}.again", Scale(1.0), origin.path, built.place[source], (source,))
    built.connect(name, source)


def _named(built: Built, source: Source) -> str:
    return "input" if source.leaf is None else built.ports[source.leaf, source.port]


def _function(built: Built, term: Function, late: list[Late]) -> str:
    """Give the node of a function, made once for equal ones."""
    if term not in built.functions:
        name = f"{term.scope}.{term.op.mnemonic}" if term.scope else term.op.mnemonic
        built.functions[term] = made = built.add(name, term.op, term.scope, 0)
        _wire(built, made, term.arg, late)
        built.place[made] = max((built.place[i] for i in built.nodes[made].inputs), default=0)
    return built.functions[term]


def _wire_late(built: Built, name: str, source: str, lag: int) -> None:
    """Read a node `lag` steps late: a neuron that this node feeds is read back as it is, all else through a delay."""
    path, place = built.nodes[source].origin.path, built.place[source]
    if not built.feeds(name, source):
        built.connect(name, built.add(f"{source}.delay", Delay(lag), path, place, (source,)))
    elif lag == 1 and isinstance(built.nodes[source].op, Neuron) and source not in built.nodes[name].inputs:
        built.connect(name, source, late=True)
    else:
        delayed = built.add(f"{source}.delay", Delay(lag - 1), path, place, (source,))
        built.connect(name, delayed, late=True)
