"""One walk over a graph: every tensor becomes a piecewise-affine value of states and of signals that layers make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError, Findings, fail
from spikec.compiler.ir import Op, Origin, Shape
from spikec.compiler.ops import Conv1d, Conv2d, Linear
from spikec.compiler.weights import Array
from spikec.frontends.onnx.algebra import Algebra, NotAffineError, Value, constant
from spikec.frontends.onnx.source import Call, Source


@dataclass(frozen=True, eq=False)
class Tensor:
    """What a name stands for: its value, its shape without the batch axis, and the array itself if it is constant."""

    value: Value
    shape: Shape
    array: Array | None = None


@dataclass(frozen=True, eq=False)
class Signal:
    """What a layer makes: its op, the value that it reads, shape, the tensor's name in the file, and its place."""

    name: str
    op: Op
    given: Value
    shape: Shape
    tensor: str
    origin: Origin


Rule = Callable[["Walk", Call, tuple[Tensor | None, ...]], Mapping[str, Tensor]]
"""Gives the tensors that a call makes, by name, from those that it reads (None for one left out)."""


@dataclass(eq=False)
class Walk:
    """A walk under way."""

    source: Source
    rules: Mapping[str, Rule]
    refuse: Callable[[Call], CompileError]
    algebra: Algebra = field(default_factory=Algebra)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    signals: dict[int, Signal] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    hidden: list[Any] = field(default_factory=list)

    def run(self) -> None:
        """Walk.

        Raises:
            CompileError: every call that is not understood; what follows from one of them is not told again.
        """
        found, lost = Findings(), set[str]()
        for call in self.source.calls:
            if lost.intersection(call.inputs):
                lost.update(call.outputs)
                continue
            lost.update(call.outputs)
            with found.catching():
                self.tensors.update(self._made(call))
                lost.difference_update(call.outputs)
        found.raise_errors()

    def __getitem__(self, name: str) -> Tensor:
        """Give a tensor, or a constant of the file as one."""
        if name not in self.tensors:
            array = np.asarray(self.source.constants[name])
            self.tensors[name] = Tensor(constant(array), tuple(array.shape[1:]), array)
        return self.tensors[name]

    def signal(self, call: Call, op: Op, given: Tensor, place: str = "") -> Tensor:
        """Make what a layer computes from a value a signal of its own.

        Raises:
            CompileError: the op does not take that shape.
        """
        try:
            shape = op.shape(given.shape)
        except ValueError as error:
            raise fail("onnx/shape-mismatch", str(error), call.where, "check the shapes of the layers") from error
        name = self.name(place or call.place)
        value = self.algebra.variable("signal", name)
        origin = Origin(self.source.name, call.place)
        (number,) = value.variables()
        self.signals[number] = Signal(name, op, given.value, shape, call.outputs[0], origin)
        return Tensor(value, shape)

    def name(self, wanted: str) -> str:
        """Give a name that no other node has."""
        wanted = re.sub(r"_scan_combine_graph_\d+__subgraph_in$", "", wanted).removeprefix("node_") or "node"
        count, free = 0, wanted
        while free in self.taken:
            count += 1
            free = f"{wanted}.{count}"
        self.taken.add(free)
        return free

    def biased(self, tensor: Tensor, bias: Array, made: str) -> Tensor | None:
        """Give a layer's signal with a bias put into the layer, if it is one that has none and the bias fits."""
        variables = tensor.value.variables()
        if len(variables) != 1 or len(tensor.value.terms) != 1:
            return None
        (number,) = variables
        signal = self.signals.get(number)
        if signal is None or not isinstance(signal.op, Linear | Conv1d | Conv2d) or signal.op.bias is not None:
            return None
        if not np.all(tensor.value.terms[frozenset(), number] == 1) or tensor.value.steps():
            return None
        flat = _per_output(bias, signal)
        if flat is None:
            return None
        op = _with_bias(signal.op, flat)
        self.signals[number] = Signal(signal.name, op, signal.given, signal.shape, made, signal.origin)
        return tensor

    def unnamed(self, tensor: Tensor) -> None:
        """Note that a layer's signal is no tensor of the file: something was added to it there."""
        (number,) = tensor.value.variables()
        self.signals[number] = replace(self.signals[number], tensor="")

    def _made(self, call: Call) -> Mapping[str, Tensor]:
        rule = self.rules.get(call.kind)
        if rule is None:
            raise self.refuse(call)
        try:
            return rule(self, call, tuple(self[name] if name else None for name in call.inputs))
        except NotAffineError as error:
            message = f"{call.kind} makes {error}, which no neuron of spikec has"
            raise fail("onnx/not-affine", message, call.where, "use a leaky integrate-and-fire update") from error
        except (ValueError, IndexError, TypeError, AttributeError) as error:
            message = f"{call.kind} has attributes or inputs that do not fit it"
            raise fail("onnx/bad-node", message, call.where, "export it again") from error


def _per_output(bias: Array, signal: Signal) -> Array | None:
    """Give a bias as (out,), or None where it is not one number an output channel."""
    axis = -1 if isinstance(signal.op, Linear) else -len(signal.shape)
    whole = (1,) * max(0, len(signal.shape) + 1 - bias.ndim) + bias.shape
    if any(size != 1 for at, size in enumerate(whole) if at - len(whole) != axis) or bias.ndim > len(whole):
        return None
    return np.broadcast_to(bias.reshape(-1), (signal.shape[axis],)).copy()


def _with_bias(op: Op, bias: Array) -> Op:
    assert isinstance(op, Linear | Conv1d | Conv2d)
    return replace(op, bias=bias)
