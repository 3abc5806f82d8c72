"""Reading back the NIR file that an artifact holds, with the reader that anybody's file goes through."""

from __future__ import annotations

import tempfile
from pathlib import Path

from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import Sink
from spikec.compiler.ir import Graph

NIR_FILE = "network.nir"


def read_back(artifact: Artifact, remark: Sink) -> Graph:
    """Read `network.nir` of an artifact as a graph."""
    from spikec.frontends.nir import NirOptions, lower

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / NIR_FILE
        file.write_bytes(artifact.files[NIR_FILE])
        return lower(file, NirOptions(), remark=remark)
