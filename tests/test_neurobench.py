"""Both NeuroBench networks compile: what Loihi cannot say is refused first, then converted with its cost measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import spikec
from spikec.frontends.torch.load import load_weights
from tests.frontends.test_torch_neurobench import Wisdm, speech

pytestmark = pytest.mark.shared


def network(name: str, data: Path) -> tuple[nn.Module, np.ndarray, int | None]:
    """Give a network, samples (N, T, *shape) and its time axis."""
    rng = np.random.default_rng(0)
    if name == "speech":
        module, weights, axis = speech(), "s2s_gsc_snntorch.pt", None
        samples = rng.integers(-1, 2, (6, 40, 20)).astype(np.float32)
    else:
        module, weights, axis = Wisdm(), "WISDM_snnTorch.ckpt", 1
        samples = rng.normal(0, 1, (6, 40, 6)).astype(np.float32)
    load_weights(module, data / "neurobench" / weights)
    return module, samples, axis


@pytest.mark.parametrize(("name", "codes"), [("speech", {"quantize/reset"}), ("wisdm", {"lower/maxpool-currents"})])
def test_what_loihi_cannot_say_is_refused(name: str, codes: set[str], shared_data: Path) -> None:
    module, samples, axis = network(name, shared_data)
    with pytest.raises(spikec.CompileError) as caught:
        spikec.compile(module, "loihi2", time_axis=axis, calibrate=samples)
    assert {d.code for d in caught.value.diagnostics} == codes
    with pytest.raises(spikec.CompileError, match=r"--reset=hard .* --reset=exact"):
        spikec.compile(module, "loihi2", time_axis=axis, calibrate=samples, choices=spikec.Choices(maxpool="spikes"))


@pytest.mark.parametrize("name", ["speech", "wisdm"])
@pytest.mark.parametrize("reset", ["hard", "exact"])
def test_it_compiles_and_the_ladder_is_exact(name: str, reset: Any, shared_data: Path) -> None:
    module, samples, axis = network(name, shared_data)
    choices = spikec.Choices(reset=reset, maxpool="spikes")
    artifact = spikec.compile(module, "loihi2", time_axis=axis, calibrate=samples, choices=choices)
    assert artifact.facts["measured"]["compiled"]["cells"] > 0
    reports = {r.name: r for r in spikec.verify(module, artifact, samples, time_axis=axis, lava=False)}
    assert reports["float reference"].agreement.differing == 0
    assert reports["fixed reference"].agreement.differing == 0
    assert reports["engine"].agreement.differing == 0
    assert reports["engine"].agreement.active > 1000
