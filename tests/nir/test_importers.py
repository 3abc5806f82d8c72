"""Which importer takes what spikec writes: to the same spikes, or with a defect of its own that is shown here."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import IF, LIF, CubaLIF, Neuron
from spikec.compiler.ops import AvgPool, Conv2d, Flatten, Input, Linear, Output, Pool, SumPool
from spikec.compiler.weights import Dense
from spikec.frontends.nir import NirOptions, lower
from spikec.runtime.reference import Reference
from tests.nir.exports import quiet, require
from tests.nir.test_other_frameworks import EXACT_DT, Weights, network, run_torch, spikes_in, written

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
DT = 1e-4


def layers(op: Neuron, dt: float = DT, *, recurrent: bool = False, scale: float = 1.0) -> Graph:
    return network(replace(op, dt=dt), replace(op, dt=dt), recurrent=recurrent, scale=scale)


def image(op: Neuron, pool: Pool, dt: float = DT) -> Graph:
    w, op = Weights(), replace(op, dt=dt)
    nodes = [
        Node("in", Input((2, 6, 6))),
        Node("c", Conv2d(Dense(w(4, 2, 3, 3)), w(4), padding=((1, 1),) * 2), ("in",)),
    ]
    nodes += [Node("n", op, ("c",)), Node("p", pool, ("n",)), Node("f", Flatten(), ("p",))]
    nodes += [Node("fc", w.linear(5, 36), ("f",)), Node("n2", op, ("fc",)), Node("out", Output(), ("n2",))]
    return Graph(tuple(nodes))


def unbiased(op: Neuron) -> Graph:
    fc = Node("fc", Linear(Dense(Weights()(20, 12))), ("in",))
    return Graph((Node("in", Input((12,))), fc, Node("n", replace(op, dt=DT), ("fc",)), Node("out", Output(), ("n",))))


def snntorch(graph: Any, inputs: Any) -> Any:
    require("snntorch")
    importer = importlib.import_module("snntorch.import_nir").import_from_nir
    return run_torch(quiet(lambda: importer(graph)), inputs)


def norse(graph: Any, inputs: Any) -> Any:
    return run_torch(require("norse.torch").from_nir(graph, dt=EXACT_DT, ignore_warnings=True), inputs)


def sinabs(graph: Any, inputs: Any) -> Any:
    require("sinabs")
    module = importlib.import_module("sinabs.nir").from_nir(graph, batch_size=len(inputs))
    with torch.no_grad():
        made = module(torch.from_numpy(inputs.reshape(-1, *inputs.shape[2:])))
    made = made[0] if isinstance(made, tuple) else made
    return made.numpy().reshape(*inputs.shape[:2], -1)


def spikingjelly(graph: Any, inputs: Any) -> Any:
    require("spikingjelly")
    try:
        exchange = importlib.import_module("spikingjelly.activation_based.nir_exchange")
    except ModuleNotFoundError:
        pytest.skip("this SpikingJelly has no NIR")
    return run_torch(exchange.import_from_nir(graph), inputs)


LEAKY, SCALED = LIF(0.75, reset="value"), LIF(0.75, g_in=0.25, reset="value")
CUBA = CubaLIF(0.5, 0.75, reset="value")
PLAIN = IF(reset="value")
ATLEAST = {"cmp": ">="}
SINABS_IF = replace(PLAIN, cmp=">=", reset="subtract", spike="multi", v_min=-1.0)
Run = Callable[[Any, Any], Any]

SAME: dict[str, tuple[Run, Graph]] = {
    "snntorch-LIF": (snntorch, layers(LEAKY)),
    "snntorch-CubaLIF": (snntorch, layers(CUBA)),
    "snntorch-Linear": (snntorch, unbiased(LEAKY)),
    "norse-LIF-of-r-1": (norse, layers(SCALED, EXACT_DT, scale=4.0)),
    "norse-CubaLIF": (norse, layers(CUBA, EXACT_DT)),
    "norse-IF": (norse, layers(PLAIN, EXACT_DT)),
    "norse-recurrent": (norse, layers(CUBA, EXACT_DT, recurrent=True)),
    "sinabs-IF": (sinabs, layers(SINABS_IF)),
    "sinabs-image": (sinabs, image(SINABS_IF, SumPool((2, 2)))),
    "spikingjelly-LIF": (spikingjelly, layers(replace(LEAKY, **ATLEAST))),
    "spikingjelly-LIF-of-r-1": (spikingjelly, layers(replace(SCALED, **ATLEAST), scale=4.0)),
    "spikingjelly-CubaLIF": (spikingjelly, layers(replace(CUBA, **ATLEAST))),
    "spikingjelly-recurrent": (spikingjelly, layers(replace(CUBA, **ATLEAST), recurrent=True)),
    "spikingjelly-image": (spikingjelly, image(replace(LEAKY, **ATLEAST), AvgPool((2, 2)))),
}
DIFFERENT: dict[str, tuple[Run, Graph]] = {
    "snntorch resets to 0 whatever v_reset": (snntorch, layers(replace(LEAKY, v_reset=-0.5))),
    "norse takes r as 1 in a LIF": (norse, layers(LEAKY, EXACT_DT)),
    "norse ignores v_reset": (norse, layers(replace(CUBA, v_reset=-0.5), EXACT_DT)),
    "sinabs takes tau as steps": (sinabs, layers(replace(LEAKY, cmp=">=", reset="subtract"))),
    "sinabs never resets to a value": (sinabs, layers(replace(PLAIN, cmp=">="))),
    "spikingjelly fires at the threshold": (spikingjelly, layers(LEAKY)),
}
REFUSED: dict[str, tuple[Run, Graph, type[Exception], str]] = {
    "snntorch, an IF, which it takes for a Leaky of 0.9": (snntorch, layers(PLAIN), TypeError, "not tuple"),
    "snntorch, a recurrent layer": (snntorch, layers(LEAKY, recurrent=True), AttributeError, "no attribute 'items'"),
    "snntorch, a threshold for each neuron": (
        snntorch,
        layers(LEAKY).map(
            lambda n: replace(n, op=replace(n.op, v_th=np.linspace(1, 2, 20))) if n.name == "lif1.lif" else n
        ),
        AssertionError,
        "v_threshold must be same for all neurons",
    ),
    "snntorch, Flatten, which joins the batch": (
        snntorch,
        image(LEAKY, AvgPool((2, 2))),
        RuntimeError,
        "shapes cannot be multiplied",
    ),
    "norse, Flatten, which joins the batch": (
        norse,
        image(PLAIN, SumPool((2, 2)), EXACT_DT),
        RuntimeError,
        "shapes cannot be multiplied",
    ),
    "sinabs, a CubaLIF": (sinabs, layers(CUBA), KeyError, "lif1_lif"),
    "spikingjelly, an IF of r = 1": (spikingjelly, layers(PLAIN), ValueError, "nir.IF.r must equal 1 / dt"),
    "spikingjelly, v_reset other than v_leak": (
        spikingjelly,
        layers(replace(LEAKY, v_reset=-0.5)),
        ValueError,
        "v_leak must equal v_reset",
    ),
}


def both(importer: Run, graph: Graph, folder: Path) -> tuple[Any, Any]:
    """Give the importer's spikes and ours; the bias of a recurrent connection starts at step 1 in all importers."""
    path = written(graph, folder)
    inputs = spikes_in(*graph.shapes["in"])
    made = importer(nir.read(path), inputs)
    late = NirOptions(recurrent_bias=1) if "lif1.w_rec" in graph else NirOptions()
    expected = Reference().run(lower(path, late), inputs).spikes
    assert np.count_nonzero(expected) > 50
    return made.reshape(expected.shape), expected


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_it_runs_to_the_same_spikes(tmp_path: Path, case: tuple[Run, Graph]) -> None:
    made, expected = both(*case, tmp_path)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("case", DIFFERENT.values(), ids=DIFFERENT)
def test_a_defect_of_the_importer_is_still_there(tmp_path: Path, case: tuple[Run, Graph]) -> None:
    """When one of these fails, the importer was mended: say so in docs/nir.md."""
    made, expected = both(*case, tmp_path)
    assert np.count_nonzero(made != expected) > 0


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_an_importer_fails_as_before(tmp_path: Path, case: tuple[Run, Graph, type[Exception], str]) -> None:
    """When one of these fails, the importer was mended: say so in docs/nir.md."""
    importer, graph, error, message = case
    with pytest.raises(error, match=re.escape(message)):
        both(importer, graph, tmp_path)
