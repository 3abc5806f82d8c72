"""The networks of the NIR paper, read and run on real recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikec.backends.nir import NirBackend
from spikec.compiler.neurons import Neuron
from spikec.frontends.nir import NirOptions, lower
from spikec.runtime.events import bin_events
from spikec.runtime.reference import Reference

pytestmark = pytest.mark.shared


@pytest.mark.parametrize(
    ("file", "hidden"),
    [("braille_noDelay_bias_zero.nir", "lif1.lif"), ("braille_noDelay_bias_zero_subgraph.nir", "lif1.lif1")],
)
def test_braille_reproduces_what_snntorch_recorded(shared_data: Path, tmp_path: Path, file: str, hidden: str) -> None:
    folder = shared_data / "nir_paper"
    inputs = np.load(folder / "braille_sample0.npz")["spikes"][None].astype(np.float32)
    recorded = np.load(folder / "recorded_hidden_spikes_snntorch_bias_zero.npy")
    graph = lower(folder / file)
    run = Reference().run(graph, inputs, trace=True)
    assert recorded.sum() == 119
    assert int(np.count_nonzero(run.traces[f"s/{hidden}"][0] != recorded)) == 0
    copy = tmp_path / "copy.nir"
    copy.write_bytes(NirBackend().emit(graph).files["network.nir"])
    for options in (NirOptions(), NirOptions(metadata=False)):
        again = Reference().run(lower(copy, options), inputs, trace=True)
        np.testing.assert_array_equal(again.traces[f"s/{hidden}"], run.traces[f"s/{hidden}"])
        np.testing.assert_array_equal(again.spikes, run.spikes)


def correct(shared_data: Path, count: int) -> int:
    """Count N-MNIST recordings classified right by sinabs' network.

    Reset by subtraction, one spike a step, membrane at least -1; time from the first event on, bins of 1 ms, 340 of
    them, which is all of every recording.
    """
    events = np.load(shared_data / "nmnist" / "test.npz")
    start, end = events["offsets"][0], events["offsets"][count]
    offsets = events["offsets"][: count + 1]
    first = np.repeat(events["t_us"][offsets[:-1]], np.diff(offsets))
    x, y, p = (events[name][start:end] for name in "xyp")
    inputs = bin_events(
        x, y, p, events["t_us"][start:end] - first, offsets, bin_us=1000, steps=340, shape=(2, 34, 34), rounding="floor"
    )
    graph = lower(
        shared_data / "nir_paper" / "cnn_sinabs.nir", NirOptions(reset="subtract", spike="single", v_min=-1.0)
    )
    counts = Reference().run(graph, inputs.astype(np.float32)).counts
    return int(np.count_nonzero(counts.argmax(axis=1) == events["labels"][:count]))


def test_a_dozen_recordings_are_classified_right(shared_data: Path) -> None:
    assert correct(shared_data, 12) == 12


@pytest.mark.slow
def test_the_convolutional_network_gets_98_of_100(shared_data: Path) -> None:
    assert correct(shared_data, 100) >= 98


def test_the_file_of_norse_reads(shared_data: Path) -> None:
    graph = lower(shared_data / "nir_paper" / "lif_norse.nir")
    op = graph["1"].op
    assert isinstance(op, Neuron)
    assert (op.a_mem, op.v_th, op.g_in) == (pytest.approx(0.96), pytest.approx(0.1), pytest.approx(0.04))
