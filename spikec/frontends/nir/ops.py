"""NIR's nodes other than neurons as ops of the IR, one small function a type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.compiler.ir import Op
from spikec.compiler.ops import AvgPool, Conv1d, Conv2d, Delay, Flatten, Input, Linear, Output, Padding, Scale, SumPool
from spikec.compiler.weights import Dense
from spikec.frontends.nir.fields import Fields
from spikec.frontends.nir.neurons import NEURONS, Reading, neuron


def op_of(fields: Fields, how: Reading) -> Op:
    """Give the op of a node, its parameters in the shape that the file gives them.

    Raises:
        CompileError: `nir/unknown-node` names node and type; or a field is missing or makes no sense.
    """
    kind = fields.node.type
    if kind in NEURONS:
        return neuron(kind, fields, how)
    if kind not in MAKERS:
        known = ", ".join(sorted([*MAKERS, *NEURONS]))
        message = f"a node of type '{kind}' is unknown"
        raise fail("nir/unknown-node", message, fields.node.where, f"NIR's types are {known}")
    return MAKERS[kind](fields, how)


def _input(fields: Fields, how: Reading) -> Op:
    return Input(fields.shape("shape") or ())


def _output(fields: Fields, how: Reading) -> Op:
    return Output()


def _linear(fields: Fields, how: Reading) -> Op:
    weight = fields.weights("weight", (2,))
    bias = None
    if fields.has("bias"):
        bias = fields.weights("bias", (0, 1))
        if bias.size not in (1, weight.shape[0]):
            raise fields.bad("bias", f"has shape {list(bias.shape)} beside weights of {list(weight.shape)}")
        bias = np.broadcast_to(bias, (weight.shape[0],))
    return Linear(Dense(weight), bias)


def _conv(fields: Fields, how: Reading) -> Op:
    rank = int(fields.node.type[4])
    weight = fields.weights("weight", (rank + 2,))
    bias = fields.weights("bias", (0, 1)) if fields.has("bias") else None
    if bias is not None:
        if bias.size not in (1, weight.shape[0]):
            raise fields.bad("bias", f"has shape {list(bias.shape)} beside weights of {list(weight.shape)}")
        bias = np.broadcast_to(bias, (weight.shape[0],))
    stride, dilation = fields.ints("stride", rank, 1), fields.ints("dilation", rank, 1)
    if min(stride) < 1 or min(dilation) < 1:
        raise fields.bad("stride or dilation", f"is {list(stride)}, {list(dilation)}; both are 1 or more")
    (groups,) = fields.ints("groups", 1, 1)
    if groups < 1:
        raise fields.bad("groups", f"is {groups}")
    reach = tuple(d * (k - 1) for k, d in zip(weight.shape[2:], dilation, strict=True))
    padding = _padding(fields, reach, stride)
    cls = Conv1d if rank == 1 else Conv2d
    return cls(Dense(weight), bias, stride, padding, dilation, groups)


def _padding(fields: Fields, reach: tuple[int, ...], stride: tuple[int, ...]) -> Padding:
    """Give the zeros before and after each axis; `same` as torch has it: the odd one goes to the end."""
    word = fields.text("padding")
    if word == "valid":
        return ((0, 0),) * len(reach)
    if word == "same":
        if max(stride) != 1:
            message = f"padding 'same' with stride {list(stride)} has no agreed meaning"
            raise fail("nir/same-stride", message, fields.node.where, "write the padding as numbers")
        return tuple((r // 2, r - r // 2) for r in reach)
    if word is not None:
        raise fields.bad("padding", f"is '{word}', not 'same', 'valid' or numbers")
    sides = fields.ints("padding", len(reach), 0)
    if min(sides) < 0:
        raise fields.bad("padding", f"is {list(sides)}; it is 0 or more")
    return tuple((p, p) for p in sides)


def _pool(fields: Fields, how: Reading) -> Op:
    kernel = fields.ints("kernel_size", 2)
    stride = fields.ints("stride", 2) if fields.has("stride") else kernel
    sides = fields.ints("padding", 2, 0)
    if min(*kernel, *stride) < 1 or min(sides) < 0:
        raise fields.bad("kernel_size, stride or padding", f"is {list(kernel)}, {list(stride)}, {list(sides)}")
    cls = SumPool if fields.node.type == "SumPool2d" else AvgPool
    return cls(kernel, stride, tuple((p, p) for p in sides))


def _flatten(fields: Fields, how: Reading) -> Op:
    (start,) = fields.ints("start_dim", 1, 1)
    (end,) = fields.ints("end_dim", 1, -1)
    return Flatten(start, end)


def _scale(fields: Fields, how: Reading) -> Op:
    scale = fields.numbers("scale")
    return Scale(float(scale) if scale.ndim == 0 else scale)


def _delay(fields: Fields, how: Reading) -> Op:
    seconds = fields.numbers("delay")
    steps = seconds / how.dt
    whole = np.rint(steps)
    if np.any(seconds < 0) or np.any(np.abs(steps - whole) > 1e-6 * np.maximum(1.0, np.abs(whole))):
        off = seconds.reshape(-1)[int(np.argmax(np.abs(steps - whole)))]
        message = f"a delay of {off:.6g} s is not a whole number of steps of {how.dt:.6g} s"
        raise fail("nir/delay", message, fields.node.where, "set a dt that divides every delay, NirOptions(dt=...)")
    return Delay(int(whole) if whole.ndim == 0 else whole.astype(np.int64))


MAKERS: dict[str, Callable[[Fields, Reading], Op]] = {
    "Input": _input,
    "Output": _output,
    "Affine": _linear,
    "Linear": _linear,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
    "Scale": _scale,
    "Delay": _delay,
}
"""What is known beside the neurons."""
