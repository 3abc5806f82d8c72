"""From a trained float network to a `.net`: quantized for netx, written, and run equal by the real netx."""

import numpy as np
import pytest

from spikec.backends.loihi.backend import NETX_TARGET, LoihiBackend
from spikec.compiler.context import Calibration, Context
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Conv2d, Flatten, Input, Linear, Output
from spikec.compiler.runner import encode_input, pad_steps
from spikec.compiler.weights import Dense
from spikec.passes import ALL
from spikec.runtime.reference import Reference
from tests.lava import netx

STEPS = 20


def trained(kind):
    """Give a float network: convolution, flatten, dense; biases in both; its input spikes or analog."""
    rng = np.random.default_rng(2)
    kernel, matrix = rng.normal(size=(4, 1, 3, 3)) / 2, rng.normal(size=(6, 64)) / 6
    nodes = (
        Node("input", Input((1, 6, 6), kind)),
        Node("conv", Conv2d(Dense(kernel), np.array([0.1, -0.05, 0.2, 0.0])), ("input",)),
        Node("lif1", LIF(0.9, reset="value"), ("conv",)),
        Node("flatten", Flatten(), ("lif1",)),
        Node("fc", Linear(Dense(matrix), rng.normal(size=6) / 9), ("flatten",)),
        Node("lif2", LIF(0.8, reset="value"), ("fc",)),
        Node("output", Output(), ("lif2",)),
    )
    return Graph(nodes, "trained")


def samples(kind):
    """Give two samples, (2, STEPS, 1, 6, 6)."""
    rng = np.random.default_rng(6)
    if kind == "analog":
        return np.repeat(rng.random((2, 1, 1, 6, 6)), STEPS, axis=1).astype(np.float32)
    return (rng.random((2, STEPS, 1, 6, 6)) < 0.4).astype(np.float32)


def compiled(kind):
    """Quantize for netx and lower."""
    context = Context(calibration=Calibration(samples(kind)), target=NETX_TARGET, runner=Reference())
    graph = trained(kind)
    for name in ("fold", "quantize", "balance-delays"):
        graph = ALL[name]().run(graph, context)
    return graph


@pytest.mark.parametrize("kind", ["spikes", "analog"])
def test_a_network_quantized_for_netx_fits_and_has_a_net(kind):
    """No finding, and the file is in the artifact."""
    graph = compiled(kind)
    backend = LoihiBackend()
    assert [str(d) for d in backend.check(graph)] == []
    artifact = backend.emit(graph)
    assert artifact.facts["remarks"] == []
    assert artifact.facts["netx"]["reset"] == "sample"
    assert "network.net" in artifact.files


@pytest.mark.lava
@pytest.mark.parametrize("kind", ["spikes", "analog"])
def test_netx_runs_the_compiled_network_equal(tmp_path, kind):
    """Two samples in one run, reset between them: 0 spikes differ once the latency is removed."""
    graph = compiled(kind)
    artifact = LoihiBackend().emit(graph)
    path = tmp_path / "network.net"
    path.write_bytes(artifact.files["network.net"])
    facts, late = artifact.facts["netx"], artifact.facts["steps_of_latency"]
    source = graph["input"].op
    given = pad_steps(encode_input(samples(kind), source.scale, source.message_bits), late)
    whole = given.reshape(1, 2 * (STEPS + late), 1, 6, 6).transpose(0, 1, 4, 3, 2)
    got = netx.run(
        path,
        whole,
        tmp_path,
        reset_interval=STEPS + late,
        reset_offset=facts["reset_offset"],
        message_bits=facts["input_message_bits"],
    )
    expected = Reference().run(graph, given).spikes
    assert expected.sum() > 10
    np.testing.assert_array_equal(got["s"].reshape(expected.shape)[:, late:], expected[:, late:])
