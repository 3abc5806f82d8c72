"""Layers, pools and delays in standard ONNX ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spikec.backends.onnx.lines import Lines
from spikec.compiler.ir import Op, Shape
from spikec.compiler.ops import (
    AvgPool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Delay,
    Dropout,
    Flatten,
    Linear,
    MaxPool,
    Padding,
    Reshape,
    Scale,
    SumPool,
)

Writer = Callable[[Lines, Any, str, Shape, Shape], str]
"""Writes an op that reads a tensor of the first shape and makes the second (without samples); gives what it makes."""


def _linear(lines: Lines, op: Linear, x: str, given: Shape, made: Shape) -> str:
    weight = op.weight.decode()
    if op.delays is None and len(given) == 1:
        bias = () if op.bias is None else (lines.number(op.bias, "bias"),)
        return lines.make("Gemm", x, lines.number(weight, "weight"), *bias, transB=1)
    if op.delays is None:
        total = lines.make("MatMul", x, lines.number(weight.T, "weight"))
    else:
        back = lines.kept(x, given, int(np.max(op.delays, initial=0)), "x")
        parts = [(int(d), np.where(op.delays == d, weight, 0)) for d in np.unique(op.delays)]
        total = lines.sum([lines.make("MatMul", back[d], lines.number(part.T, f"weight{d}")) for d, part in parts])
    return total if op.bias is None else lines.make("Add", total, lines.number(op.bias, "bias"))


def _conv(lines: Lines, op: Conv1d | Conv2d, x: str, given: Shape, made: Shape) -> str:
    bias = () if op.bias is None else (lines.number(op.bias, "bias"),)
    weight = lines.number(op.weight.decode(), "weight")
    strides, dilations = list(op.stride), list(op.dilation)
    pads = _pads(op.padding)
    return lines.make("Conv", x, weight, *bias, strides=strides, dilations=dilations, pads=pads, group=op.groups)


def _pads(padding: Padding) -> list[int]:
    return [before for before, _ in padding] + [after for _, after in padding]


def _sum_pool(lines: Lines, op: SumPool, x: str, given: Shape, made: Shape) -> str:
    """A sum pool is a convolution of ones: ONNX has averages alone."""
    ones = lines.number(np.ones((given[0], 1, *op.kernel), np.float32), "ones")
    return lines.make("Conv", x, ones, strides=list(op.stride), pads=_pads(op.padding), group=given[0])


def _average_pool(lines: Lines, op: AvgPool, x: str, given: Shape, made: Shape) -> str:
    kernel, pads = list(op.kernel), _pads(op.padding)
    return lines.make("AveragePool", x, kernel_shape=kernel, strides=list(op.stride), pads=pads, count_include_pad=1)


def _max_pool(lines: Lines, op: MaxPool, x: str, given: Shape, made: Shape) -> str:
    return lines.make("MaxPool", x, kernel_shape=list(op.kernel), strides=list(op.stride), pads=_pads(op.padding))


def _reshape(lines: Lines, op: Flatten | Reshape, x: str, given: Shape, made: Shape) -> str:
    return lines.make("Reshape", x, lines.number(np.array([-1, *made], np.int64), "shape"))


def _scale(lines: Lines, op: Scale, x: str, given: Shape, made: Shape) -> str:
    return lines.plus(lines.times(x, op.factor, "factor"), op.offset, "offset")


def _batchnorm(lines: Lines, op: BatchNorm, x: str, given: Shape, made: Shape) -> str:
    numbers = [lines.number(getattr(op, name), name) for name in ("gain", "shift", "mean", "var")]
    return lines.make("BatchNormalization", x, *numbers, epsilon=op.eps)


def _dropout(lines: Lines, op: Dropout, x: str, given: Shape, made: Shape) -> str:
    return x


def _delay(lines: Lines, op: Delay, x: str, given: Shape, made: Shape) -> str:
    back = lines.kept(x, given, int(np.max(op.steps)), "d")
    if np.ndim(op.steps) == 0:
        return back[int(op.steps)]
    parts = []
    for steps in np.unique(op.steps):
        here = lines.number((np.asarray(op.steps) == steps).astype(np.float32), f"at{steps}")
        parts.append(lines.make("Mul", here, back[int(steps)]))
    return lines.sum(parts)


WRITERS: dict[type[Op], Writer] = {
    Linear: _linear,
    Conv1d: _conv,
    Conv2d: _conv,
    SumPool: _sum_pool,
    AvgPool: _average_pool,
    MaxPool: _max_pool,
    Flatten: _reshape,
    Reshape: _reshape,
    Scale: _scale,
    BatchNorm: _batchnorm,
    Dropout: _dropout,
    Delay: _delay,
}
"""How each op beside the neuron is written."""
