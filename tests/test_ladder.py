"""The ladder: planted differences are found where they are, rungs that cannot run say why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.compiler.context import Quiet
from spikec.compiler.diagnostics import fail
from spikec.compiler.runner import Result
from spikec.runtime.compare import compare
from spikec.runtime.ladder import Rung, accuracy, climb

KEYS = ("s/a", "v/a", "s/b")


def traces(seed: int = 0, samples: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {key: rng.integers(0, 2, (samples, 5, 4)) for key in KEYS}


@given(st.sampled_from(KEYS), st.integers(0, 2), st.integers(0, 4), st.integers(0, 3))
def test_one_planted_difference_is_found_where_it_is(key: str, sample: int, step: int, neuron: int) -> None:
    left, right = traces(), traces()
    right[key][sample, step, neuron] += 5
    found = compare(left, right, KEYS)
    assert found.differing == 1
    assert found.spikes_differing == (key != "v/a")
    assert found.first is not None
    assert (found.first.key, found.first.sample, found.first.step, found.first.neuron) == (key, sample, step, (neuron,))
    assert found.cells == 3 * 5 * 4 * 3


def test_the_first_difference_is_the_first_layers_earliest() -> None:
    left, right = traces(), traces()
    right["s/b"][0, 0, 0] += 1
    right["v/a"][2, 4, 1] += 1
    right["v/a"][1, 3, 2] += 1
    assert str(compare(left, right, KEYS).first) == (
        f"membrane potential of a[2] at step 3 of sample 1: {left['v/a'][1, 3, 2]} and {right['v/a'][1, 3, 2]}"
    )


def test_networks_of_other_shape_are_not_compared() -> None:
    left, right = traces(), traces(samples=2)
    with pytest.raises(ValueError, match=r"'s/a' has shape \[3, 5, 4\] on one side and \[2, 5, 4\] on the other"):
        compare(left, right, KEYS)
    with pytest.raises(ValueError, match="'s/c' is missing"):
        compare(left, left, ["s/c"])


def as_rung(name: str, shift: int = 0, **fields: object) -> Rung:
    def run(inputs: np.ndarray) -> Result:
        out = inputs.copy()
        out[:, 0, 0] += shift
        return Result({"out": out}, {"s/a": out})

    return Rung(name, run, **fields)  # type: ignore[arg-type]


def test_climbing_counts_over_batches() -> None:
    inputs = np.random.default_rng(0).integers(0, 9, (7, 4, 3))
    labels = inputs.sum(axis=1).argmax(axis=1)

    def broken(_: np.ndarray) -> Result:
        raise fail("x/y", "no such machine")

    rungs = [
        as_rung("top"),
        as_rung("same", against="top", exact=True),
        as_rung("other", 1, against="top", exact=True),
        as_rung("noisy", 1, against="top"),
        Rung("broken", broken, "top", True),
        as_rung("absent", skipped="not installed"),
    ]
    reports = {report.name: report for report in climb(rungs, inputs, labels, Quiet(), batch=2)}
    assert accuracy(reports["top"]) == 1.0
    assert (reports["same"].agreement.differing, reports["same"].failed) == (0, False)
    assert reports["same"].agreement.cells == inputs.size
    assert (reports["other"].agreement.differing, reports["other"].failed) == (7, True)
    assert (reports["noisy"].agreement.differing, reports["noisy"].failed) == (7, False)
    assert reports["other"].agreement.first is not None
    assert reports["other"].agreement.first.sample == 0
    assert (reports["broken"].error, reports["broken"].failed) == ("error[x/y]: no such machine", False)
    assert reports["absent"].skipped == "not installed"
    assert reports["absent"].samples == 0
