"""Runs the network of this folder (network.json, arrays.npz) in Lava, with nothing but Lava's public API and NumPy.

    python run_lava.py --input in.npz --output out.npz [--trace NODE,NODE | --trace all]

in.npz holds `spikes`, integers (samples, steps, *shape of the input); a .npy of the same is taken as well. out.npz
gets `spikes` (samples, steps, *shape) and `counts` of the first output, `v_out` where it is a membrane, `o/NODE` for
every output, and `s/NODE`, `u/NODE`, `v/NODE` for every traced neuron (`/` in a name becomes `.`). Before its start
(the step at which its first real input arrives) a neuron sends nothing, and its traces are zero there.

Needs lava-nc 0.10.0 and the files beside this one: lava_network.py, lava_processes.py and lava_compat.py, which lets
Lava run on Python 3.11 and later.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lava_network import Network  # type: ignore[import-not-found]

HERE = Path(__file__).resolve().parent
SET_LIMIT = 20_000
"""Above this many numbers a network is built anew for every sample, which is quicker than setting its state."""


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
