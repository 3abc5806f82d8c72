"""The eager tracer: runs forward once and writes down which module was called with what came from where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from spikec.compiler.diagnostics import CompileError, Diagnostic, Findings, fail
from spikec.frontends.torch.adapter import Refusal
from spikec.frontends.torch.advice import of_failed_forward, of_unknown_module
from spikec.frontends.torch.functions import apply_function, is_question
from spikec.frontends.torch.layers import is_container, of_torch
from spikec.frontends.torch.leaves import Held, held_by, replaced_state, write_layer, write_neuron
from spikec.frontends.torch.place import line_of_call, line_of_error
from spikec.frontends.torch.registry import adapter_of, is_plain_layer, owner_of, refusal_of
from spikec.frontends.torch.values import (
    Call,
    Const,
    Expr,
    InputAt,
    Layout,
    Sequence,
    TimeAxis,
    Unknown,
    Value,
    tensors_in,
)

PROBE_CALLS = 3  # of a network that does one step a call: enough to see what it carries from call to call
JOINED = Layout(1, joined=True)
"""How an input lies whose time axis is "joined": every sample's steps, one sample after another."""


@dataclass(eq=False)
class Trace:
    """What was written down: calls in order, what forward returned (once a call of the network), the input's steps."""

    calls: list[Call] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)
    steps: int | None = None
    known: dict[int, tuple[Any, Value]] = field(default_factory=dict)

    def value_of(self, tensor: Any) -> Value | None:
        """Give what is known of a tensor, None for a constant."""
        entry = self.known.get(id(tensor))
        return None if entry is None else entry[1]


def record(module: Any, feeds: list[Any], time_axis: TimeAxis, name: Callable[[str], str]) -> Trace:
    """Run the module on every feed in turn, without forgetting in between, and give the trace.

    Args:
        module: the user's network, in evaluation mode.
        feeds: tensors, one a call of the network.
        time_axis: the axis of time of a feed; None where a feed is one step, or the input of all steps; "joined"
            where the network takes (N * T, *shape): a feed is (N, T, *shape), and the two axes are joined here.
        name: gives the place to name in a diagnostic for a module's path.

    Raises:
        CompileError: unknown modules and ops, all of them.
    """
    tracer = Tracer(name)
    samples = feeds[0].shape[1 if time_axis == 0 else 0]
    for _, part in module.named_modules():
        if (adapter := owner_of(part)) is not None and adapter.refusal(part) is None:
            adapter.prepare(part, samples)
    with tracer.watching(module):
        for step, feed in enumerate(feeds):
            given = tracer.feed(feed, time_axis, step if len(feeds) > 1 else None)
            try:
                tracer.trace.returned.append(module(given))
            except CompileError:
                raise
            except (Exception, SystemExit) as error:
                tracer.found.raise_errors()
                message = f"forward raised {type(error).__name__}: {error}"
                known = (a.hint(part) for _, part in module.named_modules() if (a := owner_of(part)) is not None)
                hint = of_failed_forward(module, given, error, known)
                where = _with_line(name(tracer.scope), line_of_error(error))
                raise fail("torch/forward-failed", message, where, hint) from error
    tracer.found.raise_errors()
    return tracer.trace


def _with_line(where: str, line: str) -> str:
    """Add the user's own line to a place."""
    return f"{where} ({line})" if line else where


