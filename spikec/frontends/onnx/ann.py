"""An ordinary network with ReLU becomes one of integrate-and-fire neurons: the structure, before the thresholds.

A rectified value x of a layer whose largest is L is sent as spikes: a neuron that adds its input, fires above the
threshold L and is then reset by subtraction of L fires about x / L times a step. So its spikes, each worth L, carry x
(Rueckauer et al. 2017, "Conversion of continuous-valued deep networks to efficient event-driven networks", eq. 1-4).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikec.compiler.diagnostics import Sink, fail, remark, warning
from spikec.compiler.ir import Graph, Origin
from spikec.compiler.neurons import LI, Neuron
from spikec.compiler.ops import Input
from spikec.frontends.onnx import elementwise, layers
from spikec.frontends.onnx.algebra import Value
from spikec.frontends.onnx.assemble import Assembly
from spikec.frontends.onnx.options import OnnxOptions
from spikec.frontends.onnx.refusals import refusal
from spikec.frontends.onnx.source import Call, Source
from spikec.frontends.onnx.states import no_batch
from spikec.frontends.onnx.walk import Rule, Signal, Tensor, Walk

Made = Mapping[str, Tensor]
Given = tuple[Tensor | None, ...]
RECTIFIER = Neuron(a_mem=1.0)
"""Stands where the file has a ReLU until its threshold is known."""
READOUT = LI(1.0)
"""Adds up what the last layer gives; its membrane is the result."""


def walked(source: Source, options: OnnxOptions, tell: Sink) -> Walk:
    """Walk over an ordinary network; a ReLU is a signal of its own.

    Raises:
        CompileError: every node without a form among spiking neurons; several inputs.
    """
    if len(source.inputs) != 1:
        raise fail("onnx/inputs", f"the network has {len(source.inputs)} inputs, not 1", source.name, "give it one")
    ((main, shape),) = source.inputs.items()
    rules = {**{name: elementwise.RULES[name] for name in LINEAR}, **layers.RULES, **RULES}
    if options.maxpool == "error":
        rules["MaxPool"] = _no_max_pool
    walk = Walk(source, rules, refusal)
    port, size = walk.name(main), no_batch(shape, main, source.name)
    value = walk.algebra.variable("signal", port)
    (number,) = value.variables()
    op = Input(size, "spikes" if options.input == "spikes" else "analog")
    walk.signals[number] = Signal(port, op, Value({}), size, main, Origin(source.name, main))
    walk.tensors[main] = Tensor(value, size)
    walk.run()
    for call in walk.hidden:
        message = f"{call.op} is left out: it does not change which output is the largest"
        tell(remark("onnx/softmax", message, call.where))
    if options.maxpool == "spikes" and any(call.op == "MaxPool" for call in source.calls):
        message = "max pooling sends a spike if any of its window does, which is more than the largest rate"
        tell(warning("onnx/maxpool", message, source.name, "measure it on your data, or train with average pooling"))
    return walk


def assembled(walk: Walk, source: Source, options: OnnxOptions) -> Graph:
    """Give the graph with neurons that have no threshold yet, and a readout behind the last layer."""
    wanted = [options.output] if options.output else list(source.outputs[:1])
    if options.output and options.output not in source.outputs:
        help = f"results: {', '.join(source.outputs)}"
        raise fail("onnx/output", f"there is no result '{options.output}'", source.name, help)
    outputs = []
    for name in wanted:
        value = walk[name].value
        if not _spikes(walk, value):
            made = walk.algebra.variable("signal", "readout")
            (number,) = made.variables()
            shape = walk[name].shape
            walk.signals[number] = Signal(walk.name("readout"), READOUT, value, shape, "", Origin(source.name, name))
            value = made
        outputs.append(("output", value, name))
    return Assembly(walk, (), ()).graph(outputs, source.name, membrane=False)


def _spikes(walk: Walk, value: Value) -> bool:
    signals = [walk.signals[number] for number in value.variables() if number in walk.signals]
    return len(value.terms) == 1 and len(signals) == 1 and signals[0].op is RECTIFIER


def rectifiers(walk: Walk) -> dict[str, str]:
    """Give the tensor of every ReLU by the name of its neuron."""
    return {signal.name: signal.tensor for signal in walk.signals.values() if signal.op is RECTIFIER}


def _relu(walk: Walk, call: Call, given: Given) -> Made:
    tensor = given[0]
    if tensor is None or tensor.array is not None:
        raise fail("onnx/operands", f"{call.kind} reads a constant", call.where, "export it again")
    return {call.outputs[0]: walk.signal(call, RECTIFIER, tensor)}


def _clip(walk: Walk, call: Call, given: Given) -> Made:
    """A Clip from 0 is a ReLU with a ceiling, which the threshold stays below: it is taken from clipped values."""
    low = given[1].array if len(given) > 1 and given[1] is not None else call.attributes.get("min")
    if low is None or np.any(np.asarray(low) != 0):
        message = "Clip does not begin at 0"
        raise fail("onnx/clip", message, call.where, "train with ReLU or ReLU6: a spike has no negative value")
    return _relu(walk, call, given)


def _softmax(walk: Walk, call: Call, given: Given) -> Made:
    if walk.source.readers(call.outputs[0]) != 1 or call.outputs[0] not in walk.source.outputs:
        raise refusal(call)
    walk.hidden.append(call)
    tensor = given[0]
    assert tensor is not None
    return {call.outputs[0]: tensor}


def _no_max_pool(walk: Walk, call: Call, given: Given) -> Made:
    message = "MaxPool of values has no form among spikes, which carry them as rates"
    help = "train with average pooling; or --onnx maxpool=spikes sends a spike if any of the window does"
    raise fail("onnx/maxpool", message, call.where, help)


LINEAR = ("Add", "Sub", "Mul", "Div", "Neg", "Sum", "Identity", "Dropout", "Cast")
RULES: dict[str, Rule] = {"Relu": _relu, "Clip": _clip, "Softmax": _softmax, "LogSoftmax": _softmax}
