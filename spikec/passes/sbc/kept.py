"""Keeping Hessians: those of an earlier run are found again by the network, the calibration data and the layers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from spikec.compiler.ir import Graph
from spikec.compiler.serialize import dumps
from spikec.compiler.weights import Array
from spikec.passes.sbc.collect import Part, Way
from spikec.passes.sbc.layers import Layer
from spikec.passes.work import Store
from spikec.passes.work.task import REVISION, VERSION, digest

Parts = dict[str, tuple[Part, ...]]


def kept(
    store: Store | None,
    graph: Graph,
    layers: Sequence[tuple[Layer, tuple[Way, ...]]],
    inputs: Array,
    memory: int,
    make: Callable[[], Parts],
) -> Parts:
    """Give what `make` gives, or what a store holds of it; what is made is put into the store.

    Args:
        store: of finished work, if any.
        graph: the dense network, float or fixed.
        layers: that the Hessians are of, with their ways.
        inputs: the calibration data.
        memory: that `make` works within: sums in other pieces round otherwise.
        make: runs the network and adds up.
    """
    if store is None:
        return make()
    key, names = _key(graph, layers, inputs, memory), [layer.name for layer, _ in layers]
    found = store.get(key, "Hessians")
    if found is None:
        made = make()
        store.put(key, _arrays(names, made))
        return made
    store.tell(len(names), len(names), "Hessians")
    return _parts(names, found)


def _key(graph: Graph, layers: Sequence[tuple[Layer, tuple[Way, ...]]], inputs: Array, memory: int) -> str:
    content = {
        "what": "Hessians of sbc",
        "revision": REVISION,
        "spikec": VERSION,
        "numpy": np.__version__,
        "graph": hashlib.sha256(dumps(graph)).hexdigest(),
        "inputs": digest(inputs),
        "memory": memory,
        "layers": [
            [layer.name, [repr(group.response) for way in ways for group in way.groups]] for layer, ways in layers
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _said(way: Way) -> list[str]:
    return [repr(group.response) for group in way.groups]


def _arrays(names: Sequence[str], made: Parts) -> dict[str, Array]:
    """Name the arrays by the layer's place and the part's: names of nodes may hold anything."""
    return {
        f"{i}.{k}.{field}": getattr(part, field)
        for i, name in enumerate(names)
        for k, part in enumerate(made[name])
        for field in ("rows", "hessian")
    }


def _parts(names: Sequence[str], found: Mapping[str, Array]) -> Parts:
    counts = [sum(key.startswith(f"{i}.") for key in found) // 2 for i in range(len(names))]
    return {
        name: tuple(Part(found[f"{i}.{k}.rows"], found[f"{i}.{k}.hessian"]) for k in range(counts[i]))
        for i, name in enumerate(names)
    }
