"""The NIR reader: what real files do, each oddity on its own, and the numbers that come out."""

from __future__ import annotations

from pathlib import Path

import h5py
import nir
import numpy as np
import pytest

from spikec.compiler.diagnostics import Diagnostic
from spikec.compiler.ir import Graph
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv2d, Delay, Flatten, Linear
from spikec.frontends.nir import NirOptions, lower
from spikec.runtime.reference import Reference
from tests.nir.files import affine, chain, lif, port, write

EYE = np.eye(3, dtype=np.float32)


def read(path: Path, options: NirOptions | None = None) -> tuple[Graph, list[Diagnostic]]:
    told: list[Diagnostic] = []
    graph = lower(path, options or NirOptions(), remark=told.append)
    return graph, told


def neuron(graph: Graph, name: str) -> Neuron:
    op = graph[name].op
    assert isinstance(op, Neuron)
    return op


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tau": np.float64(4e-4), "v_threshold": 1.0},
        {"tau": np.array([4e-4]), "r": np.array([4.0], np.float32)},
        {"v_reset": np.zeros(3)},
        {"v_leak": None},
    ],
    ids=["full", "rank-0", "rank-1", "v_reset", "no v_leak"],
)
def test_scalars_and_missing_fields_mean_the_same(tmp_path: Path, changed: dict[str, object]) -> None:
    graph, _ = read(chain(tmp_path / "a.nir", affine(EYE, np.zeros(3)), lif(**changed)))
    op = neuron(graph, "1")
    assert (op.a_mem, op.g_in, op.v_th, op.reset, op.cmp) == (0.75, 1.0, 1.0, "value", ">")
    assert op.dt == 1e-4


def test_choices_are_said_and_settable(tmp_path: Path) -> None:
    path = chain(tmp_path / "a.nir", affine(EYE), lif(v_leak=np.full(3, 0.25)))
    _, told = read(path)
    assert [d.code for d in told] == ["nir/dt", "nir/method", "nir/reset", "nir/spike", "nir/initial"]
    chosen = NirOptions(
        dt=2e-4,
        method="exponential",
        reset="subtract",
        spike="multi",
        max_spikes=7,
        cmp=">=",
        v_min=-1.0,
        v_init="leak",
    )
    graph, told = read(path, chosen)
    assert told == []
    op = neuron(graph, "1")
    assert op.a_mem == pytest.approx(np.exp(-0.5), abs=1e-15)
    assert op.g_in == pytest.approx(4 * (1 - np.exp(-0.5)), abs=1e-15)
    fields = (op.reset, op.spike, op.max_spikes, op.cmp, op.v_min, op.v_init, op.v_leak, op.dt)
    assert fields == ("subtract", "multi", 7, ">=", -1.0, 0.25, 0.25, 2e-4)


def test_all_neurons_have_their_equations(tmp_path: Path) -> None:
    n, dt = 2, 1e-4
    full = {name: np.full(n, v) for name, v in (("r", 3.0), ("v_leak", 0.5), ("v_threshold", 2.0), ("v_reset", -1.0))}
    cuba = {"tau_syn": np.full(n, 2e-4), "tau_mem": np.full(n, 8e-4), "w_in": np.full(n, 6.0)}
    nodes = {
        "I": {"r": full["r"]},
        "IF": {k: full[k] for k in ("r", "v_threshold", "v_reset")},
        "LI": {"tau": np.full(n, 2e-4), "r": full["r"], "v_leak": full["v_leak"]},
        "CubaLI": {**cuba, "r": full["r"], "v_leak": full["v_leak"]},
        "CubaLIF": {**cuba, **full},
        "Threshold": {"threshold": full["v_threshold"]},
    }
    x = np.array([1.0, 0.0, 2.0, 3.0, 0.0], np.float32)
    inputs = np.repeat(x[None, :, None], n, axis=2)
    for kind, fields in nodes.items():
        graph = lower(chain(tmp_path / "a.nir", {"type": kind, **fields}, given=(n,), made=(n,)))
        got = Reference(np.float64).run(graph, inputs).spikes[0, :, 0]
        v = i = 0.0
        expected = []
        for value in x:
            if kind in ("I", "IF"):
                v += 3.0 * value
            elif kind == "LI":
                v += dt / 2e-4 * (0.5 - v + 3.0 * value)
            elif kind == "Threshold":
                v = float(value)
            else:
                i += dt / 2e-4 * (6.0 * value - i)
                v += dt / 8e-4 * (0.5 - v + 3.0 * i)
            fires = v > 2.0
            expected.append(v if kind in ("I", "LI", "CubaLI") else float(fires))
            if fires and kind in ("IF", "CubaLIF"):
                v = -1.0
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12, err_msg=kind)


