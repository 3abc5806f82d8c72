"""The neuron in NIR: discrete decays as time constants, and what NIR's neurons cannot say.

With dt seconds a step: tau = dt / (1 - a), r = g tau / dt, so that forward Euler gives back a and g to float rounding.
A state that keeps all of itself (a = 1) has no finite tau; it gets 2**60 dt, for which 1 - dt/tau is 1 in any float.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from spikec.backends.nir.loss import Loss
from spikec.backends.nir.parts import Floats, Form, Part, full
from spikec.compiler.ir import Node, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Scale
from spikec.compiler.weights import Array

ENDLESS = 2.0**60
"""tau in steps of a state that does not decay."""


def neuron_form(node: Node, shape: Shape, dt: float) -> Form:
    """Give NIR's nodes for a neuron of this shape.

    A neuron that spikes and never resets is an integrator and a Threshold; a graded spike is scaled by a Scale node.
    """
    op = node.op
    assert isinstance(op, Neuron)
    parts: list[Part] = []
    spiking = op.readout == "spikes"
    if not spiking or op.reset == "none":
        parts.append(_membrane(op, shape, dt, suffix=".membrane" if spiking else ""))
        if spiking:
            parts.append(_threshold(op, shape))
    else:
        parts.append(_firing(op, shape, dt))
    if spiking and np.any(np.asarray(op.graded) != 1):
        parts[-1] = replace(parts[-1], suffix=".spike")
        parts.append(Part("Scale", {"scale": full(op.graded, shape)}, Scale(op.graded)))
    true = {f.name: getattr(op, f.name) for f in fields(op)}
    return Form(tuple(parts), true, tuple(_losses(node.name, op)))


def _membrane(op: Neuron, shape: Shape, dt: float, suffix: str) -> Part:
    kind = _kind(op, "LI", "I", "CubaLI")
    literal = replace(_dynamics(op), v_th=np.inf, reset="none", readout="membrane")
    return Part(kind, _times(op, shape, dt, kind), literal, suffix)


def _threshold(op: Neuron, shape: Shape) -> Part:
    th = written_threshold(op)
    literal = Neuron(a_mem=0.0, v_th=th, cmp=">", reset="none")
    return Part("Threshold", {"threshold": full(th, shape)}, literal)


def _firing(op: Neuron, shape: Shape, dt: float) -> Part:
    kind = _kind(op, "LIF", "IF", "CubaLIF")
    th = written_threshold(op)
    reset: Any = op.v_reset if op.reset == "value" else 0.0
    written = _times(op, shape, dt, kind) | {"v_threshold": full(th, shape)}
    if np.any(reset):  # nir before 1.0.6 does not know v_reset, and every version reads its absence as 0
        written["v_reset"] = full(reset, shape)
    literal = replace(_dynamics(op), v_th=th, cmp=">", reset="value", v_reset=reset)
    return Part(kind, written, literal)


def _kind(op: Neuron, leaky: str, timeless: str, cuba: str) -> str:
    if op.syn_order != "none":
        return cuba
    return timeless if np.all(np.asarray(op.a_mem) == 1) else leaky


def _times(op: Neuron, shape: Shape, dt: float, kind: str) -> dict[str, Array]:
    """Give time constants, gains and v_leak as NIR's fields of this type of node."""
    if kind in ("I", "IF"):
        return {"r": full(_product(op), shape)}
    tau, g = time_constant(op.a_mem, dt), op.g_syn
    leak: dict[str, Array] = {"v_leak": full(rest(op), shape)}
    if not kind.startswith("Cuba"):
        return {"tau": full(tau, shape), "r": full(_product(op) * tau / dt, shape), **leak}
    tau_syn = time_constant(op.a_syn, dt)
    times = {"tau_mem": tau, "tau_syn": tau_syn, "r": np.asarray(g) * tau / dt, "w_in": _g_in(op) * tau_syn / dt}
    return {name: full(value, shape) for name, value in times.items()} | leak


