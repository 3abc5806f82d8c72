"""Every kind of graph that the test suite makes, written to NIR and read again: same spikes, or a report of why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikec.backends.nir import NirBackend
from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input
from spikec.compiler.runner import Result
from spikec.frontends.nir import NirOptions, lower
from spikec.runtime.reference import Reference
from tests import random_fixed, residual
from tests.compiler import networks as compiler
from tests.fpga import networks as fpga
from tests.lava import networks as lava
from tests.loihi import networks as loihi
from tests.nir.networks import Draw
from tests.passes import networks as passes

Make = Callable[[], Graph]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


FLOAT: dict[str, Make] = {
    "compiler": compiler.float_graph,
    "fpga": fpga.float_mlp,
    "fpga-value": partial(fpga.float_mlp, reset="value"),
    "fpga-pruned": lambda: fpga.pruned(fpga.float_mlp((32, 24, 8)), 2, 4),
    **{f"residual-{seed}": partial(residual.residual, seed) for seed in range(8)},
    **{f"drawn-{seed}": Draw(seed, plain=False).graph for seed in range(20)},
    **{f"plain-{seed}": Draw(seed, plain=True).graph for seed in range(10)},
}
FIXED: dict[str, Make] = {
    "compiler": compiler.fixed_graph,
    "fpga": lambda: fpga.fixed_mlp(rng(0)),
    "loihi": loihi.dense,
    "loihi-image": loihi.image,
    "lava": lambda: lava.native(0)[0],
    "lava-custom": lambda: lava.custom(0)[0],
    "passes": partial(passes.random_fixed, 0),
    "passes-conv": lambda: passes.conv_net(rng(0)),
    "engine": lambda: random_fixed.random_fixed_graph(rng(0)),
}


@pytest.mark.parametrize("make", FLOAT.values(), ids=FLOAT)
def test_a_float_graph_comes_back_or_the_report_says_why_not(tmp_path: Path, make: Make) -> None:
    """Spikec's own reading is exact. Where a reader of NIR alone differs first, the report names that very node."""
    graph = make()
    errors = [fault for fault in NirBackend().check(graph) if fault.severity.name == "ERROR"]
    if errors:
        check_refused(graph, errors)
        return
    artifact = NirBackend().emit(graph)
    path = tmp_path / "network.nir"
    path.write_bytes(artifact.files["network.nir"])
    truth = run(graph)
    own = run(lower(path))
    np.testing.assert_array_equal(truth.spikes, own.spikes)
    for name, array in truth.traces.items():
        np.testing.assert_array_equal(array, own.traces[name], err_msg=name)
    alone = run(lower(path, NirOptions(metadata=False, dt=float(artifact.facts["dt"]))))
    literal = run(NirBackend().as_read_by_others(graph))
    np.testing.assert_allclose(literal.spikes, alone.spikes, atol=1e-9)
    named = {loss["node"] for loss in artifact.facts["losses"]}
    assert set(origins(graph, truth, literal)) <= named


@pytest.mark.parametrize("make", FIXED.values(), ids=FIXED)
def test_a_quantized_graph_is_refused_with_the_reason(make: Make) -> None:
    graph = make()
    check_refused(graph, [fault for fault in NirBackend().check(graph) if fault.severity.name == "ERROR"])


def check_refused(graph: Graph, errors: list[Diagnostic]) -> None:
    """A refusal has a code, a place and a way out, and nothing is written."""
    assert errors
    assert all(error.code.startswith("nir/") and error.where and error.help for error in errors)
    with pytest.raises(CompileError):
        NirBackend().emit(graph)


def run(graph: Graph) -> Result:
    shape = graph.shapes[graph.of(Input)[0].name]
    inputs = rng(1).integers(0, 3, size=(2, 10, *shape))
    return Reference(np.float64).run(graph, inputs.astype(np.float32), trace=True)


def origins(graph: Graph, truth: Result, other: Result) -> Iterator[str]:
    """Give the nodes that differ although all that they read was equal until then."""
    keys = {node.name: f"s/{node.name}" for node in graph}
    steps = {
        name: first_step(truth.traces[key], other.traces.get(key)) for name, key in keys.items() if key in truth.traces
    }
    first = {name: step for name, step in steps.items() if step}
    for name, when in first.items():
        if not any(first.get(i, when + 1) < when + (not graph.is_recurrent(i, name)) for i in graph[name].inputs):
            yield name


def first_step(one: Any, other: Any) -> int:
    """Give the first step that differs, counted from 1; 0 where none does."""
    if other is None:
        return 0  # a node that the literal graph says with another
    apart = ~np.isclose(one, other, rtol=1e-9, atol=1e-9)
    steps = np.flatnonzero(apart.any(axis=tuple(k for k in range(apart.ndim) if k != 1)))
    return int(steps[0]) + 1 if steps.size else 0


def test_the_suite_has_graphs_of_both_fates() -> None:
    """Among the float graphs some are refused, some lose nothing, and some lose spikes for others."""
    refused = lost = kept = 0
    for make in FLOAT.values():
        graph = make()
        if any(fault.severity.name == "ERROR" for fault in NirBackend().check(graph)):
            refused += 1
            continue
        same = np.array_equal(run(graph).spikes, run(NirBackend().as_read_by_others(graph)).spikes)
        kept, lost = kept + same, lost + (not same)
    assert min(refused, lost, kept) > 0, (refused, lost, kept)
