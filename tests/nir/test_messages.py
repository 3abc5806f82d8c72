"""What the NIR reader and writer say of bad input: the whole text, read by eye once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikec.backends.nir import NirBackend
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Op
from spikec.compiler.neurons import IF, LI, LIF, Neuron
from spikec.compiler.ops import (
    BatchNorm,
    Conv2d,
    Delay,
    FixedSum,
    Input,
    Linear,
    MaxPool,
    Output,
    Reshape,
    Scale,
    SumPool,
)
from spikec.compiler.weights import Dense, Fixed, Sparse
from spikec.frontends.nir import NirOptions, lower
from tests.nir.files import affine, chain, lif, port, write

EYE = np.eye(3, dtype=np.float32)
Golden = Callable[[str, str], None]


def refusal(path: Path, options: NirOptions | None = None) -> str:
    with pytest.raises(CompileError) as caught:
        lower(path, options or NirOptions())
    return str(caught.value).replace(str(path.parent), "DIR")


def bad_files(folder: Path) -> dict[str, str]:
    """Make one bad file after another and collect what the reader says."""
    good = chain(folder / "good.nir", affine(EYE), lif())
    data = good.read_bytes()
    path = folder / "a.nir"
    said = {"no file": refusal(folder / "none.nir")}
    for name, content in {"empty": b"", "text": b"not HDF5\n" * 50, "truncated": data[: len(data) // 2]}.items():
        path.write_bytes(content)
        said[name] = refusal(path)

    def say(name: str, *middle: Any, options: NirOptions | None = None, **shapes: Any) -> None:
        said[name] = refusal(chain(path, *middle, **shapes), options)

    say("unknown node", {"type": "Izhikevich", "a": 1.0}, {"type": "LSTM"})
    say("NaN weight", affine(EYE * np.nan))
    say("NaN parameter", lif(v_threshold=np.array([1.0, np.nan, 1.0])))
    say("missing field", affine(EYE), lif(r=None))
    say("tau", lif(tau=np.array([1e-3, -1e-3, 1e-3])))
    say("dt too long", lif(), options=NirOptions(dt=1e-3))
    say("shape", affine(np.ones((4, 5))))
    say("parameter shape", lif(v_threshold=np.ones(4), tau=1e-3, r=1.0, v_leak=0.0))
    say("parameters differ", lif(tau=np.full(4, 1e-3)))
    say("delay", {"type": "Delay", "delay": np.array([1e-4, 2.5e-4, 0.0])})
    say("bias", affine(EYE, np.ones(2)))
    square = {
        "type": "Conv2d",
        "weight": np.ones((1, 1, 3, 3)),
        "stride": 2,
        "padding": "same",
        "dilation": 1,
        "groups": 1,
    }
    say("same with a stride", square, given=(1, 8, 8))
    say("padding", square | {"padding": "reflect"}, given=(1, 8, 8))
    both = {"input": port("Input", 3), "a": affine(EYE), "b": affine(EYE), "output": port("Output", 3)}
    loop = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
    said["loop"] = refusal(write(path, both, loop))
    said["edges"] = refusal(write(path, both, [("input", "c"), ("d", "output")]))
    two_inputs = {"type": "NIRGraph", "nodes": {"i": port("Input", 3), "j": port("Input", 3)}, "edges": [("i", "j")]}
    said["ports"] = refusal(write(path, both | {"sub": two_inputs}, [("input", "sub"), ("sub", "output")]))
    return said


def test_bad_files(tmp_path: Path, golden: Golden) -> None:
    said = bad_files(tmp_path)
    golden("reader", "\n\n".join(f"== {name}\n{text}" for name, text in said.items()))


def test_no_truncated_file_is_read(tmp_path: Path) -> None:
    """However little is missing. (Bytes changed in place are another matter: HDF5 keeps no checksums of them.)"""
    path = tmp_path / "a.nir"
    data = NirBackend().emit(lower(chain(path, affine(EYE, np.ones(3)), lif()))).files["network.nir"]
    for length in [*np.linspace(0, len(data) - 1, 50).astype(int), len(data) - 1]:
        path.write_bytes(data[:length])
        assert refusal(path).startswith("error[nir/unreadable]: not an HDF5 file, or a damaged one:")


def test_an_object_that_is_not_a_dataset_is_refused(tmp_path: Path) -> None:
    path = chain(tmp_path / "a.nir", affine(EYE))
    with h5py.File(path, "a") as file:
        file["node/nodes/0/odd"] = np.dtype("f4")
    assert "damaged one: odd is lost" in refusal(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("reset", "soft"), ("dt", 0.0), ("dt", float("nan")), ("max_spikes", -1), ("recurrent_bias", 2)],
)
def test_bad_options(field: str, value: Any) -> None:
    with pytest.raises(CompileError, match="nir/bad-option"):
        NirOptions(**{field: value})


def test_not_a_graph() -> None:
    with pytest.raises(CompileError, match=r"a int is not a NIR graph"):
        lower(3)


def network(*middle: Op, given: tuple[int, ...] = (3,)) -> Graph:
    nodes = [Node("in", Input(given))]
    for index, op in enumerate(middle):
        nodes.append(Node(f"n{index}", op, (nodes[-1].name,)))
    return Graph((*nodes, Node("out", Output(), (nodes[-1].name,))))


def checked(graph: Graph) -> str:
    return "\n".join(str(found) for found in NirBackend().check(graph))


def refused() -> dict[str, Graph]:
    one = np.ones(2, np.float32)
    kernel = Dense(np.ones((1, 2, 3, 3), np.float32))
    return {
        "max pooling": network(MaxPool((2, 2)), given=(2, 4, 4)),
        "1d pool": network(SumPool((2,)), given=(2, 4)),
        "pool padding": network(SumPool((2, 2), padding=((0, 1), (0, 0))), given=(2, 4, 4)),
        "batchnorm": network(BatchNorm(one, one, one, one), given=(2, 4)),
        "latency": network(Linear(Dense(EYE), latency=1)),
        "synapse delays": network(Linear(Dense(EYE), delays=np.eye(3, dtype=np.int64))),
        "linear axes": network(Linear(Dense(EYE)), given=(2, 3)),
        "conv padding": network(Conv2d(kernel, dilation=(2, 2), padding=((0, 1), (0, 1))), given=(2, 8, 8)),
        "reshape": network(Reshape((3, 1))),
        "offset": network(Scale(2.0, np.ones(3))),
        "bias without leak": network(IF(bias=0.5)),
        "fixed": network(Linear(Fixed(np.eye(3, dtype=np.int64)), sum=FixedSum()), FixedNeuron(5)),
    }


def test_what_nir_cannot_hold(golden: Golden) -> None:
    graphs = refused()
    golden("writer", "\n\n".join(f"== {name}\n{checked(graph)}" for name, graph in graphs.items()))
    for graph in graphs.values():
        with pytest.raises(CompileError):
            NirBackend().emit(graph)
        with pytest.raises(CompileError):
            NirBackend().as_read_by_others(graph)


def test_what_nir_cannot_say(golden: Golden) -> None:
    ops: dict[str, Op] = {
        "soft reset": LIF(0.9),
        "delayed soft reset": Neuron(0.9, reset_when="next"),
        "dropped input": Neuron(0.9, reset="value", reset_when="next", drop_input=True),
        "next_post": Neuron(0.9, reset="value", reset_when="next_post"),
        "multi": Neuron(spike="multi", max_spikes=7, reset="value"),
        "clamp and start": Neuron(reset="value", v_min=-1.0, v_init=np.array([0.0, 0.5, 0.25])),
        "membrane of a spiking neuron": LIF(0.9, readout="membrane"),
        "sparse": Linear(Sparse(Dense(EYE))),
        "delay": Delay(2),
        "nothing": Neuron(reset="value", reset_when="next", cmp=">="),
    }
    said = {name: checked(network(op)) for name, op in ops.items()}
    conv = Conv2d(Dense(np.ones((2, 1, 1, 2), np.float32)), groups=2)
    said["kernel and groups"] = checked(network(conv, given=(2, 4, 4)))
    early = Graph(
        (
            Node("in", Input((3,))),
            Node("a", IF(), ("in", "b")),
            Node("b", LI(1.0), ("in",)),
            Node("out", Output(), ("a",)),
        )
    )
    said["order"] = checked(early)
    golden("losses", "\n\n".join(f"== {name}\n{text}" for name, text in said.items()))
