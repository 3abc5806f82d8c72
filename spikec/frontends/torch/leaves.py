"""Writes down the calls of layers and neurons: one a step, whether the module was given one step or all of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spikec.frontends.torch.adapter import Adapter
from spikec.frontends.torch.advice import NO_TIME
from spikec.frontends.torch.layers import PER_STEP, kind_of
from spikec.frontends.torch.operations import without_axis
from spikec.frontends.torch.registry import adapter_of, owner_of
from spikec.frontends.torch.values import Const, Expr, Layout, Ref, Sequence, Unknown, Value

if TYPE_CHECKING:
    from spikec.frontends.torch.tracer import Tracer

Held = Mapping[str, tuple[Any, int]]
"""By name: a state that a module holds, and how often that tensor was written to when the module last ran."""


def held_by(adapter: Adapter, module: Any) -> Held:
    """Give the states that a module holds."""
    return {name: (tensor, tensor._version) for name, tensor in adapter.held(module).items()}


def replaced_state(before: Held | None, module: Any, args: Any, kwargs: Any) -> str:
    """Name a state that somebody replaced or wrote to since the module's last call, or give an empty text."""
    adapter = adapter_of(module)
    if before is None or adapter is None:
        return ""
    given, now = adapter.given(module, args, kwargs), held_by(adapter, module)
    changed = (name for name, (tensor, version) in before.items() if not _is(now.get(name), tensor, version))
    return next((name for name in changed if given.get(name) is None), "")


def _is(held: tuple[Any, int] | None, tensor: Any, version: int) -> bool:
    return held is not None and held[0] is tensor and held[1] == version


def write_layer(tracer: Tracer, path: str, module: Any, value: Value, result: Any) -> None:
    """Write down a layer without memory; one that is given all of time does the same to every step."""
    if isinstance(value, Expr):
        call = tracer.new_call(path, module, value, neuron=False)
        call.outputs = {"value": result}
        tracer.know(result, Ref(call, "value", tensor=result))
        return
    kind = kind_of(module) or type(module).__name__
    owner = owner_of(module)
    own = owner is not None and owner.layout(module) == value.layout
    if value.reduced or not (value.joined or own or kind in PER_STEP or kind in ("Flatten", "Unflatten")):
        message = f"{kind} is given the time axis with everything else"
        _refuse(tracer, path, message, NO_TIME, result)
    elif None in value.items or not value.holds(result):
        _refuse(tracer, path, f"{kind} joins the time axis with others", "flatten each step", result)
    else:
        items: list[Expr] = []
        for t, item in enumerate(value.items):
            assert item is not None
            call = tracer.new_call(path, module, item, neuron=False)
            call.outputs["value"] = value.part(result, t)
            items.append(Ref(call, "value", tensor=call.outputs["value"]))
        tracer.know(result, Sequence(tuple(items), value.axis, joined=value.joined))


def write_neuron(
    tracer: Tracer, path: str, module: Any, adapter: Adapter, value: Value, args: Any, kwargs: Any, result: Any
) -> None:
    """Write down a neuron: one call a step, in the order of time."""
    layout = adapter.layout(module)
    steps = _steps(value, layout)
    if steps is None:
        message, help = _misfit(type(module).__name__, value, layout)
        _refuse(tracer, path, message, (adapter.hint(module) if layout is None else "") or help, result)
        return
    states, given = adapter.states(module), adapter.given(module, args, kwargs)
    calls = [tracer.new_call(path, module, step, neuron=True) for step in steps]
    calls[0].state = {name: _state(tracer, given.get(name)) for name in states}
    outputs = adapter.outputs(module, result)
    for port, tensor in outputs.last.items():
        calls[-1].outputs[port] = tensor
        tracer.know(tensor, Ref(calls[-1], port, tensor=tensor))
    for port, tensor in outputs.every.items():
        for t, call in enumerate(calls):
            call.outputs[port] = tensor if layout is None else layout.step(tensor, t, len(calls))
        refs = tuple(Ref(call, port, tensor=call.outputs[port]) for call in calls)
        if layout is None or (layout.joined and isinstance(value, Expr)):
            tracer.know(tensor, refs[0])
        else:
            tracer.know(tensor, Sequence(refs, layout.axis, joined=layout.joined))


def _steps(value: Value, layout: Layout | None) -> tuple[Expr, ...] | None:
    """Give the steps that a module sees in what it is given; None if it sees something else in it."""
    if isinstance(value, Sequence):
        items = tuple(item for item in value.items if item is not None)
        fits = not value.reduced and len(items) == len(value.items)
        return items if fits and value.layout == layout else None
    if layout is None or layout.joined:
        return (value,)
    one = without_axis(value, layout.axis)
    return None if one is None else (one,)


def _misfit(kind: str, value: Value, layout: Layout | None) -> tuple[str, str]:
    if layout is None:
        return f"{kind} is given the time axis with everything else", NO_TIME
    shape = "(N * T, ...)" if layout.joined else "(T, N, ...)" if layout.axis == 0 else "(N, T, ...)"
    if isinstance(value, Sequence):
        axis = "joined" if layout.joined else str(layout.axis)
        return f"{kind} takes {shape}, and is given time elsewhere", (
            f"where the whole network takes {shape}: --time-axis {axis} "
            f"(in Python: time_axis={axis if axis.isdigit() else repr(axis)}); else move the axis of time in forward"
        )
    return f"{kind} takes all of time, {shape}, and is given one step", (
        "give it the whole sequence, or one step with an axis of time of size 1"
    )


def _refuse(tracer: Tracer, path: str, message: str, help: str, result: Any) -> None:
    tracer.refuse("torch/time-axis", message, path, help)
    tracer.poison(result)


def _state(tracer: Tracer, tensor: Any) -> Expr | None:
    if tensor is None:
        return None
    value = tracer.trace.value_of(tensor)
    if isinstance(value, Sequence):
        return Unknown(tensor=tensor)
    return Const(tensor=tensor.clone()) if value is None else value
