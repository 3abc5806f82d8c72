"""What a network returns: finds the values in what forward gave back, and decides which of them is the output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from spikec.compiler.diagnostics import Sink, fail, remark
from spikec.frontends.torch.folding import Folded, Function, Source, Sum, Term
from spikec.frontends.torch.tracer import Trace
from spikec.frontends.torch.values import Add, Apply, Expr, Ref, Sequence, Unknown, Value

Wanted = Literal["auto", "spikes", "membrane"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A returned value, folded over time: what a step gives, and what forward does with the steps."""

    term: Term
    value: Expr | Sequence
    over_time: str = ""

    @property
    def kind(self) -> str:
        """`spikes`, `membrane`, `synapse` or `value` (a layer's output)."""
        return self.term.port if isinstance(self.term, Source) else "value"


def choose(folded: Folded, trace: Trace, wanted: Wanted, tell: Sink) -> Candidate:
    """Give what is the network's output.

    Args:
        folded: one step of the network.
        trace: what forward returned.
        wanted: `auto` takes spikes where they are returned.
        tell: is told of every choice that was made.

    Raises:
        CompileError: `torch/output`: nothing returned comes from the network, or not step by step.
    """
    where = folded.name("")
    found = candidates(folded, trace)
    if not found:
        raise fail(
            "torch/output",
            "forward returns nothing that comes from its input",
            where,
            "return the spikes of the last layer",
        )
    first = _first(found, wanted)
    if first is None:
        first = _other_port(folded, found, wanted)
    if first.over_time:
        tell(remark("torch/readout", _OVER_TIME[first.over_time], where))
    others = [c for c in found if c is not first and c.kind != "synapse" and c.over_time in ("", first.over_time)]
    if others:
        kinds = ", ".join(f"{_what(c)}" for c in others)
        help = f"readout='{'membrane' if first.kind == 'spikes' else 'spikes'}' takes the other"
        tell(remark("torch/readout", f"the output is {_what(first)}; not taken: {kinds}", where, help))
    return first


_OVER_TIME = {
    "sum": "forward returns a sum over time; the output gives every step, and `counts` is their sum",
    "mean": "forward returns a mean over time; the output gives every step, and `counts` is their sum",
    "last": "forward returns the last step; the output gives every step",
}


def _what(candidate: Candidate) -> str:
    term = candidate.term
    if isinstance(term, Source) and term.leaf is not None:
        return f"the {candidate.kind} of '{term.leaf[0]}'"
    return "a sum or function of them"


def _first(found: list[Candidate], wanted: Wanted) -> Candidate | None:
    """Give the last returned candidate of the kind that comes first; what is there at every step comes first."""
    order = ("spikes", "value", "membrane", "synapse") if wanted == "auto" else (wanted,)
    every = [candidate for candidate in found if candidate.over_time != "last"]  # the rest may be states handed back
    for pool in (every, found):
        for kind in order:
            matching = [candidate for candidate in pool if candidate.kind == kind]
            if matching:
                return matching[-1]
    return None


def _other_port(folded: Folded, found: list[Candidate], wanted: Wanted) -> Candidate:
    """Give the wanted result of the last neuron that is returned, when forward returns only its other one."""
    for candidate in reversed(found):
        term = candidate.term
        if isinstance(term, Source) and term.leaf is not None and folded.calls[term.leaf][0].neuron:
            port: Literal["spikes", "membrane"] = "membrane" if wanted == "membrane" else "spikes"
            if port == "spikes" and port not in folded.calls[term.leaf][-1].outputs:
                continue
            return replace(candidate, term=replace(term, port=port), over_time="")
    raise fail(
        "torch/output",
        f"readout='{wanted}' asks for a neuron, but forward returns the output of a layer without memory",
        folded.name(""),
        "leave readout at 'auto'",
    )


def candidates(folded: Folded, trace: Trace) -> list[Candidate]:
    """Give what forward returned of the network, folded over time."""
    if len(trace.returned) > 1:
        return _one_step_a_call(folded, trace)
    found: list[Candidate] = []
    for value in _values(trace, trace.returned[0]):
        found.append(_folded(folded, value))
    return found


