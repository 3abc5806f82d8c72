"""Expression: what of a neuron a target can say, and what the user chose where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spikec.compiler.diagnostics import Diagnostic, Sink, remark
from spikec.compiler.ir import Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.target import Target, in_python

Found = Callable[[Diagnostic], None]


@dataclass(frozen=True)
class Form:
    """How the fixed neuron will behave: its comparison, its reset, and whether the rest is kept."""

    cmp: Literal[">", ">="] = ">"
    reset: Literal["value", "subtract", "none"] = "value"
    keeps_init: bool = False
    keeps_min: bool = False
    below: bool = False
    """The threshold is the largest integer below the trained one: `v >= th` on a membrane of whole steps."""


def express(node: Node, target: Target, found: Found, sink: Sink) -> Form:
    """Find the form of a neuron; what the target cannot say goes to `found`, what is converted is remarked on."""
    op = node.op
    assert isinstance(op, Neuron)
    if np.any(np.asarray(op.g_in) != 1) or np.any(np.asarray(op.g_syn) != 1):
        message = "the gain of its input could not be folded into the weights before it"
        found(Diagnostic("quantize/gain", message, node.where, "use one gain a layer, or one an output channel"))
    if np.any(np.asarray(op.graded) != 1):
        message = "the value of its spikes could not be folded into the weights behind it"
        found(Diagnostic("quantize/graded", message, node.where, "let the layer send spikes of value 1"))
    if op.syn_order != "none" and not target.synapse:
        message = f"it has a synaptic current, which a neuron of {target.name} has not"
        found(Diagnostic("quantize/synapse", message, node.where, "train with neurons without a synaptic current"))
    init = _initial(node, op, target, found, sink)
    least = _clamp(node, op, target, found, sink)
    if op.readout == "membrane" and np.all(np.isinf(op.v_th)):
        return Form(reset="none", keeps_init=init, keeps_min=least)
    cmp, below = _compare(node, op, target, found, sink)
    return Form(cmp, _reset(node, op, target, found, sink), init, least, below)


def whole_steps(op: Neuron) -> bool:
    """Say whether the membrane only ever holds sums of its inputs: states that keep all or nothing."""
    decays = [op.a_mem] if op.syn_order == "none" else [op.a_mem, op.a_syn]
    return all(bool(np.all((np.asarray(a) == 0) | (np.asarray(a) == 1))) for a in decays)


def _compare(node: Node, op: Neuron, target: Target, found: Found, sink: Sink) -> tuple[Literal[">", ">="], bool]:
    if op.cmp == ">" or target.ge or target.choices.compare == "exact":
        return op.cmp, False
    if whole_steps(op):
        return ">", True
    if target.choices.compare == "error":
        found(
            Diagnostic(
                "quantize/compare",
                f"it fires at v >= threshold; {target.name} fires at v > threshold, in coarse steps",
                node.where,
                "--compare=strict fires at v > threshold and measures what that changes; --compare=exact uses a "
                f"neuron of our own, which the real chip would need as microcode ({in_python(compare='strict')})",
            )
        )
    sink(remark("quantize/strict", "v >= threshold becomes v > threshold", node.where))
    return ">", False


def _reset(node: Node, op: Neuron, target: Target, found: Found, sink: Sink) -> Literal["value", "subtract", "none"]:
    choice = target.choices.reset
    in_time = op.reset_when == "post" and not op.drop_input and op.spike == "single"
    to_zero = op.reset == "value" and not np.any(np.asarray(op.v_reset))
    if in_time and (to_zero or (op.reset == "subtract" and target.soft_reset)):
        return op.reset
    ours = in_time and (to_zero or op.reset != "value")
    if ours and choice == "exact":
        sink(remark("quantize/own-neuron", f"{_what(op)} needs a neuron of our own (microcode)", node.where))
        return op.reset
    if choice == "hard":
        sink(remark("quantize/hard-reset", f"{_what(op)} becomes a reset to 0", node.where))
        return "value"
    help = "--reset=hard resets to 0 and measures what that changes"
    if ours:
        help += "; --reset=exact uses a neuron of our own, which the real chip would need as microcode"
    found(
        Diagnostic(
            "quantize/reset",
            f"{_what(op)}: {target.name} resets to 0 in the step of the spike{' alone' if op.drop_input else ''}",
            node.where,
            f"{help} ({in_python(reset='hard')}); or {_way_out(op)}",
        )
    )
    return "value"


def _what(op: Neuron) -> str:
    value = "reset to a value" if np.any(np.asarray(op.v_reset)) else "reset to 0"
    kind = {"subtract": "reset by subtraction", "value": value, "none": "no reset"}[op.reset]
    seen = ", seen in the membrane that is read out" if op.readout == "membrane" else ""
    if op.spike == "multi":
        return f"several spikes a step, {kind}"
    if op.drop_input:
        return f"{kind} in the next step, whose input is lost{seen}"
    when = {"post": "", "next": " in the next step", "next_post": ", delayed and taken back"}[op.reset_when]
    return f"{kind}{when}{seen}"


def _way_out(op: Neuron) -> str:
    """Say what to train instead, so that the target's neuron is the trained one."""
    if op.spike == "multi":
        return "train with one spike a step and reset to zero"
    if op.readout == "membrane":
        return "read out its spikes, or train this layer without a reset, which a membrane readout does not need"
    if op.drop_input:
        return (
            "train with a reset to zero that keeps the input of the step after a spike (in snnTorch Leaky keeps it; "
            "Synaptic, Lapicque, RLeaky and RSynaptic lose it)"
        )
    if op.reset_when == "next_post":
        return "train with a reset to zero that is not taken back (in snnTorch Leaky with reset_delay=True)"
    return 'train with reset to zero (in snnTorch Leaky with reset_mechanism="zero")'


def _initial(node: Node, op: Neuron, target: Target, found: Found, sink: Sink) -> bool:
    if not np.any(np.asarray(op.v_init)) or target.v_init or target.choices.initial == "exact":
        return True
    if target.choices.initial == "error":
        found(
            Diagnostic(
                "quantize/initial",
                f"its membrane does not start where it is reset to; on {target.name} it starts at 0",
                node.where,
                "--initial=zero starts it there and measures what that changes; --initial=exact sets the membrane "
                f"at the start of every sample ({in_python(initial='zero')})",
            )
        )
    sink(remark("quantize/starts-at-zero", "the membrane starts at 0 instead of its trained start", node.where))
    return False


def _clamp(node: Node, op: Neuron, target: Target, found: Found, sink: Sink) -> bool:
    if op.v_min is None or target.choices.reset == "exact":
        return True
    if target.choices.reset == "error":
        found(
            Diagnostic(
                "quantize/clamp",
                f"its membrane has a lower bound, which {target.name} has not",
                node.where,
                "--reset=hard drops the bound and measures what that changes; --reset=exact uses a neuron of our own "
                f"({in_python(reset='hard')})",
            )
        )
    sink(remark("quantize/unclamped", "the lower bound of the membrane is dropped", node.where))
    return False
