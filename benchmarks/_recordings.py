"""N-MNIST recordings, and the trained networks that read them, for benchmarks on data of others ($SPIKEC_DATA)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _feedforward import run

from spikec.compiler.ir import Graph
from spikec.compiler.ops import Output
from spikec.compiler.runner import align, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights import Array
from spikec.frontends.nir import NirOptions, lower
from spikec.runtime.engine import Engine
from spikec.runtime.events import bin_events
from spikec.runtime.reference import Reference

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SPIKEC_DATA") or ROOT.parent / "shared" / "data")
BATCH = 20


@dataclass(frozen=True, eq=False)
class Case:
    """A trained network and the recordings that it reads: spikes (N, T, 2, 34, 34) of 0 and 1, labels (N,)."""

    name: str
    graph: Graph
    train: tuple[Array, Array]
    test: tuple[Array, Array]


def recordings(part: str, form: Callable[..., Array], count: int | None = None) -> tuple[Array, Array]:
    """Read recordings of a part (`train`, `test`), binned by `form`, as uint8."""
    with np.load(DATA / "nmnist" / f"{part}.npz") as box:
        events = {name: box[name] for name in box.files}
    offsets = events["offsets"][: None if count is None else count + 1]
    cut = {name: events[name][offsets[0] : offsets[-1]] for name in ("x", "y", "p", "t_us")}
    return form(**cut, offsets=offsets - offsets[0]), events["labels"][: len(offsets) - 1]


def slayer(count: int | None = None) -> Case:
    """SLAYER's network for Loihi, 2312-512-10, in integers; bins of 1 ms, 300 steps, as it was trained."""
    path = ROOT / "examples" / "slayer_nmnist.py"
    spec = importlib.util.spec_from_file_location("slayer_nmnist", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    def form(x: Array, y: Array, p: Array, t_us: Array, offsets: Array) -> Array:
        binned = bin_events(x, y, p, t_us, offsets, bin_us=1000, steps=300, shape=(2, 34, 34), rounding="nearest")
        return binned.astype(np.uint8)

    graph = example.build(*example.load_weights(DATA))
    return Case("SLAYER 2312-512-10", graph, recordings("train", form, count), recordings("test", form, count))


def sinabs(count: int | None = None) -> Case:
    """The convolutional network of the NIR paper, trained in sinabs; 340 bins of 1 ms from the first event on."""

    def form(x: Array, y: Array, p: Array, t_us: Array, offsets: Array) -> Array:
        since = t_us - np.repeat(t_us[offsets[:-1]], np.diff(offsets))
        binned = bin_events(x, y, p, since, offsets, bin_us=1000, steps=340, shape=(2, 34, 34), rounding="floor")
        return binned.astype(np.uint8)

    options = NirOptions(reset="subtract", spike="single", v_min=-1.0)
    graph = lower(DATA / "nir_paper" / "cnn_sinabs.nir", options)
    return Case("sinabs CNN", graph, recordings("train", form, count), recordings("test", form, count))


def right(graph: Graph, part: tuple[Array, Array]) -> int:
    """Count the recordings whose label wins: the class with the most spikes, of two equal ones the lower."""
    inputs, labels = part
    found = 0
    for start in range(0, len(inputs), BATCH):
        won = counts(graph, inputs[start : start + BATCH]).argmax(axis=1)
        found += int(np.count_nonzero(won == labels[start : start + BATCH]))
    return found


def counts(graph: Graph, inputs: Array) -> Array:
    """Give the spikes of every output over time, (N, classes)."""
    if not is_fixed(graph):
        total: Array = run(graph, inputs.astype(np.float32)).sum(axis=1)
        return total
    known = latencies(graph)
    longest, output = max(known.values(), default=0), graph.of(Output)[0].name
    made = Engine().run(graph, pad_steps(inputs.astype(np.int32), longest))
    aligned: Array = align(made, known, inputs.shape[1]).outputs[output].sum(axis=1)
    return aligned


def check_against_reference(case: Case, count: int = 8) -> int:
    """Give how many of the outputs' spike counts differ between how a float network is run here and the reference."""
    inputs = case.test[0][:count]
    wanted = Reference().run(case.graph, inputs.astype(np.float32)).counts
    return int(np.abs(wanted - counts(case.graph, inputs)).sum())