def test_integrators_may_be_read_to_the_letter(tmp_path: Path) -> None:
    path = chain(tmp_path / "a.nir", {"type": "IF", "r": np.full(3, 5.0), "v_threshold": np.ones(3)})
    graph, told = read(path)
    assert [d.code for d in told] == ["nir/integrator", "nir/reset", "nir/spike"]
    assert neuron(graph, "0").g_in == 5.0
    assert neuron(read(path, NirOptions(integrator="dt", dt=1e-3))[0], "0").g_in == pytest.approx(5e-3)


def test_subgraphs_open_to_dotted_names(tmp_path: Path) -> None:
    inner = {
        "type": "NIRGraph",
        "nodes": {"input": port("Input", 3), "lif": lif(), "rec": affine(EYE), "output": port("Output", 3)},
        "edges": [("input", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "output")],
    }
    nodes = {
        "input": port("Input", 3),
        "fc": affine(EYE),
        "lif1": inner,
        "lif1.lif": lif(),
        "output": port("Output", 3),
    }
    edges = [("input", "fc"), ("fc", "lif1"), ("lif1", "lif1.lif"), ("lif1.lif", "output")]
    graph, _ = read(write(tmp_path / "a.nir", nodes, edges))
    assert [node.name for node in graph] == ["input", "fc", "lif1.rec", "lif1.lif.1", "lif1.lif", "output"]
    assert graph["lif1.lif"].inputs == ("lif1.lif.1",)
    assert graph.is_recurrent("lif1.lif.1", "lif1.rec")
    assert str(graph["lif1.rec"].origin) == "a.nir:lif1/rec"


def test_an_edge_that_can_mean_one_node_only_is_repaired(tmp_path: Path) -> None:
    nodes = {"input": port("Input", 3), "lif1": lif(), "output": port("Output", 3)}
    graph, told = read(write(tmp_path / "a.nir", nodes, [("input", "lif"), ("lif", "output")]))
    assert graph["output"].inputs == ("lif1",)
    assert told[0].code == "nir/edge-name"


def test_names_with_dots_and_slashes_survive(tmp_path: Path) -> None:
    nodes = {"input": port("Input", 3), "a": {"b.c": lif()}, "output": port("Output", 3)}
    edges = [("input", "a/b.c"), ("a/b.c", "output"), ("a/b.c", "output")]
    graph, told = read(write(tmp_path / "a.nir", nodes, edges))
    assert [node.name for node in graph] == ["input", "a/b.c", "output"]
    assert "nir/duplicate-edge" in [d.code for d in told]


def test_missing_ports_and_shapes_are_found(tmp_path: Path) -> None:
    nodes = {"fc": affine(np.ones((2, 3)), np.float32(0.5)), "lif": lif(2)}
    graph, _ = read(write(tmp_path / "a.nir", nodes, [("fc", "lif")]))
    assert [node.op.mnemonic for node in graph] == ["input", "linear", "neuron", "output"]
    assert graph.shapes["input"] == (3,)
    op = graph["fc"].op
    assert isinstance(op, Linear)
    assert op.bias is not None
    assert op.bias.tolist() == [0.5, 0.5]


def conv(**changed: object) -> dict[str, object]:
    fields = {
        "type": "Conv2d",
        "input_shape": None,
        "weight": np.ones((4, 1, 2, 3), np.float32),
        "stride": 1,
        "padding": "same",
        "dilation": np.array([1, 2]),
        "groups": 2,
        "bias": None,
    }
    return fields | changed


