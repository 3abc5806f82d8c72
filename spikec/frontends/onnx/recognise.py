"""Recognising neurons: the update of a state, in normal form, must equal the equation of one of spikec's neurons.

Parameters are read off the normal form (a coefficient is a decay, what a comparison leaves is a threshold, the
difference that a spike makes is a reset), every kind of reset that they allow is written out by `equation.stepped`, and
the first that gives the same normal form is the neuron. So nothing is accepted that is not equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikec.compiler.ir import Shape
from spikec.compiler.neurons import Neuron, SynapseOrder
from spikec.compiler.weights import Array
from spikec.frontends.onnx.algebra import NONE, Algebra, NotAffineError, Value, constant, minus, plus, same, scaled
from spikec.frontends.onnx.equation import stepped

PLAIN = (frozenset[int](), NONE)


@dataclass(frozen=True, eq=False)
class State:
    """A tensor that is carried from step to step: its name, number, next value, shape, and where it starts."""

    name: str
    number: int
    after: Value
    shape: Shape
    start: Array = field(default_factory=lambda: np.zeros(()))


@dataclass(frozen=True, eq=False)
class Found:
    """A recognised neuron: its op, the value that it reads, what it sends, its membrane, and the states it took."""

    op: Neuron
    given: Value
    sent: Value
    membrane: State
    synapse: State | None
    spike: int | None


@dataclass(frozen=True, eq=False)
class _Synapse:
    """One way to read a synaptic current: its order, decay, gain into the membrane, and the value that feeds it."""

    order: SynapseOrder
    a_syn: Any
    g_syn: Any
    given: Value


def recognise(algebra: Algebra, state: State, synapses: Iterable[State], seen: Iterable[Value]) -> Found | None:
    """Give the neuron whose membrane potential a state is, or None if it is none of spikec's.

    Args:
        algebra: where the values live.
        state: the membrane.
        synapses: states that its update reads, at most one of them: its synaptic current.
        seen: values outside of it, in which its spike may stand.
    """
    others = tuple(synapses)
    if len(others) > 1:
        return None
    i = others[0] if others else None
    own = _own_steps(algebra, state, i, seen)
    for after, v_min in _unclamped(algebra, state.after, own):
        for op, given in _candidates(algebra, after, state, i, own, v_min):
            try:
                made = stepped(
                    algebra, op, algebra.of(state.number), None if i is None else algebra.of(i.number), given
                )
            except (NotAffineError, ValueError):
                continue
            kept = i is None or (made.i is not None and same(made.i, i.after))
            if kept and same(made.v, state.after):
                spike = min(made.spikes.steps(), default=None) if len(made.spikes.terms) == 1 else None
                return Found(_started(op, state), given, made.spikes, state, i, spike)
    return None


def _started(op: Neuron, state: State) -> Neuron:
    return replace(op, v_init=_number(state.start)) if np.any(state.start) else op


def _own_steps(algebra: Algebra, state: State, i: State | None, seen: Iterable[Value]) -> list[int]:
    """Give the steps that compare this membrane (or what a floor makes of it)."""
    numbers = {state.number} | ({i.number} if i is not None else set())
    all_steps = set(algebra.deep(state.after)).union(*(algebra.deep(value) for value in seen))

    def mine(value: Value | None) -> bool:
        if value is None:
            return False
        atoms = algebra.atoms
        return any(n in numbers or (atoms[n].kind == "floor" and mine(atoms[n].inner)) for n in value.variables())

    steps = [n for n in sorted(all_steps) if algebra.atoms[n].kind == "step"]
    found = [n for n in steps if mine(algebra.atoms[n].inner)]
    if not found and state.number not in state.after.variables():  # a membrane that keeps nothing
        alike = state.after.variables()
        found = [n for n in steps if n in algebra.deep(state.after) and _inner(algebra, n).variables() & alike]
    return found


def _inner(algebra: Algebra, step: int) -> Value:
    inner = algebra.atoms[step].inner
    assert inner is not None
    return inner


def _unclamped(algebra: Algebra, after: Value, own: list[int]) -> Iterator[tuple[Value, Any]]:
    """Give the update as it is, and without a lower bound if it has one: max(v, v_min)."""
    yield after, None
    for step in after.steps() & set(own):
        low = algebra.where(after, {step: 0})
        inner = _inner(algebra, step)
        if low.is_constant and same(after, plus(low, algebra.product(algebra.of(step), inner))):
            yield plus(inner, low), _number(low.constant)


def _candidates(
    algebra: Algebra, after: Value, state: State, i: State | None, own: list[int], v_min: Any
) -> Iterator[tuple[Neuron, Value]]:
    """Give every neuron that the parameters allow, the likelier first."""
    quiet = algebra.where(after, dict.fromkeys(own, 0))
    a_mem = _coefficient(quiet, state.number)
    bias = quiet.constant
    rest = Value({t: f for t, f in quiet.terms.items() if t not in (PLAIN, (frozenset(), state.number))})
    for synapse, given, g_in in _feeds(rest, i):
        base = Neuron(
            a_mem=_number(a_mem),
            bias=_number(bias),
            a_syn=_number(synapse.a_syn),
            g_syn=_number(synapse.g_syn),
            g_in=_number(g_in),
            syn_order=synapse.order,
            v_min=v_min,
        )
        if not own:
            yield replace(base, v_th=np.inf, reset="none", readout="membrane"), given
        for spike in [n for n in own if algebra.atoms[n].kind == "step"]:
            for op in _spiking(algebra, base, after, quiet, state, own, spike):
                yield op, given


def _feeds(rest: Value, i: State | None) -> Iterator[tuple[_Synapse, Value, Any]]:
    """Give the ways in which what is left feeds the membrane: directly, or through a synaptic current."""
    if i is None:
        gain = next(iter(rest.terms.values())) if rest.terms else np.ones(())
        if gain.ndim and not np.all(gain):
            gain = np.ones(())
        yield _Synapse("none", 0.0, 1.0, rest), scaled(rest, 1 / gain), gain
        return
    a_syn, into = _coefficient(i.after, i.number), _coefficient(rest, i.number)
    given = Value({t: f for t, f in i.after.terms.items() if t != (frozenset(), i.number)})
    if not np.all(a_syn):
        return
    yield _Synapse("decay_add", a_syn, into / a_syn, given), given, 1.0
    yield _Synapse("add_decay", a_syn, into / a_syn, given), scaled(given, 1 / a_syn), 1.0
    yield _Synapse("add_use_decay", a_syn, into, given), scaled(given, 1 / a_syn), 1.0


def _spiking(
    algebra: Algebra, base: Neuron, after: Value, quiet: Value, state: State, own: list[int], spike: int
) -> Iterator[Neuron]:
    """Give the neurons whose threshold one comparison shows, with every reset that the update may have."""
    inner = algebra.where(_inner(algebra, spike), dict.fromkeys(own, 0))
    late = inner.variables() == {state.number} and not same_direction(inner, quiet)
    ahead = algebra.of(state.number) if late else quiet
    at = next((t for t, f in ahead.terms.items() if t in inner.terms and t != PLAIN and np.all(f)), None)
    if at is None:
        return
    ratio = inner.terms[at] / ahead.terms[at]
    if not np.all(ratio > 0):
        return
    threshold = ahead.constant - inner.constant / ratio
    op = replace(base, v_th=_number(threshold), cmp=">" if algebra.atoms[spike].strict else ">=")
    values, amounts = _resets(algebra, op, after, quiet, state, own, spike)
    for whole in _counting(algebra, op, state, own):
        yield replace(whole, reset="none", readout="spikes")
        for when in ("post", "next", "next_post"):
            for amount in amounts:
                plain = bool(same(constant(amount), constant(whole.v_th)))
                yield replace(whole, reset="subtract", reset_amount=None if plain else amount, reset_when=when)
            for value in values:
                yield replace(whole, reset="value", v_reset=value, reset_when=when)
                if when == "next":
                    yield replace(whole, reset="value", v_reset=value, reset_when=when, drop_input=True)


def same_direction(inner: Value, quiet: Value) -> bool:
    """Say whether a comparison is of the new membrane, although it reads the old one alone: there is no input."""
    return quiet.variables() == inner.variables()


def _resets(
    algebra: Algebra, op: Neuron, after: Value, quiet: Value, state: State, own: list[int], spike: int
) -> tuple[list[Any], list[Any]]:
    """Give the values that a spike may set the membrane to, and the amounts that it may take away."""
    values: list[Any] = []
    amounts: list[Any] = [op.v_th]
    off = dict.fromkeys(own, 0)
    for others in ((), *([n] for n in own if n != spike)):
        fired = algebra.where(after, {**off, spike: 1, **dict.fromkeys(others, 1)})
        lost = minus(quiet, fired)
        if lost.is_constant:
            amounts.append(_number(lost.constant))
        amounts += [_number(f) for (_, n), f in lost.terms.items() if n != NONE and algebra.atoms[n].kind == "floor"]
        if fired.is_constant:
            values.append(_number(fired.constant))
        kept = minus(fired, minus(quiet, scaled(algebra.of(state.number), op.a_mem)))
        if kept.is_constant and np.all(np.asarray(op.a_mem)):  # the old membrane was replaced before it decayed
            values.append(_number(kept.constant / np.asarray(op.a_mem)))
    return _once(values), _once(amounts)


def _counting(algebra: Algebra, op: Neuron, state: State, own: list[int]) -> Iterator[Neuron]:
    """Give the neuron with one spike a step; with several, up to the bound that is compared, where it takes floors."""
    atoms = algebra.atoms
    floors = [n for n, a in enumerate(atoms) if a.kind == "floor" and a.inner and state.number in a.inner.variables()]
    if not floors:
        yield op
        return
    bounds = []
    for step in own:
        inner = _inner(algebra, step)
        for term, factor in inner.terms.items() if inner.variables() <= set(floors) else ():
            if term[1] in floors and np.all(factor) and inner.constant.ndim == 0 and factor.ndim == 0:
                bounds.append(float(np.rint(-inner.constant / factor)))
    for most in bounds:
        if 1 <= most < 1 << 31:
            yield replace(op, spike="multi", max_spikes=int(most))
    if not bounds:
        yield replace(op, spike="multi")


def _coefficient(value: Value, number: int) -> Array:
    return value.terms.get((frozenset(), number), np.zeros(()))


def _number(array: Any) -> Any:
    """Give an array, or the one number that it holds throughout."""
    array = np.asarray(array, np.float64)
    first = array.reshape(-1)[0]
    return float(first) if np.all(array == first) else array


def _once(values: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if not any(same(constant(value), constant(other)) for other in kept):
            kept.append(value)
    return kept


def shaped(op: Neuron, shape: Shape, fields: Mapping[str, Any]) -> Neuron:
    """Give a neuron whose arrays have no batch axis.

    Raises:
        ValueError: a parameter differs between samples.
    """
    changed: dict[str, Any] = {}
    for name, value in fields.items():
        array = np.asarray(value)
        if array.ndim > len(shape):
            if array.shape[0] != 1:
                raise ValueError(f"{name} differs between samples")
            changed[name] = array[0]
    return replace(op, **changed) if changed else op
