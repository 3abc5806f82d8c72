"""A lowered fixed graph as the files of a Lava network: network.json, arrays.npz and the script that runs them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np

from spikec.backends.loihi.lavaconn import Line, Link, wire
from spikec.backends.loihi.lavaneuron import parameters, why_custom
from spikec.backends.loihi.lavapaths import Path, paths_into
from spikec.backends.loihi.lavastart import reached_early, resets_at_intervals
from spikec.compiler.diagnostics import CompileError, Findings, fail
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.ops import Conv1d, Conv2d, Input, Linear, Output
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights import Array

FORMAT = 1
SCRIPTS = ("lava_compat.py", "lava_network.py", "lava_processes.py", "run_lava.py")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def describe(graph: Graph) -> dict[str, bytes]:
    """Give the files from which Lava runs the graph: `network.json`, `arrays.npz`, `run_lava.py` and what it imports.

    The same graph gives the same bytes. What native Lava cannot say exactly is a process of the script's own, marked
    `custom` with the reason; `custom_nodes` lists them.

    Raises:
        CompileError: every connection or node that Lava cannot run, and why.
    """
    return _Net(graph).files()


def custom_nodes(graph: Graph) -> Mapping[str, tuple[str, ...]]:
    """Give the nodes that need a process of our own, each with its reasons; real Loihi 2 would need microcode there."""
    return _Net(graph).custom


class _Net:
    """The network under construction: links, delay lines, neurons, and who feeds whom."""

    def __init__(self, graph: Graph) -> None:
        if not is_fixed(graph):
            raise fail("loihi/not-fixed", "Lava takes a graph of integers", graph.name, "quantize the graph first")
        self.graph = graph
        self.links: list[Link] = []
        self.lines: list[Line] = []
        self.readers: dict[str, list[str]] = {}
        self.arrays: dict[str, Array] = {}
        self.paths: dict[str, tuple[Path, ...]] = {}
        for work in (self._trace_back, self._add):  # all faults of the one before the other begins
            found = Findings()
            for node in graph:
                with found.catching():
                    work(node)
            if found.errors:
                raise CompileError(dict.fromkeys(found))
        self.neurons = graph.of(FixedNeuron)
        self.at_intervals = resets_at_intervals(graph, self.links, self.lines, self.readers)
        early: frozenset[str] = (
            frozenset() if self.at_intervals else reached_early(graph, self.links, self.lines, self.readers)
        )
        sent_on = {
            path.source
            for reader, paths in self.paths.items()
            if not isinstance(graph[reader].op, Output)
            for path in paths
        }
        reasons: dict[str, tuple[str, ...]] = {
            node.name: why_custom(node.op, sent_on=node.name in sent_on)
            for node in self.neurons
            if isinstance(node.op, FixedNeuron)
        }
        for name in sorted(early):
            reasons[name] = (*reasons[name], "input reaches it before its start, when it must not fire")
        for line in self.lines:
            link = next(link for link in self.links if line.name in link.sources)
            reasons[link.node] = (line.reason,)
        self.custom = {node.name: reasons[node.name] for node in graph if reasons.get(node.name)}
        self.images = _images(graph, self.links, self.readers)

    def _trace_back(self, node: Node) -> None:
        """Find what really feeds a node."""
        if isinstance(node.op, FixedNeuron | Linear | Conv1d | Conv2d | Output):
            self.paths[node.name] = paths_into(self.graph, node)

    def _add(self, node: Node) -> None:
        """Make the processes of a connection, once for every pattern of delays behind it; check what a neuron reads."""
        for path in self.paths[node.name] if isinstance(node.op, FixedNeuron) else ():
            if isinstance(self.graph[path.source].op, Input | FixedNeuron):
                message = f"'{node.name}' reads '{path.source}' without a weighted connection between"
                help_ = "put a connection of weight 1 between, and lower the graph again"
                raise fail("loihi/no-connection", message, node.where, help_)
        if not isinstance(node.op, Linear | Conv1d | Conv2d):
            return
        for count, (after, readers) in enumerate(self._patterns(node)):
            name = node.name if count == 0 else f"{node.name}#{count}"
            wiring = wire(self.graph, node, after, name)
            self.links += wiring.links
            self.lines += wiring.lines
            for link in wiring.links:
                self.readers[link.name] = readers

    def _patterns(self, node: Node) -> list[tuple[Array, list[str]]]:
        """Put the readers of a connection together that it reaches after the same delays."""
        none = np.zeros(self.graph.shapes[node.name], np.int64)
        patterns: dict[bytes, tuple[Array, list[str]]] = {}
        for reader, paths in self.paths.items():
            for path in paths:
                if path.source == node.name:
                    is_neuron = isinstance(self.graph[reader].op, FixedNeuron)
                    own = path.delay.reshape(none.shape) if is_neuron else none
                    patterns.setdefault(own.tobytes(), (own, []))[1].append(reader)
        return list(patterns.values())

    def files(self) -> dict[str, bytes]:
        """Give the files."""
        document = self.document()
        templates = resources.files("spikec.backends.loihi").joinpath("templates")
        return {
            "network.json": (json.dumps(document, indent=1, sort_keys=True) + "\n").encode(),
            "arrays.npz": _npz(self.arrays),
            **{name: templates.joinpath(name).read_bytes() for name in SCRIPTS},
        }

    def document(self) -> dict[str, Any]:
        """Give network.json; arrays are set aside and named in it as {"array": NAME}."""
        source = self.graph.of(Input)[0]
        edges = [[s, link.name] for link in self.links for s in link.sources]
        edges += [[line.source, line.name] for line in self.lines]
        edges += [
            [link.name, reader]
            for link in self.links
            for reader in self.readers[link.name]
            if isinstance(self.graph[reader].op, FixedNeuron)
        ]
        return {
            "format": FORMAT,
            "name": self.graph.name,
            "resets": "interval" if self.at_intervals else "host",
            "input": self._end(source.name, self.graph.shapes[source.name]),
            "neurons": [self._neuron(node) for node in self.neurons],
            "connections": [self._connection(link) for link in self.links],
            "delays": [
                {**self._end(line.name, line.shape), "steps": self._array(f"{line.name}/steps", line.steps)}
                for line in self.lines
            ],
            "edges": edges,
            "outputs": [self._output(node) for node in self.graph.of(Output)],
        }

    def _end(self, name: str, shape: Shape) -> dict[str, Any]:
        return {"name": name, "shape": list(shape), "image": name in self.images}

    def _neuron(self, node: Node) -> dict[str, Any]:
        op = node.op
        assert isinstance(op, FixedNeuron)
        reasons = self.custom.get(node.name, ())
        given = parameters(self.graph, node, custom=bool(reasons))
        return {
            **self._end(node.name, self.graph.shapes[node.name]),
            "custom": bool(reasons),
            "reasons": list(reasons),
            "readout": op.readout,
            "start": op.start,
            "reset_interval": op.reset_interval,
            "reset_offset": op.reset_offset,
            "parameters": {name: self._value(f"{node.name}/{name}", value) for name, value in given.items()},
        }

    def _connection(self, link: Link) -> dict[str, Any]:
        return {
            "name": link.name,
            "node": link.node,
            "kind": link.kind,
            "given": list(link.given),
            "made": list(link.made),
            "parameters": {name: self._value(f"{link.name}/{name}", value) for name, value in link.parameters.items()},
        }

    def _output(self, node: Node) -> dict[str, Any]:
        """Give what an Output reads: the sum of sources, each some steps late."""
        reads = []
        for i, path in enumerate(self.paths[node.name]):
            made = self.graph[path.source].op
            links = [
                link.name for link in self.links if link.node == path.source and node.name in self.readers[link.name]
            ]
            steps = self._array(f"{node.name}/steps{i}", path.delay)
            membrane = isinstance(made, FixedNeuron) and made.readout == "membrane"
            reads.append({"sources": links or [path.source], "membrane": membrane, "steps": steps})
        return {"name": node.name, "shape": list(self.graph.shapes[node.name]), "reads": reads}

    def _value(self, name: str, value: Any) -> Any:
        return self._array(name, value) if isinstance(value, np.ndarray) else value

    def _array(self, name: str, value: Array) -> Any:
        """Set an array aside; one that is the same everywhere is written as a number."""
        if value.ndim == 0 or (name.rsplit("/", 1)[1].startswith("steps") and np.unique(value).size == 1):
            return int(value.reshape(-1)[0])
        key = name.replace("/", ".")
        while key in self.arrays:
            key += "_"
        self.arrays[key] = value
        return {"array": key}


def _images(graph: Graph, links: list[Link], readers: Mapping[str, list[str]]) -> frozenset[str]:
    """Name the inputs and neurons that Lava holds as (width, height, channels): those that meet a native Conv."""
    touched = [
        (name, shape)
        for link in links
        if link.kind == "conv"
        for name, shape in (*((s, link.given) for s in link.sources), *((r, link.made) for r in readers[link.name]))
    ]
    return frozenset(
        name
        for name, shape in touched
        if isinstance(graph[name].op, Input | FixedNeuron) and graph.shapes[name] == shape
    )


def _npz(arrays: Mapping[str, Array]) -> bytes:
    """Give an .npz whose bytes depend on nothing but the arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            data = io.BytesIO()
            np.save(data, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data.getvalue())
    return buffer.getvalue()
