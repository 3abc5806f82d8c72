"""Files that spikec writes, run by the importers of snnTorch and Norse to the same spikes."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

from spikec.backends.nir import NirBackend
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import IF, LIF, CubaLIF, Neuron
from spikec.compiler.ops import Conv2d, Flatten, Input, Linear, Output, SumPool
from spikec.compiler.weights import Dense
from spikec.frontends.nir import NirOptions, lower
from spikec.runtime.reference import Reference

T = 60
EXACT_DT = 2.0**-13
"""Norse computes dt * (1 / tau) in float32, which is exact for powers of two."""


class Weights:
    """Multiples of 1/8, which floats hold exactly."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, *shape: int, scale: float = 1.0) -> np.ndarray[Any, Any]:
        return (scale * self.rng.integers(-8, 9, size=shape) / 8).astype(np.float32)

    def linear(self, out: int, into: int, scale: float = 1.0) -> Linear:
        return Linear(Dense(self(out, into, scale=scale)), self(out))


def network(first: Neuron, second: Neuron, *, recurrent: bool, scale: float = 1.0) -> Graph:
    """12 - 20 - 5, the hidden layer with or without a recurrent connection; names as nirtorch has them."""
    w = Weights()
    nodes = [Node("in", Input((12,))), Node("fc1", w.linear(20, 12, scale), ("in",))]
    if recurrent:
        nodes.append(Node("lif1.w_rec", w.linear(20, 20, scale / 4), ("lif1.lif",)))
    nodes.append(Node("lif1.lif", first, ("fc1", "lif1.w_rec") if recurrent else ("fc1",)))
    nodes += [Node("fc2", w.linear(5, 20, scale), ("lif1.lif",)), Node("lif2", second, ("fc2",))]
    return Graph((*nodes, Node("out", Output(), ("lif2",))))


def spikes_in(*size: int) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(1).random((4, T, *size)) < 0.3).astype(np.float32)


def written(graph: Graph, folder: Path) -> Path:
    path = folder / "network.nir"
    path.write_bytes(NirBackend().emit(graph).files["network.nir"])
    return path


def run_torch(module: Any, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Step a module of nirtorch, which gives (output, state) back."""
    state, outputs = None, []
    with torch.no_grad():
        for t in range(inputs.shape[1]):
            out, state = module(torch.from_numpy(inputs[:, t]), state)
            outputs.append(out.numpy())
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("cuba", [False, True])
def test_snntorch_runs_it_to_the_same_spikes(tmp_path: Path, cuba: bool) -> None:
    """Its importer takes 1e-4 s a step, hard reset, one threshold a layer."""
    pytest.importorskip("snntorch")
    from snntorch.import_nir import import_from_nir

    make = (lambda a: CubaLIF(0.5, a, reset="value")) if cuba else (lambda a: LIF(a, reset="value"))
    graph = network(make(0.75), make(0.5), recurrent=False)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        module = import_from_nir(nir.read(written(graph, tmp_path)))
    inputs = spikes_in(12)
    expected = Reference().run(graph, inputs).spikes
    assert expected.sum() > 100
    np.testing.assert_array_equal(run_torch(module, inputs), expected)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("cuba", [False, True])
def test_norse_runs_it_to_the_same_spikes(tmp_path: Path, cuba: bool, recurrent: bool) -> None:
    """Its LIF takes r as 1, so here the gain is 1 - a; it starts a recurrent bias at step 1, as our reader can."""
    norse = pytest.importorskip("norse.torch")

    def make(a: float) -> Neuron:
        if cuba:
            return CubaLIF(0.5, a, reset="value", dt=EXACT_DT)
        return LIF(a, g_in=1 - a, reset="value", dt=EXACT_DT)

    graph = network(make(0.75), make(0.5), recurrent=recurrent, scale=1.0 if cuba else 4.0)
    path = written(graph, tmp_path)
    module = norse.from_nir(nir.read(path), dt=EXACT_DT)
    inputs = spikes_in(12)
    expected = Reference().run(lower(path, NirOptions(recurrent_bias=1)), inputs).spikes
    assert expected.sum() > 100
    np.testing.assert_array_equal(run_torch(module, inputs), expected)


def test_norse_runs_a_convolution_of_groups(tmp_path: Path) -> None:
    """Groups and uneven padding come as zeros; IF, sum pooling. Norse's Flatten joins the batch, so one sample runs."""
    norse = pytest.importorskip("norse.torch")
    w = Weights()
    conv = Conv2d(Dense(w(4, 1, 3, 4)), w(4), padding=((1, 1), (1, 2)), groups=2)
    nodes = [Node("in", Input((2, 6, 6))), Node("c", conv, ("in",)), Node("n", IF(reset="value"), ("c",))]
    nodes += [Node("p", SumPool((2, 2)), ("n",)), Node("f", Flatten(), ("p",)), Node("fc", w.linear(5, 36), ("f",))]
    graph = Graph((*nodes, Node("n2", IF(2.0, reset="value"), ("fc",)), Node("out", Output(), ("n2",))))
    module = norse.from_nir(nir.read(written(graph, tmp_path)))
    inputs = spikes_in(2, 6, 6)[:1]
    expected = Reference().run(graph, inputs).spikes
    assert expected.sum() > 20
    state, outputs = None, []
    with torch.no_grad():
        for t in range(T):
            out, state = module(torch.from_numpy(inputs[0, t]), state)
            outputs.append(out.numpy().reshape(5))
    np.testing.assert_array_equal(np.stack(outputs), expected[0])
