"""The ONNX file that an artifact holds: read back by the reader that anybody's goes through, and run by onnxruntime."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import Sink
from spikec.compiler.ir import Graph
from spikec.runtime.onnxstep import OnnxStep

ONNX_FILE = "network.onnx"
STATES_FILE = "states.json"


def read_back(artifact: Artifact, remark: Sink) -> Graph:
    """Read `network.onnx` of an artifact as a graph."""
    from spikec.frontends.onnx import OnnxOptions, lower

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ONNX_FILE
        file.write_bytes(artifact.files[ONNX_FILE])
        return lower(file, OnnxOptions(form="step"), remark=remark)


def step_of(artifact: Artifact) -> OnnxStep:
    """Give the step that an artifact holds, to be run by onnxruntime."""
    return OnnxStep(artifact.files[ONNX_FILE], json.loads(artifact.files[STATES_FILE])["states"])
