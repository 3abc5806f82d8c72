"""A task: a pure function of arrays and plain options, and the key under which its result may be kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from spikec.compiler.weights import Array

Arrays = Mapping[str, Array]
Plain = str | int | float | bool | None
Options = Mapping[str, Plain | tuple[Plain, ...]]

VERSION = version("spikec")
REVISION = 1
"""Raised when a task's function changes its results without changing its name or its options."""


@dataclass(frozen=True, eq=False)
class Task:
    """One piece of work, such as a block of rows of a layer.

    `function(**arrays, **options, threads=K)` gives named arrays. It is a function of a module, known by its name, and
    its result depends on arrays and options alone: `threads` (0: all cores) is how many it may use, and changes no bit.
    The arrays are handed over read-only and C-contiguous, and BLAS runs on one thread within it, since its sums change
    with the number of threads. The same array object given to many tasks is sent to a worker machine once.

    `name` is for people; `cost` is the share of the time that it is likely to take, for the progress bar.
    """

    name: str
    function: Callable[..., Arrays]
    arrays: Arrays
    options: Options = field(default_factory=dict)
    cost: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what another process could not find, and arrays of Python objects."""
        if "<" in self.function.__qualname__:
            raise ValueError(
                f"{self.function.__qualname__} is no function of a module: a worker cannot find it by name"
            )
        for name, array in self.arrays.items():
            if array.dtype.hasobject:
                raise ValueError(f"array '{name}' of task '{self.name}' holds Python objects")


class Keys:
    """Makes the keys of tasks; an array that many tasks share is hashed once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Array, str]] = {}  # the array is held, so that its id stays its own

    def __call__(self, task: Task) -> str:
        """Give the SHA-256 (hexadecimal) of everything that determines a task's result."""
        content = {
            "revision": REVISION,
            "spikec": VERSION,
            "numpy": np.__version__,
            "function": f"{task.function.__module__}:{task.function.__qualname__}",
            "options": dict(task.options),
            "arrays": {name: self._digest(array) for name, array in task.arrays.items()},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _digest(self, array: Array) -> str:
        if id(array) not in self._known:
            self._known[id(array)] = (array, digest(array))
        return self._known[id(array)][1]


def digest(array: Array) -> str:
    """Give the SHA-256 of an array's type, shape and values, whatever its layout in memory."""
    head = f"{array.dtype.newbyteorder('<').str}{list(array.shape)}"
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    made = hashlib.sha256(head.encode())
    made.update(little.reshape(-1).view(np.uint8).data)
    return made.hexdigest()


def as_given(array: Array) -> Array:
    """Give an array as every task sees it: C-contiguous and read-only. Copies only where the layout differs."""
    given = np.asarray(array, order="C").view()
    given.flags.writeable = False
    return given


def carry_out(function: Callable[..., Arrays], arrays: Arrays, options: Options, threads: int) -> Arrays:
    """Run a task's function as every executor does, so that all get the same bits."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        made = function(**{name: as_given(array) for name, array in arrays.items()}, **options, threads=threads)
    return {name: np.asarray(array, order="C") for name, array in made.items()}
