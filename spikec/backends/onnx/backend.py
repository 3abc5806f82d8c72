"""The ONNX backend: one step of the network as a plain ONNX file that any runtime takes, states in and out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikec.backends.onnx.layers import WRITERS
from spikec.backends.onnx.lines import Lines
from spikec.backends.onnx.neuron import write_neuron
from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import Diagnostic, fail, warning
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv1d, Conv2d, Input, Linear, Output
from spikec.compiler.serialize import dumps
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights import Dense

NETWORK = "network.onnx"
STATES = "states.json"
GRAPH = "graph.spk"
NOTE = "spikec.states"
OPSET, IR_VERSION = 20, 10


@dataclass(frozen=True)
class OnnxBackend:
    """Writes ONNX: standard ops of opset 20, samples along a free first axis, every number in float32.

    What is carried from step to step (membranes, synaptic currents, delays, what recurrent connections read) is an
    input NAME and a result NAME_next of the same shape. All start at 0 but those that `states.json`, and the model's
    property `spikec.states`, say otherwise of.
    """

    name: str = "onnx"
    description: str = "one step of the network as an ONNX file, its states as inputs and outputs, for any runtime"

    def check(self, graph: Graph) -> Iterator[Diagnostic]:
        """Yield an error for what ONNX cannot hold, and a warning for what is held otherwise."""
        try:
            import onnx  # noqa: F401
        except ImportError:
            yield Diagnostic("onnx/missing", "writing ONNX needs the package onnx", help="pip install 'spikec[onnx]'")
        if is_fixed(graph):
            message = "this target takes networks as they were trained; this one is quantized to integers"
            yield Diagnostic("onnx/fixed", message, graph.name, "give the ONNX backend the graph before quantize")
            return
        for node in graph:
            yield from _lowered(node)
            yield from _loss(node)

    def emit(self, graph: Graph) -> Artifact:
        """Make the artifact.

        Files: `network.onnx`; `states.json`, the states with the results that follow them, shapes and where they
        start; `graph.spk`, the graph itself.
        """
        model, states = step_of(graph)
        data: bytes = model.SerializeToString(deterministic=True)
        listed = json.dumps(states, indent=1) + "\n"
        losses = [str(found.message) for node in graph for found in _loss(node)]
        facts = {"network": NETWORK, "states": len(states["states"]), "bits_on_target": 8 * len(data), "losses": losses}
        return Artifact(self.name, {GRAPH: dumps(graph), NETWORK: data, STATES: listed.encode()}, facts)


def _lowered(node: Node) -> Iterator[Diagnostic]:
    if getattr(node.op, "latency", 0):
        message = f"the connection takes {getattr(node.op, 'latency', 0)} steps: the graph was lowered for a chip"
        yield Diagnostic("onnx/lowered", message, node.where, "give the ONNX backend the graph as it was trained")


def _loss(node: Node) -> Iterator[Diagnostic]:
    """Warn of encoded weights: ONNX holds their values, not the encoding."""
    if isinstance(node.op, Linear | Conv1d | Conv2d) and not isinstance(node.op.weight, Dense):
        kind = type(node.op.weight).__name__
        message = f"the {kind} weights of '{node.name}' are written out dense: the values stay, the encoding does not"
        yield warning("onnx/loss", message, node.where, "graph.spk in the artifact keeps it")


def step_of(graph: Graph) -> tuple[Any, dict[str, Any]]:
    """Give the `onnx.ModelProto` of one step of a float graph, and the states as plain data."""
    lines = Lines()
    made: dict[str, str] = {}
    late = _read_late(graph)
    for node in graph:
        lines.place = node.name
        if node.name in late:
            late[node.name] = lines.state("kept", graph.shapes[node.name])
    for node in graph:
        lines.place = node.name
        made[node.name] = _written(lines, graph, node, made, late)
        if node.name in late:
            lines.after(late[node.name], made[node.name])
    return _model(graph, lines), _states(lines)


def _read_late(graph: Graph) -> dict[str, str]:
    """Give the nodes that an earlier one reads: their outputs are kept for a step."""
    return {name: "" for node in graph for name in node.inputs if graph.is_recurrent(name, node.name)}


def _written(lines: Lines, graph: Graph, node: Node, made: dict[str, str], late: dict[str, str]) -> str:
    if isinstance(node.op, Input):
        return node.name
    given = [late[name] if graph.is_recurrent(name, node.name) else made[name] for name in node.inputs]
    if isinstance(node.op, Output):
        return lines.make("Identity", given[0], made=node.name)
    x = lines.sum(given)
    shape = graph.shapes[node.name]
    if isinstance(node.op, Neuron):
        return write_neuron(lines, node.op, x, shape)
    writer = WRITERS.get(type(node.op))
    if writer is None:
        raise fail("onnx/no-form", f"{node.op.mnemonic} has no form in ONNX", node.where)
    return writer(lines, node.op, x, graph.shapes[node.inputs[0]], shape)


def _states(lines: Lines) -> dict[str, Any]:
    listed = [
        {"input": name, "output": after, "shape": list(lines.shapes[name]), "start": np.asarray(start).tolist()}
        for name, (after, start) in lines.states.items()
    ]
    return {"states": listed}


def _model(graph: Graph, lines: Lines) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    (source,) = graph.of(Input)
    ports = {source.name: graph.shapes[source.name], **lines.shapes}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in ports.items()]
    results = {node.name: graph.shapes[node.name] for node in graph.of(Output)}
    results |= {after: lines.shapes[name] for name, (after, _) in lines.states.items()}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in results.items()]
    constants = [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in lines.constants.items()]
    inner = helper.make_graph(lines.nodes, graph.name or "network", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(inner, opset_imports=opsets, ir_version=IR_VERSION, producer_name="spikec")
    note = {name: [after, np.asarray(start).tolist()] for name, (after, start) in lines.states.items()}
    helper.set_model_props(model, {NOTE: json.dumps(note)})
    return model
