"""Tests of the passes on the trained digits networks: 8 bits cost less than a point, timing costs nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from spikec.compiler.context import Calibration, Context
from spikec.compiler.diagnostics import Findings
from spikec.compiler.ir import Graph
from spikec.compiler.runner import align, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.target import Choices, Target
from spikec.compiler.verify import verify
from spikec.passes import ALL
from spikec.runtime.reference import Reference

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"digits_{name}", DIGITS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def trained(network: str, weights: str) -> Graph:
    import torch

    from spikec.frontends.torch import lower

    module = getattr(example("model"), network)()
    module.load_state_dict(torch.load(DIGITS / weights, weights_only=True))
    return lower(module.eval(), torch.zeros(16, 1, 1, 8, 8))


@pytest.mark.parametrize(
    ("network", "weights", "choices", "points"),
    [
        ("net", "digits.pt", Choices(), 1.0),
        ("net_soft", "digits_soft.pt", Choices(reset="exact"), 1.0),
        ("net_soft", "digits_soft.pt", Choices(reset="hard"), 3.0),
    ],
)
def test_eight_bits_cost_little(network, weights, choices, points):
    graph = trained(network, weights)
    training, held_out = example("data").split()
    remarks = Findings()
    context = Context(
        calibration=Calibration(training.spikes[:64].astype(np.int64)),
        target=Target("loihi2", choices=choices),
        runner=Reference(),
        remark=remarks,
    )
    x = held_out.spikes.astype(np.int64)
    fixed = verify(ALL["quantize"]().run(ALL["fold"]().run(graph, context), context))
    lowered = verify(ALL["balance-delays"]().run(fixed, context))
    late = latencies(lowered)
    runs = [
        Reference().run(graph, x),
        Reference().run(fixed, x),
        align(Reference().run(lowered, pad_steps(x, max(late.values()))), late, x.shape[1]),
    ]
    accuracy = [100 * float(np.mean(run.counts.argmax(axis=1) == held_out.labels)) for run in runs]
    assert accuracy[0] > 95
    assert accuracy[1] > accuracy[0] - points
    np.testing.assert_array_equal(runs[1].spikes, runs[2].spikes)
    assert sum(r.code == "quantize/layer" for r in remarks) == len([n for n in graph if n.op.mnemonic == "neuron"])
