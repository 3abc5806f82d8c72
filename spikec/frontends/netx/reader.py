"""From a `.net` file to a fixed graph: the layers one after another, as netx would connect them on Lava."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

from spikec.compiler.diagnostics import Sink, fail, ignore, remark
from spikec.compiler.fixed import FixedNeuron, Whole
from spikec.compiler.ir import Graph, Node, Op, Origin, Shape
from spikec.compiler.netx import NEVER
from spikec.compiler.ops import Flatten, Input, Output
from spikec.compiler.runner import Readout
from spikec.compiler.verify import verify
from spikec.frontends.netx.connections import check_shape, conv, dense, recurrent
from spikec.frontends.netx.file import Entry, layers
from spikec.frontends.netx.neurons import Parameters, Reset, biases, parameters

BUILT = ("input", "dense", "dense_rec", "conv", "flatten")
NOT_IN_NETX = ("pool", "average", "convT", "unpool", "concat")

INPUT_WEIGHT = 64
INPUT_BITS = 15
"""netx gives an analog input to the bias of the input neurons: weight * x + bias, in 16 bits with sign."""


def lower(
    path: str | Path,
    *,
    input_shape: Shape | None = None,
    input_message_bits: int = 0,
    reset_interval: int | None = None,
    reset_offset: int = 0,
    readout: Readout | None = None,
    remark: Sink = ignore,
) -> Graph:
    """Read a `.net` file as the lowered fixed graph that netx would run on Lava (tag `fixed_pt`).

    Every connection takes one step; weights are the integers that Lava holds after netx's optimize_weight_bits, and
    every change that netx or Lava makes to what the file says is told to `remark`.

    Args:
        path: the file.
        input_shape: shape of the input, channels first, where the file has no input layer and begins with a
            convolution (netx has the same argument, in the order x, y, channel).
        input_message_bits: width of the messages that the first layer is sent; 0 are spikes.
        reset_interval: as netx's argument: the state is set to zero every so many steps.
        reset_offset: the phase of it; layer l (from 0) resets before step t where t % R == (l + reset_offset) % R.
        readout: what the last layer gives out; None is its membrane where it can never fire, else its spikes.
        remark: where remarks and warnings go.

    Raises:
        CompileError: the file cannot be read, a layer or neuron type is not known, or shapes do not fit.

    Source: lava-dl 0.6.0, lava/lib/dl/netx/hdf5.py, and Lava 0.10.0 (semantics measured, see docs/loihi.md).
    """
    if reset_interval is not None and (reset_interval < 1 or reset_offset < 0):
        message = f"a reset interval of {reset_interval} with offset {reset_offset} has no meaning"
        raise fail("netx/reset", message, str(path), "give an interval of 1 or more and an offset of 0 or more")
    reset = Reset(reset_interval or 0, reset_offset)
    chain = _Chain(Path(path).name, reset, remark, input_message_bits, input_shape)
    for index, layer in enumerate(layers(path)):
        chain.add(index, layer)
    return verify(chain.finish(readout))


@dataclass
class _Chain:
    """The graph as far as it has been read: nodes, the last one's name and shape, and what the next layer is sent."""

    source: str
    reset: Reset
    note: Sink
    message_bits: int
    shape: Shape | None
    nodes: list[Node] = field(default_factory=list)
    populations: int = 0
    origin: Origin = field(default_factory=Origin)

    def add(self, index: int, layer: Entry) -> None:
        """Read the next layer."""
        kind = Entry(f"{self.source}, layer {index}", layer.values).text("type")
        layer = Entry(f"{self.source}, layer {index} ({kind})", layer.values)
        self.origin = Origin(self.source, f"layer/{index}")
        if kind in NOT_IN_NETX:
            message = f"layer {index} is of type '{kind}', which netx does not run"
            raise fail("netx/unsupported-layer", message, layer.where, "train without it, or pool by a strided conv")
        if kind not in BUILT:
            message = f"layer {index} is of unknown type '{kind}'"
            raise fail("netx/unknown-layer", message, layer.where, f"known are {', '.join(BUILT)}")
        {
            "input": self._input,
            "flatten": self._flatten,
            "conv": self._conv,
            "dense": self._dense,
            "dense_rec": self._dense,
        }[kind](index, layer)

    def finish(self, readout: Readout | None) -> Graph:
        """Close the graph with its output."""
        last = self.nodes[-1] if self.nodes else None
        if last is None or not isinstance(last.op, FixedNeuron):
            raise fail("netx/no-neurons", "the network does not end in a layer of neurons", self.source)
        silent = isinstance(last.op.threshold, int) and last.op.threshold >= NEVER
        if readout is None and silent:
            self.note(remark("netx/readout", "the last layer cannot fire: its membrane is the output", last.where))
        if readout == "membrane" or (readout is None and silent):
            self.nodes[-1] = replace(last, op=replace(last.op, readout="membrane"))
        self._push("output", Output())
        return Graph(tuple(self.nodes), Path(self.source).stem)

    def _push(self, name: str, op: Op, *more: str) -> str:
        inputs = () if isinstance(op, Input) else (self.nodes[-1].name, *more)
        self.nodes.append(Node(name, op, inputs, self.origin))
        return name

    def _input(self, index: int, layer: Entry) -> None:
        if self.nodes:
            raise fail("netx/late-input", f"layer {index} is an input, but others stand before it", layer.where)
        if "shape" in layer:
            self.shape = _shape(layer)
        if "neuron" not in layer:
            return
        if self.shape is None:
            raise fail("netx/missing", "the input layer has no 'shape'", layer.where)
        found = parameters(layer, self.note, required=True)
        weight = layer.number("weight") if "weight" in layer else INPUT_WEIGHT
        bias = layer.number("bias") if "bias" in layer else 0
        if weight == 0:
            raise fail("netx/input-weight", "the input's weight is 0: the network would see nothing", layer.where)
        message = f"the input reaches its neurons as a bias, {weight} x + {bias}; their current decay does nothing"
        self.note(remark("netx/analog-input", message, layer.where))
        self._push("input", Input(self.shape, "analog", 1 / weight, INPUT_BITS))
        self._population(index, Parameters(4096, found.v_decay, found.threshold, found.message_bits), bias)

    def _begin(self, shape: Shape) -> None:
        """Put the input in front of the first connection, if no input layer did."""
        if not self.nodes:
            self._push("input", Input(shape, "analog" if self.message_bits else "spikes", 1.0, self.message_bits))
            self.shape = shape

    def _flatten(self, index: int, layer: Entry) -> None:
        if self.shape is None:
            return  # the shape of the input is that of the dense layer which follows
        self._begin(self.shape)
        self._push(f"flatten{index}", Flatten())
        self.shape = (prod(self.shape),)

    def _dense(self, index: int, layer: Entry) -> None:
        outputs = prod(_shape(layer))
        rec = layer.text("type") == "dense_rec"
        op, loop = (
            recurrent(layer, outputs, self.message_bits, self.note)
            if rec
            else (dense(layer, outputs, self.message_bits, self.note), None)
        )
        self._begin(self.shape or (op.weight.shape[1],))
        check_shape(layer, op, self.shape, (outputs,))
        found = parameters(layer, self.note, required=False)
        bias = biases(layer, (outputs,), self.note)
        source = self._push(f"dense{index}", op)
        if loop is not None:
            self.nodes.append(Node(f"loop{index}", loop, (f"neuron{index}",), self.origin))
        self.shape = (outputs,)
        self._population(index, found, bias, source if loop is not None else None)

    def _conv(self, index: int, layer: Entry) -> None:
        shape = _shape(layer)
        found = parameters(layer, self.note, required=True)
        op = conv(layer, self.message_bits, self.note)
        if self.shape is None:
            message = "the shape of the input is not known: no input layer stands before this convolution"
            raise fail("netx/input-shape", message, layer.where, "give input_shape=(channels, height, width)")
        self._begin(self.shape)
        check_shape(layer, op, self.shape, shape)
        self._push(f"conv{index}", op)
        self.shape = shape
        self._population(index, found, biases(layer, shape, self.note))

    def _population(self, index: int, found: Parameters, bias: Whole, beside: str | None = None) -> None:
        assert self.shape is not None
        op = found.neuron(bias, self.reset, self.populations, channels=len(self.shape) == 3)
        more = () if beside is None else (beside,)
        self._push(f"neuron{index}", op, *more)
        self.populations += 1
        self.message_bits = found.message_bits


def _shape(layer: Entry) -> Shape:
    return tuple(int(n) for n in layer.array("shape").reshape(-1))
