"""Plain torch.nn layers and the ops that they are; what has no op is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spikec.compiler.ir import Op, Shape
from spikec.compiler.ops import (
    AvgPool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool,
    Padding,
    Reshape,
    Scale,
    SumPool,
)
from spikec.compiler.weights import Array
from spikec.frontends.torch.encoded import base_of, weight_of

CONTAINERS = frozenset({"Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"})
DROPOUTS = frozenset({"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"})
PER_STEP = frozenset({"Linear", "Identity"}) | DROPOUTS
"""Layers that do the same to a sequence as to each of its steps."""


def array(tensor: Any) -> Array:
    """Give a tensor as a NumPy array of its own."""
    return np.array(tensor.detach().cpu().numpy())


def is_layer(module: Any) -> bool:
    """Say whether a module is a plain torch.nn layer that has an op, or one that tells its encoded weight."""
    return kind_of(module) in LAYERS


def kind_of(module: Any) -> str:
    """Give the name of the torch.nn layer that a module is, or an empty text."""
    base = type(module) if of_torch(module) else base_of(module)
    return "" if base is None else base.__name__


def of_torch(module: Any) -> bool:
    """Say whether a module's class is one of torch's own."""
    return type(module).__module__.partition(".")[0] == "torch"


def is_container(module: Any) -> bool:
    """Say whether a module only holds others."""
    return of_torch(module) and type(module).__name__ in CONTAINERS


def layer_op(module: Any, given: Shape, made: Shape) -> Op | None:
    """Give the op of a layer that was given and made these shapes (without batch); None if it does nothing.

    Raises:
        ValueError: the layer has a setting that no op can express.
    """
    return LAYERS[kind_of(module)](module, given, made)


def chain_ops(module: Any, given: Shape, made: Shape) -> tuple[Op, ...]:
    """Give the ops of a layer, or of layers in a row, that leads from one shape to another (without batch).

    Raises:
        ValueError: something in it is no layer with an op, or does not give that shape.
    """
    parts = list(module) if of_torch(module) and type(module).__name__ == "Sequential" else [module]
    ops: list[Op] = []
    shape = given
    for part in parts:
        if not is_layer(part):
            raise ValueError(f"the recurrent connection has a {type(part).__name__}, which has no op")
        after = shape_after(part, shape)
        op = layer_op(part, shape, after)
        ops, shape = ops + ([] if op is None else [op]), after
    return tuple(ops) if shape == made else (*ops, reshape_op(shape, made))


def shape_after(module: Any, shape: Shape) -> Shape:
    """Give the shape (without batch) that a layer makes of another."""
    import torch

    with torch.no_grad():
        return tuple(module(torch.zeros(1, *shape)).shape[1:])


def _linear(module: Any, given: Shape, made: Shape) -> Op:
    return Linear(weight_of(module), None if module.bias is None else array(module.bias))


def _convolution(module: Any, given: Shape, made: Shape) -> Op:
    if module.padding_mode != "zeros":
        raise ValueError(f"padding_mode='{module.padding_mode}' is not supported; only zeros are")
    kind = Conv1d if kind_of(module) == "Conv1d" else Conv2d
    return kind(
        weight_of(module),
        None if module.bias is None else array(module.bias),
        stride=tuple(module.stride),
        padding=padding_of(module.padding, tuple(module.kernel_size), tuple(module.dilation)),
        dilation=tuple(module.dilation),
        groups=module.groups,
    )


def padding_of(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> Padding:
    """Give the zeros before and after each axis; torch's 'same' puts the odd one behind."""
    if padding == "valid":
        return tuple((0, 0) for _ in kernel)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in spread(padding, len(kernel)))


def spread(value: Any, rank: int) -> tuple[int, ...]:
    """Give one entry a spatial axis of what torch takes as a number or a tuple."""
    values = tuple(int(v) for v in value) if isinstance(value, tuple | list) else (int(value),)
    return values * rank if len(values) == 1 else values


def _batchnorm(module: Any, given: Shape, made: Shape) -> Op:
    if module.running_mean is None:
        raise ValueError("a batch normalisation without running statistics depends on the batch")
    ones = np.ones(module.num_features, np.float32)
    return BatchNorm(
        array(module.running_mean),
        array(module.running_var),
        ones if module.weight is None else array(module.weight),
        ones * 0 if module.bias is None else array(module.bias),
        module.eps,
    )


