"""Hand-made NIR files for the tests: plain dicts written with h5py, so that they may be as odd as real ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Nodes = Mapping[str, Mapping[str, Any]]


def put(group: h5py.Group, name: str, value: Any) -> None:
    """Write text, numbers, a dict or a subgraph; None is an empty dataset."""
    if isinstance(value, Mapping):
        inner = group.create_group(name)
        for key, entry in value.items():
            put(inner, key, entry)
    elif value is None:
        group.create_dataset(name, data=h5py.Empty("f4"))
    elif isinstance(value, str | bytes) or name == "edges":
        group.create_dataset(name, data=value, dtype=h5py.string_dtype())
    else:
        group.create_dataset(name, data=value)


def write(path: Path, nodes: Nodes, edges: Iterable[tuple[str, str]], version: str = "1.0.4", **more: Any) -> Path:
    """Write a NIR file."""
    with h5py.File(path, "w") as file:
        put(file, "version", version)
        put(file, "node", {"type": "NIRGraph", "nodes": nodes, "edges": list(edges), **more})
    return path


def port(kind: str, *shape: int) -> dict[str, Any]:
    """An Input or Output node."""
    return {"type": kind, "shape": np.array(shape)}


def affine(weight: Any, bias: Any = None) -> dict[str, Any]:
    """An Affine node, or a Linear one without a bias."""
    weight = np.asarray(weight, np.float32)
    return {"type": "Linear", "weight": weight} if bias is None else {"type": "Affine", "weight": weight, "bias": bias}


def lif(n: int = 3, **changed: Any) -> dict[str, Any]:
    """A LIF node of n neurons with a = 0.75 and gain 1 at 1e-4 s a step."""
    fields = {"tau": np.full(n, 4e-4), "r": np.full(n, 4.0), "v_leak": np.zeros(n), "v_threshold": np.ones(n)}
    return {"type": "LIF", **{k: v for k, v in (fields | changed).items() if v is not None}}


def chain(path: Path, *middle: Mapping[str, Any], given: tuple[int, ...] = (3,), made: tuple[int, ...] = (3,)) -> Path:
    """Write input -> 0 -> 1 -> ... -> output."""
    names = [str(index) for index in range(len(middle))]
    nodes = {"input": port("Input", *given), "output": port("Output", *made), **dict(zip(names, middle, strict=True))}
    line = ["input", *names, "output"]
    return write(path, nodes, pairwise(line))
