"""The eager tracer: runs forward once and writes down which module was called with what came from where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from spikec.compiler.diagnostics import CompileError, Diagnostic, Findings, fail
from spikec.frontends.torch.adapter import Adapter
from spikec.frontends.torch.advice import NO_TIME, of_failed_forward, of_unknown_module
from spikec.frontends.torch.functions import apply_function, is_question
from spikec.frontends.torch.layers import PER_STEP, is_container, is_layer, of_torch
from spikec.frontends.torch.place import line_of_call, line_of_error
from spikec.frontends.torch.snntorch import SnnTorch
from spikec.frontends.torch.values import (
    Call,
    Const,
    Expr,
    InputAt,
    Port,
    Ref,
    Sequence,
    Unknown,
    Value,
    steps_of,
    tensors_in,
)

ADAPTERS: tuple[Adapter, ...] = (SnnTorch(),)
PROBE_CALLS = 3  # of a network that does one step a call: enough to see what it carries from call to call


def adapter_of(module: Any) -> Adapter | None:
    """Give the adapter that knows a module as a neuron."""
    return next((adapter for adapter in ADAPTERS if adapter.is_neuron(module)), None)


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


def record(module: Any, feeds: list[Any], time_axis: int | None, name: Callable[[str], str]) -> Trace:
    """Run the module on every feed in turn, without forgetting in between, and give the trace.

    Args:
        module: the user's network, in evaluation mode.
        feeds: tensors, one a call of the network.
        time_axis: the axis of time of a feed; None where a feed is one step, or the input of all steps.
        name: gives the place to name in a diagnostic for a module's path.

    Raises:
        CompileError: unknown modules and ops, all of them.
    """
    tracer = Tracer(name)
    for adapter in ADAPTERS:
        for part in module.modules():
            if adapter.is_neuron(part) and adapter.refusal(part) is None:
                adapter.forget(part)
    with tracer.watching(module):
        for step, feed in enumerate(feeds):
            tracer.feed(feed, time_axis, step if len(feeds) > 1 else None)
            try:
                tracer.trace.returned.append(module(feed))
            except CompileError:
                raise
            except (Exception, SystemExit) as error:
                tracer.found.raise_errors()
                message = f"forward raised {type(error).__name__}: {error}"
                known = (adapter.hint(part) for adapter in ADAPTERS for part in module.modules())
                hint = of_failed_forward(module, feed, error, known)
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
        self.hidden: dict[str, dict[str, Any]] = {}
        self.told: set[str] = set()
        self.time_axis: int | None = None

    @property
    def scope(self) -> str:
        """Path of the module whose forward is under way."""
        return self.scopes[-1] if self.scopes else ""

    def feed(self, tensor: Any, time_axis: int | None, step: int | None) -> None:
        """Make a tensor known as the input."""
        self.time_axis = time_axis
        if time_axis is None:
            self.know(tensor, InputAt(step, tensor=tensor))
            return
        steps = tensor.shape[time_axis]
        self.trace.steps = steps
        items = tuple(InputAt(t, tensor=tensor.select(time_axis, t)) for t in range(steps))
        self.know(tensor, Sequence(items, time_axis))

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
        from spikec.frontends.torch.mode import mode_for, watch_strangers

        handles = []
        for path, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(self._before(path), with_kwargs=True))
            handles.append(part.register_forward_hook(self._after(path), with_kwargs=True))
        handles.extend(watch_strangers(self, {id(part) for part in module.modules()}))
        try:
            with mode_for(self):
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
                if self.inside == 1 and (adapter := adapter_of(module)) is not None:
                    self._check_hidden(path, module, adapter, args, kwargs)

        return hook

    def _after(self, path: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, result: Any) -> None:
            if self._is_leaf(module):
                self.inside -= 1
                if not self.inside:
                    self._leaf(path, module, args, kwargs, result)
            if not self.inside:
                self.scopes.pop()

        return hook

    def _is_leaf(self, module: Any) -> bool:
        """Say whether a module is taken as a whole: neurons, layers, and what is refused as a whole."""
        if adapter_of(module) is not None or is_layer(module):
            return True
        if is_container(module):
            return False
        return of_torch(module) or any(adapter.refusal(module) is not None for adapter in ADAPTERS)

    def _check_hidden(self, path: str, module: Any, adapter: Adapter, args: Any, kwargs: Any) -> None:
        """Refuse hidden state that somebody replaced between two calls."""
        before = self.hidden.get(path)
        if before is None:
            return
        given = dict(zip(adapter.states(module), args[1:], strict=False)) | kwargs
        for state, tensor in before.items():
            if given.get(state) is None and getattr(module, state) is not tensor:
                message = f"the state '{state}' was replaced between two steps"
                self.refuse("torch/state-replaced", message, path, "reset states before the first step only")

    def _leaf(self, path: str, module: Any, args: Any, kwargs: Any, result: Any) -> None:
        adapter = adapter_of(module)
        refusal = next((r for a in ADAPTERS if (r := a.refusal(module)) is not None), None)
        if refusal is not None or (adapter is None and not is_layer(module)):
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
            self._poison(result)
        elif isinstance(value, Sequence):
            self._over_time(path, module, adapter, value, result)
        else:
            self._call(path, module, adapter, value, args, kwargs, result)

    def unknown(self, path: str, module: Any, refusal: tuple[str, str] | None, result: Any) -> None:
        """Refuse a module, and take what it made for unknown."""
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        reason, help = refusal or ("spikec does not know this module", of_unknown_module(type(module).__name__))
        self.refuse("torch/unknown-module", f"{kind}: {reason}", path, help)
        self._poison(result)

    def _poison(self, result: Any) -> None:
        for tensor in tensors_in(result):
            self.know(tensor, Unknown(tensor=tensor))

    def _over_time(self, path: str, module: Any, adapter: Adapter | None, value: Sequence, result: Any) -> None:
        """A layer that is given the whole of time does the same to every step, if it looks at the last axis only."""
        kind = type(module).__name__
        if adapter is not None or value.reduced or (kind not in PER_STEP and kind not in ("Flatten", "Unflatten")):
            message = f"{kind} is given the time axis with everything else"
            self.refuse("torch/time-axis", message, path, NO_TIME)
            self._poison(result)
            return
        steps = value.items[0].tensor.shape if value.items[0] is not None else ()
        if result.shape[:2] != tuple(_with_time(steps, value))[:2]:
            self.refuse("torch/time-axis", f"{kind} joins the time axis with others", path, "flatten each step")
            self._poison(result)
            return
        items = []
        for t, item in enumerate(steps_of(value)):
            call = self._new_call(path, module, item, neuron=False)
            call.outputs["value"] = result.select(value.axis, t)
            items.append(Ref(call, "value", tensor=call.outputs["value"]))
        self.know(result, Sequence(tuple(items), value.axis))

    def _call(
        self, path: str, module: Any, adapter: Adapter | None, value: Expr, args: Any, kwargs: Any, result: Any
    ) -> None:
        call = self._new_call(path, module, value, neuron=adapter is not None)
        if adapter is None:
            outputs: dict[Port, Any] = {"value": result}
        else:
            outputs = dict(adapter.outputs(module, result))
            names = adapter.states(module)
            given = dict(zip(names, args[1:], strict=False)) | {k: v for k, v in kwargs.items() if k in names}
            call.state = {state: self._state(given.get(state)) for state in names}
            self.hidden[path] = {state: getattr(module, state) for state in names}
        call.outputs = outputs
        for port, tensor in outputs.items():
            self.know(tensor, Ref(call, port, tensor=tensor))

    def _state(self, tensor: Any) -> Expr | None:
        if tensor is None:
            return None
        value = self.trace.value_of(tensor)
        if isinstance(value, Sequence):
            return Unknown(tensor=tensor)
        return Const(tensor=tensor.clone()) if value is None else value

    def _new_call(self, path: str, module: Any, value: Expr, *, neuron: bool) -> Call:
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


def _with_time(shape: Any, value: Sequence) -> list[int]:
    whole = list(shape)
    whole.insert(value.axis, len(value.items))
    return whole
