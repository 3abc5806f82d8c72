"""The artifact of the Loihi backend: its files, its facts, the same bytes twice."""

import numpy as np

from spikec.backends.loihi.backend import LoihiBackend
from spikec.compiler.artifact import read
from spikec.compiler.serialize import loads
from spikec.runtime.reference import Reference
from tests.loihi.networks import dense, image, linear, neuron


def test_an_artifact_holds_what_running_it_needs(tmp_path):
    """Graph, Lava network and script, `.net`; written, read, and the graph runs as before."""
    graph = image()
    artifact = LoihiBackend().emit(graph)
    back = read(artifact.write(tmp_path / "build"))
    assert {"graph.spk", "network.json", "arrays.npz", "run_lava.py", "network.net"} <= set(back.files)
    spikes = (np.random.default_rng(0).random((1, 20, 2, 4, 5)) < 0.5).astype(np.int32)
    again = loads(back.files["graph.spk"])
    np.testing.assert_array_equal(Reference().run(again, spikes).spikes, Reference().run(graph, spikes).spikes)


def test_the_same_graph_gives_the_same_artifact():
    """Every file and every fact."""
    first, second = (LoihiBackend().emit(image()) for _ in range(2))
    assert dict(first.files) == dict(second.files)
    assert first.manifest == second.manifest


def test_the_facts_of_an_artifact():
    """Latencies, origins, cores, netx's arguments."""
    facts = LoihiBackend().emit(image()).facts
    assert facts["target"] == "loihi2"
    assert facts["latency"] == {"input": 0, "conv": 1, "lif1": 1, "flatten": 1, "fc": 2, "lif2": 2, "output": 2}
    assert facts["outputs"] == {"output": 2}
    assert facts["steps_of_latency"] == 2
    assert facts["origins"]["fc"] == "net.pt:fc"
    assert facts["cores"]["total"] == 2
    assert [layer["layer"] for layer in facts["cores"]["layers"]] == ["lif1", "lif2"]
    assert facts["netx"]["file"] == "network.net"
    assert facts["custom"] == {}
    assert facts["remarks"] == []


def test_where_netx_cannot_say_it_the_artifact_says_why():
    """No file, and a remark with the reason; the process of our own is listed."""
    artifact = LoihiBackend(allow_custom=True).emit(dense(population=neuron(reset="subtract")))
    assert "network.net" not in artifact.files
    assert artifact.facts["netx"] is None
    assert artifact.facts["remarks"] == [
        {"code": "loihi/no-net", "message": "no network.net: 'lif' is not Loihi's neuron", "where": "small"}
    ]
    assert artifact.facts["custom"] == {"lif": ["it resets by subtraction; Lava's LIF resets to zero"]}


def test_a_network_of_many_cores_says_how_many_chips():
    """More than 128 cores are more than one chip."""
    graph = dense(linear(2 * np.ones((4095 * 129, 1), int)))
    facts = LoihiBackend().emit(graph).facts
    assert facts["cores"]["total"] > 128
    assert facts["remarks"][-1]["code"] == "loihi/chips"
