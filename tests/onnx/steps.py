"""ONNX steps built by hand, and onnxruntime run over time: what the reader is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Line = tuple[Any, ...]
"""(op, inputs, outputs), and attributes as a mapping in the end; inputs and outputs as words."""


def write(
    path: Path,
    lines: Sequence[Line],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: Mapping[str, Any] | None = None,
    **model: Any,
) -> Path:
    """Write a model: one node a line, float32 inputs, constants as float32 unless they are integers."""
    nodes = []
    for op, reads, makes, *rest in lines:
        kind, _, domain = op.partition("@")
        attributes = rest[0] if rest else {}
        nodes.append(helper.make_node(kind, reads.split(), makes.split(), domain=domain or None, **attributes))
    kept = []
    for name, value in (constants or {}).items():
        array = np.asarray(value)
        array = array if array.dtype.kind in "ib" else array.astype(np.float32)
        kept.append(numpy_helper.from_array(array, name))
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()]
    made = [helper.make_empty_tensor_value_info(name) for name in outputs]
    for info in made:
        info.type.tensor_type.elem_type = TensorProto.FLOAT
    graph = helper.make_graph(nodes, "net", given, made, kept)
    domains = {op.partition("@")[2] for op, *_ in lines} - {""}
    opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(domain, 1) for domain in sorted(domains))]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10, **model)
    onnx.save(proto, path)
    return path


def run(
    path: Path, main: str, pairs: Mapping[str, str], given: Array, starts: Mapping[str, Any] | None = None
) -> dict[str, Array]:
    """Run a step in onnxruntime for every step of (N, T, *shape); all results, each (N, T, *shape)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shapes = {item.name: item.shape[1:] for item in session.get_inputs()}
    names = [item.name for item in session.get_outputs()]
    states = {name: np.zeros((len(given), *shapes[name]), np.float32) for name in pairs}
    for name, start in (starts or {}).items():
        states[name] = states[name] + np.asarray(start, np.float32)
    steps: dict[str, list[Array]] = {name: [] for name in names}
    for t in range(given.shape[1]):
        made = dict(zip(names, session.run(names, {main: given[:, t], **states}), strict=True))
        states = {before: made[after] for before, after in pairs.items()}
        for name in names:
            steps[name].append(made[name])
    return {name: np.stack(values, axis=1) for name, values in steps.items()}


def dyadic(rng: np.random.Generator, shape: Sequence[int], top: int = 8, unit: float = 1 / 8) -> Array:
    """Give random numbers of few bits, so that sums of products of them are exact in float32."""
    return (rng.integers(-top, top + 1, tuple(shape)) * unit).astype(np.float32)
