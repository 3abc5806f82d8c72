"""The reader of `.net` files: what it makes of each layer, what it remarks, and the message for every fault."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import FixedNeuron
from spikec.frontends.netx import lower
from spikec.runtime.engine import Engine
from spikec.runtime.reference import Reference
from tests.netx.files import CUBA, dense, put


def small(**more):
    """Give a dense layer of two inputs and two neurons."""
    return {**dense(np.array([[2, -4], [6, 8]])), **more}


CONV = {
    "type": "conv",
    "shape": [2, 3, 3],
    "weight": np.arange(-8, 8, 2).reshape(2, 1, 2, 2),
    "neuron": CUBA,
    **{"stride": 1, "padding": 0, "dilation": 1, "groups": 1},
}

REMARKED = {
    "no-neuron": [{"type": "dense", "shape": [2], "weight": np.full((2, 2), 2.0)}],
    "ignored": [small(neuron={**CUBA, "refDelay": 2, "wgtExp": 3, "theta": 1}, weight_rec=np.zeros((2, 2)), color=7)],
    "all-zero": [small(weight=np.zeros((2, 2)))],
    "weights-altered": [small(weight=np.array([[300, -2], [4.5, 6]]))],
    "bias-altered": [small(bias=np.array([40_000, 1.5]))],
    "message-bits": [small(neuron={**CUBA, "messageBits": 4}), small()],
    "never-fires": [small(neuron={**CUBA, "vThMant": (1 << 18) - 1})],
    "input-neurons": [{"type": "input", "shape": [2], "neuron": CUBA, "weight": 32, "bias": 3}, small()],
    "conv-delay": [{"type": "input", "shape": [1, 4, 4]}, {**CONV, "delay": np.ones(2)}],
    "delay-rows": [small(delay=np.array([1.5, 2]))],
    "one-bias": [{"type": "input", "shape": [1, 4, 4]}, {**CONV, "bias": np.arange(18).reshape(3, 3, 2)}],
    "reset": [small(delay=np.array(3), neuron={**CUBA, "type": "LOIHI"}), small()],
    "recurrent": [{**small(), "type": "dense_rec", "weight_rec": np.array([[0, 2], [4, 0]])}],
}


@pytest.mark.parametrize("name", REMARKED)
def test_a_file_becomes_a_graph_and_what_was_chosen_is_said(tmp_path, golden, name):
    """The textual graph and all remarks."""
    heard = []
    path = put(tmp_path / "net.net", *REMARKED[name])
    resets = {"reset_interval": 16, "reset_offset": 1} if name == "reset" else {}
    graph = lower(path, remark=heard.append, **resets)
    golden(f"graph-{name}", "\n".join([str(graph), *map(str, heard)]))


FAULTY = {
    "pool": [small(), {"type": "pool"}],
    "average": [small(), {"type": "average"}],
    "unknown-layer": [small(), {"type": "attention"}],
    "no-type": [{"weight": np.ones((2, 2))}],
    "unknown-neuron": [small(neuron={**CUBA, "type": "SDNN"})],
    "resonator": [small(neuron={**CUBA, "type": "RF_PHASE"})],
    "no-threshold": [small(neuron={k: v for k, v in CUBA.items() if k != "vThMant"})],
    "half-threshold": [small(neuron={**CUBA, "vThMant": 1.5})],
    "decay-range": [small(neuron={**CUBA, "vDecay": 6000, "iDecay": -1})],
    "nan": [small(weight=np.array([[np.nan, 2], [np.inf, 4]]))],
    "too-large": [small(bias=np.array([1e30, 1]))],
    "text-weight": [small(weight=np.array([[b"a", b"b"]]))],
    "weight-range": [small(weight=np.array([[300, 2], [4, 6]]))],
    "negative-range": [small(weight=np.array([[-300, -2], [-4, -6]]))],
    "weight-shape": [small(shape=[3])],
    "chain-shape": [small(), dense(np.full((2, 3), 2))],
    "bias-shape": [small(bias=np.zeros(3))],
    "delay-limit": [small(delay=np.array([3, 70]))],
    "delay-shape": [small(delay=np.zeros(3))],
    "complex": [
        {**{k: v for k, v in small().items() if k != "weight"}, "weight/real": np.ones(4), "weight/imag": np.ones(4)}
    ],
    "conv-without-input": [CONV],
    "conv-shape": [{"type": "input", "shape": [1, 5, 5]}, CONV],
    "conv-channels": [{"type": "input", "shape": [3, 4, 4]}, CONV],
    "conv-without-neuron": [{"type": "input", "shape": [1, 4, 4]}, {k: v for k, v in CONV.items() if k != "neuron"}],
    "dense-on-image": [{"type": "input", "shape": [1, 4, 4]}, CONV, dense(np.full((2, 18), 2))],
    "late-input": [small(), {"type": "input", "shape": [2]}],
    "no-neurons": [{"type": "input", "shape": [2]}],
    "recurrent-delay": [{**small(), "type": "dense_rec", "weight_rec": np.full((2, 2), 2), "delay": 1}],
}


@pytest.mark.parametrize("name", FAULTY)
def test_every_fault_has_its_message(tmp_path, golden, name):
    """One diagnostic with where, why and what to do."""
    path = put(tmp_path / "net.net", *FAULTY[name])
    with pytest.raises(CompileError) as caught:
        lower(path)
    golden(f"fault-{name}", str(caught.value).replace(str(tmp_path), "."))


def _broken(folder, name):
    path = folder / "net.net"
    if name == "text":
        path.write_text("this is no network\n" * 50)
    elif name == "truncated":
        put(path, small(weight=np.full((2, 4000), 2)))
        path.write_bytes(path.read_bytes()[:3000])
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "directory":
        path.mkdir()
    elif name == "no-layers":
        with h5py.File(path, "w") as file:
            file["weights"] = np.ones(3)
    elif name == "gap":
        put(path, small(), small(), small())
        with h5py.File(path, "a") as file:
            del file["layer/1"]
    return path


@pytest.mark.parametrize("name", ["text", "truncated", "empty", "directory", "absent"])
def test_what_is_no_hdf5_file_is_unreadable(tmp_path, name):
    """One line of what the library says, never a traceback."""
    path = _broken(tmp_path, name)
    with pytest.raises(CompileError) as caught:
        lower(path)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "netx/unreadable"
    assert diagnostic.where == str(path)
    expected = "there is no such file" if name == "absent" else "not an HDF5 file, or a truncated one: "
    assert diagnostic.message.startswith(expected)
    assert len(diagnostic.message.splitlines()) == 1


@given(st.floats(0.01, 0.999))
@settings(max_examples=30, deadline=None)
def test_a_file_cut_off_anywhere_is_unreadable(tmp_path_factory, part):
    """However much of it is left."""
    path = put(tmp_path_factory.mktemp("net") / "net.net", small(), small(bias=np.ones(2)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CompileError, match="netx/unreadable"):
        lower(path)


@pytest.mark.parametrize("name", ["no-layers", "gap"])
def test_layers_must_be_there(tmp_path, golden, name):
    """A group `layer`, numbered from 0."""
    with pytest.raises(CompileError) as caught:
        lower(_broken(tmp_path, name))
    golden(f"fault-{name}", str(caught.value).replace(str(tmp_path), "."))


def test_a_reset_interval_must_be_one(tmp_path):
    """Zero steps have no meaning."""
    with pytest.raises(CompileError, match="netx/reset"):
        lower(put(tmp_path / "net.net", small()), reset_interval=0)


def test_the_readout_can_be_chosen(tmp_path):
    """The last layer's membrane, where the user wants it."""
    graph = lower(put(tmp_path / "net.net", small(), small()), readout="membrane")
    assert [node.op.readout for node in graph.of(FixedNeuron)] == ["spikes", "membrane"]