class Tracer:
    """Watches the calls of modules and functions while forward runs."""

    def __init__(self, name: Callable[[str], str]) -> None:
        self.trace = Trace()
        self.found = Findings()
        self.name = name
        self.scopes: list[str] = []
        self.inside = 0  # how many leaves are under way: what they do inside is theirs
        self.counts: dict[str, int] = {}
        self.hidden: dict[str, Held] = {}
        self.told: set[str] = set()
        self.time_axis: TimeAxis = None

    @property
    def scope(self) -> str:
        """Path of the module whose forward is under way."""
        return self.scopes[-1] if self.scopes else ""

    def feed(self, tensor: Any, time_axis: TimeAxis, step: int | None) -> Any:
        """Make a tensor known as the input, and give it as the network takes it."""
        self.time_axis = time_axis
        if time_axis is None:
            self.know(tensor, InputAt(step, tensor=tensor))
            return tensor
        layout = JOINED if time_axis == "joined" else Layout(int(time_axis))
        self.trace.steps = steps = tensor.shape[layout.axis]
        items = tuple(InputAt(t, tensor=tensor.select(layout.axis, t)) for t in range(steps))
        given = tensor.flatten(0, 1) if layout.joined else tensor
        self.know(given, Sequence(items, layout.axis, joined=layout.joined))
        return given

    def know(self, tensor: Any, value: Value) -> None:
        """Remember what a tensor is; the tensor is kept, so that its identity stays its own."""
        self.trace.known[id(tensor)] = (tensor, value)

    def refuse(self, code: str, message: str, where: str, help: str = "") -> None:
        """Add a finding, once."""
        diagnostic = Diagnostic(code, message, _with_line(self.name(where), line_of_call()), help)
        if str(diagnostic) not in self.told:
            self.told.add(str(diagnostic))
            self.found(diagnostic)

    @contextmanager
    def watching(self, module: Any) -> Iterator[None]:
        """Hook every module and every torch function for the block."""
        from spikec.frontends.torch.mode import copies_watched, mode_for, watch_strangers

        handles = []
        for path, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(self._before(path), with_kwargs=True))
            handles.append(part.register_forward_hook(self._after(path), with_kwargs=True))
        handles.extend(watch_strangers(self, {id(part) for _, part in module.named_modules()}))
        try:
            with copies_watched(), mode_for(self):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            if not self.inside:
                self.scopes.append(path)
            if self._is_leaf(module):
                self.inside += 1
                if self.inside == 1 and (state := replaced_state(self.hidden.get(path), module, args, kwargs)):
                    message = f"the state '{state}' was replaced between two steps"
                    self.refuse("torch/state-replaced", message, path, "reset states before the first step only")

        return hook

    def _after(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, result: Any) -> None:
            if self._is_leaf(module):
                if self.inside == 1:
                    self._leaf(path, module, args, kwargs, result)
                self.inside -= 1
            if not self.inside:
                self.scopes.pop()

        return hook

    def _is_leaf(self, module: Any) -> bool:
        """Say whether a module is taken as a whole: neurons, layers, and what is refused as a whole."""
        if adapter_of(module) is not None or is_plain_layer(module):
            return True
        return not is_container(module) and (of_torch(module) or refusal_of(module) is not None)

    def _leaf(self, path: str, module: Any, args: Any, kwargs: Any, result: Any) -> None:
        adapter = adapter_of(module)
        refusal = refusal_of(module)
        if refusal is not None or (adapter is None and not is_plain_layer(module)):
            self.unknown(path, module, refusal, result)
            return
        inputs = list(args) + list(kwargs.values())
        if not inputs or not hasattr(inputs[0], "shape"):
            self.unknown(path, module, ("it was not called with a tensor", ""), result)
            return
        value = self.trace.value_of(inputs[0])
        if value is None:
            value = Const(tensor=inputs[0])
        if isinstance(value, Unknown):
            self.poison(result)
        elif adapter is None:
            write_layer(self, path, module, value, result)
        else:
            write_neuron(self, path, module, adapter, value, args, kwargs, result)
            self.hidden[path] = held_by(adapter, module)

    def unknown(self, path: str, module: Any, refusal: Refusal | None, result: Any) -> None:
        """Refuse a module, and take what it made for unknown."""
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        reason, help = refusal or ("spikec does not know this module", of_unknown_module(type(module).__name__))
        self.refuse("torch/unknown-module", f"{kind}: {reason}", path, help)
        self.poison(result)

    def poison(self, result: Any) -> None:
        """Take what something made for unknown."""
        for tensor in tensors_in(result):
            self.know(tensor, Unknown(tensor=tensor))

    def new_call(self, path: str, module: Any, value: Expr, *, neuron: bool) -> Call:
        """Add a call to the trace."""
        index = self.counts.get(path, 0)
        self.counts[path] = index + 1
        call = Call(path, module, value, index, len(self.trace.calls), neuron)
        self.trace.calls.append(call)
        return call

    def function(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a torch function and write down what its result is."""
        if self.inside:
            return func(*args, **kwargs)
        inputs = [value for t in tensors_in([args, kwargs]) if (value := self.trace.value_of(t)) is not None]
        if not inputs or (is_question(func) and len(inputs) == 1 and self.trace.value_of(args[0]) is not None):
            return func(*args, **kwargs)
        return apply_function(self, func, args, kwargs, poisoned=any(isinstance(v, Unknown) for v in inputs))
