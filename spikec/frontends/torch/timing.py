"""Torch functions that handle time: picking a step, stacking steps, moving the time axis, sums over time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spikec.frontends.torch.operations import without_axis
from spikec.frontends.torch.values import Expr, InputAt, Layout, Sequence, Unknown, Value

if TYPE_CHECKING:
    from spikec.frontends.torch.tracer import Tracer


def index(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """`x[t]`, `x[:, t]`, `x[..., t]`, and a slice of steps."""
    value = tracer.trace.value_of(args[0])
    position = _position(args[1], args[0].dim())
    if not isinstance(value, Sequence) or value.reduced:
        if _takes_all(args[1]) and value is not None and result.shape == args[0].shape:
            return value
        return None if position is None else _wrong_axis(tracer, value, position[0], result)
    if position is None:
        return None
    axis, where = position
    if axis != value.axis or value.joined:
        return _wrong_axis(tracer, value, axis, result)
    if isinstance(where, slice):
        return replace(value, items=value.items[where])
    item: Expr | None = value.items[where]
    return item


def _takes_all(where: Any) -> bool:
    parts = where if isinstance(where, tuple) else (where,)
    return all(part is Ellipsis or (isinstance(part, slice) and part == slice(None)) for part in parts)


def _position(where: Any, rank: int) -> tuple[int, Any] | None:
    """Give the one axis that an index picks from, and what it picks; None if it does more than that."""
    parts = list(where) if isinstance(where, tuple) else [where]
    if any(part is Ellipsis for part in parts):
        place = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[place : place + 1] = [slice(None)] * (rank - len(parts) + 1)
    picks = [(axis, part) for axis, part in enumerate(parts) if not (isinstance(part, slice) and part == slice(None))]
    if len(picks) != 1 or isinstance(picks[0][1], bool):
        return None
    axis, part = picks[0]
    if isinstance(part, slice):
        return axis, part
    try:
        return axis, part.__index__()
    except (AttributeError, TypeError, RuntimeError):
        return None


def select(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """`x.select(axis, t)`."""
    value = tracer.trace.value_of(args[0])
    given = dict(zip(("dim", "index"), args[1:], strict=False)) | kwargs
    axis = given["dim"] % args[0].dim()
    if not isinstance(value, Sequence) or value.reduced or value.joined or axis != value.axis:
        return _wrong_axis(tracer, value, axis, result)
    item: Expr | None = value.items[given["index"]]
    return item


def unbind(tracer: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """`for step in x`, `x.unbind(axis)`: the steps; None if it is another axis."""
    value = tracer.trace.value_of(args[0])
    axis = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % args[0].dim()
    picks = isinstance(value, Sequence) and not value.reduced and not value.joined and axis == value.axis
    if picks and isinstance(value, Sequence) and None not in value.items:
        items: tuple[Expr | None, ...] = value.items
    elif _wrong_axis(tracer, value, axis, args[0]) is not None:
        items = (Unknown(),) * args[0].shape[axis]
    else:
        return None
    parts = tuple(func(*args, **kwargs))
    for part, item in zip(parts, items, strict=True):
        assert item is not None
        tracer.know(part, replace(item, tensor=part) if isinstance(item, Unknown) else item)
    return iter(parts) if func.__name__ == "__iter__" else parts


def _wrong_axis(tracer: Tracer, value: Value | None, axis: int, result: Any) -> Value | None:
    """Refuse to go along the samples, or along time where there is said to be none; None if it is another axis."""
    said = tracer.time_axis
    if axis > 1 or value is None or (isinstance(value, Sequence) and value.joined and axis == 1):
        return None
    if not isinstance(value, Sequence):
        if said is not None or not isinstance(value, InputAt):
            return None
        message = f"forward picks from axis {axis} of its input, and time_axis=None says that none of its axes is time"
        help = (
            f"did you mean --time-axis {axis} (in Python: time_axis={axis})? "
            "if that axis is not time: give the layers all values, since picking some has no op"
        )
    elif value.reduced or value.axis > 1:
        return None
    elif value.joined:
        message = "forward picks from axis 0, which holds samples and time together"
        help = "part them first: x.unflatten(0, (samples, steps))"
    elif isinstance(said, int) and all(isinstance(item, InputAt) for item in value.items):
        message = f"forward picks from axis {axis}, which holds the samples if time is axis {said} of its input"
        help = f"did you mean --time-axis {1 - said} (in Python: time_axis={1 - said})?"
    else:
        message = f"forward picks from axis {axis}, the axis of the samples"
        help = "do the same to every sample; time is picked from the other one of the first two axes"
    tracer.refuse("torch/time-axis", message, tracer.scope, help)
    return Unknown(tensor=result)


def stack(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """A sequence out of steps; every one of them must come from the network."""
    axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    axis %= result.dim()
    items = [tracer.trace.value_of(tensor) for tensor in args[0]]
    if axis > 1 or not all(isinstance(item, Expr) for item in items):
        return None
    return Sequence(tuple(item for item in items if isinstance(item, Expr)), axis)


def cat(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """A sequence out of shorter ones, one after another along the axis of time."""
    given = dict(zip(("tensors", "dim"), args, strict=False)) | kwargs
    axis = given.get("dim", given.get("axis", 0)) % result.dim()
    parts = [tracer.trace.value_of(tensor) for tensor in given["tensors"]]
    items: list[Expr | None] = []
    for part in parts:
        if not isinstance(part, Sequence) or part.reduced or part.layout != Layout(axis):
            return None
        items.extend(part.items)
    return Sequence(tuple(items), axis)


def repeat(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """One step repeated over an axis of time of size 1: `x.unsqueeze(0).repeat(T, 1, 1)`, `expand(T, -1, -1)`."""
    value, shape = tracer.trace.value_of(args[0]), args[0].shape
    grown = [axis for axis in range(min(2, len(shape))) if shape[axis] == 1 and result.shape[axis] != 1]
    if len(grown) != 1 or len(shape) != result.dim():
        return None
    (axis,) = grown
    if [n for i, n in enumerate(shape) if i != axis] != [n for i, n in enumerate(result.shape) if i != axis]:
        return None
    if isinstance(value, Sequence):
        one = None if value.reduced or value.layout != Layout(axis) else value.items[0]
    else:
        one = None if value is None else without_axis(value, axis)
    return None if one is None else Sequence((one,) * result.shape[axis], axis)


def permute(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """Moving the time axis; batch and the rest keep their order among themselves."""
    import torch

    value = tracer.trace.value_of(args[0])
    if not isinstance(value, Sequence) or value.reduced:
        return None
    marks = torch.empty([2 + i for i in range(args[0].dim())], device="meta")  # each axis has a size of its own
    moved = [size - 2 for size in getattr(torch.Tensor, name)(marks, *args[1:], **kwargs).shape]
    if value.joined:
        return value if moved == sorted(moved) else None
    axis = moved.index(value.axis)
    rest = [a for a in moved if a != value.axis]
    return replace(value, axis=axis) if rest == sorted(rest) else None


def reduce(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """Sum or mean over the time axis alone."""
    value = tracer.trace.value_of(args[0])
    axis = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
    if isinstance(axis, tuple | list) and len(axis) == 1:
        axis = axis[0]
    if not isinstance(value, Sequence) or value.reduced or not isinstance(axis, int):
        return None
    if value.joined or axis % args[0].dim() != value.axis or result.dim() != args[0].dim() - 1:
        return None
    return replace(value, reduced=name)


def assign(tracer: Tracer, func: Any, args: Any) -> Any:
    """`record[t] = spikes`: writes a step into a preallocated tensor."""
    target, where, given = args
    item = tracer.trace.value_of(given) if hasattr(given, "shape") else None
    old = tracer.trace.value_of(target)
    position = _position(where, target.dim())
    fits = position is not None and not isinstance(position[1], slice) and position[0] < 2
    func(*args)
    if fits and isinstance(item, Expr) and (old is None or isinstance(old, Sequence)):
        assert position is not None
        axis, t = position
        items: list[Expr | None] = [None] * target.shape[axis] if old is None else list(old.items)
        if (old is None or (old.layout == Layout(axis) and not old.reduced)) and target.select(
            axis, t
        ).shape == item.tensor.shape:
            items[t] = replace(item)
            tracer.know(target, Sequence(tuple(items), axis))
            return None
    tracer.refuse(
        "torch/unknown-op",
        "an assignment that does not write one step of time",
        tracer.scope,
        "collect the steps in a list and stack them",
    )
    tracer.know(target, Unknown(tensor=target))
    return None
