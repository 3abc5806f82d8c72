"""The example built from integer arrays: SLAYER's N-MNIST network gets 91 of 100, here, there and through a `.net`."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from spikec.runtime.engine import Engine
from spikec.runtime.reference import Reference
from tests.lava import netx

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "slayer_nmnist.py"


@pytest.fixture(scope="module")
def example():
    """Give the example as a module."""
    spec = importlib.util.spec_from_file_location("slayer_nmnist", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.shared
def test_91_of_100_in_the_engine_and_through_a_net(example, shared_data):
    """Exactly 91; the exchanged network's spikes are identical; the reference agrees on the first recordings."""
    graph = example.build(*example.load_weights(shared_data))
    spikes, labels = example.load_recordings(shared_data)
    out, guess = example.classify(Engine(), graph, spikes)
    assert np.sum(guess == labels) == 91
    again, guess = example.classify(Engine(), example.exchange(graph), spikes)
    assert np.sum(guess == labels) == 91
    np.testing.assert_array_equal(again, out)
    some, _ = example.classify(Reference(), graph, spikes[:4])
    np.testing.assert_array_equal(some, out[:4])


@pytest.mark.slow
@pytest.mark.shared
def test_91_of_100_in_the_reference(example, shared_data):
    """Exactly 91, and every spike is the engine's."""
    graph = example.build(*example.load_weights(shared_data))
    spikes, labels = example.load_recordings(shared_data)
    out, guess = example.classify(Reference(), graph, spikes)
    assert np.sum(guess == labels) == 91
    np.testing.assert_array_equal(out, example.classify(Engine(), graph, spikes)[0])


@pytest.mark.lava
@pytest.mark.shared
def test_the_written_net_runs_equal_in_netx(example, shared_data, tmp_path):
    """One recording through the real netx on Lava: 0 spikes differ."""
    graph = example.build(*example.load_weights(shared_data))
    path = tmp_path / "slayer.net"
    path.write_bytes(example.write(graph))
    spikes = example.load_recordings(shared_data)[0][:1, :120]
    got = netx.run(path, spikes.reshape(1, 120, -1).astype(np.int32), tmp_path)
    expected = Reference().run(graph, spikes).spikes
    assert expected.sum() > 0
    np.testing.assert_array_equal(got["s"], expected)
