"""Binning of events and reading of input files: laws on random recordings, and the message for every fault."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.compiler.diagnostics import CompileError
from spikec.runtime.events import bin_events, load_input, parse_time

SHAPE = (2, 5, 4)


@st.composite
def recordings(draw):
    """One to three recordings of one to 20 events, sorted in time."""
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    count = sum(sizes)
    axes = [np.array(draw(st.lists(st.integers(0, n - 1), min_size=count, max_size=count))) for n in (4, 5, 2)]
    times = np.concatenate([sorted(draw(st.lists(st.integers(0, 9000), min_size=n, max_size=n))) for n in sizes])
    return (*axes, times, np.concatenate([[0], np.cumsum(sizes)]))


@given(recordings(), st.sampled_from([1, 7, 1000]), st.integers(1, 12), st.sampled_from(["nearest", "floor"]))
@settings(deadline=None)
def test_binning_is_what_a_loop_over_the_events_does(events, bin_us, steps, rounding):
    """Every event sets its cell, nothing else is set, and later events are left out."""
    x, y, p, t, offsets = events
    expected = np.zeros((len(offsets) - 1, steps, *SHAPE), np.uint8)
    for n in range(len(offsets) - 1):
        for e in range(offsets[n], offsets[n + 1]):
            step = int(np.floor(t[e] / bin_us + 0.5)) if rounding == "nearest" else t[e] // bin_us
            if step < steps:
                expected[n, step, p[e], y[e], x[e]] = 1
    made = bin_events(x, y, p, t, offsets, bin_us=bin_us, steps=steps, shape=SHAPE, rounding=rounding)
    np.testing.assert_array_equal(made, expected)


@given(recordings())
@settings(deadline=None, max_examples=20)
def test_recordings_do_not_disturb_one_another(events):
    """Binning all of them is binning each."""
    x, y, p, t, offsets = events
    whole = bin_events(x, y, p, t, offsets, bin_us=500, steps=10, shape=SHAPE)
    for n, (a, b) in enumerate(itertools.pairwise(offsets)):
        own = bin_events(x[a:b], y[a:b], p[a:b], t[a:b], np.array([0, b - a]), bin_us=500, steps=10, shape=SHAPE)
        np.testing.assert_array_equal(whole[n : n + 1], own)


def test_a_flat_shape_is_the_flattened_sensor():
    """One axis of 2 * side * side entries is polarity, row, column in C order."""
    arrays = [np.array([1]), np.array([2]), np.array([1]), np.array([0]), np.array([0, 1])]
    flat = bin_events(*arrays, bin_us=1000, steps=1, shape=(18,))
    assert flat.shape == (1, 1, 18)
    assert np.flatnonzero(flat).tolist() == [1 * 9 + 2 * 3 + 1]


def test_late_events_are_told():
    """An event after the last step is left out, and the user hears of it."""
    heard = []
    arrays = [np.zeros(3, int)] * 3 + [np.array([0, 400, 9000]), np.array([0, 3])]
    bin_events(*arrays, bin_us=1000, steps=5, shape=SHAPE, remark=heard.append)
    assert str(heard[0]) == (
        "remark[input/late-events]: 1 of 3 events come after 5 steps of 1000 us and are left out\n  where: events"
    )


GOOD = {"x": [0, 1, 2], "y": [0, 1, 2], "p": [0, 1, 0], "t_us": [0, 10, 20], "offsets": [0, 2, 3]}

FAULTS = {
    "x": (
        {"x": [0, 9, 2]},
        "error[input/out-of-bounds]: x = 9 of event 1 lies outside 0..3 (1 such events)\n"
        "  where: events, recording 0\n  help: check --shape; the events need x up to 9",
    ),
    "y": (
        {"y": [0, 1, -3]},
        "error[input/out-of-bounds]: y = -3 of event 2 lies outside 0..4 (1 such events)\n"
        "  where: events, recording 1\n  help: check --shape; the events need y up to 1",
    ),
    "time": (
        {"t_us": [-5, 1, 2]},
        "error[input/out-of-bounds]: time -5 us is before the start\n  where: events\n  help: count time from 0",
    ),
    "unsorted": (
        {"t_us": [20, 10, 30]},
        "error[input/unsorted]: event 1 is earlier than the one before it (10 us after 20 us)\n"
        "  where: events, recording 0\n  help: sort the events by time",
    ),
    "empty": (
        {"offsets": [0, 2, 2, 2, 3]},
        "error[input/empty-recording]: recording 1 has no events (and 1 more)\n"
        "  where: events\n  help: leave empty recordings out",
    ),
    "lengths": (
        {"x": [0, 1]},
        "error[input/events-shape]: x, y, p and t_us must be arrays of one length; they are x [2], y [3], p [3], "
        "t_us [3]\n  where: events",
    ),
    "offsets": (
        {"offsets": [0, 2]},
        "error[input/offsets]: offsets must rise from 0 to the number of events, 3\n"
        "  where: events\n  help: offsets[i] is where recording i begins",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_recording_has_its_message(fault):
    """One diagnostic with where, why and what to do."""
    change, message = FAULTS[fault]
    arrays = {name: np.array(value) for name, value in {**GOOD, **change}.items()}
    with pytest.raises(CompileError) as caught:
        bin_events(*arrays.values(), bin_us=1000, steps=3, shape=SHAPE)
    assert str(caught.value) == message


def test_bounds_are_exact():
    """The last pixel is inside, the one behind it is not."""
    sizes = dict(zip(("p", "y", "x"), SHAPE, strict=True))
    for name, size in sizes.items():
        arrays = {key: np.array(value) for key, value in GOOD.items()}
        arrays[name] = np.full_like(arrays[name], size - 1)
        assert bin_events(*arrays.values(), bin_us=1000, steps=3, shape=SHAPE).any()
        arrays[name] = np.full_like(arrays[name], size)
        with pytest.raises(CompileError, match=f"{name} = {size} of event 0 lies outside 0..{size - 1}"):
            bin_events(*arrays.values(), bin_us=1000, steps=3, shape=SHAPE)


def test_all_faults_are_told_at_once():
    """Bounds and order are judged together."""
    arrays = {name: np.array(value) for name, value in {**GOOD, "x": [9, 0, 0], "t_us": [3, 1, 4]}.items()}
    with pytest.raises(CompileError) as caught:
        bin_events(*arrays.values(), bin_us=1000, steps=3, shape=SHAPE)
    assert [d.code for d in caught.value.diagnostics] == ["input/out-of-bounds", "input/unsorted"]


def test_a_shape_without_rows_and_columns_is_refused():
    """Events cannot be put into seven entries."""
    arrays = [np.array(value) for value in GOOD.values()]
    with pytest.raises(CompileError, match=r"input/shape.*\[7\] does not say where they go"):
        bin_events(*arrays, bin_us=1000, steps=3, shape=(7,))


def test_spikes_and_labels_are_read(tmp_path):
    """From one .npz; labels from a file of their own too."""
    spikes = np.arange(24).reshape(2, 3, 4)
    np.savez(tmp_path / "in.npz", spikes=spikes, labels=np.array([4, 5]))
    np.save(tmp_path / "plain.npy", spikes)
    np.save(tmp_path / "labels.npy", np.array([1, 2]))
    read = load_input(tmp_path / "in.npz", shape=(4,))
    np.testing.assert_array_equal(read.inputs, spikes)
    assert read.labels.tolist() == [4, 5]
    other = load_input(tmp_path / "plain.npy", labels=tmp_path / "labels.npy")
    np.testing.assert_array_equal(other.inputs, spikes)
    assert other.labels.tolist() == [1, 2]


def test_events_are_read_and_binned(tmp_path):
    """The file is what bin_events makes of its arrays."""
    arrays = {name: np.array(value) for name, value in GOOD.items()}
    np.savez(tmp_path / "events.npz", **arrays)
    read = load_input(tmp_path / "events.npz", bin_us=parse_time("10us"), steps=3, shape=SHAPE, rounding="floor")
    expected = bin_events(*arrays.values(), bin_us=10, steps=3, shape=SHAPE, rounding="floor")
    np.testing.assert_array_equal(read.inputs, expected)
    assert read.labels is None


def test_analog_input_without_time_is_kept(tmp_path):
    """(N, *shape) is direct coding: the caller repeats it."""
    np.save(tmp_path / "images.npy", np.ones((6, 4)))
    assert load_input(tmp_path / "images.npy", shape=(4,)).inputs.shape == (6, 4)


def _write(folder, name):
    """Make each bad file."""
    path = folder / f"{name}.npz"
    if name == "truncated":
        np.savez(path, spikes=np.zeros((9, 9, 9)))
        path.write_bytes(path.read_bytes()[:200])
    elif name == "pickled":
        np.savez(path, spikes=np.array([{"a": 1}], dtype=object))
    elif name == "nothing-known":
        np.savez(path, pixels=np.zeros(3))
    elif name == "shape":
        np.savez(path, spikes=np.zeros((2, 3, 5)))
    elif name == "nan":
        np.savez(path, spikes=np.array([[[np.nan, 1, 2, 3]]]))
    elif name == "empty":
        np.savez(path, spikes=np.zeros((0, 3, 4)))
    elif name == "labels":
        np.savez(path, spikes=np.zeros((2, 3, 4)), labels=np.zeros(3))
    elif name == "unbinned":
        np.savez(path, **{key: np.array(value) for key, value in GOOD.items()})
    return path


FILES = {
    "absent": "error[input/unreadable]: there is no such file\n  where: PATH",
    "nothing-known": "error[input/no-arrays]: the file holds pixels\n  where: PATH\n"
    "  help: it must hold 'spikes', or x, y, p, t_us, offsets",
    "shape": "error[input/shape]: 'spikes' has shape [2, 3, 5]; the network takes (samples, steps, 4)\n"
    "  where: PATH\n  help: reshape the array",
    "nan": "error[input/not-finite]: 1 values are NaN or infinite\n  where: PATH\n  help: repair the data",
    "empty": "error[input/empty-recording]: 'spikes' of shape [0, 3, 4] holds nothing\n  where: PATH\n"
    "  help: give at least one sample of one step",
    "labels": "error[input/labels]: labels of shape [3] beside 2 samples\n  where: PATH\n"
    "  help: give one label a sample",
    "unbinned": "error[input/no-bins]: the file holds events, which must be binned\n  where: PATH\n"
    "  help: say --bin 1ms --steps 300 --shape 2,34,34",
}


@pytest.mark.parametrize("name", FILES)
def test_every_bad_file_has_its_message(tmp_path, name):
    """One diagnostic with where, why and what to do."""
    path = _write(tmp_path, name)
    with pytest.raises(CompileError) as caught:
        load_input(path, shape=(4,))
    assert str(caught.value) == FILES[name].replace("PATH", str(path))


@pytest.mark.parametrize("name", ["truncated", "pickled"])
def test_a_damaged_file_is_refused(tmp_path, name):
    """What numpy says is passed on in one line; nothing pickled is loaded."""
    path = _write(tmp_path, name)
    with pytest.raises(CompileError) as caught:
        load_input(path, shape=(4,))
    assert str(caught.value).startswith(
        "error[input/unreadable]: not a .npz or .npy file of plain arrays, or a damaged one: "
    )
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(("text", "micros"), [("1ms", 1000), ("500us", 500), ("0.01s", 10_000), ("2.5ms", 2500)])
def test_durations_are_read(text, micros):
    """Microseconds, milliseconds, seconds."""
    assert parse_time(text) == micros


@pytest.mark.parametrize("text", ["1", "0.1us", "ms", "-1ms", "onems", "0us", "nans", "infs"])
def test_what_is_no_duration_is_refused(text):
    """With the two forms that are."""
    with pytest.raises(CompileError, match="input/bad-time"):
        parse_time(text)
