"""Ordinary networks with ReLU, converted: accuracy on scikit-learn's digits, and every kind of layer."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import spikec
from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.compiler.neurons import Neuron
from spikec.frontends.onnx import OnnxOptions, lower
from spikec.runtime.reference import Reference
from tests.onnx.steps import Array, Line, write

pytest.importorskip("onnxscript")
Split = tuple[Array, Array, Array, Array]


class Net(nn.Module):
    """Convolutions with batch normalisation, a residual sum, average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.b, self.nb = nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.pool, self.c = nn.AvgPool2d(2), nn.Conv2d(12, 24, 3, padding=1)
        self.out = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, 8, 8) to scores (N, 10)."""
        x = torch.relu(self.na(self.a(x)))
        x = torch.relu(self.nb(self.b(x)) + x)
        x = nn.functional.relu6(self.c(self.pool(x)))
        return self.out(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Dense(nn.Module):
    """Fully connected."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, 8, 8) to scores (N, 10)."""
        return self.layers(x)


@pytest.fixture(scope="module")
def digits() -> Split:
    data = load_digits()
    images = (data.images / 16).astype(np.float32)[:, None]
    order = np.random.default_rng(0).permutation(len(images))
    learn, test = order[:1437], order[1437:]
    return images[learn], data.target[learn], images[test], data.target[test]


