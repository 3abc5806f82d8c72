"""Hessians that are kept are found again, and only for the same network, data, method and memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikec.compiler.diagnostics import Findings
from spikec.compiler.ir import Graph
from spikec.compiler.runner import Result
from spikec.compiler.serialize import dumps
from spikec.driver.measure import runner
from spikec.passes.sbc import SBC
from tests.passes.sbc.networks import context, convolutional, spikes, two_layers


class Counting:
    """A runner that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, graph: Graph, inputs, *, trace=False) -> Result:
        self.runs += 1
        return runner().run(graph, inputs, trace=trace)


def prune(graph: Graph, inputs, folder: Path | None, **options) -> tuple[bytes, int]:
    counting = Counting()
    ctx = context(inputs, runner=counting, resume=str(folder or ""))
    made = SBC(0.7, measure=0, **options).run(graph, ctx)
    return dumps(made), counting.runs


@pytest.mark.parametrize(("build", "shape"), [(two_layers, (24,)), (convolutional, (2, 8, 8))])
def test_a_second_run_collects_nothing_and_gives_the_same_bytes(build, shape, tmp_path: Path) -> None:
    graph, inputs = build(), spikes(1, 6, 10, *shape)
    plain, _ = prune(graph, inputs, None)
    first, ran = prune(graph, inputs, tmp_path / "kept")
    again, none = prune(graph, inputs, tmp_path / "kept")
    assert first == again == plain
    assert ran > 0
    assert none == 0


def test_another_network_other_data_or_another_method_collect_again(tmp_path: Path) -> None:
    graph, inputs, folder = two_layers(), spikes(1, 6, 10, 24), tmp_path / "kept"
    prune(graph, inputs, folder)
    other = np.array(inputs)
    other[0, 0, 0] = 1 - other[0, 0, 0]
    for one, given, options in (
        (two_layers(seed=1), inputs, {}),
        (graph, other, {}),
        (graph, inputs, {"method": "obs"}),
    ):
        wanted, _ = prune(one, given, None, **options)
        made, ran = prune(one, given, folder, **options)
        assert made == wanted
        assert ran > 0


def test_a_damaged_entry_is_told_and_made_again(tmp_path: Path) -> None:
    graph, inputs, folder = two_layers(), spikes(1, 6, 10, 24), tmp_path / "kept"
    wanted, _ = prune(graph, inputs, folder)
    for entry in folder.glob("*.npz"):
        entry.write_bytes(entry.read_bytes()[:-7])
    told = Findings()
    ctx = replace(context(inputs, resume=str(folder)), remark=told)
    assert dumps(SBC(0.7, measure=0).run(graph, ctx)) == wanted
    assert any(found.code == "work/damaged" and "Hessians" in found.message for found in told)
