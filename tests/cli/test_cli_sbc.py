"""Tests of `sbc` and `sbc-quantize` from the command line down to every target, and up the ladder again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import spikec
from spikec.cli import main
from spikec.compiler.artifact import read
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import FixedSum, Input, Linear, Output
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense, Fixed, Sparse
from spikec.driver.load import COMPRESSED_FILE, TRAINED_FILE, compiled_graph
from tests.passes.sbc.networks import spikes, two_layers

TARGETS = ("nir", "loihi2", "loihi2:netx", "fpga:ulx3s-85f")
PIPELINES = ("sbc{sparsity=0.8}", "sbc-quantize{bits=3}", "sbc{sparsity=0.8},sbc-quantize{bits=2}")


@pytest.fixture
def trained(tmp_path: Path) -> tuple[str, str]:
    """A trained network of Linear and LIF layers, and samples."""
    graph = two_layers()
    neuron = graph["neuron2"].op  # every target takes it
    plain = Graph(tuple(
        Node(n.name, neuron, n.inputs, n.origin) if n.name == "neuron4" else
        Node(n.name, Linear(n.op.weight), n.inputs, n.origin) if n.name == "linear1" else n for n in graph
    ))  # fmt: skip
    spikec.save(verify(plain), tmp_path / "net.spk")
    np.savez(tmp_path / "train.npz", spikes=spikes(0, 8, 10, 24))
    return str(tmp_path / "net.spk"), str(tmp_path / "train.npz")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_from_the_command_line_to_every_target(target: str, pipeline: str, trained, tmp_path: Path, capsys) -> None:
    net, data = trained
    folder = tmp_path / "build"
    assert main(["compile", net, "-p", pipeline, "--calibrate", data, "-t", target, "-o", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "spikes differ" in said
    assert "synaptic operations" in said
    artifact = read(folder)
    assert [report["pass"] for report in artifact.facts["compression"]] == [
        p.split("{")[0] for p in pipeline.split("},")
    ]
    assert {TRAINED_FILE, COMPRESSED_FILE} <= set(artifact.files)
    if "sbc{" in pipeline:
        for node in compiled_graph(artifact).of(Linear):
            assert isinstance(node.op.weight, Sparse)
    codes = "quantize/rounded-again" in {entry["code"] for entry in artifact.facts["remarks"]}
    assert not codes
    reports = spikec.verify(net, artifact, spikes(1, 6, 10, 24), lava=False, rtl=False)
    rungs = {report.name: report for report in reports}
    assert not any(report.failed or report.error for report in reports)
    assert rungs["compressed"].against == "float reference"
    below = "NIR read back" if target == "nir" else "quantized"
    assert rungs[below].against == "compressed"
    if target == "nir":
        assert rungs[below].agreement.differing == 0
    assert main(["inspect", str(folder)]) == 0
    assert "method sbc" in capsys.readouterr().out


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("empty", ["linear1", "linear3"])
def test_a_layer_of_zeros_alone_compiles(target: str, empty: str, trained) -> None:
    graph = spikec.load(trained[0])
    zeros = Sparse(Dense(np.zeros(graph[empty].op.weight.shape, np.float32)))
    graph = Graph(tuple(Node(n.name, Linear(zeros), n.inputs) if n.name == empty else n for n in graph))
    x = spikes(0, 6, 10, 24)
    if target == "loihi2:netx":  # the file format's own limit
        with pytest.raises(CompileError, match="its weights are all 0"):
            spikec.compile(graph, target, PIPELINES[2], calibrate=x)
        return
    artifact = spikec.compile(graph, target, PIPELINES[2], calibrate=x)
    assert not any(r.failed or r.error for r in spikec.verify(artifact, inputs=x, lava=False, rtl=False))
    assert not np.any(compiled_graph(artifact)[empty].op.weight.decode())


def integers() -> Graph:
    rng = np.random.default_rng(0)

    def fc(rows: int, columns: int) -> Linear:
        return Linear(Fixed(rng.integers(-100, 120, (rows, columns)) * 2, step=2), latency=1, sum=FixedSum())

    nodes = (
        Node("x", Input((24,))),
        Node("fc1", fc(12, 24), ("x",)),
        Node("hidden", FixedNeuron(threshold=80, v_decay=128, u_decay=1024, start=1), ("fc1",)),
        Node("fc2", fc(4, 12), ("hidden",)),
        Node("classes", FixedNeuron(threshold=80, v_decay=128, u_decay=1024, start=2), ("fc2",)),
        Node("out", Output(), ("classes",)),
    )
    return verify(Graph(nodes))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_network_in_integers_is_compared_with_itself_uncompressed(pipeline: str, tmp_path: Path) -> None:
    x = spikes(0, 6, 10, 24)
    graph = integers()
    artifact = spikec.compile(graph, "loihi2", pipeline, calibrate=x)
    assert artifact.facts["measured"]["compiled"]["cells"] == 6 * 10 * 4
    rungs = {r.name: r for r in spikec.verify(graph, artifact, x, lava=False)}
    assert rungs["fixed reference"].against == "uncompressed"
    assert not rungs["fixed reference"].exact
    assert rungs["engine"].exact
    assert rungs["engine"].agreement.differing == 0
    assert artifact.write(tmp_path / "a").is_dir()
    alone = {r.name: asdict(r)["agreement"] for r in spikec.verify(read(tmp_path / "a"), inputs=x, lava=False)}
    assert alone == {name: asdict(r)["agreement"] for name, r in rungs.items()}


def test_python_calls_take_passes_as_values(trained) -> None:
    net, _ = trained
    x = spikes(0, 8, 10, 24)
    one = spikec.compile(net, "nir", [spikec.SBC(0.8), spikec.SBCQuantize(3)], calibrate=x)
    other = spikec.compile(net, "nir", "sbc{sparsity=0.8},sbc-quantize{bits=3}", calibrate=x)
    assert one.manifest == other.manifest


def test_work_that_was_kept_changes_no_byte(trained, tmp_path: Path, capsys) -> None:
    net, data = trained
    words = ["compile", net, "-p", PIPELINES[2], "--calibrate", data, "-t", "loihi2"]
    for name, more in (("plain", []), ("first", ["--resume", "kept"]), ("again", ["--resume", "kept", "-v"])):
        extra = [str(tmp_path / word) if word == "kept" else word for word in more]
        assert main([*words, "-o", str(tmp_path / name), *extra]) == 0
    assert "pieces were finished before" in capsys.readouterr().err
    manifests = [read(tmp_path / name).manifest for name in ("plain", "first", "again")]
    assert manifests[0] == manifests[1] == manifests[2]


@pytest.mark.slow
def test_workers_change_no_byte(trained, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    net, data = trained
    words = ["compile", net, "-p", PIPELINES[2], "--calibrate", data, "-t", "loihi2"]
    for name, more in (("plain", []), ("shared", ["--workers", "2"])):
        assert main([*words, "-o", str(tmp_path / name), *more]) == 0
    assert read(tmp_path / "plain").manifest == read(tmp_path / "shared").manifest


def test_bad_calibration_gets_one_diagnostic(trained, tmp_path: Path, capsys, golden) -> None:
    net, _ = trained
    np.savez(tmp_path / "silent.npz", spikes=np.zeros((4, 10, 24)))
    np.savez(tmp_path / "shape.npz", spikes=spikes(0, 4, 10, 23))
    np.savez(tmp_path / "empty.npz", spikes=np.zeros((0, 10, 24)))
    texts = []
    for pipeline in ("sbc{sparsity=0.9}", "sbc-quantize{bits=4}"):
        for data in ("", "silent.npz", "shape.npz", "empty.npz"):
            words = ["--calibrate", str(tmp_path / data)] if data else []
            assert main(["compile", net, "-p", pipeline, "-t", "nir", "-o", str(tmp_path / "no"), *words]) == 1
            texts.append(f"# {pipeline} {data}\n{capsys.readouterr().err}".replace(str(tmp_path), ""))
            assert not (tmp_path / "no").exists()
    for pipeline in ("sbc{sparsity=1}", "sbc{sparsity=0.9,method=best}", "sbc{}", "sbc-quantize{bits=9}"):
        assert main(["compile", net, "-p", pipeline, "-t", "nir", "-o", str(tmp_path / "no")]) == 1
        texts.append(f"# {pipeline}\n{capsys.readouterr().err}")
    golden("sbc", "\n".join(texts))
