"""The user's data on its way in: calibration samples and example inputs as arrays (N, T, *shape)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from spikec.compiler.context import Calibration
from spikec.compiler.diagnostics import fail
from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array

SAMPLES = 128
"""A loader is read until it has given this many samples."""


def to_array(value: Any) -> Array:
    """Turn an array, a tensor or nested numbers into a NumPy array of real numbers.

    Raises:
        CompileError: it holds complex numbers, text or objects.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise fail("data/not-numbers", f"the data holds {array.dtype}, not real numbers")
    return array


def calibration(data: Any, time_axis: int | str | None) -> Calibration | None:
    """Give calibration samples (N, T, *shape) from what users have at hand.

    Args:
        data: None; an array or tensor; a pair (inputs, labels); a Calibration; or a loader that yields batches of
            either, which is read until it has given 128 samples. Arrays and pairs are (N, T, *shape). A loader's
            batches lie as the network's own input does: (T, N, *shape) where `time_axis` is 0.
        time_axis: the network's time axis.

    Raises:
        CompileError: there is nothing in it, or labels and inputs differ in number.
    """
    if data is None or isinstance(data, Calibration):
        return data
    if _is_array(data):
        return _checked(to_array(data), None)
    if isinstance(data, tuple) and len(data) == 2 and all(map(_is_array, data)):
        return _checked(to_array(data[0]), to_array(data[1]))
    if isinstance(data, Iterable):
        return _from_loader(data, time_axis)
    raise fail(
        "data/unknown", f"calibration data cannot be a {type(data).__name__}", help="give an array (N, T, *shape)"
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def _from_loader(loader: Iterable[Any], time_axis: int | str | None) -> Calibration:
    inputs: list[Array] = []
    labels: list[Array] = []
    for batch in islice(loader, SAMPLES):
        pair = batch if isinstance(batch, Sequence) and not _is_array(batch) else (batch,)
        array = to_array(pair[0])
        inputs.append(array.swapaxes(0, 1) if time_axis == 0 else array)
        if len(pair) > 1:
            labels.append(to_array(pair[1]).reshape(-1))
        if sum(map(len, inputs)) >= SAMPLES:
            break
    if not inputs:
        raise fail("data/empty", "the calibration loader gave no samples")
    together = np.concatenate(inputs)[:SAMPLES]
    return _checked(together, np.concatenate(labels)[:SAMPLES] if labels else None)


def _checked(inputs: Array, labels: Array | None) -> Calibration:
    if not len(inputs):
        raise fail("data/empty", "the calibration data holds no sample")
    if labels is not None and len(labels) != len(inputs):
        raise fail("data/labels", f"{len(labels)} labels stand beside {len(inputs)} samples")
    return Calibration(inputs, labels)


def repeat_static(inputs: Array, rank: int, steps: int | None) -> Array:
    """Repeat an input without a time axis (N, *shape) every step (direct coding); others are given back as they are.

    Args:
        inputs: (N, *shape) or (N, T, *shape).
        rank: number of axes of the network's input.
        steps: how many steps to repeat for.

    Raises:
        CompileError: the input has no time axis and no number of steps was given.
    """
    if inputs.ndim != rank + 1:
        if steps is not None and inputs.ndim == rank + 2 and inputs.shape[1] != steps:
            message = f"the input has {inputs.shape[1]} steps of its own, not {steps}"
            raise fail(
                "data/steps", message, help="leave --steps out: it is for input without a time axis, and for events"
            )
        return inputs
    if not steps:
        message = f"the input has shape {list(inputs.shape)} and no time axis"
        raise fail("data/no-time-axis", message, help="say for how many steps it is repeated: --steps T")
    return np.repeat(inputs[:, None], steps, axis=1)


def check_labels(labels: Array | None, samples: int, classes: int) -> Array | None:
    """Give labels as one whole number a sample, each the index of an output.

    Raises:
        CompileError: their number is another, or one is no index of an output.
    """
    if labels is None:
        return None
    flat = labels.reshape(-1)
    if len(flat) != samples:
        raise fail("data/labels", f"{len(flat)} labels stand beside {samples} samples")
    if len(flat) and (flat.min() < 0 or flat.max() >= classes):
        message = f"labels span {flat.min()}..{flat.max()}; the network has {classes} outputs"
        raise fail("data/labels", message, help="number the classes from 0, in the order of the outputs")
    return flat


def flatten_for(inputs: Array, size: Shape) -> Array:
    """Flatten the axes of a step (polarity, y, x, in C order) for a network whose input is flat and as long."""
    space = inputs.shape[2:]
    if len(size) == 1 and len(space) > 1 and prod(space) == size[0]:
        return inputs.reshape(*inputs.shape[:2], size[0])
    return inputs


def as_network_input(inputs: Array, time_axis: int | str | None, *, static: bool = False) -> Array:
    """Lay samples (N, T, *shape) as the network takes them: (T, N, *shape) for time axis 0; None: the first step.

    Where it joins samples and time, they are left apart here. A static input (N, *shape), which the network itself
    repeats, is given as it is.
    """
    if static or time_axis in (1, "joined"):
        return inputs
    return inputs.swapaxes(0, 1) if time_axis == 0 else inputs[:, 0]
