"""The network of network.json as processes of Lava, the recorders on it, and how its samples are run one by one."""

# ruff: noqa: TID253 - for Lava's own environment

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import lava_compat  # type: ignore[import-not-found]  # noqa: F401 - before Lava
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode
from lava_processes import DelayLine, ExactNeuron, NeuronRecorder, Recorder, wrap32  # type: ignore[import-not-found]
from scipy.sparse import csr_matrix

# ---------------------------------------------------------------- axes


def lava_shape(end: dict[str, Any]) -> tuple[int, ...]:
    """Give the shape that Lava holds: (width, height, channels) of an image, else all elements in one row."""
    shape = end["shape"]
    if not end["image"]:
        return (math.prod(shape),)
    return (shape[2], shape[1], shape[0]) if len(shape) == 3 else (shape[1], 1, shape[0])


def to_lava(values: Any, end: dict[str, Any]) -> Any:
    """Bring (..., *shape) into Lava's axes: (..., *lava_shape)."""
    lead = values.shape[: values.ndim - len(end["shape"])]
    if not end["image"]:
        return values.reshape(*lead, -1)
    width, height, channels = lava_shape(end)
    return np.moveaxis(values.reshape(*lead, channels, height, width), (-3, -2, -1), (-1, -2, -3))


def from_lava(values: Any, end: dict[str, Any]) -> Any:
    """Bring (steps, *lava_shape) back into (steps, *shape)."""
    if end["image"]:
        values = values.transpose(0, 3, 2, 1)
    return values.reshape(values.shape[0], *end["shape"])


def connect(out: Any, source: dict[str, Any], into: Any, reader: dict[str, Any]) -> None:
    """Connect two ports; between a row and an image, by virtual ports that take no time."""
    if source["image"] and reader["image"] and out.shape == into.shape:
        out.connect(into)
        return
    port = out.transpose([2, 1, 0]).flatten() if source["image"] else out
    if reader["image"]:
        width, height, channels = into.shape
        port = port.reshape((channels, height, width)).transpose([2, 1, 0])
    port.connect(into)


# ---------------------------------------------------------------- the network


