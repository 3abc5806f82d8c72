"""The equation of `spikec.compiler.neurons.Neuron` in piecewise-affine values: what a recognised neuron must equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikec.compiler.neurons import Neuron
from spikec.frontends.onnx.algebra import Algebra, Value, constant, minus, plus, scaled


@dataclass(frozen=True, eq=False)
class Stepped:
    """One step of a neuron: what it sends, its new membrane potential, its new synaptic current (None: it has none)."""

    spikes: Value
    v: Value
    i: Value | None


def stepped(algebra: Algebra, op: Neuron, v: Value, i: Value | None, given: Value) -> Stepped:
    """Write one step of a neuron, line by line as in the docstring of Neuron, from the step before and its input."""
    late = constant(0.0) if op.reset_when == "post" else _above(algebra, op, v)
    if op.reset == "value" and not op.drop_input:
        v = algebra.choice(late, constant(op.v_reset), v)
    used, kept = _current(op, i, scaled(given, op.g_in))
    rest = (1 - np.asarray(op.a_mem)) * np.asarray(op.v_leak) + np.asarray(op.bias)
    v = plus(plus(scaled(v, op.a_mem), scaled(used, op.g_syn)), constant(rest))
    if op.reset_when != "post":
        v = _reset_next(algebra, op, v, late)
    spikes = _spikes(algebra, op, v)
    if op.reset_when != "next":
        v = _reset_after(algebra, op, v, spikes, late)
    if op.v_min is not None:
        v = algebra.largest(v, constant(op.v_min))
    return Stepped(spikes, v, kept)


def _current(op: Neuron, i: Value | None, gained: Value) -> tuple[Value, Value | None]:
    """Give the current that the membrane sees, and what the synapse keeps."""
    if op.syn_order == "none" or i is None:
        return gained, None
    if op.syn_order == "decay_add":
        used = plus(scaled(i, op.a_syn), gained)
        return used, used
    used = plus(i, gained)
    kept = scaled(used, op.a_syn)
    return (kept, kept) if op.syn_order == "add_decay" else (used, kept)


def _above(algebra: Algebra, op: Neuron, v: Value) -> Value:
    if np.all(np.isposinf(np.asarray(op.v_th))):
        return constant(0.0)
    return algebra.step(minus(v, constant(op.v_th)), strict=op.cmp == ">")


def _spikes(algebra: Algebra, op: Neuron, v: Value) -> Value:
    above = _above(algebra, op, v)
    if op.spike == "single":
        return above
    count = algebra.product(above, algebra.floor(scaled(v, 1 / np.asarray(op.v_th))))
    return algebra.smallest(count, constant(float(op.max_spikes))) if op.max_spikes else count


def _reset_next(algebra: Algebra, op: Neuron, v: Value, late: Value) -> Value:
    if op.reset == "subtract":
        return minus(v, scaled(late, op.amount))
    if op.reset == "value" and op.drop_input:
        return algebra.choice(late, constant(op.v_reset), v)
    return v


def _reset_after(algebra: Algebra, op: Neuron, v: Value, spikes: Value, late: Value) -> Value:
    if op.reset == "none":
        return v
    times = minus(spikes, late)
    if op.reset == "subtract":
        return minus(v, scaled(times, op.amount))
    if op.reset_when == "next_post":
        return minus(v, algebra.product(times, v))
    fired = spikes if op.spike == "single" else _above(algebra, op, v)
    return algebra.choice(fired, constant(op.v_reset), v)
