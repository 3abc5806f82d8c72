"""Torch functions that handle time: picking a step, stacking steps, moving the time axis, sums over time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spikec.frontends.torch.values import Expr, Sequence, Unknown, Value

if TYPE_CHECKING:
    from spikec.frontends.torch.tracer import Tracer


def index(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """`x[t]`, `x[:, t]`, `x[..., t]`, and a slice of steps."""
    value = tracer.trace.value_of(args[0])
    if not isinstance(value, Sequence) or value.reduced:
        return value if _takes_all(args[1]) and value is not None and result.shape == args[0].shape else None
    position = _position(args[1], args[0].dim())
    if position is None:
        return None
    axis, where = position
    if axis != value.axis:
        return None
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
    if not isinstance(value, Sequence) or value.reduced or given["dim"] % args[0].dim() != value.axis:
        return None
    item: Expr | None = value.items[given["index"]]
    return item


def unbind(tracer: Tracer, func: Any, args: Any, kwargs: Any) -> Any:
    """`for step in x`, `x.unbind(axis)`: the steps; None if it is another axis."""
    value = tracer.trace.value_of(args[0])
    axis = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % args[0].dim()
    if not isinstance(value, Sequence) or value.reduced or axis != value.axis or None in value.items:
        return None
    parts = func(*args, **kwargs)
    parts = tuple(parts)
    for part, item in zip(parts, value.items, strict=True):
        assert item is not None
        tracer.know(part, item)
    return iter(parts) if func.__name__ == "__iter__" else parts


def stack(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """A sequence out of steps; every one of them must come from the network."""
    axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    axis %= result.dim()
    items = [tracer.trace.value_of(tensor) for tensor in args[0]]
    if axis > 1 or not all(isinstance(item, Expr) for item in items):
        return None
    return Sequence(tuple(item for item in items if isinstance(item, Expr)), axis)


def permute(tracer: Tracer, name: str, args: Any, kwargs: Any, result: Any) -> Value | None:
    """Moving the time axis; batch and the rest keep their order among themselves."""
    import torch

    value = tracer.trace.value_of(args[0])
    if not isinstance(value, Sequence) or value.reduced:
        return None
    marks = torch.empty([2 + i for i in range(args[0].dim())], device="meta")  # each axis has a size of its own
    moved = [size - 2 for size in getattr(torch.Tensor, name)(marks, *args[1:], **kwargs).shape]
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
    if axis % args[0].dim() != value.axis or result.dim() != args[0].dim() - 1:
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
        if (old is None or (old.axis == axis and not old.reduced)) and target.select(
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
