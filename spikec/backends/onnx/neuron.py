"""A neuron in standard ops, line by line as the reference computes it, so that floats round alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikec.backends.onnx.lines import Lines
from spikec.compiler.ir import Shape
from spikec.compiler.neurons import Neuron


def write_neuron(lines: Lines, op: Neuron, x: str, shape: Shape) -> str:
    """Write one step (see the docstring of Neuron), states `v` and `i`; give the tensor that it sends."""
    v = lines.state("v", shape, op.v_init)
    late = _above(lines, op, v) if op.reset_when != "post" and op.reset != "none" else ""
    before = v
    if late and op.reset == "value" and not op.drop_input:
        before = lines.make("Where", late, lines.number(op.v_reset, "v_reset"), v)
    a = np.asarray(op.a_mem, np.float32)
    now = lines.times(before, a, "a_mem")
    now = lines.plus(now, (1 - a) * np.asarray(op.v_leak, np.float32), "leak")
    now = lines.make("Add", now, lines.times(_current(lines, op, x, shape), op.g_syn, "g_syn"))
    now = lines.plus(now, op.bias, "bias")
    if late:
        now = _reset_next(lines, op, now, late)
    spikes = _spikes(lines, op, now) if op.readout == "spikes" or op.reset != "none" else ""
    if op.reset != "none" and op.reset_when != "next":
        now = _reset_after(lines, op, now, spikes, late)
    if op.v_min is not None:
        now = lines.make("Max", now, lines.number(op.v_min, "v_min"))
    lines.after(v, now)
    return now if op.readout == "membrane" else lines.times(spikes, op.graded, "graded")


def _current(lines: Lines, op: Neuron, x: str, shape: Shape) -> str:
    gained = lines.times(x, op.g_in, "g_in")
    if op.syn_order == "none":
        return gained
    i = lines.state("i", shape)
    a: Any = op.a_syn
    if op.syn_order == "decay_add":
        used = kept = lines.make("Add", lines.times(i, a, "a_syn"), gained)
    else:
        used = lines.make("Add", i, gained)
        kept = lines.times(used, a, "a_syn")
        used = kept if op.syn_order == "add_decay" else used
    lines.after(i, kept)
    return used


def _above(lines: Lines, op: Neuron, v: str) -> str:
    return lines.make("Greater" if op.cmp == ">" else "GreaterOrEqual", v, lines.number(op.v_th, "v_th"))


def _spikes(lines: Lines, op: Neuron, v: str) -> str:
    above = lines.make("Cast", _above(lines, op, v), to=1)
    if op.spike == "single":
        return above
    count = lines.make("Floor", lines.make("Div", v, lines.number(op.v_th, "v_th")))
    count = lines.make("Mul", above, count)
    return lines.make("Min", count, lines.number(float(op.max_spikes), "max_spikes")) if op.max_spikes else count


def _reset_next(lines: Lines, op: Neuron, v: str, late: str) -> str:
    if op.reset == "subtract":
        fired = lines.make("Cast", late, to=1)
        return lines.make("Sub", v, lines.times(fired, op.amount, "amount"))
    if op.drop_input:
        return lines.make("Where", late, lines.number(op.v_reset, "v_reset"), v)
    return v


def _reset_after(lines: Lines, op: Neuron, v: str, spikes: str, late: str) -> str:
    times = lines.make("Sub", spikes, lines.make("Cast", late, to=1)) if late else spikes
    if op.reset == "subtract":
        return lines.make("Sub", v, lines.times(times, op.amount, "amount"))
    if late:
        return lines.make("Sub", v, lines.make("Mul", times, v))
    return lines.make("Where", _above(lines, op, v), lines.number(op.v_reset, "v_reset"), v)
