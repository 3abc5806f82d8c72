"""A file that holds one Scan: its body is one step, its first inputs are the states."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikec.compiler.diagnostics import Sink, fail, remark
from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array
from spikec.frontends.onnx.source import Call, Source
from spikec.frontends.onnx.states import no_batch, unknown_shape
from spikec.frontends.onnx.step import Stepping


def from_scan(source: Source, model: Any, tell: Sink) -> Stepping:
    """Give the step of a Scan.

    Raises:
        CompileError: there are several, one runs backwards or over several tensors, or something beside it computes.
    """
    (call,) = [call for call in source.calls if call.op == "Scan"]
    _only_scan(source, call)
    body = call.attributes["body"]
    count = len(call.inputs) - 1
    states, main = list(body.inputs)[:count], list(body.inputs)[count]
    axis = int(call.attributes.get("scan_input_axes", (0,))[0])
    through = _before(source, call)
    given = source.inputs.get(through)
    if given is None or axis not in (0, 1) or len(given) < 3:
        raise fail("onnx/scan", "the Scan does not run over the input of the file", call.where, "scan the input itself")
    shapes: dict[str, Shape] = {main: _rest(given, through, source)}
    starts: dict[str, Array] = {}
    for name, first in zip(states, call.inputs[:count], strict=True):
        start = source.constants.get(first)
        if start is None:
            message = f"'{first}' is an input of the file; it is taken as 0"
            tell(remark("onnx/initial", message, call.where, "write the initial state into the file"))
            shapes[name] = no_batch(source.inputs.get(first, ()), first, source.name)
        else:
            shapes[name] = tuple(start.shape[1:])
            starts[name] = _one_sample(start, first, source)
    after = list(body.outputs)
    records = {name: inner for name, inner in zip(call.outputs[count:], after[count:], strict=True) if name}
    wanted = tuple(inner for name in source.outputs if (inner := records.get(_behind(source, name))))
    if not wanted:
        message = "no result of the file is what every step sends"
        raise fail("onnx/scan", message, call.where, "return the recorded spikes of every step")
    inner = Source(source.name, body.inputs, body.outputs, body.calls, body.constants)
    return Stepping(inner, _body_model(model), shapes, main, dict(zip(states, after, strict=False)), starts, wanted)


def _only_scan(source: Source, call: Call) -> None:
    others = [other for other in source.calls if other is not call and other.op not in ("Identity", "Transpose")]
    if others:
        message = f"{others[0].kind} stands beside the Scan"
        raise fail("onnx/scan", message, others[0].where, "let one Scan hold all that a step computes")
    if int(call.attributes.get("num_scan_inputs", 1)) != 1 or len(call.inputs) < 2:
        raise fail("onnx/scan", "the Scan runs over several tensors", call.where, "scan one input")
    if any(call.attributes.get("scan_input_directions", ())) or any(call.attributes.get("scan_output_directions", ())):
        raise fail("onnx/scan", "the Scan runs backwards in time", call.where, "scan forwards")


def _before(source: Source, call: Call) -> str:
    """Give the input of the file that a Scan reads, seen through nodes that only turn time and samples around."""
    makers = {output: other for other in source.calls for output in other.outputs}
    name = call.inputs[-1]
    while name in makers and makers[name].op in ("Identity", "Transpose"):
        _turns_time(makers[name])
        name = makers[name].inputs[0]
    return name


def _behind(source: Source, name: str) -> str:
    makers = {output: other for other in source.calls for output in other.outputs}
    while name in makers and makers[name].op in ("Identity", "Transpose"):
        _turns_time(makers[name])
        name = makers[name].inputs[0]
    return name


def _turns_time(call: Call) -> None:
    turned = list(call.attributes.get("perm", ()))
    if (call.op == "Transpose" and turned[:2] not in ([0, 1], [1, 0])) or turned[2:] != list(range(2, len(turned))):
        raise fail("onnx/scan", "Transpose moves more than time and samples", call.where, "keep the other axes")


def _rest(shape: tuple[int | None, ...], name: str, source: Source) -> Shape:
    if any(size is None for size in shape[2:]):
        raise unknown_shape(name, source.name)
    return tuple(int(size) for size in shape[2:] if size is not None)


def _one_sample(start: Array, name: str, source: Source) -> Array:
    """Give where a state starts, which must be the same for every sample."""
    if np.any(start != start[:1]):
        raise fail("onnx/initial", f"'{name}' starts differently for every sample", source.name, "start all alike")
    first = np.asarray(start[0], np.float64)
    return np.asarray(first.reshape(-1)[0]) if first.size and np.all(first == first.reshape(-1)[0]) else first


def _body_model(model: Any) -> Any:
    """Give the body as a model of its own, with the constants of the file around it."""
    import onnx

    (node,) = [node for node in model.graph.node if node.op_type == "Scan"]
    (body,) = [attribute.g for attribute in node.attribute if attribute.name == "body"]
    graph = onnx.GraphProto()
    graph.CopyFrom(body)
    known = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name not in known)
    constants = [n for n in model.graph.node if n.op_type == "Constant"]
    nodes = [*constants, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    copy = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    copy.graph.CopyFrom(graph)
    return copy
