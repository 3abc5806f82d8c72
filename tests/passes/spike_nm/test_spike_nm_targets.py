"""N:M weights on the way to every target: what is stored, what is told, and the ladder of `spikec verify`."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spikec
from spikec.backends.loihi.memory import conv_words, dense_words
from spikec.backends.loihi.zeros import stored_zeros
from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv2d, FixedSum, Input, Linear, Output
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.verify import verify
from spikec.compiler.weights import Fixed, unwrapped
from spikec.compiler.weights_grid import Grid
from spikec.compiler.weights_nm import NM, Axis
from spikec.passes.spike_nm import SpikeNM
from spikec.runtime.engine import Engine
from spikec.runtime.reference import Reference
from tests.fpga.networks import float_mlp
from tests.fpga.networks import spikes as given_to
from tests.passes.networks import random_fixed
from tests.passes.sbc.networks import context, convolutional, spikes

SMALL = "spike-nm{n=2,m=4,axis=%s},sbc-quantize{bits=4}"


def compiled(target: str, axis: Axis, graph: Graph | None = None, **options):
    graph = float_mlp((36, 24, 16), reset="value") if graph is None else graph
    inputs, told = given_to(graph, 6), list[Diagnostic]()
    return spikec.compile(graph, target, SMALL % axis, calibrate=inputs, remark=told.append, **options), inputs, told


@pytest.mark.parametrize(
    ("target", "axis", "exact"),
    [
        ("fpga:colorlight-i5", "out", {"fixed reference", "engine", "cycle simulator"}),
        ("loihi2", "out", {"fixed reference", "engine"}),
        ("loihi2", "in", {"fixed reference", "engine"}),
        ("nir", "out", set()),
        ("nir", "in", set()),
    ],
)
def test_the_ladder_holds_and_the_structure_arrives(target: str, axis: Axis, exact: set[str]) -> None:
    made, inputs, _ = compiled(target, axis)
    reports = spikec.verify(made, inputs=inputs, rtl=False, lava=False)
    assert not [str(report) for report in reports if report.failed or report.error]
    assert exact <= {report.name for report in reports if report.exact}
    for node in loads(made.files["graph.spk"]).of(Linear):
        weight = node.op.weight
        assert isinstance(weight, NM)
        assert (weight.n, weight.m, weight.axis) == (2, 4, axis)
        assert isinstance(weight.inner, Grid if target == "nir" else Fixed)


def test_a_nir_file_is_dense_and_its_metadata_hold_the_pattern(tmp_path) -> None:
    nir = pytest.importorskip("nir")
    made, _, _ = compiled("nir", "in")
    path = tmp_path / "network.nir"
    path.write_bytes(made.files["network.nir"])
    told: list[Diagnostic] = []
    graph, back = loads(made.files["graph.spk"]), spikec.load(path, remark=told.append)
    plain = nir.read(path).nodes
    for node in graph.of(Linear):
        assert np.array_equal(plain[node.name].weight, node.op.weight.decode())
        weight = back[node.name].op.weight
        assert isinstance(weight, NM)
        assert (weight.n, weight.m, weight.axis) == (2, 4, "in")
        assert np.array_equal(weight.decode(), node.op.weight.decode())
    assert not [d.code for d in told if d.code in ("nir/edited", "nir/note")]


def test_a_nir_file_of_convolutions_holds_the_pattern_and_edited_weights_lose_it(tmp_path) -> None:
    graph = SpikeNM(1, 2, "in").run(convolutional(1), context())
    made, told = spikec.compile(graph, "nir"), list[Diagnostic]()
    path = tmp_path / "network.nir"
    path.write_bytes(made.files["network.nir"])
    written = loads(made.files["graph.spk"])
    for node, one in zip(written.of(Conv2d), spikec.load(path).of(Conv2d), strict=True):
        assert isinstance(one.op.weight, NM)
        assert one.op.weight.describe() == node.op.weight.describe()
        assert np.array_equal(one.op.weight.decode(), node.op.weight.decode())
    with h5py.File(path, "r+") as file:
        file["node/nodes/conv2d1/weight"][...] = 1
    back = spikec.load(path, remark=told.append)
    assert not isinstance(back["conv2d1"].op.weight, NM)
    assert any(d.code == "nir/edited" and "at most 1 of 2 entries" in d.message for d in told)


def test_the_spike_core_says_which_axis_it_takes() -> None:
    with pytest.raises(CompileError) as error:
        compiled("fpga:colorlight-i5", "in")
    assert str(error.value).split("\n")[:3] == [
        "error[fpga/nm-axis]: its blocks of 2:4 lie along the inputs; a lane owns a block of outputs",
        "  where: fc0",
        "  help: prune along the outputs: spike-nm{n=2,m=4,axis=out}",
    ]


def test_the_spike_core_stores_fewer_bits_and_takes_fewer_cycles() -> None:
    made, _, _ = compiled("fpga:colorlight-i5", "out")
    graph = float_mlp((36, 24, 16), reset="value")
    full = spikec.compile(graph, "fpga:colorlight-i5", calibrate=given_to(graph, 6))
    assert made.facts["bits_on_target"]["weights"] < full.facts["bits_on_target"]["weights"]


def test_loihis_report_says_that_zeros_save_nothing_there() -> None:
    _, _, told = compiled("loihi2", "out")
    said = [(d.where, d.message) for d in told if d.code == "loihi/zeros"]
    assert [where for where, _ in said] == ["fc0", "fc1"]
    first = dense_words(36, 24, 4)
    assert said[0][1] == (
        f"2:4 takes {first} words of synapse memory, as many as of dense weights: an input that is used is stored with "
        f"its zeros; sbc-quantize{{bits=2}} takes {dense_words(36, 24, 2)}, and inputs that meet no weight at all take "
        "none"
    )


def test_what_loihi_saves_are_inputs_without_a_weight_and_not_zeros_of_kernels() -> None:
    values = np.array([[1, 0, 0, 5], [0, 3, 0, 0]])
    kernel = np.zeros((2, 4, 1, 2), int)
    kernel[:, ::2] = 1
    nodes = (
        Node("x", Input((4,))),
        Node("fc", Linear(NM(Fixed(values), 1, 2, "in"), sum=FixedSum()), ("x",)),
        Node("y", Input((4, 1, 2))),
        Node("conv", Conv2d(NM(Fixed(kernel, width=2), 1, 2, "in"), sum=FixedSum()), ("y",)),
    )
    said = [d.message for d in stored_zeros(Graph(nodes))]
    assert said == [
        f"1:2 takes {dense_words(3, 2, 8)} words of synapse memory; of dense weights {dense_words(4, 2, 8)}, "
        f"with 1 of 4 inputs left without any: an input that is used is stored with its zeros; "
        f"sbc-quantize{{bits=4}} takes {dense_words(3, 2, 4)}, and inputs that meet no weight at all take none",
        f"1:2 takes {conv_words(4, 2, 2, 2)} words of synapse memory, as many as of dense weights: a kernel is stored "
        "with its zeros; fewer channels take fewer",
    ]


def fixed_layer(rng: np.random.Generator) -> Graph:
    values = rng.integers(-128, 128, (12, 20))
    nodes = (
        Node("x", Input((20,))),
        Node("fc", Linear(Fixed(values), sum=FixedSum()), ("x",)),
        Node("n", FixedNeuron(threshold=200, v_decay=1024), ("fc",)),
        Node("out", Output(), ("n",)),
    )
    return verify(Graph(nodes))


@pytest.mark.parametrize("axis", ["in", "out"])
def test_integers_go_back_on_their_grid_with_the_mask_kept(axis: Axis) -> None:
    """What is left makes up for the rest in whole numbers: better than the mask alone, and than rounding by itself."""
    totals = np.zeros(2)
    for seed in range(3):
        graph, facts = fixed_layer(np.random.default_rng(seed)), []
        x = spikes(seed, 10, 12, 20).astype(np.int32)
        made = verify(SpikeNM(1, 4, axis).run(graph, replace(context(x), fact=facts.append)))
        weight = made["fc"].op.weight
        assert isinstance(weight, NM)
        assert isinstance(weight.inner, Fixed)
        assert np.count_nonzero(weight.decode()) == 60
        loss = facts[0]["layers"][0]["loss"]
        totals += loss["result"], loss["mask alone"]
        np.testing.assert_array_equal(Reference().run(made, x).spikes, Engine().run(made, x).spikes)
        assert SpikeNM(1, 4, axis).run(made, context(x)) is made
    assert totals[0] < totals[1]


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["in", "out"]))
def test_random_fixed_networks_run_alike_on_reference_and_engine(seed: int, axis: Axis) -> None:
    graph = random_fixed(seed)
    x = spikes(seed, 4, 12, 5).astype(np.int32)
    least = {n.name: n.op.weight.shape[axis == "in"] for n in graph.of(Linear)}
    skip = tuple(name for name, size in least.items() if size < 2)
    if len(skip) == len(least):
        return
    made = verify(SpikeNM(1, 2, axis, skip).run(graph, context(x)))
    assert dumps(loads(dumps(made))) == dumps(made)
    one, other = Reference().run(made, x, trace=True), Engine().run(made, x, trace=True)
    for name, values in one.traces.items():
        np.testing.assert_array_equal(values, other.traces[name])


def test_a_convolution_keeps_its_structure_through_quantization() -> None:
    graph, x = convolutional(1), spikes(1, 8, 8, 2, 8, 8)
    made = spikec.compile(graph, "loihi2", "spike-nm{n=1,m=2,axis=in}", calibrate=x)
    for node in loads(made.files["graph.spk"]).of(Conv2d):
        if node.origin.path in ("seq.1", "seq.4"):
            assert isinstance(node.op.weight, NM)
            assert isinstance(unwrapped(node.op.weight), Fixed)
