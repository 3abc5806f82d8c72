"""The HDF5 file behind a `.net`: layers as plain values, every fault of the container named with its layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.weights import Array

LARGEST = (1 << 31) - 1
HELP = "export it again with SLAYER's export_hdf5"


@dataclass(frozen=True, eq=False)
class Entry:
    """One layer (or its neuron): a name to show and its arrays by name, `weight/real` for nested ones."""

    where: str
    values: dict[str, Array]

    def __contains__(self, name: str) -> bool:
        """Say whether a value, or a group of values, of that name is there."""
        return name in self.values or any(key.startswith(f"{name}/") for key in self.values)

    def group(self, name: str) -> Entry:
        """Give the values under `name/`."""
        prefix = f"{name}/"
        inside = {key[len(prefix) :]: value for key, value in self.values.items() if key.startswith(prefix)}
        return Entry(f"{self.where}, {name}", inside)

    def array(self, name: str) -> Array:
        """Give an array of numbers."""
        if name not in self.values:
            raise fail("netx/missing", f"the layer has no '{name}'", self.where, HELP)
        value = self.values[name]
        if not np.issubdtype(value.dtype, np.number) and not np.issubdtype(value.dtype, np.bool_):
            raise fail("netx/not-a-number", f"'{name}' holds {value.dtype}, not numbers", self.where, HELP)
        if not np.all(np.isfinite(value)):
            bad = int(np.count_nonzero(~np.isfinite(value)))
            raise fail("netx/not-finite", f"{bad} entries of '{name}' are NaN or infinite", self.where, "train again")
        if np.any(np.abs(value.astype(np.float64)) > LARGEST):
            raise fail("netx/too-large", f"'{name}' holds numbers beyond 32 bits", self.where, HELP)
        return value

    def whole(self, name: str) -> int | Array:
        """Give an integer, or an array of them."""
        value = self.array(name)
        if np.any(value != np.rint(value)):
            raise fail("netx/not-whole", f"'{name}' must be whole numbers", self.where, HELP)
        whole = value.astype(np.int64)
        return int(whole.reshape(-1)[0]) if whole.size == 1 else whole

    def number(self, name: str) -> int:
        """Give one integer."""
        value = self.whole(name)
        if not isinstance(value, int):
            raise fail("netx/shape", f"'{name}' must be one number", self.where, HELP)
        return value

    def text(self, name: str) -> str:
        """Give a string."""
        if name not in self.values:
            raise fail("netx/missing", f"there is no '{name}'", self.where, HELP)
        value: Any = self.values[name].reshape(-1)[0]
        return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def layers(path: str | Path) -> list[Entry]:
    """Read every layer of a `.net` file.

    Raises:
        CompileError: the file cannot be read, is not HDF5, is truncated, or has no numbered layers.
    """
    import h5py

    with _readable(path), h5py.File(path, "r") as file:
        group = file.get("layer")
        if not isinstance(group, h5py.Group) or not len(group):
            raise fail("netx/no-layers", "the file has no group 'layer' with layers in it", str(path), HELP)
        missing = [str(i) for i in range(len(group)) if str(i) not in group]
        if missing:
            names = ", ".join(sorted(group))
            message = f"layers must be numbered from 0 without a gap; the file has {names}"
            raise fail("netx/missing-layer", message, str(path), HELP)
        return [Entry(f"layer {i}", dict(_values(group[str(i)], ""))) for i in range(len(group))]


def _values(group: Any, prefix: str) -> Iterator[tuple[str, Array]]:
    import h5py

    for name in sorted(group):
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _values(item, f"{prefix}{name}/")
        else:
            yield prefix + name, np.asarray(item[()])


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Turn what h5py and the system say about a bad file into one diagnostic."""
    try:
        yield
    except CompileError:
        raise
    except FileNotFoundError as error:
        raise fail("netx/unreadable", "there is no such file", str(path)) from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        message = f"not an HDF5 file, or a truncated one: {str(error).splitlines()[0]}"
        raise fail("netx/unreadable", message, str(path), HELP) from error
