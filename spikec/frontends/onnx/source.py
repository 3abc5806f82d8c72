"""An ONNX graph as plain values: calls in order, constants, shapes; what depends on constants alone is computed."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.weights import Array

# fmt: off
FOLDED = frozenset(
    (
        "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Div",
        "Equal", "Exp", "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity",
        "Less", "LessOrEqual", "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal",
        "Reshape", "Round", "Shape", "Sigmoid", "Slice", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh",
        "Transpose", "Unsqueeze", "Where", "Xor"
    )
)
# fmt: on
"""Ops that are computed where all their inputs are constants."""
LARGEST = 100_000_000
"""No folded constant has more entries."""


@dataclass(frozen=True, eq=False)
class Call:
    """One node: its op, the names that it reads and makes ('' for one left out), attributes, and its place."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    place: str
    where: str

    @property
    def kind(self) -> str:
        """The op with its domain, if that is not ONNX's own."""
        return f"{self.domain}::{self.op}" if self.domain else self.op


@dataclass(frozen=True, eq=False)
class Source:
    """A graph: inputs with their shapes (None: unknown or free), outputs, calls in order, constants by name."""

    name: str
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    calls: tuple[Call, ...]
    constants: Mapping[str, Array]
    properties: Mapping[str, str] = field(default_factory=dict)

    def readers(self, name: str) -> int:
        """Count how often a tensor is read, as a result as well."""
        return sum(call.inputs.count(name) for call in self.calls) + self.outputs.count(name)


def source_of(model: Any, name: str) -> Source:
    """Give the graph of an `onnx.ModelProto`.

    Raises:
        CompileError: it is damaged, or computes constants that cannot be computed.
    """
    properties = {entry.key: entry.value for entry in model.metadata_props}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    try:
        return _graph(model.graph, name, {}, opsets, properties)
    except CompileError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        message = f"the graph is damaged: {type(error).__name__}"
        raise fail("onnx/unreadable", message, name, "export it again") from error


def _graph(
    graph: Any, name: str, outer: Mapping[str, Array], opsets: Mapping[str, int], properties: Mapping[str, str]
) -> Source:
    from onnx import numpy_helper

    constants = dict(outer)
    for tensor in graph.initializer:
        constants[tensor.name] = np.asarray(numpy_helper.to_array(tensor))
    inputs = {item.name: _shape(item) for item in graph.input if item.name not in constants}
    known, calls = {"", *inputs, *constants}, []
    for node in graph.node:
        missing = [tensor for tensor in node.input if tensor not in known]
        if missing:
            message = f"{node.op_type} reads '{missing[0]}', which nothing before it makes"
            raise fail("onnx/unreadable", message, f"{name}:{node.name or node.op_type}", "export it again")
        known |= set(node.output)
        if node.domain in ("", "ai.onnx") and node.op_type in FOLDED and all(i in constants for i in node.input if i):
            constants[node.output[0]] = _computed(node, constants, opsets, name)
            continue
        calls.append(_call(node, name, constants, opsets))
    outputs = tuple(item.name for item in graph.output)
    lost = [tensor for tensor in outputs if tensor not in known]
    if lost:
        raise fail("onnx/unreadable", f"nothing makes the result '{lost[0]}'", name, "export it again")
    return Source(name, inputs, outputs, tuple(calls), constants, properties)


def _shape(item: Any) -> tuple[int | None, ...]:
    dims = item.type.tensor_type.shape.dim
    return tuple(int(dim.dim_value) if dim.HasField("dim_value") else None for dim in dims)


def _call(node: Any, name: str, constants: Mapping[str, Array], opsets: Mapping[str, int]) -> Call:
    import onnx

    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = _graph(attribute.g, name, constants, opsets, {}) if node.op_type == "Scan" else None
            attributes[attribute.name] = inner
            continue
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode("utf8", "replace") if isinstance(value, bytes) else value
    place = _place(node)
    domain = "" if node.domain == "ai.onnx" else node.domain
    return Call(node.op_type, domain, tuple(node.input), tuple(node.output), attributes, place, f"{name}:{place}")


def _place(node: Any) -> str:
    """Give where a node stands in the user's own words: its module's path, else its name, else what it makes."""
    scopes = {entry.key: entry.value for entry in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
    try:
        parts = ast.literal_eval(scopes) if scopes and len(scopes) < 10_000 else []
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        parts = []
    if isinstance(parts, list) and len(parts) > 2 and all(isinstance(part, str) for part in parts):
        return str(parts[-2])
    if node.name:
        stem, _, last = str(node.name).strip("/").rpartition("/")
        return (stem or last).replace("/", ".")
    return str(node.output[0]) if node.output else str(node.op_type)


def _computed(node: Any, constants: Mapping[str, Array], opsets: Mapping[str, int], name: str) -> Array:
    """Compute a node of constants with ONNX's own reference."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    given = {tensor: constants[tensor] for tensor in node.input if tensor}
    where = f"{name}:{_place(node)}"
    sizes = [float(np.prod(np.abs(array.astype(np.float64)))) for array in given.values() if array.dtype.kind in "iu"]
    if node.op_type in ("ConstantOfShape", "Expand") and max(sizes, default=0.0) > LARGEST:
        raise fail("onnx/too-large", f"{node.op_type} makes more than {LARGEST} entries", where, "export it again")
    inputs = [
        onnx.helper.make_tensor_value_info(tensor, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for tensor, array in given.items()
    ]
    outputs = [onnx.helper.make_empty_tensor_value_info(tensor) for tensor in node.output]
    graph = onnx.helper.make_graph([node], "constant", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opsets.get("", 1))])
    try:
        (made, *_) = list(ReferenceEvaluator(model).run(None, given))
        return np.asarray(made)
    except Exception as error:
        message = f"the constant {node.op_type} cannot be computed"
        raise fail("onnx/unreadable", message, where, "export it again") from error
