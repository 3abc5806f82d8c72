"""The float neuron in the reference: one step of `spikec.compiler.neurons.Neuron`, line by line as its docstring."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikec.compiler.ir import Shape
from spikec.compiler.neurons import NUMBERS, Neuron
from spikec.compiler.weights import Array


class FloatState:
    """Membrane potential v and synaptic current u (the docstring's i) of a population, (N, *shape)."""

    def __init__(self, op: Neuron, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.op = op
        self.p = {name: np.asarray(value, dtype) for name in NUMBERS if (value := getattr(op, name)) is not None}
        self.amount = np.asarray(op.amount, dtype)
        self.v = np.broadcast_to(self.p["v_init"], shape).astype(dtype)
        self.u = np.zeros(shape, dtype)

    def step(self, x: Array) -> Array:
        """Advance by one step with the summed input and give the output."""
        op, p = self.op, self.p
        late = np.where(op.reset_when == "post", False, self._above(self.v))
        before = self.v
        if op.reset == "value" and not op.drop_input:
            before = np.where(late, p["v_reset"], before)
        v = p["a_mem"] * before + (1 - p["a_mem"]) * p["v_leak"] + p["g_syn"] * self._current(x) + p["bias"]
        if op.reset_when != "post":
            v = self._reset_next(v, late)
        spikes = self._spikes(v)
        if op.reset_when != "next":
            v = self._reset_after(v, spikes, late)
        self.v = np.maximum(v, p["v_min"]) if op.v_min is not None else v
        return self.v if op.readout == "membrane" else p["graded"] * spikes

    def _current(self, x: Array) -> Array:
        """Update the synaptic current and give the one that the membrane sees."""
        gained = self.p["g_in"] * x
        if self.op.syn_order == "none":
            self.u = used = gained
        elif self.op.syn_order == "decay_add":
            self.u = used = self.p["a_syn"] * self.u + gained
        elif self.op.syn_order == "add_decay":
            self.u = used = self.p["a_syn"] * (self.u + gained)
        else:
            used = self.u + gained
            self.u = self.p["a_syn"] * used
        return used

    def _above(self, v: Array) -> Array:
        th = self.p["v_th"]
        return v > th if self.op.cmp == ">" else v >= th

    def _spikes(self, v: Array) -> Array:
        above = self._above(v).astype(v.dtype)
        if self.op.spike == "single":
            return above
        count: Array = above * np.trunc(v / self.p["v_th"])
        return np.minimum(count, self.op.max_spikes).astype(v.dtype) if self.op.max_spikes else count

    def _reset_next(self, v: Array, late: Array) -> Array:
        """Reset for the spike of the step before."""
        if self.op.reset == "subtract":
            return np.where(late, v - self.amount, v)
        if self.op.reset == "value" and self.op.drop_input:
            return np.where(late, self.p["v_reset"], v)
        return v

    def _reset_after(self, v: Array, spikes: Array, late: Array) -> Array:
        """Reset for the spike of this step; `next_post` takes back what the step before was reset for."""
        if self.op.reset == "none":
            return v
        times = spikes - late.astype(v.dtype)
        if self.op.reset == "subtract":
            return np.where(times != 0, v - self.amount * times, v)
        if self.op.reset_when == "next_post":
            return np.asarray(v - times * v)
        return np.where(spikes != 0, self.p["v_reset"], v)
