"""Comparing two runs of what should be one network: how many cells differ, and which one first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from spikec.compiler.weights import Array


@dataclass(frozen=True)
class Difference:
    """The first cell that differs: layer, sample, step and neuron, and what each side has there."""

    key: str
    sample: int
    step: int
    neuron: tuple[int, ...]
    left: float
    right: float

    def __str__(self) -> str:
        """Say it in one line."""
        kind = {"s": "output", "u": "current", "v": "membrane potential"}.get(self.key.split("/", 1)[0], "value")
        name = self.key.split("/", 1)[-1]
        neuron = ", ".join(map(str, self.neuron))
        where = f"{name}[{neuron}] at step {self.step} of sample {self.sample}"
        return f"{kind} of {where}: {self.left:.9g} and {self.right:.9g}"


@dataclass(frozen=True)
class Agreement:
    """How two runs agree: cells compared, cells that are not zero on either side, cells that differ.

    The three spike numbers count the outputs of nodes alone (keys `s/...`).
    """

    cells: int = 0
    active: int = 0
    differing: int = 0
    spike_cells: int = 0
    spikes_active: int = 0
    spikes_differing: int = 0
    first: Difference | None = None

    def __add__(self, other: Agreement) -> Agreement:
        """Join the agreement of two batches; the first difference is the earlier batch's."""
        return Agreement(
            self.cells + other.cells,
            self.active + other.active,
            self.differing + other.differing,
            self.spike_cells + other.spike_cells,
            self.spikes_active + other.spikes_active,
            self.spikes_differing + other.spikes_differing,
            self.first or other.first,
        )


def compare(
    left: Mapping[str, Array], right: Mapping[str, Array], keys: Iterable[str], *, first_sample: int = 0
) -> Agreement:
    """Compare arrays (N, T, *shape) key by key, in the order of the keys.

    The first difference is of the first key that differs (keys in the order of layers), there the earliest step.

    Raises:
        ValueError: a key is missing on one side, or shapes differ: then the two are not the same network.
    """
    total = Agreement()
    for key in keys:
        if key not in left or key not in right:
            raise ValueError(f"'{key}' is missing on one side")
        a, b = np.asarray(left[key]), np.asarray(right[key])
        if a.shape != b.shape:
            raise ValueError(f"'{key}' has shape {list(a.shape)} on one side and {list(b.shape)} on the other")
        total = total + _compare_arrays(key, a, b, first_sample)
    return total


def _compare_arrays(key: str, a: Array, b: Array, first_sample: int) -> Agreement:
    unlike = a != b
    count = int(np.count_nonzero(unlike))
    first = None
    if count:
        steps = unlike.reshape(*unlike.shape[:2], -1).any(axis=(0, 2))
        step = int(np.argmax(steps))
        sample, *neuron = (int(i) for i in np.argwhere(unlike[:, step])[0])
        where = (sample, step, *neuron)
        first = Difference(key, first_sample + sample, step, tuple(neuron), float(a[where]), float(b[where]))
    active = int(np.count_nonzero((a != 0) | (b != 0)))
    of_spikes = key.startswith("s/")
    spikes = (a.size, active, count) if of_spikes else (0, 0, 0)
    return Agreement(a.size, active, count, *spikes, first)