def time_constant(a: Any, dt: float) -> Floats:
    """Give the time constant, seconds, whose forward Euler decay is a."""
    kept = np.asarray(a, np.float64)
    return np.asarray(np.where(kept < 1, dt / np.where(kept < 1, 1 - kept, 1.0), dt * ENDLESS))


def rest(op: Neuron) -> Floats:
    """Give v_leak with the neuron's bias in it: (1 - a) v_leak' = (1 - a) v_leak + bias; 0 where nothing leaks."""
    lost = 1 - np.asarray(op.a_mem, np.float64)
    shifted = np.asarray(op.v_leak, np.float64) + np.asarray(op.bias, np.float64) / np.where(lost > 0, lost, 1.0)
    return np.asarray(np.where(lost > 0, shifted, 0.0))


def bias_is_lost(op: Neuron) -> bool:
    """Say whether a bias stands where the membrane does not leak: then no v_leak can stand for it."""
    return bool(np.any((np.asarray(op.bias) != 0) & (np.asarray(op.a_mem) >= 1)))


def written_threshold(op: Neuron) -> Any:
    """Give v_threshold: for `>=` the next float32 below, so that NIR's `>` fires where v equals the threshold."""
    if op.cmp == ">":
        return op.v_th
    th = np.asarray(op.v_th, np.float32)
    return np.where(np.isfinite(th), np.nextafter(th, np.float32(-np.inf)), th).astype(np.float64)[()]


def _g_in(op: Neuron) -> Floats:
    """Give the gain of the synaptic input; i = a (i + g x) is i = a i + (a g) x."""
    g = np.asarray(op.g_in, np.float64)
    return g * np.asarray(op.a_syn, np.float64) if op.syn_order == "add_decay" else g


def _product(op: Neuron) -> Floats:
    return np.asarray(op.g_in, np.float64) * np.asarray(op.g_syn, np.float64)


def _dynamics(op: Neuron) -> Neuron:
    """Give the membrane that the time constants describe, without spike and reset."""
    cuba = op.syn_order != "none"
    return Neuron(
        a_mem=op.a_mem,
        a_syn=op.a_syn if cuba else 0.0,
        syn_order="decay_add" if cuba else "none",
        g_in=_g_in(op)[()] if cuba else _product(op)[()],
        g_syn=op.g_syn if cuba else 1.0,
        v_leak=rest(op)[()],
    )


def _losses(name: str, op: Neuron) -> list[Loss]:
    found: list[Loss] = []
    spiking = op.readout == "spikes"

    def lost(field: str, trained: str, read_as: str, effect: str) -> None:
        found.append(Loss(name, field, trained, read_as, effect))

    if not spiking and op.reset != "none":
        lost("reset", f"by {op.reset}", "none", "in NIR a membrane that is read out never fires")
    if spiking and op.reset == "subtract":
        lost("reset", f"by subtraction, {op.reset_when}", "to 0", "what lies above the threshold is lost at a spike")
    if spiking and op.reset == "value" and (op.drop_input or _late_matters(op)):
        when = op.reset_when + (", dropping that step's input" if op.drop_input else "")
        lost("reset_when", when, "post", "the reset comes in the step of the spike")
    if spiking and op.spike == "multi":
        lost("spike", f"several a step (limit {op.max_spikes or 'none'})", "one", "a large input sends one spike")
    if op.v_min is not None:
        lost("v_min", _text(op.v_min), "none", "an inhibited membrane falls below its bound")
    if np.any(op.v_init):
        lost("v_init", _text(op.v_init), "0", "a sample starts from another membrane")
    return found


def _late_matters(op: Neuron) -> bool:
    """Say whether the time of a reset to a value shows in the spikes.

    Set before the decay of the next step is the same as set at once, unless the sample starts above the threshold.
    """
    if op.reset_when == "next":
        v, th = np.asarray(op.v_init), np.asarray(op.v_th)
        return bool(np.any(v > th if op.cmp == ">" else v >= th))
    return op.reset_when == "next_post"


def _text(value: Any) -> str:
    low, high = float(np.min(value)), float(np.max(value))
    return f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"