def trained(net: nn.Module, split: Split, epochs: int) -> nn.Module:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.reset_parameters()
    x, y = torch.from_numpy(split[0]), torch.from_numpy(split[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
        schedule.step()
    return net.eval()


def exported(net: nn.Module, path: Path) -> Path:
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        batch = {0: torch.export.Dim("samples", min=2)}
        program = torch.onnx.export(
            net, (torch.zeros(3, 1, 8, 8),), dynamo=True, opset_version=20, verbose=False, dynamic_shapes=(batch,)
        )
    logging.disable(logging.NOTSET)
    assert program is not None
    program.save(str(path))
    return path


@pytest.fixture(scope="module")
def convolutional(digits: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(trained(Net(), digits, 8), tmp_path_factory.mktemp("ann") / "net.onnx")


@pytest.fixture(scope="module")
def dense(digits: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(trained(Dense(), digits, 15), tmp_path_factory.mktemp("ann") / "dense.onnx")


def scores(path: Path, images: Array) -> Array:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def share(classes: Array, labels: Array) -> float:
    return float(np.mean(classes == labels))


def spiking(path: Path, split: Split, steps: int, **options: Any) -> float:
    graph = lower(path, OnnxOptions(**options), samples=split[0][:256])
    given = np.repeat(split[2][:, None], steps, axis=1)
    return share(last(Reference().run(graph, given).spikes), split[3])


@pytest.mark.slow
@pytest.mark.parametrize(("balance", "points"), [("layer", 0.5), ("channel", 1.0)])
def test_digits_keep_their_accuracy(
    balance: str, points: float, convolutional: Path, dense: Path, digits: Split
) -> None:
    for path in (convolutional, dense):
        plain = share(scores(path, digits[2]).argmax(axis=1), digits[3])
        assert plain > 0.95
        got = spiking(path, digits, 16, balance=balance)
        print(f"{path.stem}: ANN {100 * plain:.2f} %, SNN at T 16 by {balance} {100 * got:.2f} %")
        assert got >= plain - points / 100


@pytest.mark.slow
def test_it_compiles_where_targets_can(convolutional: Path, dense: Path, digits: Split, tmp_path: Path) -> None:
    images, labels, test, truth = digits
    calibrate = (images[:128], labels[:128])
    exact = spikec.Choices(reset="exact", initial="exact")
    for path, target in ((convolutional, "loihi2"), (dense, "loihi2")):
        made = spikec.compile(str(path), target, calibrate=calibrate, steps=16, choices=exact)
        made.write(tmp_path / "made")
        got = spikec.run(str(tmp_path / "made"), test, steps=16, align=True)
        assert got.v_out is not None
        plain, found = share(scores(path, test).argmax(axis=1), truth), share(last(got.v_out), truth)
        print(f"{path.stem} on {target}: {100 * found:.2f} %, ANN {100 * plain:.2f} %")
        assert found >= plain - 0.02


@pytest.mark.slow
def test_it_compiles_for_an_fpga_on_input_of_spikes(dense: Path, digits: Split) -> None:
    """An FPGA takes no analog input: the images come as evenly spaced spikes."""
    images, labels, test, truth = digits
    made = spikec.compile(
        str(dense), "fpga:ulx3s-85f", calibrate=(coded(images[:128]), labels[:128]), onnx={"input": "spikes"}
    )
    got = spikec.run(made, coded(test), align=True)
    out = got.v_out if got.v_out is not None else got.spikes
    assert out is not None
    plain, found = share(scores(dense, test).argmax(axis=1), truth), share(last(out), truth)
    print(f"dense on an FPGA: {100 * found:.2f} %, ANN {100 * plain:.2f} %")
    assert found >= plain - 0.05


def coded(images: Array, steps: int = 32) -> Array:
    """Give spikes (N, T, 1, 8, 8): each value x as a spike where a sum of x passes a whole number."""
    sums = np.floor(np.arange(steps + 1)[None, :, None, None, None] * images[:, None] + 0.5)
    return np.diff(sums, axis=1).astype(np.uint8)


def last(readout: Array) -> Array:
    """Give the class of the largest membrane potential in the last step."""
    return np.asarray(readout[:, -1].reshape(len(readout), -1).argmax(axis=1))


NUMBERS = np.random.default_rng(3)
LAYERS: dict[str, tuple[list[Line], tuple[int, ...], dict[str, Any]]] = {
    "residual": (
        [("Conv", "x c b", "a", {"pads": [1, 1, 1, 1]}), ("Relu", "a", "r"),
         ("Conv", "r d b", "e", {"pads": [1, 1, 1, 1]}), ("Add", "e r", "f"),
         ("Relu", "f", "g"), ("Add", "g r", "h"), ("GlobalAveragePool", "h", "p"),
         ("Flatten", "p", "q"), ("Gemm", "q w v", "y"), ("Softmax", "y", "out")],
        (2, 6, 6),
        {"c": NUMBERS.normal(0, 0.4, (5, 2, 3, 3)), "b": NUMBERS.normal(0, 0.1, 5),
         "d": NUMBERS.normal(0, 0.2, (5, 5, 3, 3)), "w": NUMBERS.normal(0, 1, (5, 4)), "v": np.zeros(4)},
    ),
    "normalised, pooled, clipped": (
        [("Conv", "x c b", "a"), ("BatchNormalization", "a g s m q", "n"), ("Clip", "n zero six", "r"),
         ("AveragePool", "r", "p", {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Dropout", "p", "d"),
         ("Reshape", "d size", "f"), ("MatMul", "f w", "t"), ("Add", "t v", "out")],
        (2, 6, 6),
        {"c": NUMBERS.normal(0, 0.4, (5, 2, 3, 3)), "b": NUMBERS.normal(0, 0.1, 5), "zero": 0.0, "six": 6.0,
         "g": NUMBERS.uniform(0.5, 1.5, 5), "s": NUMBERS.normal(0, 0.1, 5), "m": NUMBERS.normal(0, 0.1, 5),
         "q": NUMBERS.uniform(0.5, 1.5, 5), "size": np.array([0, -1]), "w": NUMBERS.normal(0, 0.5, (20, 3)),
         "v": np.ones(3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("balance", ["layer", "channel"])
@pytest.mark.parametrize("name", LAYERS)
def test_rates_approach_the_values(name: str, balance: str, tmp_path: Path) -> None:
    """With no value above the threshold, the mean of the readout differs by at most about one spike in T."""
    lines, shape, numbers = LAYERS[name]
    path = write(tmp_path / "a.onnx", lines, {"x": ("N", *shape)}, ("out",), numbers)
    images = np.random.default_rng(1).random((8, *shape)).astype(np.float32)
    told: list[Diagnostic] = []
    options = OnnxOptions(percentile=100, balance=balance)  # type: ignore[arg-type]
    graph = lower(path, options, samples=images, remark=told.append)
    assert any(found.code == "onnx/converted" for found in told)
    target = scores(path, images)
    errors = []
    for steps in (16, 256):
        membrane = Reference(np.float64).run(graph, np.repeat(images[:, None], steps, axis=1)).spikes[:, -1] / steps
        if "Softmax" in {line[0] for line in lines}:
            membrane = np.exp(membrane) / np.exp(membrane).sum(axis=1, keepdims=True)
        errors.append(float(np.abs(membrane - target).max()))
    assert errors[1] < 0.03 * np.abs(target).max()
    assert errors[1] < errors[0] / 4
    starts = [node.op.v_init for node in graph.of(Neuron) if isinstance(node.op, Neuron) and np.any(node.op.v_init)]
    assert len(starts) == sum(line[0] in ("Relu", "Clip") for line in lines)


def test_options(tmp_path: Path) -> None:
    lines, shape, numbers = LAYERS["residual"]
    path = write(tmp_path / "a.onnx", lines, {"x": ("N", *shape)}, ("out",), numbers)
    images = np.random.default_rng(1).random((8, *shape)).astype(np.float32)
    hard = lower(path, OnnxOptions(reset="value", initial=0.0), samples=images)
    ops = [node.op for node in hard.of(Neuron) if isinstance(node.op, Neuron) and node.op.readout == "spikes"]
    assert all(op.reset == "value" and op.v_init == 0 for op in ops)
    whole, few = (lower(path, OnnxOptions(percentile=p), samples=images) for p in (100.0, 50.0))
    first, other = whole.of(Neuron)[0].op, few.of(Neuron)[0].op
    assert isinstance(first, Neuron)
    assert isinstance(other, Neuron)
    assert np.all(np.asarray(first.v_th) > np.asarray(other.v_th))
    timed = np.repeat(images[:, None], 3, axis=1)
    assert str(lower(path, samples=timed)) == str(lower(path, samples=images))


def test_what_has_no_form(tmp_path: Path, golden: Any) -> None:
    path = tmp_path / "a.onnx"
    layer: Line = ("Gemm", "x w b", "a")
    numbers: dict[str, Any] = {"w": np.ones((6, 4)), "b": np.zeros(4), "low": -1.0, "high": 1.0}
    samples = np.ones((3, 6), np.float32)
    pool: Line = ("MaxPool", "r", "out", {"kernel_shape": [2, 2]})
    cases: dict[str, tuple[list[Line], Any]] = {
        "no calibration": ([layer, ("Relu", "a", "out")], None),
        "calibration of another shape": ([layer, ("Relu", "a", "out")], np.ones((3, 5))),
        "leaky": ([layer, ("LeakyRelu", "a", "r"), ("Sigmoid", "r", "out")], samples),
        "clip below 0": ([layer, ("Clip", "a low high", "out")], samples),
        "softmax inside": ([layer, ("Relu", "a", "r"), ("Softmax", "r", "s"), ("Mul", "s high", "out")], samples),
        "nothing rectifies": ([layer], samples),
        "a product": ([layer, ("Relu", "a", "r"), ("Mul", "r a", "out")], samples),
    }
    said = {}
    for name, (lines, given) in cases.items():
        result = lines[-1][2]
        with pytest.raises(CompileError) as caught:
            lower(write(path, lines, {"x": ("N", 6)}, (result,), numbers), samples=given)
        said[name] = str(caught.value)
    with pytest.raises(CompileError) as caught:
        lower(write(path, [("Relu", "x", "r"), pool], {"x": ("N", 1, 4, 4)}, ("out",)), samples=np.ones((2, 1, 4, 4)))
    said["max pooling"] = str(caught.value)
    golden("converted", "\n\n".join(f"== {name}\n{text}" for name, text in said.items()))
