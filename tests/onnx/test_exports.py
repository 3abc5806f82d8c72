"""What torch's own exporter writes: snnTorch, plain torch, torch's scan; the same spikes as onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import snntorch as snn
import torch
from torch import nn

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.neurons import Neuron
from spikec.frontends.onnx import lower
from spikec.runtime.reference import Reference
from tests.onnx.steps import Array, run

pytest.importorskip("onnxscript")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The exporter warns of what is not its user's fault."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def export(module: nn.Module, args: tuple[Any, ...], path: Path) -> Path:
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(module.eval(), args, dynamo=True, opset_version=20, verbose=False)
    assert program is not None
    program.save(str(path))
    return path


def exact(module: nn.Module) -> nn.Module:
    """Round the weights to sixteenths, so that sums of them are exact in float32."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.round(parameter * 32) / 16)
    return module


class Leaky(nn.Module):
    """Two layers of snnTorch, states handed on by hand."""

    def __init__(self, reset: str) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(6, 12), nn.Linear(12, 4)
        self.n1, self.n2 = (
            snn.Leaky(beta, reset_mechanism=reset, threshold=th) for beta, th in ((0.75, 1.0), (0.5, 0.5))
        )

    def forward(self, x: torch.Tensor, m1: torch.Tensor, m2: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One step."""
        a, m1 = self.n1(self.l1(x), m1)
        b, m2 = self.n2(self.l2(a), m2)
        return b, m1, m2


class Plain(nn.Module):
    """A layer written in plain torch."""

    def __init__(self, soft: bool) -> None:
        super().__init__()
        self.layer, self.soft = nn.Linear(6, 12), soft

    def forward(self, x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step."""
        v = 0.75 * v + self.layer(x)
        s = (v >= 1.0).float()
        return s, v - s if self.soft else torch.where(s > 0, torch.zeros_like(v), v)


class Scanned(nn.Module):
    """All of time in torch's scan."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(T, N, 6) to (T, N, 12)."""
        from torch._higher_order_ops.scan import scan

        def step(v: torch.Tensor, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            v = 0.75 * v + self.layer(given)
            s = (v >= 1.0).float()
            return v - s, s

        return scan(step, torch.zeros(4, 12), x, dim=0)[1]


class Hidden(nn.Module):
    """snnTorch that keeps its state itself: the export loses it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 12), snn.Leaky(0.5, init_hidden=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One step."""
        return self.net(x)


class Unrolled(nn.Module):
    """A loop over time, which the exporter unrolls."""

    def __init__(self) -> None:
        super().__init__()
        self.step = Plain(soft=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(T, N, 6) to (T, N, 12)."""
        v, out = torch.zeros(x.shape[1], 12), []
        for given in x:
            s, v = self.step(given, v)
            out.append(s)
        return torch.stack(out)


def spikes(n: int, t: int) -> Array:
    return (np.random.default_rng(1).random((n, t, 6)) < 0.5).astype(np.float32)


@pytest.mark.parametrize("reset", ["subtract", pytest.param("zero", marks=pytest.mark.slow)])
def test_snntorch(reset: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    args = (torch.zeros(50, 6), torch.zeros(50, 12), torch.zeros(50, 4))
    path = export(exact(Leaky(reset)), args, tmp_path / "a.onnx")
    graph = lower(path)
    assert [node.name for node in graph.of(Neuron)] == ["n1", "n2"]
    names = [item.name for item in onnxruntime.InferenceSession(path).get_outputs()]
    given = spikes(50, 60)
    theirs = run(path, "x", {"m1": names[1], "m2": names[2]}, given)[names[0]]
    assert theirs.any()
    assert np.array_equal(theirs, Reference().run(graph, given).spikes)


@pytest.mark.parametrize("soft", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_plain_torch(soft: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = export(exact(Plain(soft)), (torch.zeros(50, 6), torch.zeros(50, 12)), tmp_path / "a.onnx")
    graph = lower(path)
    (node,) = graph.of(Neuron)
    assert isinstance(node.op, Neuron)
    assert (node.op.reset, node.op.cmp, node.op.reset_when) == ("subtract" if soft else "value", ">=", "post")
    names = [item.name for item in onnxruntime.InferenceSession(path).get_outputs()]
    given = spikes(50, 60)
    theirs = run(path, "x", {"v": names[1]}, given)[names[0]]
    assert np.array_equal(theirs, Reference().run(graph, given).spikes)


def test_scan(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = export(exact(Scanned()), (torch.zeros(9, 4, 6),), tmp_path / "a.onnx")
    graph = lower(path)
    given = spikes(4, 9)
    (theirs,) = onnxruntime.InferenceSession(path).run(None, {"x": given.swapaxes(0, 1)})
    assert np.asarray(theirs).any()
    assert np.array_equal(np.asarray(theirs).swapaxes(0, 1), Reference().run(graph, given).spikes)


@pytest.mark.slow
def test_ordinary_weights_differ_by_rounding_only(tmp_path: Path) -> None:
    torch.manual_seed(0)
    args = (torch.zeros(50, 6), torch.zeros(50, 12), torch.zeros(50, 4))
    path = export(Leaky("subtract"), args, tmp_path / "a.onnx")
    names = [item.name for item in onnxruntime.InferenceSession(path).get_outputs()]
    given = np.random.default_rng(2).normal(0.5, 1.0, (50, 60, 6)).astype(np.float32)
    theirs = run(path, "x", {"m1": names[1], "m2": names[2]}, given)[names[0]]
    ours = Reference().run(lower(path), given).spikes
    assert np.count_nonzero(theirs != ours) <= 1e-3 * theirs.size


def test_exports_that_lost_their_state(tmp_path: Path) -> None:
    for module, args, word in (
        (Hidden(), torch.zeros(2, 6), "onnx/lost-state.*lost its memory"),
        (Unrolled(), torch.zeros(5, 2, 6), "onnx/unrolled.*unrolls time"),
    ):
        path = export(module, (args,), tmp_path / "a.onnx")
        with pytest.raises(CompileError, match=word):
            lower(path)
