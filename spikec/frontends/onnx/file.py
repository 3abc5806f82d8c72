"""An ONNX file, read with suspicion: nothing outside of its folder, no sizes that it does not have, no code."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from spikec.compiler.diagnostics import fail

_HELP = "export it again, or check that the whole file was copied"
INLINED_MOST = 10_000


def read(path: str | Path, max_bytes: int) -> Any:
    """Give the `onnx.ModelProto` of a file, with its external data inside and its local functions opened.

    Raises:
        CompileError: `onnx/unreadable`, `onnx/too-large`, `onnx/external-data`, `onnx/missing` (the package).
    """
    onnx = _package()
    file = Path(path)
    if not file.is_file():
        raise fail("onnx/unreadable", "there is no such file", str(path), "check the path")
    left = max_bytes - file.stat().st_size
    if left < 0:
        message = f"the file has {file.stat().st_size} bytes, more than {max_bytes}"
        raise fail("onnx/too-large", message, str(path), "if you trust it, raise the limit: --onnx max_bytes=...")
    try:
        model = onnx.load_model_from_string(file.read_bytes())
    except Exception as error:  # protobuf's errors have no common class
        raise fail("onnx/unreadable", "not an ONNX file, or a damaged one", str(path), _HELP) from error
    if not model.HasField("graph") or not model.graph.output:
        raise fail("onnx/unreadable", "not an ONNX file, or a damaged one: it holds no graph", str(path), _HELP)
    for tensor in _tensors(model.graph):
        left -= _filled(tensor, file, left)
    return _opened(onnx, model, str(path))


def _package() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise fail("onnx/missing", "reading .onnx needs the package onnx", help="pip install 'spikec[onnx]'") from error
    return onnx


def _tensors(graph: Any, depth: int = 0) -> Iterator[Any]:
    """Walk over every tensor of a graph and of the graphs inside of it."""
    if depth > 8:
        raise fail("onnx/unreadable", "graphs are nested more than 8 deep", graph.name, _HELP)
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner, depth + 1)


def _filled(tensor: Any, file: Path, left: int) -> int:
    """Check a tensor's size, fetch its bytes if they are in another file, and give how many those were."""
    import onnx

    where = f"{file.name}:{tensor.name}"
    if min(tensor.dims, default=0) < 0:
        raise fail("onnx/unreadable", f"a tensor has shape {list(tensor.dims)}", where, _HELP)
    if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        raise fail("onnx/unreadable", "a tensor holds no numbers", where, "remove it from the model")
    taken = 0
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        tensor.raw_data = _external(tensor, file, left, where)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
        taken = len(tensor.raw_data)
    if tensor.HasField("raw_data"):
        wanted = -(-prod(tensor.dims) * _bits(tensor.data_type) // 8)
        if len(tensor.raw_data) != wanted:
            message = f"a tensor of shape {list(tensor.dims)} has {len(tensor.raw_data)} bytes, not {wanted}"
            raise fail("onnx/unreadable", message, where, _HELP)
    return taken


def _bits(kind: int) -> int:
    import onnx

    try:
        name = onnx.TensorProto.DataType.Name(kind)
        return 4 if name.endswith("INT4") else int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize) * 8
    except (KeyError, ValueError) as error:
        raise fail("onnx/unreadable", f"a tensor has the unknown type {kind}", "", _HELP) from error


def _external(tensor: Any, file: Path, left: int, where: str) -> bytes:
    """Read a tensor's bytes from a file beside the model, or below it: never from elsewhere."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    folder = file.parent.resolve()
    try:
        source = (folder / facts.get("location", "")).resolve()
        offset, length = int(facts.get("offset", 0)), facts.get("length")
        inside = source.is_relative_to(folder) and not Path(facts.get("location", "/")).is_absolute()
        size = source.stat().st_size if inside and source.is_file() else -1
        count = size - offset if length is None else int(length)
    except (ValueError, OSError) as error:
        raise fail("onnx/external-data", "where its data lies cannot be understood", where, _HELP) from error
    if not inside:
        message = f"the model asks for data outside of its folder: {facts.get('location', '')!r}"
        raise fail("onnx/external-data", message, where, "put the data beside the model, if you trust it")
    if size < 0 or offset < 0 or count < 0 or offset + count > size:
        message = f"its data is missing or too short: {facts.get('location', '')!r}"
        raise fail("onnx/external-data", message, where, "copy the data file together with the model")
    if count > left:
        message = f"the model and its data are larger than allowed ({count} bytes more, {max(left, 0)} left)"
        raise fail("onnx/too-large", message, where, "if you trust it, raise the limit: --onnx max_bytes=...")
    with source.open("rb") as stream:
        stream.seek(offset)
        data: bytes = stream.read(count)
        return data


def _opened(onnx: Any, model: Any, path: str) -> Any:
    """Open the model's local functions, so that one kind of node remains."""
    if not model.functions:
        return model
    from onnx import inliner

    try:
        opened = inliner.inline_local_functions(model)
    except Exception as error:
        message = "its local functions cannot be opened"
        raise fail("onnx/unreadable", message, path, "export it without functions") from error
    if len(opened.graph.node) > INLINED_MOST + 10 * len(model.graph.node):
        raise fail("onnx/too-large", f"its functions open to {len(opened.graph.node)} nodes", path, _HELP)
    return opened
