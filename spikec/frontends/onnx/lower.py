"""From an ONNX file to the IR: read it, tell which of its forms it has, and lower that."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from spikec.compiler.diagnostics import Sink, fail, ignore
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input
from spikec.compiler.verify import verify
from spikec.frontends.onnx.ann import assembled, rectifiers, walked
from spikec.frontends.onnx.balance import balanced, calibrated, thresholds
from spikec.frontends.onnx.file import read
from spikec.frontends.onnx.options import OnnxOptions
from spikec.frontends.onnx.scan import from_scan
from spikec.frontends.onnx.source import Source, source_of
from spikec.frontends.onnx.step import lower_step, one_step

DEFAULTS = OnnxOptions()
COMPARING = frozenset(("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Sign"))


def lower(
    path: str | Path,
    options: OnnxOptions = DEFAULTS,
    *,
    readout: Literal["auto", "spikes", "membrane"] = "auto",
    samples: Any = None,
    remark: Sink = ignore,
) -> Graph:
    """Read an ONNX file into a float graph.

    Args:
        path: a `.onnx` file; its external data, if any, lies beside it.
        options: what the file leaves open.
        readout: `membrane` reads the membrane potential of the last neurons in place of their spikes.
        samples: inputs (N, *shape) or (N, T, *shape), on which the thresholds of a converted network are balanced;
            `options.calibrate` comes first.
        remark: is told every choice that mattered, and how to make another.

    Raises:
        CompileError: `onnx/...` diagnostics: an unreadable file, nodes without a spiking form (all of them), an update
            that is no neuron's, an export that lost its state, a missing calibration.
    """
    model = read(path, options.max_bytes)
    source = source_of(model, Path(path).name)
    scans = [call for call in source.calls if call.op == "Scan"]
    if len(scans) == 1:
        return verify(lower_step(from_scan(source, model, remark), options, readout, remark))
    if not source.inputs:
        raise fail("onnx/no-input", "the network has no input", source.name, "export it with an example input")
    if is_step(source, options):
        return verify(lower_step(one_step(source, model), options, readout, remark))
    return verify(_converted(source, model, options, samples, remark))


def _converted(source: Source, model: Any, options: OnnxOptions, samples: Any, tell: Sink) -> Graph:
    """Convert an ordinary network to integrate-and-fire neurons."""
    walk = walked(source, options, tell)
    graph = assembled(walk, source, options)
    tensors = {name: tensor for name, tensor in rectifiers(walk).items() if name in graph}
    if not tensors:
        help = "a network with ReLU is converted; a spiking one is exported as a step with its states"
        raise fail("onnx/no-neuron", "nothing in it rectifies or makes spikes", source.name, help)
    (node,) = graph.of(Input)
    given = calibrated(samples, options, graph.shapes[node.name], source)
    return balanced(graph, thresholds(graph, tensors, model, source, given, options), options, tell)


def is_step(source: Source, options: OnnxOptions) -> bool:
    """Say whether a file is a step of a spiking network; else it is an ordinary network that is to be converted."""
    if options.form != "auto":
        return options.form == "step"
    return len(source.inputs) > 1 or any(call.op in COMPARING or "::LIF" in call.kind for call in source.calls)
