"""Torch functions that act within a step: sums, constants, reshapes and pools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikec.compiler.ir import Op
from spikec.compiler.ops import Linear
from spikec.compiler.weights import Dense
from spikec.frontends.torch.layers import array, avg_pool, max_pool, reshape_op, scale_op
from spikec.frontends.torch.values import Add, Apply, Const, Expr, Sequence, Unknown, Value

if TYPE_CHECKING:
    from spikec.frontends.torch.tracer import Tracer


def same(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """A copy, or a conversion between floating types."""
    value = tracer.trace.value_of(args[0])
    return value if value is not None and result.is_floating_point() else None


def dropout(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """F.dropout that is told that it is not training; by default it is, and drops."""
    training = (dict(zip(("p", "training"), args[1:], strict=False)) | kwargs).get("training", True)
    return None if training else tracer.trace.value_of(args[0])


def each(value: Value, result: Any, make: Callable[[Expr, Any], Expr | None]) -> Value | None:
    """Apply to a step, or to every step of a sequence that keeps its time axis and its batch."""
    if not isinstance(value, Sequence):
        return make(value, result)
    if value.reduced or value.axis > 1 or None in value.items or not value.holds(result):
        return None
    made = [make(item, value.part(result, t)) for t, item in enumerate(value.items) if item is not None]
    return None if None in made else replace(value, items=tuple(made))


def reshape(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """Another shape in C order; the batch must stay the first axis. Time and batch may be joined or parted."""
    value = tracer.trace.value_of(args[0])
    if isinstance(value, Sequence):
        value = _laid_out(value, result)
        if isinstance(value, Expr):
            value = value if value.tensor.shape[0] == result.shape[0] else None
    elif value is not None and name == "unsqueeze" and list(result.shape) == [1, *args[0].shape]:
        return Sequence((value,), 0)  # the one step of a sequence (T, N, *shape)
    if value is None:
        return None
    return each(value, result, lambda item, made: reshaped(item, made, tracer.scope))


def _laid_out(value: Sequence, result: Any) -> Value | None:
    """Give a sequence in the layout of what it was reshaped to, or its only step where the axis of time is gone."""
    first = value.items[0]
    if value.reduced or first is None:
        return None
    steps, samples = len(value.items), first.tensor.shape[0]
    if value.holds(result) and (value.joined or steps > 1 or result.dim() == first.tensor.dim() + 1):
        return value
    if steps == 1 and result.shape[:1] == first.tensor.shape[:1]:
        return first
    other = replace(value, joined=not value.joined)
    return other if other.holds(result) and steps * samples > 0 else None


def reshaped(item: Expr, made: Any, scope: str) -> Expr | None:
    """Give a step in another shape; there and back again is the step itself."""
    if made.dim() < 1 or item.tensor.shape[0] != made.shape[0]:
        return None
    given, size = tuple(item.tensor.shape[1:]), tuple(made.shape[1:])
    if given == size:
        return item
    if isinstance(item, Apply) and item.key[0] == "reshape" and tuple(item.arg.tensor.shape) == tuple(made.shape):
        return item.arg
    return Apply(reshape_op(given, size), ("reshape", size), item, scope, tensor=made)


def without_axis(value: Expr, axis: int) -> Expr | None:
    """Give a step that has an axis of time of size 1 behind the samples without it."""
    shape = value.tensor.shape
    if axis != 1 or len(shape) < 2 or shape[1] != 1:
        return None
    return reshaped(value, value.tensor.squeeze(1), "")


def add(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """Sum or difference of two values, or of a value and a constant."""
    if kwargs.get("alpha", 1) != 1 or len(args) != 2:
        return None
    minus = "sub" in name
    left, right = (args[1], args[0]) if name in ("__rsub__", "rsub") else args
    values = [tracer.trace.value_of(side) for side in (left, right)]
    if _is_nothing(right):
        return values[0]
    if _is_nothing(left) and not minus:  # where Python's sum() begins
        return values[1]
    sides = [side for side, value in zip((left, right), values, strict=True) if value is not None]
    if any(side.shape != result.shape for side in sides):
        shapes = " and ".join(str(list(getattr(side, "shape", ()))) for side in (left, right))
        message = f"'{name}' of {shapes}: the shapes differ, and values are not repeated to fit (broadcast)"
        return _refuse_sum(tracer, message, "bring both to one shape by a layer, such as a convolution of 1x1", result)
    if any(isinstance(value, Sequence) for value in values):
        if None in values:
            return _add_constant(tracer, values, left if values[0] is None else right, minus, result)
        return _add_sequences(tracer, values, minus, result)
    terms = [
        _constant(side, result) if value is None else value for side, value in zip((left, right), values, strict=True)
    ]
    assert all(isinstance(term, Expr) for term in terms)
    return _sum(tracer, [term for term in terms if isinstance(term, Expr)], minus, result)


def _is_nothing(side: Any) -> bool:
    return isinstance(side, int | float) and side == 0


def _add_sequences(tracer: Tracer, values: list[Value | None], minus: bool, result: Any) -> Value | None:
    left, right = values
    if not isinstance(left, Sequence) or not isinstance(right, Sequence) or left.layout != right.layout:
        return None
    if left.reduced or right.reduced or len(left.items) != len(right.items) or None in (*left.items, *right.items):
        return None
    pairs = zip(left.items, right.items, strict=True)
    items = [_sum(tracer, [a, b], minus, left.part(result, t)) for t, (a, b) in enumerate(pairs) if a and b]
    return None if None in items else replace(left, items=tuple(items))


def _add_constant(tracer: Tracer, values: list[Value | None], side: Any, minus: bool, result: Any) -> Value | None:
    """Add a constant to every step of a sequence: it must be the same for every sample and step."""
    import torch

    value = next(value for value in values if value is not None)
    if not isinstance(value, Sequence) or value.reduced or value.axis > 1:
        return None
    constant = torch.broadcast_to(_constant(side, result).tensor, result.shape)
    one_step = constant[:1] if value.joined else constant[:1, :1]
    if not torch.equal(constant, one_step.expand(result.shape)):
        return _refuse_constant(tracer, side, result)
    factor = -1.0 if minus and values[0] is None else 1.0
    offset = array(one_step[0] if value.joined else one_step[0, 0]) * (-1.0 if minus and values[1] is None else 1.0)
    one = float(offset.flat[0]) if np.all(offset == offset.flat[0]) else offset
    return each(value, result, lambda item, made: _apply_scale(tracer, item, factor, one, made))


def _refuse_constant(tracer: Tracer, side: Any, result: Any) -> Expr:
    shape = list(getattr(side, "shape", ()))
    message = f"one summand is no signal of the network: a tensor {shape} of constants that differ by sample or step"
    help = "make a constant the bias of a layer; add noise to the data before the network is given them"
    return _refuse_sum(tracer, message, help, result)


def _refuse_sum(tracer: Tracer, message: str, help: str, result: Any) -> Expr:
    tracer.refuse("torch/sum", message, tracer.scope, help)
    return Unknown(tensor=result)


def _sum(tracer: Tracer, terms: list[Expr], minus: bool, result: Any) -> Expr | None:
    """Make the sum of terms that all have its shape, or are constants."""
    if minus:
        terms[1] = _scaled(tracer, terms[1], -1.0, -terms[1].tensor)
    if len([term for term in terms if isinstance(term, Const)]) == 1:
        plain = next(term for term in terms if not isinstance(term, Const))
        constant = next(term for term in terms if isinstance(term, Const)).tensor
        if bool(constant.any()):
            offset = per_sample(constant, result)
            if offset is None:
                return _refuse_constant(tracer, constant, result)
            return _apply_scale(tracer, plain, 1.0, offset, result)
    flat = [part for term in terms for part in (term.args if isinstance(term, Add) else (term,))]
    return Add(tuple(flat), tracer.scope, tensor=result)  # flat: a sum over many steps must not nest as deep


def _constant(side: Any, result: Any) -> Expr:
    import torch

    return Const(tensor=torch.as_tensor(side, dtype=result.dtype))


def scale(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """Multiplication or division by a constant, or a change of sign."""
    if "neg" in name:
        value, factor = tracer.trace.value_of(args[0]), -1.0
        return None if value is None else each(value, result, lambda i, m: _apply_scale(tracer, i, factor, 0.0, m))
    if len(args) != 2 or kwargs.get("rounding_mode") is not None:
        return None
    known = [tracer.trace.value_of(side) for side in args]
    if (known[0] is None) == (known[1] is None) or ("div" in name and known[0] is None):
        return None
    value, other = (known[0], args[1]) if known[0] is not None else (known[1], args[0])
    assert value is not None
    if isinstance(value, Sequence) and value.reduced:
        return None
    constant = per_sample(_constant(other, result).tensor, result)
    if constant is None or (isinstance(value, Sequence) and np.ndim(constant)):
        return None
    factor = 1.0 / constant if "div" in name else constant
    return each(value, result, lambda item, made: _apply_scale(tracer, item, factor, 0.0, made))


def per_sample(tensor: Any, result: Any) -> Any:
    """Give a constant as a number or an array that broadcasts against one sample; None if samples differ."""
    values = array(tensor)
    if values.size == 1:
        return float(values.reshape(()))
    if values.ndim == result.dim():
        if values.shape[0] > 1 and not np.all(values == values[:1]):
            return None
        values = values[0]
    return values if values.ndim < result.dim() else None


def _scaled(tracer: Tracer, term: Expr, factor: float, made: Any) -> Expr:
    if isinstance(term, Const):
        return Const(tensor=made)
    return _apply_scale(tracer, term, factor, 0.0, made)


def _apply_scale(tracer: Tracer, item: Expr, factor: Any, offset: Any, made: Any) -> Expr:
    key = ("scale", np.asarray(factor).tobytes(), np.asarray(offset).tobytes())
    return Apply(scale_op(factor, offset), key, item, tracer.scope, tensor=made)


def linear(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """F.linear, and `x @ w` where w is a matrix of constants."""
    value = tracer.trace.value_of(args[0])
    given = dict(zip(("weight", "bias"), args[1:], strict=False)) | kwargs
    weight, bias = given.get("weight", given.get("other")), given.get("bias")
    known = [tracer.trace.value_of(tensor) for tensor in (weight, bias) if tensor is not None]
    if value is None or weight is None or weight.dim() != 2 or any(part is not None for part in known):
        return None
    matrix = array(weight if name == "linear" else weight.T)
    made = Linear(Dense(matrix), None if bias is None else array(bias))
    key = (name, matrix.tobytes(), b"" if bias is None else array(bias).tobytes())
    return each(value, result, lambda item, part: Apply(made, key, item, tracer.scope, tensor=part))


def pool(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """F.avg_pool1d/2d and F.max_pool1d/2d, with torch's order of arguments."""
    value = tracer.trace.value_of(args[0])
    rank = int(name[-2])
    average = name.startswith("avg")
    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    if not average:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    given = dict(zip(names, args[1:], strict=False)) | kwargs
    try:
        made = _pool(rank, average, given)
    except ValueError as error:
        tracer.refuse("torch/unsupported", f"'{name}': {error}", tracer.scope)
        return None
    if value is None or given.get("return_indices") or (isinstance(value, Sequence) and not value.joined):
        return None
    key = (name, repr(sorted(given.items(), key=str)))
    return each(value, result, lambda item, part: Apply(made, key, item, tracer.scope, tensor=part))


def _pool(rank: int, average: bool, given: dict[str, Any]) -> Op:
    common = rank, given["kernel_size"], given.get("stride"), given.get("padding", 0), given.get("ceil_mode", False)
    if average:
        return avg_pool(*common, given.get("count_include_pad", True), given.get("divisor_override"))
    return max_pool(*common, given.get("dilation", 1))
