"""The reader against the real netx on Lava: u, v and spikes of every layer at every step."""

import numpy as np
import pytest

from spikec.compiler.fixed import FixedNeuron
from spikec.frontends.netx import lower
from spikec.runtime.reference import Reference
from tests.lava import netx
from tests.netx.files import CUBA, dense, even, put

pytestmark = pytest.mark.lava

CURRENTLESS = {**CUBA, "iDecay": 4096}


def dense_with_biases(rng):
    """Fractions and biases beyond 16 bits: netx and Lava change them."""
    first = dense(even(rng, 6, 12), bias=rng.integers(-30, 60, 6))
    second = dense(even(rng, 4, 6) + 0.5, bias=np.array([1.5, 40_000, 3, -4]))
    return [first, second], {}


def one_sign(rng):
    """Excitatory, then inhibitory."""
    return [dense(rng.integers(0, 256, (6, 12))), dense(rng.integers(-255, 0, (4, 6)))], {}


def odd_weights(rng):
    """Netx gives them nine bits, and Lava keeps them."""
    return [dense(rng.integers(-100, 131, (6, 12))), dense(rng.integers(-20, 41, (4, 6)))], {}


def clipped_weights(rng):
    """Beyond [-256, 254] with both signs."""
    return [dense(rng.integers(-500, 511, (6, 12))), dense(rng.integers(-255, 255, (4, 6)))], {}


def delays(rng):
    """For each output, for each input, for all, for each synapse; with resets."""
    layers = [
        dense(even(rng, 6, 12), delay=rng.integers(0, 9, 6)),
        dense(even(rng, 4, 6), delay=rng.integers(0, 40, 6)),
        dense(even(rng, 4, 4), delay=3),
        dense(even(rng, 4, 4), delay=rng.integers(0, 5, (4, 4))),
    ]
    return layers, {"reset_interval": 20, "reset_offset": 3}


def recurrent(rng):
    """Layers that feed themselves: netx optimizes both matrices as one."""
    rec = {"type": "dense_rec", "neuron": CUBA, "shape": [6]}
    layers = [
        {**rec, "weight": even(rng, 6, 12), "weight_rec": even(rng, 6, 6, top=100)},
        {
            **rec,
            "weight": -2 * rng.integers(0, 100, (6, 6)),
            "weight_rec": 2 * rng.integers(0, 50, (6, 6)),
            "bias": [90] * 6,
        },
    ]
    layers[1]["bias"] = [90] * 6
    return layers, {}


def parameters_of_each_neuron(rng):
    """Decays and thresholds as arrays, and a last layer without a neuron."""
    neuron = {
        **CUBA,
        **{name: rng.integers(0, 4097, 6) for name in ("iDecay", "vDecay")},
        "vThMant": rng.integers(9, 99, 6),
    }
    last = dense(even(rng, 4, 6))
    del last["neuron"]
    return [dense(even(rng, 6, 12), neuron=neuron), last], {"readout": "spikes"}


NETWORKS = [
    dense_with_biases,
    pytest.param(one_sign, marks=pytest.mark.slow),
    pytest.param(odd_weights, marks=pytest.mark.slow),
    clipped_weights,
    delays,
    recurrent,
    pytest.param(parameters_of_each_neuron, marks=pytest.mark.slow),
]


def compare(graph, got, inputs):
    """Count cells that differ in s, u and v of every population; give also how many spikes there were."""
    result = Reference().run(graph, inputs, trace=True)
    wrong = int((netx.channels_first(got["s"]) != result.spikes).sum())
    spikes = 0
    for index, node in enumerate(graph.of(FixedNeuron)):
        spikes += int(result.traces[f"s/{node.name}"].sum())
        for what in "uv":
            wrong += int((netx.channels_first(got[f"{what}/{index}"]) != result.traces[f"{what}/{node.name}"]).sum())
    return wrong, spikes


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_the_reader_means_what_netx_runs(tmp_path, make):
    """0 cells differ, and something happened."""
    rng = np.random.default_rng(7)
    layers, options = make(rng)
    path = put(tmp_path / "net.net", *layers)
    inputs = (rng.random((1, 50, 12)) < 0.4).astype(np.int32)
    graph = lower(path, **options)
    resets = {name: value for name, value in options.items() if name.startswith("reset")}
    wrong, spikes = compare(graph, netx.run(path, inputs, tmp_path, **resets), inputs)
    assert wrong == 0
    assert spikes > 20


def test_convolutions_mean_what_netx_runs(tmp_path):
    """Strides, unequal geometry, groups, biases, a kernel with a fifth axis, flatten; 0 cells differ."""
    rng = np.random.default_rng(3)
    first = {"type": "conv", "shape": [4, 4, 3], "weight": even(rng, 4, 2, 3, 3), "neuron": CURRENTLESS}
    second = {"type": "conv", "shape": [4, 5, 3], "weight": rng.integers(-90, 91, (4, 2, 2, 3, 1)), "neuron": CUBA}
    path = put(
        tmp_path / "conv.net",
        {"type": "input", "shape": [2, 9, 7]},
        {**first, "stride": 2, "padding": 0, "dilation": 1, "groups": 1, "bias": rng.integers(-9, 30, 4)},
        {**second, "stride": [1, 2], "padding": [1, 2], "dilation": [1, 1], "groups": 2},
        {"type": "flatten"},
        dense(even(rng, 5, 60)),
    )
    inputs = (rng.random((1, 30, 2, 9, 7)) < 0.3).astype(np.int32)
    got = netx.run(path, inputs.transpose(0, 1, 4, 3, 2), tmp_path, reset_interval=11)
    wrong, spikes = compare(lower(path, reset_interval=11), got, inputs)
    assert wrong == 0
    assert spikes > 20


def test_input_neurons_mean_what_netx_says(tmp_path):
    """The transform weight * x + bias, injected into the first layer's neurons; spikes and membranes are equal."""
    rng = np.random.default_rng(5)
    layer = {"type": "input", "shape": [12], "neuron": CURRENTLESS, "weight": [64], "bias": 5}
    path = put(tmp_path / "input.net", layer, dense(even(rng, 6, 12)))
    analog = rng.integers(-3, 9, (1, 30, 12)).astype(np.int32)
    got = netx.run(path, 64 * analog + 5, tmp_path, inject=True)
    graph = lower(path)
    result = Reference().run(graph, 64 * analog, trace=True)
    assert graph["input"].op.scale == 1 / 64
    np.testing.assert_array_equal(got["s"], result.spikes)
    np.testing.assert_array_equal(got["v/0"], result.traces["v/neuron0"])
    assert result.spikes.sum() > 20


@pytest.mark.shared
@pytest.mark.parametrize(("name", "inputs", "rate"), [("oxford", 200, 0.01), ("trained_mnist", 784, 0.3)])
def test_networks_of_lava_dl_run_equal(tmp_path, shared_data, name, inputs, rate):
    """Real exports, two samples, with resets: 0 cells differ in u, v and spikes of every layer."""
    path = shared_data / "lava_dl" / f"{name}.net"
    given = (np.random.default_rng(0).random((2, 80, inputs)) < rate).astype(np.int32)
    graph = lower(path, reset_interval=64, reset_offset=1)
    wrong, spikes = compare(graph, netx.run(path, given, tmp_path, reset_interval=64, reset_offset=1), given)
    assert wrong == 0
    assert spikes > 100
