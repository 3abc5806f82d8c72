"""What the tracer knows of a tensor: symbolic values that say which calls, at which steps, a tensor came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from spikec.compiler.ir import Op

Port = Literal["spikes", "membrane", "synapse", "value"]


@dataclass(frozen=True, eq=False)
class Expr:
    """One step's tensor (N, *shape); `tensor` is what the framework computed."""

    tensor: Any = field(default=None, kw_only=True, repr=False)


@dataclass(frozen=True, eq=False)
class InputAt(Expr):
    """The network's input at a step; `step` None: one input for all steps (direct coding)."""

    step: int | None


@dataclass(frozen=True, eq=False)
class Ref(Expr):
    """A result of a module's call."""

    call: Call
    port: Port


@dataclass(frozen=True, eq=False)
class Apply(Expr):
    """A function without memory, with the op that it is; `key` tells two uses apart, `scope` is the module's path."""

    op: Op
    key: tuple[Any, ...]
    arg: Expr
    scope: str


@dataclass(frozen=True, eq=False)
class Add(Expr):
    """A sum of values of one shape."""

    args: tuple[Expr, ...]
    scope: str


@dataclass(frozen=True, eq=False)
class Const(Expr):
    """A tensor that does not depend on the input."""


@dataclass(frozen=True, eq=False)
class Unknown(Expr):
    """The result of something that was refused already: whatever comes of it is not refused again."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """A tensor with a time axis: one value a step (None: not written yet)."""

    items: tuple[Expr | None, ...]
    axis: int
    reduced: str = ""  # "sum" or "mean" over time, when the time axis is gone


Value = Expr | Sequence


@dataclass(eq=False)
class Call:
    """One call of a layer or a neuron, in the order of the program."""

    path: str
    module: Any
    arg: Expr
    index: int  # among the calls of this module
    order: int  # among all calls
    neuron: bool
    state: dict[str, Expr | None] = field(default_factory=dict)
    outputs: dict[Port, Any] = field(default_factory=dict)
    step: int | None = None
    slot: int = 0


def steps_of(value: Value) -> tuple[Expr, ...]:
    """Give the values of a sequence or of a single step that are there."""
    if isinstance(value, Sequence):
        return tuple(item for item in value.items if item is not None)
    return (value,)


def is_zero(value: Expr) -> bool:
    """Say whether a value is a constant of zeros."""
    return isinstance(value, Const) and not bool(value.tensor.any())


def tensors_in(thing: Any) -> list[Any]:
    """Give the tensors in nested tuples, lists and dictionaries."""
    if isinstance(thing, tuple | list):
        return [tensor for part in thing for tensor in tensors_in(part)]
    if isinstance(thing, dict):
        return tensors_in(list(thing.values()))
    return [thing] if hasattr(thing, "untyped_storage") else []
