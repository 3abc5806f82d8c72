"""Folds a trace over time: which call belongs to which step, and what one step computes, the same at every step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spikec.compiler.diagnostics import fail
from spikec.compiler.ir import Op
from spikec.frontends.torch.advice import STATIC
from spikec.frontends.torch.tracer import Trace
from spikec.frontends.torch.values import Add, Apply, Call, Const, Expr, InputAt, Port, Ref, is_zero

Leaf = tuple[str, int]
"""A module's path, and which of its uses within a step."""


@dataclass(frozen=True)
class Source:
    """What a step reads: a leaf's result, or the input (leaf None), `lag` steps ago."""

    leaf: Leaf | None
    port: Port = "value"
    lag: int = 0


@dataclass(frozen=True)
class Function:
    """A memoryless function of what a step reads; two are equal if their keys are."""

    key: tuple[Any, ...]
    arg: Term
    scope: str = field(compare=False)
    op: Op = field(compare=False)


@dataclass(frozen=True)
class Sum:
    """A sum; `terms` in the order of the program."""

    terms: tuple[Term, ...]
    scope: str = field(compare=False)


Term = Source | Function | Sum | None
"""None is nothing at all: zeros, as before the first step."""


@dataclass(frozen=True, eq=False)
class Folded:
    """One step of the network: each leaf's input, the calls that stand for it, and the number of steps seen."""

    inputs: Mapping[Leaf, Term]
    calls: Mapping[Leaf, tuple[Call, ...]]
    steps: int
    static: bool
    name: Callable[[str], str]

    def term(self, value: Expr, step: int) -> Term:
        """Give what a value is, read at a step."""
        return _term(value, step, self.name)


def fold(trace: Trace, name: Callable[[str], str], *, static: bool, least: int = 2) -> Folded:
    """Fold a trace of at least so many steps.

    Raises:
        CompileError: `torch/irregular` and others: what differs between steps, with the module's path.
    """
    steps = _steps(trace, name, least)
    by_path: dict[str, list[Call]] = defaultdict(list)
    for call in trace.calls:
        by_path[call.path].append(call)
    flow = _flow(trace, by_path)
    for path, calls in by_path.items():
        _place(path, calls, flow, steps, name)
    leaves: dict[Leaf, list[Call]] = defaultdict(list)
    for call in trace.calls:
        leaves[(call.path, call.slot)].append(call)
    inputs = {leaf: _same_at_every_step(leaf, calls, name) for leaf, calls in leaves.items()}
    return Folded(inputs, {leaf: tuple(calls) for leaf, calls in leaves.items()}, steps, static, name)


def _steps(trace: Trace, name: Callable[[str], str], least: int) -> int:
    """Give the number of steps: the input's, else that of the neurons' calls; every neuron must have as many."""
    counts: dict[str, int] = defaultdict(int)
    for call in trace.calls:
        if call.neuron:
            counts[call.path] += 1
    steps = trace.steps if trace.steps is not None else max(counts.values(), default=len(trace.returned))
    for path, count in counts.items():
        if count != steps:
            raise fail(
                "torch/irregular",
                f"the neurons are called {count} times in {steps} steps; they must be called once a step",
                name(path),
                "give neurons used twice in a step a module each, and an example of as many steps as forward makes",
            )
    if steps < least:
        raise fail(
            "torch/short-example",
            f"the example has {steps} step; what one step hands to the next cannot be seen",
            name(""),
            f"give an example of at least 3 steps; where forward does one step a call: --time-axis none "
            f"(in Python: time_axis=None); {STATIC}",
        )
    return steps


def _flow(trace: Trace, by_path: Mapping[str, list[Call]]) -> dict[int, int | None]:
    """Give for each call the latest step of what it reads, None where nothing says."""
    flow: dict[int, int | None] = {}

    def latest(value: Expr) -> int | None:
        if isinstance(value, InputAt):
            return value.step
        if isinstance(value, Ref):
            return value.call.index if value.call.neuron else flow[value.call.order]
        if isinstance(value, Apply):
            return latest(value.arg)
        if isinstance(value, Add):
            return max((step for arg in value.args if (step := latest(arg)) is not None), default=None)
        return None

    for call in trace.calls:
        flow[call.order] = latest(call.arg)
    return flow


