"""The float neuron of the reference against its docstring, read as a program of one neuron in exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv1d, Input, Linear, Output
from spikec.compiler.weights import Dense
from spikec.runtime.reference import Reference

STEPS = 8
quarters = st.integers(-12, 12).map(lambda n: n / 4)
decays = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
orders = st.sampled_from(["none", "decay_add", "add_decay", "add_use_decay"])


@st.composite
def neurons(draw: st.DrawFn) -> Neuron:
    """Draw every field; decays, powers of two and quarters keep all that floats compute exact."""
    reset = draw(st.sampled_from(["subtract", "value", "none"]))
    when = draw(st.sampled_from(["post", "next", "next_post"]))
    return Neuron(
        a_mem=draw(decays),
        v_th=draw(st.sampled_from([0.5, 1.0, 2.0])),
        a_syn=draw(decays),
        syn_order=draw(orders),
        g_in=draw(st.sampled_from([0.5, 1.0, -1.0])),
        g_syn=draw(st.sampled_from([0.5, 1.0, 2.0])),
        bias=draw(quarters),
        v_leak=draw(quarters),
        v_init=draw(quarters),
        cmp=draw(st.sampled_from([">", ">="])),
        spike=draw(st.sampled_from(["single", "multi"])),
        max_spikes=draw(st.sampled_from([0, 1, 3])),
        graded=draw(st.sampled_from([1.0, 2.0])),
        reset=reset,
        reset_amount=draw(st.none() | quarters),
        v_reset=draw(quarters),
        reset_when=when,
        drop_input=reset == "value" and when == "next" and draw(st.booleans()),
        v_min=draw(st.none() | st.sampled_from([-2.0, -0.5])),
        readout=draw(st.sampled_from(["spikes", "membrane"])),
    )


class OneNeuron:
    """The equations of the docstring, one scalar at a time."""

    def __init__(self, op: Neuron) -> None:
        self.op = op
        self.v, self.i = self.f("v_init"), Fraction(0)

    def f(self, name: str) -> Fraction:
        return Fraction(getattr(self.op, name))

    def above(self) -> bool:
        return self.v > self.f("v_th") if self.op.cmp == ">" else self.v >= self.f("v_th")

    def current(self, x: Fraction) -> Fraction:
        gained, a = self.f("g_in") * x, self.f("a_syn")
        used = {
            "none": gained,
            "decay_add": a * self.i + gained,
            "add_decay": a * (self.i + gained),
            "add_use_decay": self.i + gained,
        }[self.op.syn_order]
        self.i = a * used if self.op.syn_order == "add_use_decay" else used
        return used

    def spikes(self) -> int:
        if not self.above():
            return 0
        if self.op.spike == "single":
            return 1
        count = floor(self.v / self.f("v_th"))
        return min(count, self.op.max_spikes) if self.op.max_spikes else count

    def step(self, x: Fraction) -> Fraction:
        op, amount = self.op, Fraction(self.op.amount)
        r = int(self.above()) if op.reset_when != "post" and op.reset != "none" else 0
        current = self.current(x)
        if r and op.reset == "value" and not op.drop_input:
            self.v = self.f("v_reset")
        a = self.f("a_mem")
        self.v = a * self.v + (1 - a) * self.f("v_leak") + self.f("g_syn") * current + self.f("bias")
        if r and op.reset == "subtract":
            self.v -= amount
        if r and op.drop_input:
            self.v = self.f("v_reset")
        s = self.spikes()
        self.after(s, r, amount)
        if op.v_min is not None:
            self.v = max(self.v, self.f("v_min"))
        return self.v if op.readout == "membrane" else self.f("graded") * s

    def after(self, s: int, r: int, amount: Fraction) -> None:
        op = self.op
        if op.reset == "subtract" and op.reset_when != "next":
            self.v -= amount * (s - r)
        elif op.reset == "value" and op.reset_when == "post" and s:
            self.v = self.f("v_reset")
        elif op.reset == "value" and op.reset_when == "next_post":
            self.v -= (s - r) * self.v


@settings(deadline=None, max_examples=400)
@given(neurons(), st.lists(quarters, min_size=STEPS, max_size=STEPS))
def test_the_float_neuron_is_its_docstring(op: Neuron, xs: list[float]) -> None:
    graph = Graph((Node("in", Input((1,))), Node("n", op, ("in",)), Node("out", Output(), ("n",))))
    run = Reference(np.float64).run(graph, np.array(xs)[None, :, None], trace=True)
    one = OneNeuron(op)
    for t, x in enumerate(xs):
        out = one.step(Fraction(x))
        found = tuple(Fraction(run.traces[key][0, t, 0]) for key in ("s/n", "v/n", "u/n"))
        assert found == (out, one.v, one.i), f"at step {t}"


def test_a_bias_waits_for_the_latency_of_its_connection() -> None:
    for op in (
        Linear(Dense(np.ones((1, 2))), np.array([5.0]), latency=2),
        Conv1d(Dense(np.ones((1, 1, 2))), np.array([5.0]), latency=2),
    ):
        shape = (2,) if isinstance(op, Linear) else (1, 2)
        graph = Graph((Node("in", Input(shape)), Node("c", op, ("in",)), Node("out", Output(), ("c",))))
        x = np.arange(1, 5)[None, :, None] * np.ones(2)
        out = Reference().run(graph, x.reshape(1, 4, *shape)).spikes
        np.testing.assert_array_equal(out.reshape(4), [0, 0, 7, 9])
