"""The real networks of the acceptance data: what the files say, run in Lava by our script, equals the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikec.backends.loihi.lavanet import describe
from spikec.compiler.ops import Input
from spikec.frontends.netx import lower
from spikec.runtime.lava.env import LavaEnv
from spikec.runtime.lava.worker import LavaRunner
from spikec.runtime.reference import Reference
from tests.lava.networks import differing


@pytest.mark.lava
@pytest.mark.shared
@pytest.mark.parametrize(("name", "interval"), [("oxford", None), ("trained_mnist", None), ("trained_mnist", 16)])
def test_a_net_file_is_equal_in_lava(lava: LavaEnv, shared_data: Path, name: str, interval: int | None) -> None:
    graph = lower(shared_data / "lava_dl" / f"{name}.net", reset_interval=interval)
    rng = np.random.default_rng(0)
    inputs = (rng.random((2, 40, *graph.shapes[graph.of(Input)[0].name])) < 0.15).astype(np.int32)
    reference = Reference().run(graph, inputs, trace=True)
    assert np.count_nonzero(reference.spikes)
    assert not differing(graph, reference, LavaRunner(describe(graph), 120, lava).run(graph, inputs, trace=True))