def _place(
    path: str, calls: list[Call], flow: Mapping[int, int | None], steps: int, name: Callable[[str], str]
) -> None:
    """Say which step, and which use within it, each call of a module is."""
    found = [flow[call.order] for call in calls]
    for placed in _placements(len(calls), found, steps):
        if all(f is None or s is None or f <= s for f, (s, _) in zip(found, placed, strict=True)):
            if calls[0].neuron and any(f is not None and f > call.index for f, call in zip(found, calls, strict=True)):
                continue
            for call, (step, slot) in zip(calls, placed, strict=True):
                call.step, call.slot = step, slot
            return
    raise fail(
        "torch/irregular",
        f"{len(calls)} calls in {steps} steps do not repeat from step to step",
        name(path),
        "call every module equally often in every step",
    )


def _placements(count: int, found: list[int | None], steps: int) -> list[list[tuple[int | None, int]]]:
    """Give the ways in which calls may be spread over steps, the likelier first."""
    ways: list[list[tuple[int | None, int]]] = []
    if count == steps:
        ways.append([(k, 0) for k in range(count)])
    if count % steps == 0 and count > steps:
        uses = count // steps
        ways.append([(k // uses, k % uses) for k in range(count)])
        ways.append([(k % steps, k // steps) for k in range(count)])
    if all(step is None for step in found):
        ways.append([(None, k) for k in range(count)])
    known = [step for step in found if step is not None]
    if len(known) == count:
        seen: dict[int, int] = defaultdict(int)
        way: list[tuple[int | None, int]] = []
        for step in known:
            way.append((step, seen[step]))
            seen[step] += 1
        if len(set(seen.values())) == 1 and sorted(seen) == list(range(len(seen))):
            ways.append(way)
    return ways


def _term(value: Expr, step: int, name: Callable[[str], str]) -> Term:
    """Give a value relative to the step that reads it."""
    if isinstance(value, InputAt):
        return Source(None, "value", 0 if value.step is None else _lag(value.step, step, name("")))
    if isinstance(value, Ref):
        leaf = (value.call.path, value.call.slot)
        lag = 0 if value.call.step is None else _lag(value.call.step, step, name(value.call.path))
        return Source(leaf, value.port, lag)
    if isinstance(value, Apply):
        arg = _term(value.arg, step, name)
        return None if arg is None else Function(value.key, arg, value.scope, value.op)
    if isinstance(value, Add):
        return _sum([_term(arg, step, name) for arg in value.args], value.scope)
    if is_zero(value):
        return None
    raise fail(
        "torch/constant",
        "a constant other than zero takes the place of what the network computes",
        name(""),
        "start from zeros, or make the constant the bias of a layer",
    )


def _lag(made: int, read: int, where: str) -> int:
    if made > read:
        message = f"step {read} reads what step {made} makes"
        raise fail("torch/irregular", message, where, "a network can read this step and earlier ones only")
    return read - made


def _sum(terms: list[Term], scope: str) -> Term:
    flat: list[Term] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, Sum) else () if term is None else (term,))
    if len(flat) < 2:
        return flat[0] if flat else None
    return Sum(tuple(flat), scope)


def _early(term: Term, step: int) -> Term:
    """Give what a term is at a step: nothing where it reads steps before the first."""
    if isinstance(term, Source):
        return None if term.lag > step else term
    if isinstance(term, Function):
        arg = _early(term.arg, step)
        return None if arg is None else Function(term.key, arg, term.scope, term.op)
    if isinstance(term, Sum):
        return _sum([_early(part, step) for part in term.terms], term.scope)
    return None


def _same_at_every_step(leaf: Leaf, calls: list[Call], name: Callable[[str], str]) -> Term:
    """Take the last call as what the network does, and check that all others do the same."""
    last = calls[-1]
    if has_constant(last.arg):
        raise fail(
            "torch/constant",
            "at the last step of the example this still reads a constant, so what it reads is not seen",
            name(leaf[0]),
            "give a longer example, or leave the constant out",
        )
    model = _term(last.arg, _at(last), name)
    for call in calls:
        if call.step is not None and _term(call.arg, call.step, name) != _early(model, call.step):
            raise fail(
                "torch/irregular",
                f"step {call.step} computes its input otherwise than step {last.step}",
                name(leaf[0]),
                "let forward do the same in every step",
            )
    return model


def _at(call: Call) -> int:
    return 0 if call.step is None else call.step


def has_constant(value: Expr) -> bool:
    """Say whether a constant takes part in a value."""
    if isinstance(value, Const):
        return True
    if isinstance(value, Apply):
        return has_constant(value.arg)
    return isinstance(value, Add) and any(has_constant(arg) for arg in value.args)
