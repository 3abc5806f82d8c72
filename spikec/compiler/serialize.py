"""Saving and loading a graph: a zip archive of graph.json and plain .npy arrays, which any language can read."""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.fixed import Arithmetic
from spikec.compiler.ir import Graph, Node, Op, Origin
from spikec.compiler.ops import FixedSum
from spikec.compiler.verify import KNOWN_OPS, verify
from spikec.compiler.weights import Array, Dense, Fixed, Sparse
from spikec.compiler.weights_grid import Grid
from spikec.compiler.weights_nm import NM

FORMAT = 1
SUFFIX = ".spk"

OPS: dict[str, type[Op]] = {op.mnemonic: op for op in KNOWN_OPS}
VALUES: dict[str, type[Any]] = {
    "dense": Dense,
    "fixed": Fixed,
    "sparse": Sparse,
    "nm": NM,
    "grid": Grid,
    "sum": FixedSum,
    "arithmetic": Arithmetic,
}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def dumps(graph: Graph) -> bytes:
    """Give the saved form; the same graph gives the same bytes."""
    arrays: list[Array] = []
    nodes = [
        {
            "name": node.name,
            "op": node.op.mnemonic,
            "inputs": list(node.inputs),
            "origin": {"source": node.origin.source, "path": node.origin.path},
            "fields": _fields(node.op, arrays),
        }
        for node in graph
    ]
    document = {"format": FORMAT, "name": graph.name, "nodes": nodes}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _member(archive, "graph.json", json.dumps(document, indent=1).encode())
        for index, array in enumerate(arrays):
            data = io.BytesIO()
            np.save(data, array, allow_pickle=False)
            _member(archive, f"arrays/{index}.npy", data.getvalue())
    return buffer.getvalue()


def loads(data: bytes, where: str = "") -> Graph:
    """Read the saved form and verify the graph.

    Raises:
        CompileError: it is not a saved graph, is damaged, of a later format, or breaks a rule of the IR.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            document = json.loads(archive.read("graph.json"))
            if document["format"] != FORMAT:
                raise fail(
                    "graph/version", f"the graph has format {document['format']}, this spikec reads {FORMAT}", where
                )
            return verify(_build(document, archive))
    except CompileError:
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, IndexError, zipfile.error, OSError) as error:
        message = f"not a saved graph, or a damaged one: {error}"
        raise fail("graph/unreadable", message, where, f"save it again (a graph has the suffix {SUFFIX})") from error


def save(graph: Graph, path: str | Path) -> None:
    """Write a graph to a file, whole or not at all."""
    file = Path(path)
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(dumps(graph))
    part.replace(file)


def load(path: str | Path) -> Graph:
    """Read a graph from a file.

    Raises:
        CompileError: the file does not exist or is not a saved graph.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise fail("graph/unreadable", f"cannot read the file: {error.strerror}", str(path)) from error
    return loads(data, str(path))


def _member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def _fields(value: Any, arrays: list[Array]) -> dict[str, Any]:
    return {f.name: _encode(getattr(value, f.name), arrays) for f in fields(value)}


def _encode(value: Any, arrays: list[Array]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}  # JSON itself has no infinity
    for kind, cls in VALUES.items():
        if isinstance(value, cls):
            return {"value": kind, "fields": _fields(value, arrays)}
    if isinstance(value, tuple):
        return [_encode(v, arrays) for v in value]
    return value


def _build(document: dict[str, Any], archive: zipfile.ZipFile) -> Graph:
    nodes = []
    for entry in document["nodes"]:
        if entry["op"] not in OPS:
            raise fail(
                "graph/unknown-op", f"the graph has an op '{entry['op']}' that this spikec does not know", entry["name"]
            )
        given = {name: _decode(value, archive) for name, value in entry["fields"].items()}
        nodes.append(Node(entry["name"], OPS[entry["op"]](**given), tuple(entry["inputs"]), Origin(**entry["origin"])))
    return Graph(tuple(nodes), document["name"])


def _decode(value: Any, archive: zipfile.ZipFile) -> Any:
    if isinstance(value, list):
        return tuple(_decode(v, archive) for v in value)
    if not isinstance(value, dict):
        return value
    if "number" in value:
        return float(value["number"])
    if "array" in value:
        data = io.BytesIO(archive.read(f"arrays/{int(value['array'])}.npy"))
        return np.load(data, allow_pickle=False)
    return VALUES[value["value"]](**{name: _decode(v, archive) for name, v in value["fields"].items()})
