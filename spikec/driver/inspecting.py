"""Looking at things: the layers of a graph, the user's input files, and the health of the installation."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import import_module, metadata

import numpy as np

import spikec
from spikec.compiler.diagnostics import CompileError, Sink, ignore
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.weights import Array, Weight
from spikec.runtime.events import Rounding, load_input, parse_time


@dataclass(frozen=True)
class Check:
    """One part of the installation: whether it is fine, what it is, and what to do if it is not."""

    part: str
    fine: bool
    state: str
    help: str = ""


def layer_rows(graph: Graph) -> list[tuple[str, ...]]:
    """Give a row a node: name, op, shape, weights, share that is not zero, bits, origin."""
    rows: list[tuple[str, ...]] = []
    for node in graph:
        weight = getattr(node.op, "weight", None)
        shape = "x".join(map(str, graph.shapes[node.name]))
        cells = ("", "", "")
        if isinstance(weight, Weight):
            values = weight.decode()
            share = np.count_nonzero(values) / max(1, values.size)
            cells = (f"{values.size}", f"{100 * share:.1f} %", f"{weight.bits}")
        rows.append((node.name, node.op.mnemonic, shape, *cells, str(node.origin)))
    return rows


def totals(graph: Graph) -> str:
    """Say how many neurons and weights a network has and what the weights cost."""
    held = [getattr(node.op, "weight", None) for node in graph]
    weights = [weight for weight in held if isinstance(weight, Weight)]
    neurons = sum(int(np.prod(graph.shapes[node.name])) for node in graph.of(Neuron, FixedNeuron))
    size = sum(int(np.prod(weight.shape)) for weight in weights)
    return f"{neurons} neurons, {size} weights, {sum(weight.bits for weight in weights)} bits of weights"


def read_inputs(
    path: str,
    labels: str | None,
    shape: Shape | None,
    samples: int | None,
    *,
    bin: str | None = None,
    steps: int | None = None,
    rounding: Rounding = "nearest",
    remark: Sink = ignore,
) -> tuple[Array, Array | None]:
    """Read inputs and labels from files, at most `samples` of them.

    Raises:
        CompileError: a file cannot be read, or its content does not fit.
    """
    bin_us = parse_time(bin) if bin else None
    read = load_input(path, shape=shape, bin_us=bin_us, steps=steps, rounding=rounding, labels=labels, remark=remark)
    return read.inputs[:samples], None if read.labels is None else read.labels[:samples]


def health() -> list[Check]:
    """Look at everything that spikec can use here."""
    core = _core("_spikecore", "the C++ core: reinstall spikec")
    return [
        Check("spikec", True, spikec.__version__),
        Check(
            "Python",
            sys.version_info >= (3, 10),
            platform.python_version(),
            "" if sys.version_info >= (3, 10) else "3.10 or later",
        ),
        core,
        _installed("numpy", "pip install numpy"),
        _installed("nir", "pip install nir"),
        _installed("torch", "pip install 'spikec[torch]' for torch networks", optional=True),
        _installed("snntorch", "pip install snntorch for its networks", optional=True),
        _installed("norse", "pip install --no-deps norse for its networks", optional=True),
        _installed("sinabs", "pip install --no-deps sinabs pbr for its networks", optional=True),
        _installed("onnx", "pip install 'spikec[onnx]' for .onnx files", optional=True),
        lava_status(),
    ]


def lava_status() -> Check:
    """Say whether Lava's own environment is there. Lava is optional: its absence is no fault."""
    from spikec.runtime.lava.env import find

    try:
        found = find()
    except CompileError as error:
        return Check("Lava", False, error.diagnostics[0].message, error.diagnostics[0].help)
    if found is None:
        return Check("Lava", True, "not installed", "spikec lava install")
    return Check("Lava", True, f"ready: {found}")


def _installed(package: str, help: str, *, optional: bool = False) -> Check:
    try:
        return Check(package, True, metadata.version(package))
    except metadata.PackageNotFoundError:
        return Check(package, optional, "not installed", help)


def _core(module: str, help: str) -> Check:
    try:
        made = import_module(module)
    except ImportError as error:
        return Check(module, False, str(error), help)
    return Check(module, True, str(getattr(made, "__version__", "present")))