class Network:
    """The processes of one Lava network for samples of `steps` steps each, and what is recorded of them."""

    def __init__(self, document: dict[str, Any], arrays: Any, data: Any, wanted: set[str], folder: Path) -> None:
        """Build for data (samples, steps, *shape of the input)."""
        self.document = document
        self.arrays = arrays
        self.samples, self.steps = data.shape[:2]
        self.folder = folder
        self.native = document["resets"] == "interval"
        self.ends: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, tuple[Any, Any]] = {}  # name: (port that takes, port that gives)
        self.neurons: dict[str, Any] = {}
        self.buffers: list[Any] = []
        self.files: dict[str, tuple[Path, dict[str, Any]]] = {}
        self._source(data)
        for neuron in document["neurons"]:
            self._neuron(neuron)
        for connection in document["connections"]:
            self._connection(connection)
        for line in document["delays"]:
            process = DelayLine(
                shape=lava_shape(line), steps=to_lava(self._full(line, "steps"), line), sample_steps=self.steps
            )
            self._add(line, process.s_in, process.s_out)
        for source, reader in document["edges"]:
            self._join(source, reader)
        self._record(wanted)

    def value(self, given: Any) -> Any:
        """Give a value of network.json: an array where it names one."""
        return self.arrays[given["array"]] if isinstance(given, dict) and "array" in given else given

    def _full(self, owner: dict[str, Any], name: str) -> Any:
        return np.broadcast_to(np.asarray(self.value(owner[name]), np.int64), owner["shape"])

    def _add(self, end: dict[str, Any], takes: Any, gives: Any) -> None:
        self.ends[end["name"]] = end
        self.ports[end["name"]] = (takes, gives)

    def _join(self, source: str, reader: str) -> None:
        """Connect by name; a connection has one end before and one behind."""
        before = self.ends.get(f"{source} out", self.ends.get(source))
        assert before is not None
        connect(self.ports[source][1], before, self.ports[reader][0], self.ends[reader])

    def _source(self, data: Any) -> None:
        end = self.document["input"]
        steps = to_lava(data, end).reshape(-1, *lava_shape(end))
        process = RingBuffer(data=np.moveaxis(steps, 0, -1).astype(np.int32))
        self.root = process
        self._add(end, None, process.s_out)

    def _neuron(self, neuron: dict[str, Any]) -> None:
        given = {name: self.value(value) for name, value in neuron["parameters"].items()}
        given = {n: to_lava(v, neuron) if isinstance(v, np.ndarray) else v for n, v in given.items()}
        shape = lava_shape(neuron)
        if neuron["custom"]:
            process: Any = ExactNeuron(shape=shape, rules=self._rules(neuron, given))
        else:
            for name in ("bias_mant", "u", "v"):
                given[name] = np.broadcast_to(given[name], shape).astype(np.int32)
            neuron["given"] = dict(given)  # what the host sets at the start of a sample
            if self._opens_late(neuron):
                given.update({name: np.zeros(shape, np.int32) for name in ("bias_mant", "u", "v")})
            interval, offset = neuron["reset_interval"], neuron["reset_offset"]
            if self.native:
                interval, offset = self.steps, neuron["start"]
            if interval:  # Lava counts steps from 1
                process = LIFReset(shape=shape, reset_interval=interval, reset_offset=offset + 1, **given)
            else:
                process = LIF(shape=shape, **given)
        self.neurons[neuron["name"]] = process
        self._add(neuron, process.a_in, process.s_out)

    def _rules(self, neuron: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        exponent = given["bias_exp"]
        bias = np.asarray(given["bias"], np.int64)
        effective = wrap32(bias << exponent if exponent >= 0 else bias >> -exponent)
        times = {name: neuron[name] for name in ("start", "reset_interval", "reset_offset")}
        return {**given, **times, "effective_bias": effective, "sample_steps": self.steps}

    def _opens_late(self, neuron: dict[str, Any]) -> bool:
        """Say whether the host must keep a neuron silent until its start."""
        if self.native or neuron["custom"] or neuron["start"] == 0:
            return False
        return any(np.any(neuron["given"][name]) for name in ("bias_mant", "u", "v"))

    def _connection(self, connection: dict[str, Any]) -> None:
        given = {name: self.value(value) for name, value in connection["parameters"].items()}
        kind, name = connection["kind"], connection["name"]
        image = kind == "conv"
        if kind == "conv":
            process: Any = Conv(**{n: tuple(v) if isinstance(v, list) else v for n, v in given.items()})
            self.buffers.append(process.a_buf)
        else:
            process = self._synapses(kind, given)
            self.buffers.append(process.a_buff)
        self._add({"name": name, "shape": connection["given"], "image": image}, process.s_in, process.a_out)
        self.ends[f"{name} out"] = {"name": name, "shape": connection["made"], "image": image}

    def _synapses(self, kind: str, given: dict[str, Any]) -> Any:
        given["sign_mode"] = SignMode[given["sign_mode"].upper()]
        if "delays" in given:
            given["delays"] = given["delays"].astype(int)  # Lava takes no other type
        if kind == "dense":
            return Dense(**given)
        if kind == "delay_dense":
            return DelayDense(**given)
        where = (given.pop("target"), given.pop("source"))
        shape = tuple(given.pop("shape"))
        given["weights"] = csr_matrix((given["weights"], where), shape=shape)
        if kind == "sparse":
            return Sparse(**given)
        given["delays"] = csr_matrix((given["delays"], where), shape=shape)
        return DelaySparse(**given)

    def _record(self, wanted: set[str]) -> None:
        """Record `s/NAME` (what a process sends), `u/NAME` and `v/NAME` (the state of a neuron)."""
        for name in sorted({key.split("/", 1)[1] for key in wanted}):
            end = self.ends.get(f"{name} out", self.ends[name])
            shape = lava_shape(end)
            file = self.folder / f"{len(self.files)}.npy"
            states = bool({f"u/{name}", f"v/{name}"} & wanted)
            rows = (self.samples * self.steps, 3 if states else 1, *shape)
            np.lib.format.open_memmap(file, mode="w+", dtype=np.int32, shape=rows).flush()
            self.files[name] = (file, end)
            recorder: Any = (NeuronRecorder if states else Recorder)(shape=shape, file=str(file))
            self.ports[name][1].connect(recorder.a_in)
            if states:
                recorder.u.connect_var(self.neurons[name].u)
                recorder.v.connect_var(self.neurons[name].v)

    def run(self) -> dict[str, Any]:
        """Run every sample; give what was recorded, (samples, steps, *shape)."""
        root = self.root
        config = Loihi2SimCfg(select_tag="fixed_pt")
        try:
            if self.native:
                root.run(condition=RunSteps(num_steps=self.samples * self.steps), run_cfg=config)
            else:
                for sample in range(self.samples):
                    self._run_sample(root, config, first=sample == 0)
        finally:
            root.stop()
        recorded = {}
        for name, (file, end) in self.files.items():
            rows = np.load(file)
            for i, what in enumerate("suv"[: rows.shape[1]]):
                values = from_lava(rows[:, i], end)
                recorded[f"{what}/{name}"] = values.reshape(self.samples, self.steps, *values.shape[1:])
        return recorded

    def _run_sample(self, root: Any, config: Any, *, first: bool) -> None:
        """Run one sample, pausing at the starts of neurons that the host keeps silent until then."""
        lifs = [n for n in self.document["neurons"] if not n["custom"]]
        late = [n for n in lifs if self._opens_late(n) and n["start"] < self.steps]
        stops = sorted({0, self.steps, *(n["start"] for n in late)})
        for now, until in pairwise(stops):
            if now == 0 and not first:
                self._rewind(lifs)
            for neuron in late:
                if neuron["start"] == now:
                    for name in ("bias_mant", "u", "v"):
                        getattr(self.neurons[neuron["name"]], name).set(neuron["given"][name])
            root.run(condition=RunSteps(num_steps=until - now), run_cfg=config)

    def _rewind(self, lifs: list[dict[str, Any]]) -> None:
        """Bring states and connection buffers back to what they were before the first step."""
        for neuron in lifs:
            closed = self._opens_late(neuron)
            for name in ("bias_mant", "u", "v") if closed else ("u", "v"):
                value = neuron["given"][name]
                getattr(self.neurons[neuron["name"]], name).set(np.zeros_like(value) if closed else value)
        for buffer in self.buffers:
            buffer.set(np.zeros(buffer.shape, np.int32))
