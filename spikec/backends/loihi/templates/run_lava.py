"""Runs the network of this folder (network.json, arrays.npz) in Lava, with nothing but Lava's public API and NumPy.

    python run_lava.py --input in.npz --output out.npz [--trace NODE,NODE | --trace all]

in.npz holds `spikes`, integers (samples, steps, *shape of the input); a .npy of the same is taken as well. out.npz
gets `spikes` (samples, steps, *shape) and `counts` of the first output, `v_out` where it is a membrane, `o/NODE` for
every output, and `s/NODE`, `u/NODE`, `v/NODE` for every traced neuron (`/` in a name becomes `.`). Before its start
(the step at which its first real input arrives) a neuron sends nothing, and its traces are zero there.

Lava 0.10.0 needs Python 3.10, or `spikec lava install`, which runs it on later ones.
"""

# ruff: noqa: TID253 - for Lava's own environment

from __future__ import annotations

import argparse
import json
import math
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode
from lava_processes import DelayLine, ExactNeuron, Recorder, StateRecorder, wrap32  # type: ignore[import-not-found]
from scipy.sparse import csr_matrix

HERE = Path(__file__).resolve().parent
SET_LIMIT = 20_000
"""Above this many numbers a network is built anew for every sample, which is quicker than setting its state."""


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
        for name in sorted(wanted):
            self._record(name)

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

    def _record(self, key: str) -> None:
        """Record `s/NAME` (what a process sends), or `u/NAME`, `v/NAME` (the state of a neuron)."""
        what, name = key.split("/", 1)
        end = self.ends.get(f"{name} out", self.ends[name])
        shape = lava_shape(end)
        file = self.folder / f"{len(self.files)}.npy"
        np.lib.format.open_memmap(file, mode="w+", dtype=np.int32, shape=(self.samples * self.steps, *shape)).flush()
        self.files[key] = (file, end)
        if what == "s":
            self.ports[name][1].connect(Recorder(shape=shape, file=str(file)).a_in)
        else:
            recorder = StateRecorder(shape=shape, file=str(file))
            recorder.state.connect_var(getattr(self.neurons[name], what))

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
        recorded = {key: from_lava(np.load(file), end) for key, (file, end) in self.files.items()}
        return {key: rows.reshape(self.samples, self.steps, *rows.shape[1:]) for key, rows in recorded.items()}

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


# ---------------------------------------------------------------- running


