"""Images for the loader of an overlay: which is streamed when, and what the RTL made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikec.compiler.diagnostics import CompileError, fail

FAULTS = (
    "it never came to an end",
    "it does not begin as an image does",
    "it has another major version",
    "its header or its table of segments was changed",
    "it is of another geometry than the RTL",
    "a segment was changed",
    "the bytes between segments are not 0",
)
"""What the loader's fault numbers mean; 0 without `loaded` is an image that was cut off."""


@dataclass(frozen=True)
class Load:
    """An image to stream before a stream of tokens begins, one byte every `gap` cycles."""

    stream: int
    image: bytes
    gap: int = 1


@dataclass(frozen=True)
class Loaded:
    """What the loader made of an image.

    `cycles` are those from its first byte until the cores run, or until the loader gave up; `fault` is 0 in an image
    that was loaded or that never ended (`FAULTS`). `open` says that the design would take a token.
    """

    stream: int
    cycles: int
    loaded: bool
    fault: int
    open: bool

    @property
    def reason(self) -> str:
        """Why it was refused; empty where it was loaded."""
        return "" if self.loaded else FAULTS[self.fault]

    def refusal(self) -> CompileError:
        """Give the diagnostic of an image that was not loaded."""
        return fail("fpga/load-failed", f"the loader refused the image: {self.reason}", "image.bin", "compile again")


def encode_loads(loads: Iterable[Load]) -> NDArray[np.uint32]:
    """Give the images as the harness reads them: their number; of each its stream, gap, bytes, and the bytes."""
    listed = list(loads)
    parts = [np.array([len(listed)], np.uint32)]
    for load in listed:
        padded = np.frombuffer(load.image.ljust(-(-len(load.image) // 4) * 4, b"\0"), np.uint32)
        parts += [np.array([load.stream, load.gap, len(load.image)], np.uint32), padded]
    return np.concatenate(parts)
