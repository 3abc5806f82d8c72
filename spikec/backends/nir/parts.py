"""Parts: the NIR nodes that stand for one node of a graph, each with what a reader of NIR alone makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikec.backends.nir.loss import Loss
from spikec.compiler.ir import Op, Shape
from spikec.compiler.notes import fingerprint
from spikec.compiler.weights import Array

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """One NIR node: its type and fields as they are written, and `literal`, what they say when read by the letter.

    `suffix` is added to the node's name; the last part of a chain has none. `sealed` parts are fingerprinted: the true
    form in the note holds good only while their numbers are as written (weights are not: they may be edited).
    """

    type: str
    fields: Mapping[str, Array]
    literal: Op
    suffix: str = ""
    sealed: bool = True

    @property
    def mark(self) -> str:
        """The fingerprint to note."""
        return fingerprint(self.type, self.fields) if self.sealed else ""


@dataclass(frozen=True, eq=False)
class Form:
    """The chain of NIR nodes for one node, what NIR could not say, and what the note says instead.

    `true` are the fields that the note keeps to rebuild the op, None where the plain nodes say everything.
    """

    parts: tuple[Part, ...]
    true: Mapping[str, Any] | None = None
    losses: tuple[Loss, ...] = field(default=())


def full(value: Any, shape: Shape) -> Floats:
    """Broadcast a number to the whole shape as float64 (nir's type check refuses scalars)."""
    array: Floats = np.array(np.broadcast_to(np.asarray(value, np.float64), shape))
    return array


def whole(*values: int) -> Array:
    """Give whole numbers as NIR has them, int64."""
    return np.array(values, np.int64)
