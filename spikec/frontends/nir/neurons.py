"""NIR's neurons as the one neuron of the IR: their equations in continuous time, made discrete by stated choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.compiler.neurons import Neuron, SynapseOrder
from spikec.frontends.nir.fields import Fields, Floats
from spikec.frontends.nir.options import DEFAULT_DT, Compare, Initial, Integrator, Method, NirOptions, Reset, Spike

SPIKING = ("IF", "LIF", "CubaLIF")
LEAKY = ("LI", "LIF", "CubaLI", "CubaLIF")
NEURONS = ("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF", "Threshold")


@dataclass(frozen=True)
class Reading:
    """The options with every default filled in."""

    dt: float = DEFAULT_DT
    method: Method = "euler"
    integrator: Integrator = "step"
    reset: Reset = "value"
    spike: Spike = "single"
    max_spikes: int = 0
    cmp: Compare = ">"
    v_min: float | None = None
    v_init: Initial = "zero"
    syn_order: SynapseOrder = "decay_add"
    recurrent_bias: Literal[0, 1] = 0
    dt_known: bool = False

    @classmethod
    def of(cls, options: NirOptions, dt: float | None) -> Reading:
        """Fill in the defaults; `dt` is what the file's own metadata says."""
        names = [name for name in cls.__dataclass_fields__ if name != "dt_known"]
        given: dict[str, Any] = {name: getattr(options, name) for name in names}
        if given["dt"] is None:
            given["dt"] = dt
        given["dt_known"] = given["dt"] is not None
        return cls(**{name: value for name, value in given.items() if value is not None})

    @property
    def known_dt(self) -> float:
        """Seconds a step where somebody said them, else 0."""
        return self.dt if self.dt_known else 0.0


def neuron(kind: str, fields: Fields, how: Reading) -> Neuron:
    """Give the neuron of a NIR node, its parameters in the shape that the file gives them.

    With a = decay(tau) = 1 - dt/tau (or exp(-dt/tau)) and gain(x, tau) = x dt/tau (or x (1 - a)):

        I, IF:           v = v + r I                    (or + dt r I)
        LI, LIF:         v = a v + (1 - a) v_leak + gain(r, tau) I
        CubaLI, CubaLIF: i = a_syn i + gain(w_in, tau_syn) I;  v = a v + (1 - a) v_leak + gain(r, tau_mem) i
        Threshold:       v = I

    A spike is v > v_threshold, then v = v_reset; LI, CubaLI and I give v itself. Source: nir/ir/neuron.py.

    Raises:
        CompileError: a time constant that is not above 0, or shorter than dt in the Euler form.
    """
    if kind == "Threshold":
        th = fields.numbers("threshold", endless=True)
        return Neuron(a_mem=0.0, v_th=th, cmp=how.cmp, reset="none", dt=how.known_dt)
    timed = kind in LEAKY or how.integrator == "dt"
    given: dict[str, Any] = {"dt": how.dt if timed else how.known_dt}
    if kind in LEAKY:
        tau = "tau_mem" if kind.startswith("Cuba") else "tau"
        given |= {"a_mem": decay(fields, tau, how), "v_leak": fields.numbers("v_leak", 0.0)}
        given["g_syn" if kind.startswith("Cuba") else "g_in"] = gain("r", fields, tau, how)
    else:
        r = fields.numbers("r")
        given["g_in"] = r * how.dt if how.integrator == "dt" else r
    if kind.startswith("Cuba"):
        given |= {"a_syn": decay(fields, "tau_syn", how), "syn_order": how.syn_order}
        given["g_in"] = gain("w_in", fields, "tau_syn", how)
    given |= _firing(fields, how) if kind in SPIKING else {"v_th": np.inf, "reset": "none", "readout": "membrane"}
    if how.v_init == "leak" and kind in LEAKY:
        given["v_init"] = given["v_leak"]
    return Neuron(**given)


def _firing(fields: Fields, how: Reading) -> dict[str, Any]:
    v_reset = fields.numbers("v_reset", 0.0)
    return {
        "v_th": fields.numbers("v_threshold", endless=True),
        "v_reset": v_reset,
        "reset": how.reset,
        "spike": how.spike,
        "max_spikes": how.max_spikes,
        "cmp": how.cmp,
        "v_min": how.v_min,
    } | ({"v_init": v_reset} if how.v_init == "reset" else {})


def decay(fields: Fields, name: str, how: Reading) -> Floats:
    """Give what a state keeps of itself in one step."""
    tau = fields.numbers(name, endless=True)
    if np.any(tau <= 0):
        raise fields.bad(name, f"is {tau.min():.6g} s; a time constant lies above 0")
    if how.method == "exponential":
        return np.asarray(np.exp(-how.dt / tau))
    if np.any(tau < how.dt * (1 - 1e-9)):
        message = f"{name} of {fields.node.type} is {tau.min():.6g} s, shorter than dt = {how.dt:.6g} s"
        help = "set a smaller dt, NirOptions(dt=...), or method='exponential'"
        raise fail("nir/dt-too-long", message, fields.node.where, help)
    return np.asarray(np.maximum(1 - how.dt / tau, 0.0))


def gain(name: str, fields: Fields, tau_name: str, how: Reading) -> Floats:
    """Give what one unit of input adds to a state in one step."""
    factor = fields.numbers(name, 1.0 if name == "w_in" else None)
    tau = fields.numbers(tau_name, endless=True)
    if min(factor.size, tau.size) > 1 and factor.shape != tau.shape:
        raise fields.bad(name, f"has shape {list(factor.shape)} beside {tau_name} of {list(tau.shape)}")
    if how.method == "exponential":
        return np.asarray(factor * -np.expm1(-how.dt / tau))
    return np.asarray(factor * how.dt / tau)