def _one_step_a_call(folded: Folded, trace: Trace) -> list[Candidate]:
    rows = [_values(trace, returned) for returned in trace.returned]
    if len({len(row) for row in rows}) != 1:
        raise fail("torch/output", "forward does not return as much at every step", folded.name(""))
    return [
        _folded(folded, Sequence(tuple(v for v in column if isinstance(v, Expr)), 0))
        for column in zip(*rows, strict=True)
    ]


def _values(trace: Trace, thing: Any) -> list[Value]:
    """Give the known values in what was returned; a list of all steps is a sequence."""
    if isinstance(thing, dict):
        return _values(trace, list(thing.values()))
    if isinstance(thing, list | tuple):
        plain = [part for part in thing if not isinstance(part, dict)]  # a dictionary beside them is states or records
        parts = [value for part in plain for value in _values(trace, part)]
        parts = parts or [value for part in thing for value in _values(trace, part)]
        if _is_sequence(parts):
            return [Sequence(tuple(part for part in parts if isinstance(part, Expr)), 0)]
        return parts
    value = trace.value_of(thing) if hasattr(thing, "untyped_storage") else None
    return [] if value is None else [value]


def _is_sequence(parts: list[Value]) -> bool:
    """Say whether these are the results of one module at several steps."""
    same = [part for part in parts if isinstance(part, Ref)]
    steps = {part.call.index for part in same}
    return len(steps) == len(parts) > 1 and len({(part.call.path, part.port) for part in same}) == 1


def _folded(folded: Folded, value: Value) -> Candidate:
    if isinstance(value, Sequence):
        return _sequence(folded, value)
    over_time, steps = _accumulated(value)
    if steps:
        return replace(_sequence(folded, Sequence(steps, 0)), over_time=over_time)
    return _sequence(folded, Sequence((value,) * folded.steps, 0), last=True)


def _accumulated(value: Expr) -> tuple[str, tuple[Expr, ...]]:
    """Recognise a sum over time that was made step by step, perhaps divided by a constant."""
    over_time = "sum"
    while isinstance(value, Apply) and value.key[0] == "scale":
        value, over_time = value.arg, "mean"
    parts = [part for part in _parts(value) if isinstance(part, Ref)]
    by_order = {part.call.order: part for part in parts}
    same = len({(part.call.path, part.port) for part in parts}) == 1
    if isinstance(value, Add) and same and len({part.call.step for part in parts}) == len(parts) > 1:
        return over_time, tuple(by_order[order] for order in sorted(by_order))
    return "", ()


def _parts(value: Expr) -> list[Expr]:
    if isinstance(value, Add):
        return [part for arg in value.args for part in _parts(arg)]
    return [value]


def _sequence(folded: Folded, value: Sequence, *, last: bool = False) -> Candidate:
    """Fold a value of every step into the one term that they all are."""
    where = folded.name("")
    items = value.items
    if len(items) != folded.steps or None in items or any(isinstance(item, Unknown) for item in items):
        message = f"forward returns {len(items)} steps of {folded.steps}"
        raise fail("torch/output", message, where, "return every step, their sum, or the last one")
    final = items[-1]
    assert final is not None
    model = folded.term(final, folded.steps - 1)
    if _lagging(model):
        raise fail(
            "torch/output", "forward returns steps late, or not in their order", where, "return every step in order"
        )
    for step, item in enumerate(items):
        if item is not None and not last and folded.term(item, step) != model:
            raise fail(
                "torch/output", f"step {step} is returned otherwise than the last", where, "return every step in order"
            )
    return Candidate(model, value, "last" if last else value.reduced)


def _lagging(term: Term) -> bool:
    if isinstance(term, Source):
        return term.lag > 0
    if isinstance(term, Function):
        return _lagging(term.arg)
    return isinstance(term, Sum) and any(_lagging(part) for part in term.terms)
