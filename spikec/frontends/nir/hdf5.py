"""The HDF5 form of NIR, read tolerantly: any version of nir, whatever its own type check would say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError, fail
from spikec.frontends.nir.raw import RawGraph, RawNode

_HELP = "write it again with nir.write, or check that the whole file was copied"


def read(path: str | Path) -> RawGraph:
    """Read a `.nir` file.

    Raises:
        CompileError: `nir/unreadable`: there is no such file, it is not HDF5, is damaged, or holds no NIR graph.
    """
    import h5py

    file = Path(path)
    if not file.is_file():
        raise fail("nir/unreadable", "there is no such file", str(path), "check the path")
    try:
        with h5py.File(file, "r") as archive:
            if not isinstance(archive.get("node"), h5py.Group):
                raise fail("nir/unreadable", "an HDF5 file, but not NIR: it has no group 'node'", str(path), _HELP)
            return _graph(_tree(archive["node"]), file.name)
    except CompileError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        inner = re.search(r"\(([^():]+)", str(error))  # HDF5 gives its own reason in brackets
        reason = inner[1] if inner else type(error).__name__
        message = f"not an HDF5 file, or a damaged one: {reason}"
        raise fail("nir/unreadable", message, str(path), _HELP) from error


def _tree(group: Any) -> dict[str, Any]:
    """Read a group and everything below it into dicts; text comes as str, an empty dataset as None."""
    tree: dict[str, Any] = {}
    for name, item in group.items():
        if not hasattr(item, "items") and not hasattr(item, "shape"):  # h5py lists a name whose object is lost
            raise OSError(f"({name} is lost)")
        tree[name] = _tree(item) if hasattr(item, "items") else _value(item)
    return tree


def _value(dataset: Any) -> Any:
    if dataset.shape is None:
        return None
    value = dataset[()]
    if isinstance(value, bytes):
        return value.decode("utf8")
    if isinstance(value, np.ndarray) and value.dtype.kind in "OS":
        return np.array([v.decode("utf8") if isinstance(v, bytes) else str(v) for v in value.reshape(-1)]).reshape(
            value.shape
        )
    return value


def _graph(tree: Mapping[str, Any], where: str) -> RawGraph:
    if "nodes" not in tree or "edges" not in tree:
        raise fail("nir/unreadable", "the graph has no nodes or no edges", where, _HELP)
    edges = np.asarray(tree["edges"] if tree["edges"] is not None else []).reshape(-1)
    if edges.size % 2:
        raise fail("nir/unreadable", "the edges are not pairs", where, _HELP)
    names = [str(name) for name in edges]
    pairs = tuple(zip(names[::2], names[1::2], strict=True))
    nodes: dict[str, RawNode | RawGraph] = {}
    _collect(tree["nodes"] or {}, "", where, nodes)
    metadata = tree.get("metadata")
    return RawGraph(nodes, pairs, where, metadata if isinstance(metadata, Mapping) else {})


def _collect(tree: Mapping[str, Any], prefix: str, where: str, nodes: dict[str, RawNode | RawGraph]) -> None:
    """Find the nodes; a group without a type is part of a name that has a slash in it."""
    for name, entry in tree.items():
        full = prefix + name
        place = f"{where}/{full}" if ":" in where else f"{where}:{full}"
        if not isinstance(entry, Mapping):
            raise fail("nir/unreadable", f"'{full}' is not a node", place, _HELP)
        if "type" in entry:
            nodes[full] = _node(entry, place)
        elif entry and all(isinstance(part, Mapping) for part in entry.values()):
            _collect(entry, full + "/", where, nodes)
        else:
            raise fail("nir/unreadable", f"node '{full}' has no type", place, _HELP)


def _node(entry: Mapping[str, Any], where: str) -> RawNode | RawGraph:
    if entry["type"] == "NIRGraph":
        return _graph(entry, where)
    fields = {name: value for name, value in entry.items() if name not in ("type", "metadata") and value is not None}
    return RawNode(str(entry["type"]), fields, where)
