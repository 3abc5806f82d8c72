"""onnxruntime as an engine: runs a step with its states over time, as anybody would who has the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input, Output
from spikec.compiler.runner import Result, Trace
from spikec.compiler.weights import Array


def installed() -> bool:
    """Say whether onnxruntime is there."""
    return find_spec("onnxruntime") is not None


@dataclass(frozen=True, eq=False)
class OnnxStep:
    """A step as the bytes of an ONNX file, and its states: `input`, `output`, `shape`, `start`."""

    data: bytes
    states: Sequence[Mapping[str, Any]]

    def run(self, graph: Graph, inputs: Array, *, trace: Trace = False) -> Result:
        """Run inputs (N, T, *shape); traces are the outputs, under the names of the nodes that make them."""
        import onnxruntime

        session = onnxruntime.InferenceSession(self.data, providers=["CPUExecutionProvider"])
        (port,) = graph.of(Input)
        names = [item.name for item in session.get_outputs()]
        wanted = {node.name: node.inputs[0] for node in graph.of(Output)}
        kept = {s["input"]: self._start(s, len(inputs)) for s in self.states}
        steps: dict[str, list[Array]] = {name: [] for name in wanted}
        for t in range(inputs.shape[1]):
            given = {port.name: inputs[:, t].astype(np.float32), **kept}
            made = dict(zip(names, session.run(names, given), strict=True))
            kept = {s["input"]: made[s["output"]] for s in self.states}
            for name in wanted:
                steps[name].append(np.asarray(made[name]))
        outputs = {name: np.stack(values, axis=1) for name, values in steps.items()}
        return Result(outputs, {f"s/{source}": outputs[name] for name, source in wanted.items()})

    @staticmethod
    def _start(state: Mapping[str, Any], samples: int) -> Array:
        return np.broadcast_to(np.asarray(state["start"], np.float32), (samples, *state["shape"])).copy()