def test_resets_are_one_step_apart(tmp_path):
    """Layer l resets before step t where t % R == (l + offset) % R."""
    graph = lower(put(tmp_path / "net.net", small(), small(), small()), reset_interval=3, reset_offset=1)
    assert [node.op.reset_offset for node in graph.of(FixedNeuron)] == [1, 2, 0]


def test_the_shape_of_an_input_can_be_given(tmp_path):
    """A file that begins with a convolution does not say it."""
    graph = lower(put(tmp_path / "net.net", CONV), input_shape=(1, 4, 4))
    assert graph.shapes["input"] == (1, 4, 4)
    assert graph.shapes["output"] == (2, 3, 3)


def test_graded_input_reaches_the_first_layer_alone(tmp_path):
    """As netx's input_message_bits."""
    graph = lower(put(tmp_path / "net.net", small(), small()), input_message_bits=8)
    assert graph["input"].op.message_bits == 8
    assert [graph[name].op.sum.message_bits for name in ("dense0", "dense1")] == [8, 0]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "inputs", "rate"), [("oxford", 200, 0.01), ("trained_mnist", 784, 0.3)])
def test_networks_of_lava_dl_run_in_the_engine(shared_data, name, inputs, rate):
    """The engine's u, v and spikes are the reference's."""
    graph = lower(shared_data / "lava_dl" / f"{name}.net", reset_interval=64, reset_offset=1)
    spikes = (np.random.default_rng(1).random((2, 100, inputs)) < rate).astype(np.int32)
    expected, found = (runner.run(graph, spikes, trace=True) for runner in (Reference(), Engine()))
    assert expected.spikes.sum() > 50
    assert set(found.traces) == set(expected.traces)
    for key, array in expected.traces.items():
        np.testing.assert_array_equal(found.traces[key], array)
