"""Event recordings and spike arrays as input of a run: binning of events, and reading of `.npz` and `.npy` files."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from spikec.compiler.diagnostics import CompileError, Diagnostic, Findings, Sink, fail, ignore
from spikec.compiler.diagnostics import remark as make_remark
from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array

Rounding = Literal["nearest", "floor"]

FIELDS = ("x", "y", "p", "t_us", "offsets")


@dataclass(frozen=True, eq=False)
class Recording:
    """Input of a run: values (N, T, *shape), or (N, *shape) of analog input without time; labels (N,) where known."""

    inputs: Array
    labels: Array | None = None


def bin_events(
    x: Array,
    y: Array,
    p: Array,
    t_us: Array,
    offsets: Array,
    *,
    bin_us: int,
    steps: int,
    shape: Shape,
    rounding: Rounding = "nearest",
    where: str = "events",
    remark: Sink = ignore,
) -> Array:
    """Turn events into spikes: 1 where at least one event of a polarity fell on a pixel in a bin.

    Args:
        x: columns of all events, one recording after another; y: rows; p: polarities (0 or 1); t_us: times in
            microseconds, not decreasing within a recording.
        y: rows.
        p: polarities.
        t_us: times.
        offsets: (N + 1,), where each recording begins and the last one ends.
        bin_us: width of a bin in microseconds.
        steps: T; events in later bins are left out.
        shape: (polarities, height, width), or one axis: (2 * side * side,) of a square sensor, flattened in C order.
        rounding: `nearest` puts an event in the bin round(t / bin_us), halves upwards; `floor` in t // bin_us.
        where: name of the data in diagnostics.
        remark: told how many events came after the last step.

    Returns:
        (N, T, *shape), uint8.

    Raises:
        CompileError: the arrays do not belong together, a recording is empty or not sorted in time, or events lie
            outside the shape; all faults at once.
    """
    _check_layout((x, y, p, t_us), offsets, bin_us, steps, where)
    grid = _grid(shape, x, y, where)
    columns, rows, signs, times = (np.asarray(a).astype(np.int64) for a in (x, y, p, t_us))
    starts = np.asarray(offsets).astype(np.int64)
    _check_events(columns, rows, signs, times, starts, grid, where)
    step = (times + bin_us // 2) // bin_us if rounding == "nearest" else times // bin_us
    sample = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    keep = step < steps
    if late := int(np.count_nonzero(~keep)):
        span = f"{steps} steps of {bin_us} us"
        remark(
            make_remark("input/late-events", f"{late} of {len(step)} events come after {span} and are left out", where)
        )
    spikes = np.zeros((len(starts) - 1, steps, *grid), np.uint8)
    spikes[sample[keep], step[keep], signs[keep], rows[keep], columns[keep]] = 1
    return spikes.reshape(len(starts) - 1, steps, *shape)


def load_input(
    path: str | Path,
    *,
    shape: Shape | None = None,
    bin_us: int | None = None,
    steps: int | None = None,
    rounding: Rounding = "nearest",
    labels: str | Path | None = None,
    remark: Sink = ignore,
) -> Recording:
    """Read the input of a run.

    `.npy`: an array (N, T, *shape). `.npz`: `spikes` (N, T, *shape), or events `x y p t_us offsets`, which need
    `bin_us`, `steps` and `shape`; `labels` (N,) beside them, or in a file of their own (`.npy`, or `.npz` with
    `labels`). An array of the network's `shape` without a time axis is analog input for every step; it is returned
    as it is, (N, *shape).

    Raises:
        CompileError: the file cannot be read, lacks what is needed, or its content does not fit; each with the reason.
    """
    arrays = _read(path)
    where = str(path)
    if "spikes" in arrays:
        inputs = _checked_spikes(arrays["spikes"], shape, where)
    elif all(name in arrays for name in FIELDS):
        if bin_us is None or steps is None or shape is None:
            message = "the file holds events, which must be binned"
            raise fail("input/no-bins", message, where, "say --bin 1ms --steps 300 --shape 2,34,34")
        events = [arrays[name] for name in FIELDS]
        inputs = bin_events(
            *events, bin_us=bin_us, steps=steps, shape=shape, rounding=rounding, where=where, remark=remark
        )
    else:
        message = f"the file holds {', '.join(sorted(arrays)) or 'nothing'}"
        raise fail("input/no-arrays", message, where, f"it must hold 'spikes', or {', '.join(FIELDS)}")
    found = arrays.get("labels") if labels is None else _labels(labels)
    if found is not None and found.shape != (len(inputs),):
        source = where if labels is None else str(labels)
        message = f"labels of shape {list(found.shape)} beside {len(inputs)} samples"
        raise fail("input/labels", message, source, "give one label a sample")
    if found is not None and not _whole(found):
        message = f"labels must be whole numbers, the index of a class; these are {found.dtype}"
        raise fail("input/labels", message, where if labels is None else str(labels), "number the classes from 0")
    return Recording(inputs, found)


def parse_time(text: str) -> int:
    """Read a duration such as `1ms`, `500us` or `0.01s` as whole microseconds.

    Raises:
        CompileError: it is not one.
    """
    for unit, factor in (("us", 1), ("ms", 1_000), ("s", 1_000_000)):
        number = text.strip().removesuffix(unit)
        if text.strip().endswith(unit):
            try:
                value = float(number) * factor
            except ValueError:
                continue
            if math.isfinite(value) and value >= 1 and value == round(value):
                return round(value)
    raise fail(
        "input/bad-time", f"'{text}' is not a duration of whole microseconds", "--bin", "write it as 1ms or 500us"
    )


def _check_layout(events: tuple[Array, ...], offsets: Array, bin_us: int, steps: int, where: str) -> None:
    found = Findings()
    sizes = {np.shape(a) for a in events}
    if len(sizes) != 1 or np.ndim(events[0]) != 1:
        shapes = ", ".join(f"{name} {list(np.shape(a))}" for name, a in zip(FIELDS, events, strict=False))
        found(
            Diagnostic("input/events-shape", f"x, y, p and t_us must be arrays of one length; they are {shapes}", where)
        )
    for name, array in zip(FIELDS, (*events, offsets), strict=True):
        if not _whole(np.asarray(array)):
            help = (
                "times are whole microseconds: multiply seconds by 1e6 and round"
                if name == "t_us"
                else "repair the data"
            )
            found(Diagnostic("input/not-whole", f"'{name}' holds values that are not whole numbers", where, help))
    starts = np.asarray(offsets)
    count = np.shape(events[-1])[0] if np.ndim(events[-1]) else 0
    bad = starts.ndim != 1 or len(starts) < 2 or starts[0] != 0 or starts[-1] != count or np.any(np.diff(starts) < 0)
    if bad:
        message = f"offsets must rise from 0 to the number of events, {count}"
        found(Diagnostic("input/offsets", message, where, "offsets[i] is where recording i begins"))
    if bin_us < 1 or steps < 1:
        message = f"bins of {bin_us} us and {steps} steps are no time"
        found(Diagnostic("input/no-bins", message, where, "give a bin and a number of steps of 1 or more"))
    found.raise_errors()


def _whole(array: Array) -> bool:
    if array.dtype.kind in "biu":
        return True
    return array.dtype.kind == "f" and bool(np.all(np.isfinite(array))) and bool(np.all(array == np.rint(array)))


def _grid(shape: Shape, x: Array, y: Array, where: str) -> Shape:
    """Give (polarities, height, width) for the shape that was asked for."""
    if len(shape) == 3:
        return shape
    size = math.prod(shape)
    side = round((size / 2) ** 0.5)
    if len(shape) == 1 and 2 * side * side == size:
        return (2, side, side)
    message = f"events have a polarity, a row and a column; the shape {list(shape)} does not say where they go"
    raise fail("input/shape", message, where, "give the shape as polarities,height,width")


def _check_events(x: Array, y: Array, p: Array, t: Array, starts: Array, grid: Shape, where: str) -> None:
    found = Findings()
    empty = np.flatnonzero(np.diff(starts) == 0)
    if len(empty):
        message = f"recording {empty[0]} has no events" + (f" (and {len(empty) - 1} more)" if len(empty) > 1 else "")
        found(Diagnostic("input/empty-recording", message, where, "leave empty recordings out"))
    sample = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    for name, values, limit in (("p", p, grid[0]), ("y", y, grid[1]), ("x", x, grid[2])):
        bad = np.flatnonzero((values < 0) | (values >= limit))
        if len(bad):
            first = bad[0]
            message = f"{name} = {values[first]} of event {first} lies outside 0..{limit - 1} ({len(bad)} such events)"
            help_ = f"check --shape; the events need {name} up to {values.max()}"
            found(Diagnostic("input/out-of-bounds", message, f"{where}, recording {sample[first]}", help_))
    if len(t) and t.min() < 0:
        found(Diagnostic("input/out-of-bounds", f"time {t.min()} us is before the start", where, "count time from 0"))
    back = np.flatnonzero((np.diff(t) < 0) & (sample[1:] == sample[:-1]))
    if len(back):
        message = f"event {back[0] + 1} is earlier than the one before it ({t[back[0] + 1]} us after {t[back[0]]} us)"
        found(Diagnostic("input/unsorted", message, f"{where}, recording {sample[back[0]]}", "sort the events by time"))
    found.raise_errors()


def _checked_spikes(spikes: Array, shape: Shape | None, where: str) -> Array:
    if spikes.dtype.kind not in "biuf":
        raise fail("input/not-numbers", f"'spikes' holds {spikes.dtype}, not numbers", where)
    if np.issubdtype(spikes.dtype, np.floating) and not np.all(np.isfinite(spikes)):
        bad = int(np.count_nonzero(~np.isfinite(spikes)))
        raise fail("input/not-finite", f"{bad} values are NaN or infinite", where, "repair the data")
    if spikes.size == 0:
        message = f"'spikes' of shape {list(spikes.shape)} holds nothing"
        raise fail("input/empty-recording", message, where, "give at least one sample of one step")
    if shape is not None:
        rank = spikes.ndim - len(shape)
        if rank not in (1, 2) or spikes.shape[rank:] != tuple(shape):
            expected = ", ".join(map(str, shape))
            message = f"'spikes' has shape {list(spikes.shape)}; the network takes (samples, steps, {expected})"
            raise fail("input/shape", message, where, "reshape the array")
    return spikes


def _labels(path: str | Path) -> Array:
    arrays = _read(path)
    found = arrays.get("labels", arrays.get("spikes"))
    if found is None:
        raise fail("input/labels", f"the file holds {', '.join(sorted(arrays))}, no 'labels'", str(path))
    return found


def _read(path: str | Path) -> dict[str, Array]:
    """Read the arrays of a file; an `.npy` counts as `spikes`."""
    try:
        with Path(path).open("rb") as file:
            data = np.load(file, allow_pickle=False)
            return {"spikes": data} if isinstance(data, np.ndarray) else {name: data[name] for name in data.files}
    except FileNotFoundError as error:
        raise fail("input/unreadable", "there is no such file", str(path)) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, CompileError) as error:
        message = f"not a .npz or .npy file of plain arrays, or a damaged one: {str(error).splitlines()[0]}"
        raise fail("input/unreadable", message, str(path), "write it with numpy.savez or numpy.save") from error
