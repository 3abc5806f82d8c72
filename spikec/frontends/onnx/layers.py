"""The rules of ONNX's layers: each becomes an op of the IR that reads a value and makes a signal."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.ir import Op, Shape
from spikec.compiler.ops import AvgPool, BatchNorm, Conv1d, Conv2d, Flatten, Linear, MaxPool, Padding, Reshape
from spikec.compiler.weights import Array, Dense
from spikec.frontends.onnx.algebra import plus
from spikec.frontends.onnx.source import Call
from spikec.frontends.onnx.walk import Rule, Tensor, Walk

Made = Mapping[str, Tensor]
Given = tuple[Tensor | None, ...]


def _changing(call: Call, given: Given) -> Tensor:
    """Give the first input, which must not be a constant."""
    tensor = given[0]
    if tensor is None or tensor.array is not None:
        raise fail("onnx/operands", f"{call.kind} reads a constant where values of the network belong", call.where)
    return tensor


def _fixed(call: Call, given: Given, place: int, what: str) -> Array:
    """Give an input that must be a constant of the file, in floats."""
    tensor = given[place] if place < len(given) else None
    if tensor is None or tensor.array is None:
        message = f"{what} of {call.kind} changes from step to step"
        raise fail("onnx/operands", message, call.where, "only weights that stay are supported")
    array = tensor.array
    if not np.all(np.isfinite(array)):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        message = f"{what} of {call.kind} has {bad} values that are NaN or infinite"
        raise fail("onnx/not-finite", message, call.where, "train again, or repair the weights")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _gemm(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    if call.attributes.get("transA", 0):
        raise fail("onnx/operands", "Gemm turns its first input around", call.where, "export x @ W.T + b")
    weight = _fixed(call, given, 1, "the weight")
    weight = weight if call.attributes.get("transB", 0) else weight.T
    alpha, beta = float(call.attributes.get("alpha", 1.0)), float(call.attributes.get("beta", 1.0))
    weight = weight if alpha == 1 else (weight * alpha).astype(weight.dtype)
    third = given[2] if len(given) > 2 else None
    bias = None
    if third is not None and third.array is not None:
        bias = np.broadcast_to(_fixed(call, given, 2, "the bias").reshape(-1), (weight.shape[0],))
        bias = bias if beta == 1 else (bias * beta).astype(bias.dtype)
    made = walk.signal(call, Linear(Dense(weight), bias), x)
    if third is not None and third.array is None:
        walk.unnamed(made)
        made = Tensor(plus(made.value, third.value), made.shape)
    return {call.outputs[0]: made}


def _matmul(walk: Walk, call: Call, given: Given) -> Made:
    if given[0] is not None and given[0].array is not None:
        message = "MatMul has its weight on the left"
        raise fail("onnx/operands", message, call.where, "write it as x @ W, samples along the first axis")
    x = _changing(call, given)
    weight = _fixed(call, given, 1, "the weight")
    return {call.outputs[0]: walk.signal(call, Linear(Dense(weight.T)), x)}


def _conv(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    weight = _fixed(call, given, 1, "the weight")
    bias = _fixed(call, given, 2, "the bias") if len(given) > 2 and given[2] is not None else None
    rank = weight.ndim - 2
    if rank not in (1, 2):
        raise fail("onnx/rank", f"a convolution over {rank} axes", call.where, "only 1 and 2 axes are supported")
    stride = _numbers(call, "strides", rank, 1)
    dilation = _numbers(call, "dilations", rank, 1)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
    padding = _padding(call, reach, stride, x.shape[1:])
    cls = Conv1d if rank == 1 else Conv2d
    op = cls(Dense(weight), bias, stride, padding, dilation, int(call.attributes.get("group", 1)))
    return {call.outputs[0]: walk.signal(call, op, x)}


def _padding(call: Call, reach: Shape, stride: Shape, space: Shape) -> Padding:
    """Give the zeros before and after each axis."""
    word = call.attributes.get("auto_pad", "NOTSET")
    rank = len(reach)
    if word in ("NOTSET", "VALID"):
        pads = _numbers(call, "pads", 2 * rank, 0) if word == "NOTSET" else (0,) * (2 * rank)
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    total = [max(0, (-(-n // s) - 1) * s + r - n) for n, r, s in zip(space, reach, stride, strict=True)]
    less = tuple(t // 2 for t in total)
    more = tuple(t - t // 2 for t in total)
    return tuple(zip(less, more, strict=True) if word == "SAME_UPPER" else zip(more, less, strict=True))


def _numbers(call: Call, name: str, count: int, default: int) -> tuple[int, ...]:
    given = call.attributes.get(name)
    return (default,) * count if given is None else tuple(int(value) for value in given)


def _pool(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    kernel = tuple(int(size) for size in call.attributes["kernel_shape"])
    stride = _numbers(call, "strides", len(kernel), 1)
    padding = _padding(call, kernel, stride, x.shape[1:])
    average = call.op == "AveragePool"
    if any(d != 1 for d in _numbers(call, "dilations", len(kernel), 1)):
        raise fail("onnx/pool", f"{call.op} has dilations", call.where, "pool without them")
    spare = [(n + a + b - k) % s for n, (a, b), k, s in zip(x.shape[1:], padding, kernel, stride, strict=True)]
    if call.attributes.get("ceil_mode", 0) and any(spare):
        raise fail("onnx/pool", f"{call.op} counts windows that hang over the edge", call.where, "set ceil_mode to 0")
    if average and any(map(any, padding)) and not call.attributes.get("count_include_pad", 0):
        message = "AveragePool divides by fewer values at the edge"
        raise fail("onnx/pool", message, call.where, "set count_include_pad to 1, or pool without padding")
    op = AvgPool(kernel, stride, padding) if average else MaxPool(kernel, stride, padding)
    return {call.outputs[0]: walk.signal(call, op, x)}


def _global_average(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    return {call.outputs[0]: walk.signal(call, AvgPool(x.shape[1:]), x)}


def _mean(walk: Walk, call: Call, given: Given) -> Made:
    """A mean over all spatial axes is a global average pool; other means are refused."""
    x = _changing(call, given)
    axes = call.attributes.get("axes") if len(given) < 2 or given[1] is None else given[1].array
    rank = len(x.shape) + 1
    if axes is None or sorted(int(a) % rank for a in axes) != list(range(2, rank)):
        raise fail("onnx/mean", "ReduceMean is not over all of an image", call.where, "use a pooling layer")
    made = walk.signal(call, AvgPool(x.shape[1:]), x)
    if not call.attributes.get("keepdims", 1):
        made = walk.signal(call, Flatten(), made)
    return {call.outputs[0]: made}


def _batchnorm(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    if call.attributes.get("training_mode", 0):
        raise fail("onnx/training", "BatchNormalization is in training mode", call.where, "export in evaluation mode")
    names = ("the scale", "the shift", "the mean", "the variance")
    gain, shift, mean, var = (_fixed(call, given, place + 1, what) for place, what in enumerate(names))
    op = BatchNorm(mean, var, gain, shift, float(call.attributes.get("epsilon", 1e-5)))
    return {call.outputs[0]: walk.signal(call, op, x)}


def _flatten(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    axis = int(call.attributes.get("axis", 1)) % (len(x.shape) + 1)
    if axis != 1:
        raise _batch_moves(call)
    return {call.outputs[0]: x if len(x.shape) == 1 else walk.signal(call, Flatten(), x)}


def _reshape(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    wanted = [int(size) for size in _fixed(call, given, 1, "the shape")]
    return {call.outputs[0]: reshaped(walk, call, x, wanted)}


def reshaped(walk: Walk, call: Call, x: Tensor, wanted: list[int]) -> Tensor:
    """Give x another shape, its batch axis left in front."""
    if not wanted:
        raise _batch_moves(call)
    rest = [x.shape[at - 1] if size == 0 and at <= len(x.shape) else size for at, size in enumerate(wanted)][1:]
    known = prod(size for size in rest if size != -1)
    if rest.count(-1) == 1 and known and wanted[0] != -1 and prod(x.shape) % known == 0:
        rest = [prod(x.shape) // known if size == -1 else size for size in rest]
    if -1 in rest or prod(rest) != prod(x.shape):
        raise _batch_moves(call)
    if tuple(rest) == x.shape:
        return x
    op: Op = Flatten() if len(rest) == 1 else Reshape(tuple(rest))
    return walk.signal(call, op, x)


def _unsqueeze(walk: Walk, call: Call, given: Given) -> Made:
    """Add or drop axes of one entry."""
    x = _changing(call, given)
    listed = call.attributes.get("axes") if len(given) < 2 or given[1] is None else given[1].array
    more = call.op == "Unsqueeze"
    rank = len(x.shape) + 1 + (len(listed) if more and listed is not None else 0)
    axes = sorted(int(a) % rank for a in (listed if listed is not None else []))
    if not axes or axes[0] == 0:
        raise _batch_moves(call)
    sizes = [-1, *x.shape]
    for axis in axes if more else reversed(axes):
        sizes[axis : axis + (not more)] = [1] if more else []
    return {call.outputs[0]: reshaped(walk, call, x, sizes)}


def _expand(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    wanted = [int(size) for size in _fixed(call, given, 1, "the shape")]
    if np.broadcast_shapes((1, *x.shape), tuple(wanted))[1:] != x.shape:
        raise fail("onnx/expand", "Expand copies values along an axis", call.where, "write the copies as a layer")
    return {call.outputs[0]: x}


def _transpose(walk: Walk, call: Call, given: Given) -> Made:
    x = _changing(call, given)
    turned = call.attributes.get("perm", ())
    kept = [axis for axis in turned if axis == 0 or x.shape[axis - 1] != 1]
    if not turned or kept != sorted(kept) or turned[0] != 0:
        raise fail("onnx/transpose", "Transpose changes the order of axes", call.where, "keep channels before space")
    return {call.outputs[0]: reshaped(walk, call, x, [-1, *(x.shape[axis - 1] for axis in turned[1:])])}


def _batch_moves(call: Call) -> CompileError:
    message = f"{call.op} mixes samples with the values of one sample, or its shape is not known"
    return fail("onnx/batch", message, call.where, "keep the first axis for samples, and write the shape as numbers")


RULES: dict[str, Rule] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _conv,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _mean,
    "BatchNormalization": _batchnorm,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _unsqueeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Transpose": _transpose,
}
"""Every layer that is understood."""
