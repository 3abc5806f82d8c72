"""The user's input on its way into a network: what is refused, what is warned of, and what counts as a spike."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

import spikec
from spikec.compiler.diagnostics import CompileError, Diagnostic, Severity
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import LI, LIF
from spikec.compiler.ops import Input, Linear, Output
from spikec.compiler.weights import Dense
from spikec.driver.data import calibration

SPIKES = (np.arange(2 * 6 * 3).reshape(2, 6, 3) % 2).astype(np.float32)


def network(kind: Literal["spikes", "analog"] = "spikes") -> Graph:
    """Two layers; the second is read out by its membrane."""
    weight = Dense(np.array([[0.5, -0.25, 1.0], [0.75, 0.5, -0.5]], np.float32))
    return Graph(
        (
            Node("in", Input((3,), kind)),
            Node("c0", Linear(weight), ("in",)),
            Node("n0", LIF(0.5, reset="value"), ("c0",)),
            Node("c1", Linear(Dense(np.eye(2, dtype=np.float32))), ("n0",)),
            Node("n1", LI(0.75), ("c1",)),
            Node("out", Output(), ("n1",)),
        ),
        "small",
    )


def warned(found: list[Diagnostic]) -> list[str]:
    return [str(finding) for finding in found if finding.severity is Severity.WARNING]


def test_counts_in_a_network_of_spikes_are_warned_of() -> None:
    artifact = spikec.compile(network(), calibrate=SPIKES)
    told: list[Diagnostic] = []
    plain = spikec.run(artifact, SPIKES, remark=told.append)
    assert not warned(told)
    counts = spikec.run(artifact, SPIKES * 3, remark=told.append)
    assert warned(told) == [
        f"warning[run/input-range]: {int(SPIKES.sum())} values of the input are neither 0 nor 1; "
        "where messages are spikes each counts as 1\n"
        "  where: in\n"
        "  help: calibrate on such input, and its counts are sent as graded messages"
    ]
    np.testing.assert_array_equal(counts.v_out, plain.v_out)
    told.clear()
    spikec.verify(network(), artifact, -SPIKES, lava=False, remark=told.append)
    assert len(warned(told)) == 1
    told.clear()
    graded = spikec.compile(network(), calibrate=SPIKES * 3)
    spikec.run(graded, SPIKES * 3, remark=told.append)
    assert not warned(told)


def test_analog_input_beyond_its_range_is_warned_of() -> None:
    artifact = spikec.compile(network("analog"), calibrate=SPIKES - 0.5)
    told: list[Diagnostic] = []
    spikec.run(artifact, SPIKES - 0.5, remark=told.append)
    assert not warned(told)
    spikec.run(artifact, SPIKES, remark=told.append)
    (text,) = warned(told)
    assert text.startswith(f"warning[run/input-range]: {int(SPIKES.sum())} values of the input lie beyond 0.5")


@pytest.mark.parametrize(("shape", "what"), [((0, 6, 3), "sample"), ((2, 0, 3), "step")])
def test_nothing_to_run_is_refused(shape: tuple[int, ...], what: str) -> None:
    artifact = spikec.compile(network(), calibrate=SPIKES)
    for call in (spikec.run, spikec.verify):
        with pytest.raises(CompileError, match=f"the input holds no {what}"):
            call(artifact, inputs=np.zeros(shape))


def test_membranes_of_other_units_are_no_differing_spikes() -> None:
    artifact = spikec.compile(network(), calibrate=SPIKES)
    rungs = {rung.name: rung for rung in spikec.verify(network(), artifact, SPIKES, lava=False)}
    quantized = rungs["quantized"].agreement
    assert (quantized.spikes_differing, quantized.differing) == (0, 0)
    assert quantized.spikes_active > 0
    assert quantized.spike_cells == 2 * 6 * 2  # of n0 alone
    assert rungs["engine"].agreement.cells == 2 * 6 * 4 * 3  # exact rungs compare every state


def test_an_outcome_says_how_late_it_is() -> None:
    artifact = spikec.compile(network(), calibrate=SPIKES)
    late, aligned = spikec.run(artifact, SPIKES), spikec.run(artifact, SPIKES, align=True)
    assert (late.latency, aligned.latency) == (2, 0)
    assert late.v_out is not None
    np.testing.assert_array_equal(aligned.v_out, late.v_out[:, 2:])


@pytest.mark.parametrize("data", [np.ones((2, 3, 4), complex), np.array([["a"]]), np.array([None])])
def test_data_that_is_not_real_numbers_is_refused(data: np.ndarray) -> None:
    with pytest.raises(CompileError, match="not real numbers"):
        calibration(data, 0)
