"""Normal forms of neurons: the many ways in which frameworks write a step, brought to one where that is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron, Number
from spikec.compiler.weights import Array


def normal_forms(graph: Graph) -> Graph:
    """Bring every neuron of a graph into its normal form."""

    def change(node: Node) -> Node | None:
        if not isinstance(node.op, Neuron):
            return None
        new = normal_form(node.op)
        return None if new is node.op else replace(node, op=new)

    return graph.map(change)


def normal_form(op: Neuron) -> Neuron:
    """Give a neuron of the same spikes: reset in the same step, to 0 or by subtraction; no leak potential.

    What cannot be brought to this form exactly is left as it is. Membranes may be shifted by v_reset, or be traced
    after the reset instead of before, but never where they are read out.
    """
    for rule in (_synapse, _single, _reset_in_time, _centre, _leak):
        op = rule(op)
    return op


def _synapse(op: Neuron) -> Neuron:
    """Decay, then add: i = a (i + g I) is i = a i + (a g) I, and what `add_use_decay` uses is i = a i + g I."""
    if op.syn_order == "none":
        return op
    gain = _times(op.g_in, op.a_syn) if op.syn_order == "add_decay" else op.g_in
    if np.all(np.asarray(op.a_syn) == 0):
        return replace(op, syn_order="none", a_syn=0.0, g_in=gain)
    return op if op.syn_order == "decay_add" else replace(op, syn_order="decay_add", g_in=gain)


def _single(op: Neuron) -> Neuron:
    """A neuron of several spikes a step, but at most one, is one of single spikes."""
    return replace(op, spike="single", max_spikes=0) if op.spike == "multi" and op.max_spikes == 1 else op


def _reset_in_time(op: Neuron) -> Neuron:
    """Bring a reset in the next step into this one, where spikes alone are read.

    Subtract: the next step is a v + I - A, so subtracting A / a now is the same (a > 0). Value: the membrane is set
    before the decay of the next step, so now is the same. A spike of the initial membrane would be missed.
    """
    if op.reset == "none":
        endless = op.v_th if op.readout == "spikes" else np.inf  # of a membrane that is never reset no spike is read
        same = op.reset_when == "post" and not op.drop_input and endless is op.v_th
        done = same or (np.all(np.isinf(op.v_th)) and op.reset_when == "post")
        return op if done else replace(op, reset_when="post", drop_input=False, v_th=endless)
    if op.reset_when != "next" or op.drop_input or op.readout == "membrane" or op.spike == "multi":
        return op
    above = np.greater if op.cmp == ">" else np.greater_equal
    if np.any(above(np.asarray(op.v_init), np.asarray(op.v_th))) or op.v_min is not None:
        return op
    if op.reset == "value":
        return replace(op, reset_when="post")
    if np.any(np.asarray(op.a_mem) <= 0):
        return op
    amount = _number(np.asarray(op.amount, np.float64) / np.asarray(op.a_mem, np.float64))
    return replace(op, reset_when="post", reset_amount=amount)


def _centre(op: Neuron) -> Neuron:
    """Shift the membrane so that it is reset to 0: everything measured against it moves by v_reset."""
    centre = np.asarray(op.v_reset, np.float64)
    if op.reset != "value" or not np.any(centre) or op.readout == "membrane" or op.spike == "multi":
        return op
    if op.reset_when != "post":
        return op

    def moved(value: Number) -> Number:
        return _number(np.asarray(value, np.float64) - centre)

    least = None if op.v_min is None else moved(op.v_min)
    return replace(op, v_reset=0.0, v_leak=moved(op.v_leak), v_th=moved(op.v_th), v_init=moved(op.v_init), v_min=least)


def _leak(op: Neuron) -> Neuron:
    """Make the pull towards a leak potential the constant input that it is."""
    if not np.any(np.asarray(op.v_leak)):
        return op
    pull = (1 - np.asarray(op.a_mem, np.float64)) * np.asarray(op.v_leak, np.float64)
    return replace(op, v_leak=0.0, bias=_number(np.asarray(op.bias, np.float64) + pull))


def _times(a: Number, b: Number) -> Number:
    return _number(np.asarray(a, np.float64) * np.asarray(b, np.float64))


def _number(value: Array) -> Number:
    return float(value) if value.ndim == 0 else value
