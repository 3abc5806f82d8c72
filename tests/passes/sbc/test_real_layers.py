"""On trained networks and real recordings: SBC loses less than magnitude pruning, and than its own mask alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from spikec.compiler.ir import Graph
from spikec.compiler.weights import Array
from spikec.frontends.nir import NirOptions, lower
from spikec.passes.sbc import SBC
from spikec.runtime.events import bin_events
from tests.passes.sbc.networks import context

pytestmark = [pytest.mark.shared, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[3]


def recordings(data: Path, count: int, steps: int) -> Array:
    """The first training recordings in bins of 1 ms, as (N, T, 2, 34, 34)."""
    with np.load(data / "nmnist" / "train.npz") as box:
        offsets = box["offsets"][: count + 1]
        x, y, p, t = (box[name][: offsets[-1]] for name in ("x", "y", "p", "t_us"))
    return bin_events(x, y, p, t, offsets, bin_us=1000, steps=steps, shape=(2, 34, 34), rounding="floor")


def slayer(data: Path) -> Graph:
    spec = importlib.util.spec_from_file_location("slayer_nmnist", ROOT / "examples" / "slayer_nmnist.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example.build(*example.load_weights(data))


def sinabs(data: Path) -> Graph:
    options = NirOptions(reset="subtract", spike="single", v_min=-1.0)
    return lower(data / "nir_paper" / "cnn_sinabs.nir", options)


@pytest.mark.parametrize("sparsity", [0.9, 0.97])
def test_an_integer_network_loses_less_than_by_magnitude(sparsity: float, shared_data: Path) -> None:
    check(slayer(shared_data), recordings(shared_data, 100, 300).astype(np.int32), sparsity)


@pytest.mark.parametrize("sparsity", [0.7, 0.9])
def test_a_convolutional_network_loses_less_than_by_magnitude(sparsity: float, shared_data: Path) -> None:
    check(sinabs(shared_data), recordings(shared_data, 16, 340).astype(np.float32), sparsity)


def check(graph: Graph, inputs: Array, sparsity: float) -> None:
    """Of every layer: the loss of the result, of magnitude's mask with the best weights, of the own mask alone."""
    told = []
    SBC(sparsity, measure=0).run(graph, context(inputs, fact=told.append))
    losses = [row["loss"] for row in told[0]["layers"]]
    assert len(losses) == len([node for node in graph if hasattr(node.op, "weight")])
    for loss in losses:
        assert loss["result"] <= loss["magnitude refit"] + 1e-12
        assert loss["result"] <= loss["mask alone"] + 1e-12
    assert any(loss["result"] < 0.5 * loss["magnitude"] for loss in losses)
