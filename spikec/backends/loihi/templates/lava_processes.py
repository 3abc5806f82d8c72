"""Processes of our own beside Lava's: recorders to a file, a delay line, and the neuron that Lava's LIF is not."""

# ruff: noqa: TID253 - for Lava's own environment
# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Any

import lava_compat  # type: ignore[import-not-found]  # noqa: F401 - before Lava
import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Recorder(AbstractProcess):
    """Writes what arrives at every step into row `step` of a .npy file."""

    def __init__(self, *, shape: tuple[int, ...], file: str) -> None:
        super().__init__(shape=shape, file=file)
        self.a_in = InPort(shape=shape)


@implements(proc=Recorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRecorder(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        if self.time_step == 1:
            self.rows = np.lib.format.open_memmap(self.proc_params["file"], mode="r+")
        self.rows[self.time_step - 1, 0] = self.a_in.recv()


class NeuronRecorder(AbstractProcess):
    """Writes what a neuron sends, and its u and v as they are after every step, into row `step` of a .npy file.

    One process for the three, because every process costs Lava time at every step.
    """

    def __init__(self, *, shape: tuple[int, ...], file: str) -> None:
        super().__init__(shape=shape, file=file)
        self.a_in = InPort(shape=shape)
        self.u = RefPort(shape=shape)
        self.v = RefPort(shape=shape)


@implements(proc=NeuronRecorder, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyNeuronRecorder(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    u: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    v: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        if self.time_step == 1:
            self.rows = np.lib.format.open_memmap(self.proc_params["file"], mode="r+")
        self.rows[self.time_step - 1, 0] = self.a_in.recv()

    def post_guard(self) -> bool:
        return True

    def run_post_mgmt(self) -> None:
        self.rows[self.time_step - 1, 1] = self.u.read()
        self.rows[self.time_step - 1, 2] = self.v.read()


class DelayLine(AbstractProcess):
    """Passes every element on some steps later; empty at the start of each sample. On a chip: microcode."""

    def __init__(self, *, shape: tuple[int, ...], steps: Any, sample_steps: int) -> None:
        super().__init__(shape=shape, steps=steps, sample_steps=sample_steps)
        self.s_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


@implements(proc=DelayLine, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyDelayLine(PyLoihiProcessModel):
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        t = (self.time_step - 1) % self.proc_params["sample_steps"]
        x = self.s_in.recv()
        steps = np.broadcast_to(self.proc_params["steps"], x.shape)
        if t == 0:
            self.past = np.zeros((int(steps.max()) + 1, *x.shape), np.int32)
        self.past = np.concatenate([x[None], self.past[:-1]])
        self.s_out.send(np.take_along_axis(self.past, steps[None], axis=0)[0])


class ExactNeuron(AbstractProcess):
    """A neuron that Lava's LIF is not: soft reset, >=, a bound, another arithmetic. On a chip: microcode."""

    def __init__(self, *, shape: tuple[int, ...], rules: dict[str, Any]) -> None:
        super().__init__(shape=shape, rules=rules)
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.u = Var(shape=shape, init=0)
        self.v = Var(shape=shape, init=0)


@implements(proc=ExactNeuron, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyExactNeuron(PyLoihiProcessModel):
    """u = over(D(u) + (a << input_exp)); v = over(D(v) + u + bias); spike; reset; lower bound; send."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def run_spk(self) -> None:
        rules: dict[str, Any] = self.proc_params["rules"]
        number = rules["arithmetic"]
        t = (self.time_step - 1) % rules["sample_steps"]
        a = self.a_in.recv().astype(np.int64)
        if t in (0, rules["start"]):
            self.u[:], self.v[:] = rules["u_init"], rules["v_init"]
        if rules["reset_interval"] and t % rules["reset_interval"] == rules["reset_offset"] % rules["reset_interval"]:
            self.u[:], self.v[:] = 0, 0
        a = wrap32(wrap32(a) << number["input_exp"])
        u = wrap32(decayed(self.u, rules.get("u_decay"), number) + a)
        u = kept(u, number["u_bits"], number["u_overflow"], number["symmetric"])
        v = wrap32(decayed(self.v, rules["v_decay"], number) + u + rules["effective_bias"])
        v = kept(v, number["v_bits"], number["v_overflow"], number["symmetric"])
        threshold = np.asarray(rules["threshold"], np.int64) << number["threshold_exp"]
        spikes = v >= threshold if rules["cmp"] == ">=" else v > threshold
        if rules["reset"] == "value":
            v = np.where(spikes, rules["v_reset"], v)
        elif rules["reset"] == "subtract":
            less = v - (np.asarray(rules["amount"], np.int64) << number["threshold_exp"])
            v = np.where(spikes, kept(less, number["v_bits"], number["v_overflow"], number["symmetric"]), v)
        if "v_min" in rules:
            v = np.maximum(v, rules["v_min"])
        self.u[:], self.v[:] = u, v
        out = v if rules["readout"] == "membrane" else spikes
        self.s_out.send(out.astype(np.int32) if t >= rules["start"] else np.zeros(out.shape, np.int32))


def wrap32(x: Any) -> Any:
    """Bring integers into the two's complement range of 32 bits."""
    return ((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def decayed(x: Any, constant: Any, number: dict[str, Any]) -> Any:
    """D(x): keep (2**bits - constant) / 2**bits of x, or take x >> constant away; toward zero; None keeps nothing."""
    x = x.astype(np.int64)
    if constant is None:
        return np.zeros_like(x)
    size = np.abs(x)
    if number["decay"] == "multiply":
        left = (size * ((1 << number["decay_bits"]) - np.asarray(constant))) >> number["decay_bits"]
    else:
        left = np.where(np.asarray(constant) == 0, size, size - (size >> np.asarray(constant)))
    return np.sign(x) * left


def kept(x: Any, bits: int, overflow: str, symmetric: bool) -> Any:
    """Bring a state back into its width: saturate, or wrap once."""
    half = 1 << (bits - 1)
    if overflow == "saturate":
        return np.clip(x, 1 - half if symmetric else -half, half - 1)
    return np.where(x > half, x - 2 * half, np.where(x <= -half, x + 2 * half, x))
