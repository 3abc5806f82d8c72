"""What a framework's NIR export got wrong, put right node by node: fields in, corrected fields out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikec.compiler.diagnostics import fail
from spikec.frontends.nir.fields import Fields
from spikec.frontends.nir.raw import RawNode

Values = NDArray[Any]
Correction = Callable[[RawNode, float, bool], RawNode]
"""From a neuron's node, seconds a step and whether the input is normalised (sinabs alone) to the node as trained."""

SNNTORCH_DT = 1e-4
ENDLESS = 2.0**60
"""Steps of a time constant that stands for no leak at all; 1 - 1/ENDLESS is 1."""


def snntorch(node: RawNode, dt: float, norm_input: bool) -> RawNode:
    """Undo tau = 1e-4 / (1 - beta) in the type it was computed in: v = beta v + I, i = alpha i + I."""
    if node.type not in ("LIF", "CubaLIF"):
        return node
    cuba = node.type == "CubaLIF"
    made = _timed("tau_mem" if cuba else "tau", "r", _kept_of(node, "tau_mem" if cuba else "tau"), 1.0, dt)
    if cuba:
        made |= _timed("tau_syn", "w_in", _kept_of(node, "tau_syn"), 1.0, dt)
    return replace(node, fields={**node.fields, **made})


def norse(node: RawNode, dt: float, norm_input: bool) -> RawNode:
    """Undo tau = dt / tau_inv: v = v + dt tau_inv (v_leak - v + i); a LIFCell's current gets its input whole."""
    if node.type not in ("LIF", "CubaLIF", "LI"):
        return node
    cuba = node.type == "CubaLIF"
    tau = "tau_mem" if cuba else "tau"
    rate = _rate(node, tau, dt)
    made = _timed(tau, "r", 1.0 - rate, rate, dt)
    if cuba:
        made |= _timed("tau_syn", "w_in", 1.0 - _rate(node, "tau_syn", dt), 1.0, dt)
    return replace(node, fields={**node.fields, **made})


def sinabs(node: RawNode, dt: float, norm_input: bool) -> RawNode:
    """Take tau as steps: a = exp(-1 / tau), computed as sinabs does; gain 1 - a with norm_input, 1 without."""
    if node.type not in ("LIF", "LI"):
        return node
    tau = _positive(node, "tau")
    kept = np.exp(-(tau.dtype.type(1) / tau))
    gain = (1 - kept) if norm_input else 1.0
    return replace(node, fields={**node.fields, **_timed("tau", "r", kept, gain, dt)})


def rockpool(node: RawNode, dt: float, norm_input: bool) -> RawNode:
    """Take a = exp(-dt / tau), gain 1; ExpSynTorch (an LI) gives a (v + I)."""
    if node.type not in ("LIF", "CubaLIF", "LI"):
        return node
    cuba = node.type == "CubaLIF"
    tau = "tau_mem" if cuba else "tau"
    kept = _exponential(node, tau, dt)
    made = _timed(tau, "r", kept, kept if node.type == "LI" else 1.0, dt)
    if cuba:
        made |= _timed("tau_syn", "w_in", _exponential(node, "tau_syn", dt), 1.0, dt)
    return replace(node, fields={**node.fields, **made})


def untouched(node: RawNode, dt: float, norm_input: bool) -> RawNode:
    """Leave the node as it is."""
    return node


def rockpool_step(node: RawNode) -> float | None:
    """Solve Rockpool's r = tau exp(-dt / tau) / dt for dt; None where the neurons of a node do not agree on one."""
    tau = node.fields.get("tau_mem" if node.type == "CubaLIF" else "tau")
    r = node.fields.get("r")
    if tau is None or r is None:
        return None
    tau, r = np.asarray(tau, np.float64), np.asarray(r, np.float64)
    if not (np.all(np.isfinite(tau)) and np.all(np.isfinite(r)) and np.all(tau > 0) and np.all(r > 0)):
        return None
    x = np.log1p(1.0 / r)
    for _ in range(50):  # Newton on x exp(x) = 1/r, which is convex and rising
        x = x - (x * np.exp(x) - 1.0 / r) / ((1.0 + x) * np.exp(x))
    steps = (tau * x).reshape(-1)
    middle = float(f"{np.median(steps):.5g}")  # float32 gives 6 digits
    return middle if np.allclose(steps, middle, rtol=1e-5, atol=0) else None


def _timed(tau: str, factor: str, kept: Any, gain: Any, dt: float) -> dict[str, Any]:
    """Give the tau and factor that forward Euler at dt reads as this decay and this gain."""
    lost = np.maximum(1.0 - np.asarray(kept, np.float64), 1.0 / ENDLESS)
    return {tau: dt / lost, factor: np.asarray(gain, np.float64) / lost}


def _kept_of(node: RawNode, name: str) -> Values:
    tau = np.asarray(node.fields.get(name, np.inf))
    one = tau.dtype.type(1)
    if np.any(np.isnan(tau)) or np.any(tau <= 0):
        raise Fields(node).bad(name, "is not above 0: beta and alpha must lie below 1")
    return np.asarray(np.maximum(one - tau.dtype.type(SNNTORCH_DT) / tau, 0.0))


def _rate(node: RawNode, name: str, dt: float) -> Values:
    """Give dt tau_inv, where the file's tau is dt / tau_inv."""
    tau = _positive(node, name)
    step = tau.dtype.type(dt)
    rate = np.asarray(step * (step / tau), np.float64)
    if np.any(rate > 1):
        message = (
            f"{name} of {node.type} is {tau.min():.6g} in the file, which would be a decay of {1 - rate.max():.6g}"
        )
        help = "give Norse's own dt; a file written with dt=1, or by an old Norse, is read without from"
        raise fail("nir/from", message, node.where, help)
    return rate


def _exponential(node: RawNode, name: str, dt: float) -> Values:
    tau = _positive(node, name)
    return np.asarray(np.exp(-(tau.dtype.type(dt) / tau)))


def _positive(node: RawNode, name: str) -> Values:
    tau = np.asarray(Fields(node).weights(name, range(8)))
    if np.any(tau <= 0):
        raise Fields(node).bad(name, f"is {tau.min():.6g}; a time constant lies above 0")
    return tau