def sample_steps(document: dict[str, Any], steps: int) -> int:
    """Give the steps of a sample so that every reset interval divides them."""
    intervals = [n["reset_interval"] for n in document["neurons"] if n["reset_interval"] and not n["custom"]]
    whole = math.lcm(*intervals) if intervals else 1
    return -(-steps // whole) * whole


def batches(document: dict[str, Any], data: Any) -> list[Any]:
    """Cut the samples into runs: one, unless a new build for each sample is quicker than rewinding."""
    if document["resets"] == "interval" or data.shape[0] == 1:
        return [data]
    padded = sample_steps(document, data.shape[1])
    numbers = sum(2 * math.prod(n["shape"]) for n in document["neurons"])
    numbers += sum(math.prod(c["made"]) for c in document["connections"])
    if padded > 2 * data.shape[1] + 64 or numbers > SET_LIMIT:
        return [data[i : i + 1] for i in range(data.shape[0])]
    extra = np.zeros((data.shape[0], padded - data.shape[1], *data.shape[2:]), data.dtype)
    return [np.concatenate([data, extra], axis=1)]


def later(x: Any, steps: Any) -> Any:
    """Give x some steps later along axis 1, element by element, zero before."""
    steps = np.broadcast_to(steps, x.shape[2:])
    out = np.zeros_like(x)
    for d in np.unique(steps):
        moved = np.zeros_like(x)
        moved[:, d:] = x[:, : x.shape[1] - d]
        out = np.where(steps == d, moved, out)
    return out


def run(document: dict[str, Any], arrays: Any, data: Any, traced: list[str]) -> dict[str, Any]:
    """Run data (samples, steps, *shape) and give the arrays of the output file."""
    names = {n["name"] for n in document["neurons"]}
    wanted = {f"{what}/{name}" for name in traced for what in ("s", "u", "v") if what == "s" or name in names}
    for output in document["outputs"]:
        for read in output["reads"]:
            wanted |= {f"{'v' if read['membrane'] else 's'}/{name}" for name in read["sources"]}
    parts = []
    for batch in batches(document, data):
        with tempfile.TemporaryDirectory(prefix="run-lava-") as folder:
            parts.append(Network(document, arrays, batch, wanted, Path(folder)).run())
    recorded = {key: np.concatenate([part[key] for part in parts])[:, : data.shape[1]] for key in sorted(wanted)}
    for neuron in document["neurons"]:
        for what in "suv":
            if f"{what}/{neuron['name']}" in recorded:
                recorded[f"{what}/{neuron['name']}"][:, : neuron["start"]] = 0
        if neuron["readout"] == "membrane" and f"v/{neuron['name']}" in recorded:
            recorded[f"s/{neuron['name']}"] = recorded[f"v/{neuron['name']}"]
    return collect(document, arrays, recorded, traced)


def collect(document: dict[str, Any], arrays: Any, recorded: dict[str, Any], traced: list[str]) -> dict[str, Any]:
    """Name what was recorded as the output file does."""
    out: dict[str, Any] = {}
    for output in document["outputs"]:
        parts = []
        for read in output["reads"]:
            total = sum(recorded[f"{'v' if read['membrane'] else 's'}/{name}"] for name in read["sources"])
            total = np.asarray(total).reshape(*np.shape(total)[:2], *output["shape"])
            steps = read["steps"]
            parts.append(later(total, arrays[steps["array"]] if isinstance(steps, dict) else steps))
        out[f"o/{output['name'].replace('/', '.')}"] = np.sum(parts, axis=0).astype(np.int32)
    first = document["outputs"][0]
    out["spikes"] = out[f"o/{first['name'].replace('/', '.')}"]
    out["counts"] = out["spikes"].sum(axis=1)
    if any(read["membrane"] for read in first["reads"]):
        out["v_out"] = out["spikes"]
    for key, array in recorded.items():
        what, name = key.split("/", 1)
        if name in traced:
            out[f"{what}/{name.replace('/', '.')}"] = array.astype(np.int32)
    return out


def load_input(path: str, shape: list[int]) -> Any:
    """Read (samples, steps, *shape) of whole numbers."""
    given = np.load(path)
    data = given if isinstance(given, np.ndarray) else given["spikes"]
    if list(data.shape[2:]) != shape:
        raise SystemExit(f"the input has shape {list(data.shape)}; the network takes (samples, steps, {shape})")
    if 0 in data.shape[:2]:
        raise SystemExit("the input has no sample or no step")
    if np.any(data != np.rint(data)):
        raise SystemExit("the input must be whole numbers")
    if np.any((data < -(1 << 31)) | (data >= 1 << 31)):
        raise SystemExit("the input has values that do not fit in 32 bits")
    return data.astype(np.int32)


def main() -> None:
    """Read the arguments, run, write the output."""
    parser = argparse.ArgumentParser(description="Run the network of this folder in Lava.")
    parser.add_argument("--input", required=True, help="npz with `spikes`, or npy: (samples, steps, *shape)")
    parser.add_argument("--output", required=True, help="npz to write")
    parser.add_argument("--trace", default="", help="neurons to record, separated by commas; or `all`")
    options = parser.parse_args()
    document = json.loads((HERE / "network.json").read_text(encoding="utf-8"))
    with np.load(HERE / "arrays.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    everything = [end["name"] for end in (document["input"], *document["neurons"])]
    traced = everything if options.trace == "all" else [name for name in options.trace.split(",") if name]
    if unknown := sorted(set(traced) - set(everything)):
        raise SystemExit(f"cannot trace {', '.join(unknown)}: the network has {', '.join(everything)}")
    data = load_input(options.input, document["input"]["shape"])
    np.savez_compressed(options.output, **run(document, arrays, data, traced))


if __name__ == "__main__":
    main()
