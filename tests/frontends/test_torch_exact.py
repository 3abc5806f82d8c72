"""Every snnTorch neuron, reset and delay: the float reference against snnTorch itself, spike by spike and in v."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikec.frontends.torch import lower
from spikec.runtime.reference import Reference
from tests.frontends.torch_networks import (
    CLASSES,
    SIZE,
    Explicit,
    cell,
    compare,
    currents,
    exact,
    forward,
    layout,
    spikes,
)

RESETS = ("subtract", "zero", "none")


def check(lif: Any, kind: str, inputs: np.ndarray[Any, Any], seed: int = 0) -> None:
    """Spikes and membranes of one layer are those of snnTorch; there are spikes to compare."""
    module = Explicit(lif)
    _, differing, active = compare(module, inputs, forward(module, part=0))
    assert differing == 0
    assert active > 100
    graph = lower(module, layout(inputs, 0), readout="membrane")
    with torch.no_grad():
        membrane = forward(module, part=1)(inputs)
    made = Reference().run(graph, inputs).spikes
    np.testing.assert_allclose(made, membrane, rtol=0, atol=2e-5)
    if kind == "ties" and graph["lif"].inputs == ("input",):  # a recurrent current is added in another order
        np.testing.assert_array_equal(made, membrane)


@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("name", CLASSES)
def test_every_class_reset_and_delay_equals_snntorch(name: str, reset: str, delay: bool, kind: str) -> None:
    torch.manual_seed(1)
    check(cell(name, reset_mechanism=reset, reset_delay=delay), kind, currents(kind))


@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("name", CLASSES)
def test_parameters_per_neuron_and_learnt(name: str, reset: str, delay: bool) -> None:
    torch.manual_seed(2)
    threshold = torch.arange(SIZE) % 4 * 0.25 + 0.5
    lif = cell(name, reset_mechanism=reset, reset_delay=delay, threshold=threshold, learn_threshold=True)
    if name != "Lapicque":
        lif.beta = nn.Parameter(torch.arange(SIZE) % 3 * 0.5) if reset == "none" else torch.arange(SIZE) % 5 * 0.25
    if name in ("Synaptic", "RSynaptic"):
        lif.alpha = torch.arange(SIZE) % 2 * 0.5
    check(lif, "ties", currents("ties", seed=3))


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_graded_spikes(name: str, delay: bool, reset: str) -> None:
    torch.manual_seed(3)
    lif = cell(name, reset_mechanism=reset, reset_delay=delay)
    lif.graded_spikes_factor = torch.tensor(2.0) if name != "Leaky" else torch.arange(SIZE) % 3 * 0.5 + 0.5
    check(lif, "ties", currents("ties", seed=4))


@pytest.mark.parametrize("name", ["RLeaky", "RSynaptic"])
@pytest.mark.parametrize("weights", [0.5, None])
def test_one_to_one_recurrence(name: str, weights: float | None) -> None:
    v = torch.tensor(0.5) if weights else torch.arange(SIZE) % 5 * 0.25 - 0.5
    lif = cell(name, all_to_all=False, V=v)
    with torch.no_grad():
        lif.recurrent.V.copy_(v)
    check(lif, "ties", currents("ties", seed=5))


@pytest.mark.parametrize("name", ["RLeaky", "RSynaptic"])
def test_convolutional_recurrence_and_parameters_per_channel(name: str) -> None:
    torch.manual_seed(5)
    options: dict[str, Any] = {"alpha": 0.5} if name == "RSynaptic" else {}
    import snntorch as snn

    threshold = torch.tensor([0.5, 1.0, 1.5]).reshape(3, 1, 1)
    lif = getattr(snn, name)(
        beta=0.5, all_to_all=True, conv2d_channels=3, kernel_size=3, threshold=threshold, **options
    )
    inputs = currents("ties", 30, 4, (3, 5, 5))
    check(exact(lif), "ties", inputs)


@pytest.mark.parametrize("options", [{"beta": 0.5}, {"beta": 0.75, "R": 2.0}, {"beta": 0.75, "C": 2.0}])
def test_lapicque_from_beta(options: dict[str, float]) -> None:
    import snntorch as snn

    check(snn.Lapicque(**options), "random", currents("random"))


def test_initial_membrane() -> None:
    class Started(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = cell("Leaky")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem = torch.full_like(x[0], 1.5)
            record = []
            for step in x:
                spk, mem = self.lif(step, mem)
                record.append(spk)
            return torch.stack(record)

    module = Started()
    graph, differing, active = compare(module, currents("ties"), forward(module))
    assert differing == 0
    assert active > 100
    assert graph["lif"].op.v_init == 1.5


def test_spikes_of_the_first_step_count_as_input() -> None:
    inputs = spikes()
    module = Explicit(cell("Leaky", threshold=0.5))
    graph, differing, active = compare(module, inputs, forward(module, part=0))
    assert differing == 0
    assert active > 0
    assert graph["input"].op.kind == "spikes"
