"""What lava-dl's netx and Lava's Dense make of a weight matrix: the reader and the writer of `.net` both ask here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spikec.compiler.weights import Array, Fixed, Sign

Fault = Literal["", "all-zero", "vanish"]

LOIHI_BITS = 8
NEVER = 1 << 17
"""Threshold mantissa of a layer without neuron parameters in netx: v saturates below it, so the layer never fires."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A matrix as Lava holds it after netx: `values * 2**exponent` stands for what the file says.

    `fault`: `all-zero` (netx stops with an OverflowError), `vanish` (a shift by a negative count makes every weight
    0), or nothing. `altered` counts the entries whose value is not that of the file.
    """

    values: Array
    bits: int
    exponent: int
    altered: int
    fault: Fault = ""

    @property
    def fixed(self) -> Fixed:
        """The matrix as a fixed weight."""
        if self.fault or not self.values.any():
            return Fixed(np.zeros_like(self.values), width=1, sign="excitatory")
        sign = sign_of(self.values)
        return Fixed(self.values, self.exponent, self.bits, sign, 1 << _cut(self.bits, sign))


def load(matrix: Array) -> Loaded:
    """Do to an integer matrix what netx's optimize_weight_bits and then Lava's clipping and truncation do.

    Args:
        matrix: (out, in), integers. Loihi's 8-bit mixed weights are the even numbers of [-256, 254].
    """
    return load_together([matrix])[0]


def load_together(matrices: Sequence[Array]) -> list[Loaded]:
    """Do the same to matrices of as many rows that netx optimizes as one; Lava then holds each of them by itself."""
    given = [np.asarray(matrix, np.int64) for matrix in matrices]
    whole = np.concatenate([matrix.reshape(-1) for matrix in given])
    if not whole.any():
        return [Loaded(matrix, 1, 0, 0, "all-zero") for matrix in given]
    low, high = int(whole.min()), int(whole.max())
    if (high > 254 and low < 0) or (low < -256 and high > 0):
        whole = np.clip(whole, -256, 254)
        low, high = int(whole.min()), int(whole.max())
    signed = int(low < 0 <= high)
    shift = _headroom(low, high) + signed
    zeros = next((n for n in range(LOIHI_BITS, 0, -1) if not np.any(whole % (1 << n))), 0)
    bits = LOIHI_BITS - shift - (zeros - signed)
    if shift < 0:  # netx shifts by a negative count, which leaves nothing
        return [Loaded(np.zeros_like(m), 1, 0, int(np.count_nonzero(m)), "vanish") for m in given]
    return [_held(matrix, np.clip(matrix, low, high) << shift, bits, shift) for matrix in given]


def _held(given: Array, values: Array, bits: int, shift: int) -> Loaded:
    held = _lava(values, bits)
    fault: Fault = "vanish" if given.any() and not held.any() else ""
    return Loaded(held, bits, -shift, int(np.count_nonzero(held != given << shift)), fault)


def sign_of(values: Array) -> Sign:
    """Give the sign mode that Lava reads from the values."""
    if values.min(initial=0) >= 0:
        return "excitatory"
    return "inhibitory" if values.max(initial=0) <= 0 else "mixed"


def _headroom(low: int, high: int) -> int:
    """By how many doublings the range would still fit: floor of a logarithm, as netx computes it."""
    if low >= 0:
        scale = 255 / high
    elif high < 0:
        scale = -256 / low
    else:
        scale = min(127 / high if high else np.inf, -128 / low)
    return int(np.floor(np.log2(scale)))


def _cut(bits: int, sign: Sign) -> int:
    return LOIHI_BITS - bits + int(sign == "mixed")


def _lava(values: Array, bits: int) -> Array:
    """Clip to the range of the sign mode and drop the low bits that the width does not hold."""
    sign = sign_of(values)
    magnitude = -values if sign == "inhibitory" else values
    magnitude = np.clip(magnitude, -256 if sign == "mixed" else 0, 255)
    cut = _cut(bits, sign)
    magnitude = (magnitude >> cut) << cut if cut >= 0 else np.zeros_like(magnitude)
    return -magnitude if sign == "inhibitory" else magnitude
