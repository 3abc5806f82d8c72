"""The intermediate representation: a graph is an ordered tuple of nodes, a value that is never edited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

from spikec.compiler.diagnostics import CompileError, fail

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node came from, in the user's own words: source `net.pt`, path `features.3`."""

    source: str = ""
    path: str = ""

    def __str__(self) -> str:
        """Give `source:path`, or whichever of them is known."""
        return ":".join(part for part in (self.source, self.path) if part)


@dataclass(frozen=True, eq=False)
class Op:
    """What a node computes; its fields are its parameters.

    `mnemonic` names it in the textual IR; `stateful` says that it remembers, so that a node that stands earlier may
    read it (and gets its output of the previous time step).
    """

    mnemonic: ClassVar[str] = "op"
    stateful: ClassVar[bool] = False

    def shape(self, given: Shape) -> Shape:
        """Give the shape of the output for the shape of the (summed) input, both without batch and time.

        Raises:
            ValueError: the input's shape does not fit; the message says what was expected.
        """
        raise TypeError(f"{type(self).__name__} does not say what shape it makes")


@dataclass(frozen=True, eq=False)
class Node:
    """One operation in a graph: a name, what it computes, and the names of the nodes whose outputs it sums."""

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    origin: Origin = field(default_factory=Origin)

    @property
    def where(self) -> str:
        """The place to name in a diagnostic: the user's own words where known, else the node."""
        return f"{self.name} ({self.origin})" if str(self.origin) else self.name


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in execution order; `str(graph)` is the textual IR.

    Order is schedule: a node reads what earlier nodes made in this time step; an input that stands later in the
    order is recurrent and reads the previous step, which only a stateful op (a neuron, a delay) can remember.
    Several inputs of a node are summed.
    """

    nodes: tuple[Node, ...]
    name: str = "network"

    def __post_init__(self) -> None:
        """Freeze the order and refuse two nodes of one name."""
        object.__setattr__(self, "nodes", tuple(self.nodes))
        seen: set[str] = set()
        for node in self.nodes:
            if node.name in seen:
                raise fail("graph/duplicate-name", f"two nodes are named '{node.name}'", node.where)
            seen.add(node.name)

    def __iter__(self) -> Iterator[Node]:
        """Iterate over the nodes in execution order."""
        return iter(self.nodes)

    def __len__(self) -> int:
        """Count the nodes."""
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        """Give the node of that name."""
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        """Say whether a node of that name exists."""
        return name in self._by_name

    @cached_property
    def _by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def position(self) -> Mapping[str, int]:
        """The place of each node in the order."""
        return {node.name: index for index, node in enumerate(self.nodes)}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[str, ...]]:
        """For each node the names of those that read it, in order."""
        readers: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for source in dict.fromkeys(node.inputs):
                if source in readers:
                    readers[source].append(node.name)
        return {name: tuple(names) for name, names in readers.items()}

    def is_recurrent(self, source: str, reader: str) -> bool:
        """Say whether `reader` reads the previous step of `source` (which stands at or after it in the order)."""
        return self.position[source] >= self.position[reader]

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every node's output, without batch and time.

        Raises:
            CompileError: an input is unknown, or shapes do not fit; one diagnostic a fault.
        """
        from spikec.compiler.schedule import infer_shapes

        return infer_shapes(self)

    def of(self, *kinds: type[Op]) -> tuple[Node, ...]:
        """Nodes whose op is one of these classes, in order."""
        return tuple(node for node in self.nodes if isinstance(node.op, kinds))

    def map(self, change: Callable[[Node], Node | Iterable[Node] | None]) -> Graph:
        """Rebuild with each node replaced by what `change` gives: a node, several, or None to leave it as it is.

        Gives this same graph back if nothing changed.
        """
        nodes: list[Node] = []
        changed = False
        for node in self.nodes:
            new = change(node)
            if new is None or new is node:
                nodes.append(node)
                continue
            changed = True
            nodes.extend((new,) if isinstance(new, Node) else new)
        return replace(self, nodes=tuple(nodes)) if changed else self

    def without(self, name: str) -> Graph:
        """Remove a node with one input; whoever read it now reads its input."""
        gone = self[name]
        if len(gone.inputs) != 1:
            raise CompileError(
                fail("graph/cannot-remove", "only a node with one input can be removed", gone.where).diagnostics
            )
        source = gone.inputs[0]
        kept = tuple(
            node
            if name not in node.inputs
            else replace(node, inputs=tuple(source if i == name else i for i in node.inputs))
            for node in self.nodes
            if node.name != name
        )
        return replace(self, nodes=kept)

    def __str__(self) -> str:
        """Give the textual IR."""
        from spikec.compiler.text import print_graph

        return print_graph(self)


def fresh(graph: Graph, name: str) -> str:
    """Give `name`, or the first of `name.1`, `name.2`, ... that the graph does not have."""
    if name not in graph:
        return name
    count = 1
    while f"{name}.{count}" in graph:
        count += 1
    return f"{name}.{count}"
