"""What spikec itself wrote beside the plain nodes of a NIR file, believed only where the nodes are as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError, Diagnostic, Sink, fail, warning
from spikec.compiler.ir import Node, Op
from spikec.compiler.neurons import Neuron
from spikec.compiler.notes import KEY, fingerprint, unpack
from spikec.compiler.ops import AvgPool, Conv1d, Conv2d, Delay, Flatten, Input, Linear, Reshape, Scale, SumPool
from spikec.compiler.weights import Dense
from spikec.compiler.weights_nm import NM
from spikec.frontends.nir.raw import RawGraph, RawNode

RESTORED: dict[str, type[Op]] = {
    op.mnemonic: op for op in (Input, Neuron, Reshape, Flatten, Scale, Delay, SumPool, AvgPool)
}
"""The ops that a note gives whole; of a convolution it gives what its dense, square form hides."""


@dataclass(frozen=True, eq=False)
class Note:
    """What the file's note says: seconds a step, the network's name, the order of nodes, and their true forms."""

    dt: float | None = None
    name: str = "network"
    order: tuple[str, ...] = ()
    nodes: Mapping[str, Any] = field(default_factory=dict)
    again: Mapping[str, str] = field(default_factory=dict)


def read_note(graph: RawGraph, tell: Sink) -> Note:
    """Read the note in a graph's metadata, or give an empty one; a damaged one is set aside with a warning."""
    entry = graph.metadata.get(KEY)
    if not isinstance(entry, Mapping):
        return Note()
    try:
        note = unpack(str(entry.get("text")), entry.get("arrays") or {})
        for place in note["nodes"].values():
            if not place["chain"] or set(place["chain"]) != set(place["parts"]):
                raise ValueError("it is damaged: a node's parts do not belong together")
        if not 0 < float(note["dt"]) < inf:
            raise ValueError(f"it is damaged: {note['dt']} s a step")
        return Note(
            float(note["dt"]), str(note["name"]), tuple(note["order"]), dict(note["nodes"]), dict(note["again"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"spikec's note in the metadata is set aside: {error}"
        tell(warning("nir/note", message, graph.where, "write the file again for an exact round trip"))
        return Note()


def restore(nodes: Mapping[str, Node], raw: Mapping[str, RawNode], note: Note, tell: Sink) -> tuple[Node, ...]:
    """Put the true forms in the place of the plain ones, where the file is as spikec wrote it."""
    found = _without_copies(nodes, raw, note)
    for name, entry in note.nodes.items():
        parts = tuple(entry["chain"])
        if not all(part in found for part in parts):
            tell(_edited(name, f"{', '.join(part for part in parts if part not in found)} is gone"))
            continue
        stale = [part for part in parts if not _as_written(raw[part], entry["parts"][part])]
        if stale or not _is_chain(parts, found):
            tell(_edited(name, f"{', '.join(stale) or 'an edge'} was changed"))
            continue
        if "op" not in entry:
            continue  # it is in the note for its name alone
        try:
            op = _true_op(entry, found[parts[-1]].op)
        except (CompileError, ValueError, TypeError, KeyError) as error:
            tell(_edited(name, str(error)))
            continue
        first, last = found[parts[0]], found[parts[-1]]
        for part in parts[:-1]:
            del found[part]
        found[parts[-1]] = replace(last, op=op, inputs=first.inputs)
    return _renamed(tuple(found.values()), note)


def _without_copies(nodes: Mapping[str, Node], raw: Mapping[str, RawNode], note: Note) -> dict[str, Node]:
    """Remove the nodes that only make up for NIR's lack of double edges."""
    true = {
        name: nodes[name].inputs[0]
        for name, mark in note.again.items()
        if name in nodes and len(nodes[name].inputs) == 1 and _as_written(raw[name], mark)
    }
    kept = {name: node for name, node in nodes.items() if name not in true}
    return {name: replace(node, inputs=tuple(true.get(i, i) for i in node.inputs)) for name, node in kept.items()}


def _as_written(raw: RawNode, mark: str) -> bool:
    numbers = {k: np.asarray(v) for k, v in raw.fields.items() if not isinstance(v, str)}
    return mark in ("", fingerprint(raw.type, numbers))


def _is_chain(parts: tuple[str, ...], nodes: Mapping[str, Node]) -> bool:
    """Say whether each part is read by the next one alone, which reads nothing else."""
    for part, following in pairwise(parts):
        readers = [node.name for node in nodes.values() if part in node.inputs]
        if readers != [following] or nodes[following].inputs != (part,):
            return False
    return True


def _true_op(entry: Mapping[str, Any], plain: Op) -> Op:
    fields = dict(entry["fields"])
    pattern = fields.pop("nm", None)
    if entry["op"] in ("conv1d", "conv2d") and isinstance(plain, Conv1d | Conv2d):
        return _patterned(_true_conv(fields, plain), pattern)
    if entry["op"] == "linear" and isinstance(plain, Linear):
        return _patterned(plain, pattern)
    return RESTORED[entry["op"]](**fields)


def _patterned(op: Linear | Conv1d | Conv2d, pattern: Any) -> Op:
    """Say of weights that they are N:M, if the note does.

    Raises:
        ValueError: they are not, or no longer.
    """
    if pattern is None:
        return op
    n, m, axis = pattern
    return replace(op, weight=NM(Dense(np.asarray(op.weight.decode())), int(n), int(m), axis))


def _true_conv(fields: Mapping[str, Any], plain: Conv1d | Conv2d) -> Conv1d | Conv2d:
    """Cut groups and kernel out of the dense, padded weights; what is cut off must still be zero."""
    weight = np.asarray(plain.weight.decode())
    groups, grown = int(fields["groups"]), fields["grown"]
    inner = tuple(slice(b, size - e) for (b, e), size in zip(grown, weight.shape[2:], strict=True))
    cut = weight[(slice(None), slice(None), *inner)]
    cut = np.concatenate([_block(cut, k, groups) for k in range(groups)])
    if np.count_nonzero(cut) != np.count_nonzero(weight):
        raise fail("nir/edited", "weights outside of the groups or the kernel are no longer 0")
    padding = tuple((int(a), int(b)) for a, b in fields["padding"])
    bias = plain.bias if fields["bias"] or np.any(np.asarray(plain.bias)) else None
    return replace(plain, weight=Dense(cut), bias=bias, padding=padding, groups=groups)


def _block(weight: Any, k: int, groups: int) -> Any:
    rows, columns = weight.shape[0] // groups, weight.shape[1] // groups
    return weight[k * rows : (k + 1) * rows, k * columns : (k + 1) * columns]


def _renamed(nodes: tuple[Node, ...], note: Note) -> tuple[Node, ...]:
    """Give the nodes their names in the network that was written, where a file could not hold them."""
    names = {entry["chain"][-1]: name for name, entry in note.nodes.items()}
    if len({names.get(node.name, node.name) for node in nodes}) < len(nodes):
        return nodes
    return tuple(
        replace(node, name=names.get(node.name, node.name), inputs=tuple(names.get(i, i) for i in node.inputs))
        for node in nodes
    )


def ordered(nodes: tuple[Node, ...], note: Note) -> tuple[Node, ...] | None:
    """Give the nodes in the order of the note, or None where it does not fit them or breaks the rule of memory."""
    by_name = {node.name: node for node in nodes}
    if set(by_name) != set(note.order) or len(note.order) != len(nodes):
        return None
    place = {name: index for index, name in enumerate(note.order)}
    for node in nodes:
        if any(place[name] >= place[node.name] and not by_name[name].op.stateful for name in node.inputs):
            return None
    return tuple(by_name[name] for name in note.order)


def _edited(name: str, why: str) -> Diagnostic:
    message = f"'{name}' is read from its plain NIR form: {why} after spikec wrote the file"
    return warning("nir/edited", message, name, "write it again with spikec for an exact round trip")
