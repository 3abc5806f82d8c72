"""The textual IR: one line a node, its parameters in words, made to be read and compared, not parsed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import FixedSum
from spikec.compiler.weights import Weight


def print_graph(graph: Graph) -> str:
    """Print a graph: lines `%name = op(%inputs) {parameters} : [shape]  # origin`; a `^` marks a recurrent input."""
    try:
        shapes = {name: str(list(shape)) for name, shape in graph.shapes.items()}
    except CompileError:
        shapes = {}
    lines = [f"graph {graph.name} {{"]
    for node in graph:
        origin = f"  # {node.origin}" if str(node.origin) else ""
        lines.append(f"  %{node.name} = {_call(graph, node)} : {shapes.get(node.name, '?')}{origin}")
    return "\n".join([*lines, "}"])


def _call(graph: Graph, node: Node) -> str:
    inputs = ", ".join(f"{'^' if i in graph and graph.is_recurrent(i, node.name) else '%'}{i}" for i in node.inputs)
    parameters = ", ".join(
        f"{f.name}={_value(getattr(node.op, f.name))}"
        for f in fields(node.op)
        if not _same(getattr(node.op, f.name), f.default)
    )
    return f"{node.op.mnemonic}({inputs})" + (f" {{{parameters}}}" if parameters else "")


def _same(value: Any, default: Any) -> bool:
    return isinstance(value, int | float | str | bool | tuple | type(None)) and value == default


def _value(value: Any) -> str:
    if isinstance(value, Weight):
        return f"<{value.describe()}, {value.bits} bits>"
    if isinstance(value, FixedSum):
        return f"acc{value.width}" + (f" msg{value.message_bits}" if value.message_bits else "")
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    name = getattr(value, "name", None)
    return str(name) if isinstance(name, str) else str(value)


def _array(array: np.ndarray[Any, Any]) -> str:
    if array.size == 0:
        return f"{array.dtype.name}{list(array.shape)}"
    low, high = array.min(), array.max()
    span = f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"
    return f"{array.dtype.name}{list(array.shape)} {span}"