@pytest.mark.parametrize("word", ["same", b"same"])
def test_convolutions_take_words_scalars_and_gaps(tmp_path: Path, word: object) -> None:
    """`same` pads the odd zero at the end, as torch does."""
    path = chain(tmp_path / "a.nir", conv(padding=word), given=(2, 5, 7), made=(1, 1, 1))
    graph, told = read(path)
    op = graph["0"].op
    assert isinstance(op, Conv2d)
    assert (op.padding, op.stride, op.dilation, op.groups, op.bias) == (((0, 1), (2, 2)), (1, 1), (1, 2), 2, None)
    assert graph.shapes["output"] == (4, 5, 7)
    assert [str(d) for d in told] == [
        "remark[nir/declared-shape]: shape is declared as [1, 1, 1], the network makes [4, 5, 7]; that holds\n"
        "  where: output (a.nir:output)"
    ]
    valid, _ = read(chain(tmp_path / "b.nir", conv(padding="valid"), given=(2, 5, 7), made=(4, 4, 3)))
    assert valid.shapes["output"] == (4, 4, 3)


def test_a_flatten_that_counts_the_batch_is_shifted(tmp_path: Path) -> None:
    flat = {"type": "Flatten", "start_dim": 1, "end_dim": -1, "input_type": np.array([2, 3, 4])}
    path = chain(tmp_path / "a.nir", flat, affine(np.ones((3, 24))), lif(), given=(2, 3, 4))
    graph, told = read(path)
    op = graph["0"].op
    assert isinstance(op, Flatten)
    assert op.start == 0
    assert told[0].code == "nir/flatten-batch"


def test_parameters_a_channel_are_broadcast(tmp_path: Path) -> None:
    node = lif(2, v_threshold=np.array([1.0, 2.0]), tau=np.arange(1, 25) * 1e-3, r=4.0)
    graph, told = read(chain(tmp_path / "a.nir", node, given=(2, 3, 4), made=(2, 3, 4)))
    op = neuron(graph, "0")
    assert np.shape(op.v_th) == (2, 1, 1)
    assert np.shape(op.a_mem) == (2, 3, 4)
    assert "nir/per-channel" in [d.code for d in told]


def test_delays_are_whole_steps(tmp_path: Path) -> None:
    graph, _ = read(chain(tmp_path / "a.nir", {"type": "Delay", "delay": np.array([0.0, 3e-4, 7e-4])}))
    op = graph["0"].op
    assert isinstance(op, Delay)
    assert np.asarray(op.steps).tolist() == [0, 3, 7]


def test_a_recurrent_bias_starts_when_told(tmp_path: Path) -> None:
    nodes = {
        "input": port("Input", 3),
        "lif": lif(),
        "rec": affine(0 * EYE, np.full(3, 2.0)),
        "output": port("Output", 3),
    }
    path = write(tmp_path / "a.nir", nodes, [("input", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "output")])
    silence = np.zeros((1, 3, 3), np.float32)
    graph, told = read(path)
    assert "nir/recurrent-bias" in [d.code for d in told]
    assert Reference().run(graph, silence).spikes[0, :, 0].tolist() == [1, 1, 1]
    late, _ = read(path, NirOptions(recurrent_bias=1))
    assert [node.name for node in late] == ["input", "lif", "rec", "rec.late", "output"]
    assert Reference().run(late, silence).spikes[0, :, 0].tolist() == [0, 1, 1]


def test_in_memory_graphs_read_like_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one = np.ones(4)
    network = nir.NIRGraph.from_list(
        nir.Conv1d(6, rng.normal(size=(2, 1, 3)), 1, 0, 1, 1, np.zeros(2)),
        nir.Flatten(np.array([2, 4]), 0),
        nir.Affine(rng.normal(size=(4, 8)), rng.normal(size=4)),
        nir.CubaLIF(one * 2e-4, one * 4e-4, one * 4, one * 0, one, w_in=one * 2),
    )
    nir.write(tmp_path / "a.nir", network)
    x = rng.normal(size=(2, 20, 1, 6)).astype(np.float32)
    spikes = [Reference().run(lower(given), x).spikes for given in (tmp_path / "a.nir", network)]
    assert spikes[0].sum() > 10
    np.testing.assert_array_equal(*spikes)


def test_files_of_any_size_of_float_are_read(tmp_path: Path) -> None:
    node = affine(EYE, np.zeros(3, np.float16)) | {"weight": np.eye(3, dtype=np.int8)}
    op = lower(chain(tmp_path / "a.nir", node)).of(Linear)[0].op
    assert isinstance(op, Linear)
    assert op.weight.decode().dtype == np.float64


def test_reading_leaves_the_file_closed(tmp_path: Path) -> None:
    path = chain(tmp_path / "a.nir", affine(EYE), lif())
    lower(path)
    with h5py.File(path, "a") as file:
        assert "node" in file
