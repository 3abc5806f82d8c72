"""Every op other than the neuron in NIR, one small function an op."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from spikec.backends.nir.kernels import crooked, dense, grow, growth, is_square, padding_of
from spikec.backends.nir.loss import Loss
from spikec.backends.nir.neurons import neuron_form
from spikec.backends.nir.parts import Form, Part, full, whole
from spikec.compiler.ir import Node, Op, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import (
    AvgPool,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Linear,
    Output,
    Reshape,
    Scale,
    SumPool,
)
from spikec.compiler.weights import Array, Dense, Weight
from spikec.compiler.weights_nm import NM


def form_of(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    """Give the NIR form of a node that reads shape `given` and makes shape `made`; only for what `check` allows."""
    if isinstance(node.op, Neuron):
        return neuron_form(node, made, dt)
    return FORMS[type(node.op)](node, given, made, dt)


def _input(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    assert isinstance(node.op, Input)
    true = {"size": made, "kind": node.op.kind, "scale": node.op.scale, "message_bits": node.op.message_bits}
    return Form((Part("Input", {"shape": whole(*made)}, node.op),), true)


def _output(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    return Form((Part("Output", {"shape": whole(*made)}, node.op),))


def _linear(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    assert isinstance(node.op, Linear)
    weight = np.asarray(node.op.weight.decode())
    fields: dict[str, Array] = {"weight": weight}
    if node.op.bias is not None:
        fields["bias"] = np.asarray(node.op.bias)
    literal = Linear(Dense(weight), node.op.bias)
    part = Part("Linear" if node.op.bias is None else "Affine", fields, literal, sealed=False)
    return Form((part,), _pattern(node.op.weight) or None, _encoding(node.name, node.op.weight))


def _conv(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    op = node.op
    assert isinstance(op, Conv1d | Conv2d)
    grown = growth(op) or crooked(op)
    assert grown is not None, "check refuses a padding that no growth evens"
    weight = grow(dense(op), grown)
    padding = padding_of(op, grown)
    bias = np.zeros(weight.shape[0], weight.dtype) if op.bias is None else np.asarray(op.bias)
    space = given[1:]
    fields: dict[str, Array] = {
        "input_shape": np.asarray(space[0], np.int64) if op.rank == 1 else whole(*space),
        "weight": weight,
        "stride": whole(*op.stride),
        "padding": whole(*padding),
        "dilation": whole(*op.dilation),
        "groups": np.asarray(1, np.int64),
        "bias": bias,
    }
    literal = type(op)(Dense(weight), bias, op.stride, tuple((p, p) for p in padding), op.dilation)
    true = {"groups": op.groups, "grown": grown, "padding": op.padding, "bias": op.bias is not None}
    true |= _pattern(op.weight)
    losses = [*_encoding(node.name, op.weight)]
    if op.groups > 1:
        losses.append(Loss(node.name, "groups", str(op.groups), "1", f"weights with zeros, {op.groups} times the size"))
    if not is_square(weight.shape[2:]):
        kernel, refusal = "x".join(map(str, weight.shape[2:])), "nir 1.0.8 reads it with type_check=False only"
        losses.append(Loss(node.name, "kernel", kernel, kernel, refusal))
    return Form((Part(f"Conv{op.rank}d", fields, literal, sealed=False),), true, tuple(losses))


def _pool(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    op = node.op
    assert isinstance(op, SumPool | AvgPool)
    sides = whole(*(before for before, _ in op.padding))
    fields: dict[str, Array] = {"kernel_size": whole(*op.kernel), "stride": whole(*op.stride), "padding": sides}
    return Form((Part("SumPool2d" if isinstance(op, SumPool) else "AvgPool2d", fields, op),))


def _flatten(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    op = node.op
    assert isinstance(op, Flatten)
    end = op.end % len(given)
    return Form((_flat_part(given, op.start, -1 if end == len(given) - 1 else end),))


def _reshape(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    return Form((_flat_part(given, 0, -1),), {"size": made})


def _flat_part(given: Shape, start: int, end: int) -> Part:
    numbers: dict[str, Array] = {"start_dim": np.asarray(start, np.int64), "end_dim": np.asarray(end, np.int64)}
    return Part("Flatten", {"input_type": whole(*given), **numbers}, Flatten(start, end))


def _scale(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    assert isinstance(node.op, Scale)
    part = Part("Scale", {"scale": full(node.op.factor, made)}, Scale(node.op.factor))
    return Form((part,), {"factor": node.op.factor, "offset": 0.0})


def _delay(node: Node, given: Shape, made: Shape, dt: float) -> Form:
    assert isinstance(node.op, Delay)
    part = Part("Delay", {"delay": full(node.op.steps, made) * dt}, Delay(node.op.steps))
    return Form((part,), {"steps": node.op.steps, "balance": node.op.balance})


def _pattern(weight: Weight) -> dict[str, Any]:
    """Give the N:M structure of weights for the note: n, m and the axis; NIR holds the plain numbers."""
    return {"nm": (weight.n, weight.m, weight.axis)} if isinstance(weight, NM) else {}


def _encoding(name: str, weight: Weight) -> tuple[Loss, ...]:
    """Tell that an encoding is written out: NIR holds plain numbers."""
    if isinstance(weight, Dense):
        return ()
    plain = np.asarray(weight.decode())
    size = f"{prod(plain.shape) * plain.itemsize * 8} bits"
    return (Loss(name, "weight", f"{weight.describe()}, {weight.bits} bits", f"dense, {size}", "the file is larger"),)


FORMS: dict[type[Op], Callable[[Node, Shape, Shape, float], Form]] = {
    Input: _input,
    Output: _output,
    Linear: _linear,
    Conv1d: _conv,
    Conv2d: _conv,
    SumPool: _pool,
    AvgPool: _pool,
    Flatten: _flatten,
    Reshape: _reshape,
    Scale: _scale,
    Delay: _delay,
}
"""How each op that NIR can hold is written."""
