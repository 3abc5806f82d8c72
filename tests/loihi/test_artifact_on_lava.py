"""The emitted artifact of real networks, run by its own script on Lava: u, v and spikes as the reference has them."""

import numpy as np
import pytest

from spikec.backends.loihi.backend import LoihiBackend
from spikec.frontends.netx import lower
from spikec.runtime.lava.env import find
from spikec.runtime.lava.worker import LavaRunner
from spikec.runtime.reference import Reference


@pytest.mark.lava
@pytest.mark.shared
@pytest.mark.parametrize(("name", "inputs", "rate"), [("oxford", 200, 0.01), ("trained_mnist", 784, 0.3)])
def test_the_artifact_of_a_net_runs_equal(shared_data, name, inputs, rate):
    """Compiled from lava-dl's own file; 0 cells differ."""
    lava = find()
    if lava is None:
        pytest.skip("Lava is not installed (spikec lava install)")
    graph = lower(shared_data / "lava_dl" / f"{name}.net")
    spikes = (np.random.default_rng(3).random((1, 60, inputs)) < rate).astype(np.int32)
    found = LavaRunner(LoihiBackend().emit(graph).files, env=lava).run(graph, spikes, trace=True)
    expected = Reference().run(graph, spikes, trace=True)
    assert expected.spikes.sum() > 10
    np.testing.assert_array_equal(found.spikes, expected.spikes)
    for key, array in found.traces.items():
        np.testing.assert_array_equal(array, expected.traces[key])
