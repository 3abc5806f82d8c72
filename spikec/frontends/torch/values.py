"""What the tracer knows of a tensor: symbolic values that say which calls, at which steps, a tensor came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from spikec.compiler.ir import Op

Port = Literal["spikes", "membrane", "synapse", "value"]

TimeAxis = int | str | None
"""Where a network's input holds time: axis 0 or 1; None: nowhere; "joined": (N * T, *shape), made of (N, T, *shape)."""


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


@dataclass(frozen=True)
class Layout:
    """How a tensor holds time: (T, N, *shape) with `axis` 0, (N, T, *shape) with 1; `joined`: both axes as one."""

    axis: int
    joined: bool = False

    def leading(self, steps: int, samples: int) -> list[int]:
        """Give the first axis or two of a tensor of so many steps and samples."""
        if self.joined:
            return [steps * samples]
        return [steps, samples] if self.axis == 0 else [samples, steps]

    def step(self, tensor: Any, t: int, steps: int) -> Any:
        """Give one step (N, *shape) of a tensor that lies so."""
        if self.joined:
            tensor = tensor.unflatten(0, (steps, -1) if self.axis == 0 else (-1, steps))
        return tensor.select(self.axis, t)


@dataclass(frozen=True, eq=False)
class Sequence:
    """A tensor with a time axis: one value a step (None: not written yet)."""

    items: tuple[Expr | None, ...]
    axis: int
    reduced: str = ""  # "sum" or "mean" over time, when the time axis is gone
    joined: bool = False  # the axes of time and samples are one

    @property
    def layout(self) -> Layout:
        """How the tensor holds time."""
        return Layout(self.axis, self.joined)

    def holds(self, tensor: Any) -> bool:
        """Say whether a tensor has the steps and samples of this one, in the same layout."""
        first = self.items[0]
        if self.reduced or first is None:
            return False
        leading = self.layout.leading(len(self.items), first.tensor.shape[0])
        return list(tensor.shape[: len(leading)]) == leading

    def part(self, tensor: Any, t: int) -> Any:
        """Give one step of a tensor that lies as this one does."""
        return self.layout.step(tensor, t, len(self.items))


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
