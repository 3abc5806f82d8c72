"""The fixed neuron in the reference: one step of `spikec.compiler.fixed.FixedNeuron` in exact integers."""

from __future__ import annotations

import numpy as np

from spikec.compiler.fixed import WHOLES, Arithmetic, FixedNeuron, Whole
from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array
from spikec.runtime.reference_connection import wrap


class FixedState:
    """Membrane potential v and current u of a population, (N, *shape), int64."""

    def __init__(self, op: FixedNeuron, shape: Shape) -> None:
        self.op = op
        self.shape = shape
        self.p = {name: np.asarray(value, np.int64) for name in WHOLES if (value := getattr(op, name)) is not None}
        self.amount = np.asarray(op.amount, np.int64) << op.arithmetic.threshold_exp
        self.threshold = self.p["threshold"] << op.arithmetic.threshold_exp
        self.bias = wrap(_shift(self.p["bias"], op.bias_exp), 32)
        self._begin()

    def _begin(self) -> None:
        self.u = np.broadcast_to(self.p["u_init"], self.shape).astype(np.int64)
        self.v = np.broadcast_to(self.p["v_init"], self.shape).astype(np.int64)

    def step(self, t: int, x: Array) -> Array:
        """Advance by step t of a sample with the summed integer input and give the output.

        The state also moves before step `start`; only nothing is sent, and it begins anew at `start`.
        """
        op, rules = self.op, self.op.arithmetic
        if t == op.start:
            self._begin()
        if op.reset_interval and t % op.reset_interval == op.reset_offset % op.reset_interval:
            self.u = np.zeros(self.shape, np.int64)
            self.v = np.zeros(self.shape, np.int64)
        a = wrap(wrap(x, 32) << rules.input_exp, 32)
        u = wrap(decay(self.u, op.u_decay, rules) + a, 32)
        self.u = overflow(u, rules.u_bits, rules.u_overflow, symmetric=rules.symmetric)
        v = wrap(decay(self.v, self.p["v_decay"], rules) + self.u + self.bias, 32)
        v = overflow(v, rules.v_bits, rules.v_overflow, symmetric=rules.symmetric)
        spikes = v > self.threshold if op.cmp == ">" else v >= self.threshold
        self.v = self._reset(v, spikes)
        out = self.v if op.readout == "membrane" else spikes.astype(np.int64)
        return out if t >= op.start else np.zeros_like(out)

    def _reset(self, v: Array, spikes: Array) -> Array:
        rules = self.op.arithmetic
        if self.op.reset == "value":
            v = np.where(spikes, self.p["v_reset"], v)
        elif self.op.reset == "subtract":
            v = np.where(
                spikes, overflow(v - self.amount, rules.v_bits, rules.v_overflow, symmetric=rules.symmetric), v
            )
        return np.maximum(v, self.p["v_min"]) if self.op.v_min is not None else v


def decay(x: Array, constant: Whole | None, rules: Arithmetic) -> Array:
    """D(x, d): keep (2**bits - d) / 2**bits of x, or take x >> d away, toward zero; None keeps nothing."""
    if constant is None:
        return np.zeros_like(x)
    magnitude = np.abs(x)
    if rules.decay == "multiply":
        kept = (magnitude * ((1 << rules.decay_bits) - np.asarray(constant))) >> rules.decay_bits
    else:
        kept = np.where(np.asarray(constant) == 0, magnitude, magnitude - (magnitude >> np.asarray(constant)))
    return np.asarray(np.sign(x) * kept)


def overflow(x: Array, bits: int, kind: str, *, symmetric: bool) -> Array:
    """Bring a state back into its width: saturate, or wrap once by 2**bits."""
    half = 1 << (bits - 1)
    if kind == "saturate":
        return np.clip(x, -half + 1 if symmetric else -half, half - 1)
    return np.where(x > half, x - 2 * half, np.where(x <= -half, x + 2 * half, x))


def _shift(x: Array, exponent: int) -> Array:
    return x << exponent if exponent >= 0 else x >> -exponent