def avg_pool(rank: int, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count: bool, divisor: Any) -> Op:
    """Give the op of an average pool, torch's arguments given."""
    pads = spread(padding, rank)
    if ceil_mode:
        raise ValueError("ceil_mode=True is not supported")
    if divisor is not None:
        raise ValueError("divisor_override is not supported")
    if not count and any(pads):
        raise ValueError("count_include_pad=False with padding is not supported")
    return AvgPool(
        spread(kernel, rank), spread(kernel if stride in (None, [], ()) else stride, rank), tuple((p, p) for p in pads)
    )


def sum_pool(rank: int, kernel: Any, stride: Any, ceil_mode: bool) -> SumPool:
    """Give the op of a sum pool, torch's arguments given."""
    if ceil_mode:
        raise ValueError("ceil_mode=True is not supported")
    return SumPool(spread(kernel, rank), spread(kernel if stride in (None, [], ()) else stride, rank))


def max_pool(rank: int, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, dilation: Any) -> Op:
    """Give the op of a max pool, torch's arguments given."""
    if ceil_mode:
        raise ValueError("ceil_mode=True is not supported")
    if any(d != 1 for d in spread(dilation, rank)):
        raise ValueError("a dilated max pool is not supported")
    pads = tuple((p, p) for p in spread(padding, rank))
    return MaxPool(spread(kernel, rank), spread(kernel if stride in (None, [], ()) else stride, rank), pads)


def _avg_pool(module: Any, given: Shape, made: Shape) -> Op:
    divisor = getattr(module, "divisor_override", None)
    arguments = module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad, divisor
    return avg_pool(int(type(module).__name__[-2]), *arguments)


def _adaptive_pool(module: Any, given: Shape, made: Shape) -> Op:
    """Give an average pool whose windows are of one size and side by side, where that is what torch's are."""
    pairs = tuple(zip(given[1:], made[1:], strict=True))
    if any(size % count for size, count in pairs):
        raise ValueError(f"{list(given)} to {list(made)} takes windows of several sizes; choose a size that divides")
    return AvgPool(tuple(size // count for size, count in pairs))


def _lp_pool(module: Any, given: Shape, made: Shape) -> Op:
    if module.norm_type != 1:
        raise ValueError(f"norm_type={module.norm_type} is not supported; 1 is a sum")
    return sum_pool(int(type(module).__name__[-2]), module.kernel_size, module.stride, module.ceil_mode)


def _max_pool(module: Any, given: Shape, made: Shape) -> Op:
    if module.return_indices:
        raise ValueError("return_indices=True is not supported")
    arguments = module.kernel_size, module.stride, module.padding, module.ceil_mode, module.dilation
    return max_pool(int(type(module).__name__[-2]), *arguments)


def reshape_op(given: Shape, made: Shape) -> Op:
    """Give the op that turns one shape into another in C order: a flatten where it is one."""
    if len(made) == 1 and len(given) >= 1:
        return Flatten()
    return Reshape(made)


def _reshape(module: Any, given: Shape, made: Shape) -> Op | None:
    return None if given == made else reshape_op(given, made)


def _dropout(module: Any, given: Shape, made: Shape) -> Op:
    return Dropout(float(module.p))


def _nothing(module: Any, given: Shape, made: Shape) -> Op | None:
    return None


LAYERS: dict[str, Callable[[Any, Shape, Shape], Op | None]] = {
    "Linear": _linear,
    "Conv1d": _convolution,
    "Conv2d": _convolution,
    "BatchNorm1d": _batchnorm,
    "BatchNorm2d": _batchnorm,
    "AvgPool1d": _avg_pool,
    "AvgPool2d": _avg_pool,
    "AdaptiveAvgPool1d": _adaptive_pool,
    "AdaptiveAvgPool2d": _adaptive_pool,
    "LPPool1d": _lp_pool,
    "LPPool2d": _lp_pool,
    "MaxPool1d": _max_pool,
    "MaxPool2d": _max_pool,
    "Flatten": _reshape,
    "Unflatten": _reshape,
    "Identity": _nothing,
    **dict.fromkeys(DROPOUTS, _dropout),
}


def scale_op(factor: float | Array = 1.0, offset: float | Array = 0.0) -> Op:
    """Give the op of a multiplication by constants and an addition of constants."""
    return Scale(factor, offset)
