"""The fields of one NIR node, asked for by name and kind: what is missing or wrong is one clear diagnostic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.ir import Shape
from spikec.frontends.nir.raw import RawNode

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fields:
    """The fields of a node."""

    node: RawNode

    def has(self, name: str) -> bool:
        """Say whether the field is there."""
        return name in self.node.fields

    def bad(self, name: str, what: str) -> CompileError:
        """Make the error for a field that cannot be used."""
        message = f"{name} of {self.node.type} {what}"
        return fail("nir/bad-field", message, self.node.where, "look at how the file was written")

    def weights(self, name: str, ranks: Iterable[int]) -> NDArray[Any]:
        """Give an array of floats in its own type (other numbers as float64), of one of these ranks."""
        array = self._array(name)
        if array.ndim not in tuple(ranks):
            wanted = " or ".join(str(rank) for rank in ranks)
            raise self.bad(name, f"has shape {list(array.shape)}, not {wanted} axes")
        if not np.all(np.isfinite(array)):
            raise self.bad(name, f"has {np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite")
        return array if array.dtype.kind == "f" and array.dtype.itemsize >= 4 else array.astype(np.float64)

    def numbers(self, name: str, default: float | None = None, *, endless: bool = False) -> Floats:
        """Give a field of real numbers of any rank, as float64; `endless` allows infinity."""
        if default is not None and not self.has(name):
            return np.asarray(default, np.float64)
        array = self._array(name).astype(np.float64)
        if np.any(np.isnan(array)) or (not endless and np.any(np.isinf(array))):
            raise self.bad(name, "has values that are NaN or infinite")
        return array

    def ints(self, name: str, count: int, default: int | None = None) -> tuple[int, ...]:
        """Give `count` whole numbers; one number stands for all of them."""
        if default is not None and not self.has(name):
            return (default,) * count
        array = self._array(name).reshape(-1)
        if array.size not in (1, count) or np.any(array != np.rint(array)):
            raise self.bad(name, f"is {array.tolist()}, not {count} whole numbers")
        return tuple(int(value) for value in np.broadcast_to(array, (count,)))

    def shape(self, name: str) -> Shape | None:
        """Give a shape, or None where it is not stated."""
        if not self.has(name):
            return None
        array = self._array(name).reshape(-1)
        if np.any(array != np.rint(array)) or np.any(array < 1):
            raise self.bad(name, f"is {array.tolist()}, not a shape")
        return tuple(int(value) for value in array)

    def text(self, name: str) -> str | None:
        """Give a field that is a word, or None where it is not one."""
        value = self.node.fields.get(name)
        if isinstance(value, bytes):
            return value.decode("utf8", "replace")
        return str(value) if isinstance(value, str) else None

    def _array(self, name: str) -> NDArray[Any]:
        if not self.has(name):
            raise fail("nir/missing-field", f"{self.node.type} has no {name}", self.node.where, "write the file again")
        try:
            array = np.asarray(self.node.fields[name])
        except ValueError as error:
            raise self.bad(name, "is not an array") from error
        if array.dtype.kind not in "fiub":
            raise self.bad(name, f"is of type {array.dtype}, not real numbers")
        return array
