"""The grids of a target: which integers it has for weights, thresholds, biases and decays, and the nearest ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from spikec.compiler.target import Target
from spikec.compiler.weights import Array, Fixed, Sign


@dataclass(frozen=True, eq=False)
class Mantissas:
    """Weights on a grid: `values * 2**exponent`, and how many had to be clipped."""

    values: Array
    exponent: int
    width: int
    sign: Sign
    step: int
    clipped: int

    @property
    def meant(self) -> Array:
        """The numbers that the integers stand for."""
        return np.asarray(self.values * 2.0**self.exponent)

    def fixed(self, scale: float | Array) -> Fixed:
        """Give the encoding."""
        return Fixed(self.values, self.exponent, self.width, self.sign, self.step, scale)


def sign_of(values: Array, target: Target) -> Sign:
    """Give the sign mode that a target has for weights."""
    if not target.one_sign:
        return "mixed"
    if values.min(initial=0) >= 0:
        return "excitatory"
    return "inhibitory" if values.max(initial=0) <= 0 else "mixed"


def step_of(target: Target, sign: Sign, bits: int) -> int:
    """Give the distance of two weights of n bits."""
    if not target.even_mixed:
        return 1
    return 1 << (target.weight_bits - bits + (sign == "mixed"))


def on_grid(wanted: Array, bits: int, target: Target, *, exponent: bool, left: bool = False) -> Mantissas:
    """Round real numbers to weights of n bits, at the exponent that loses least.

    Without clipping the smallest exponent is the finest; 0 is taken where it is as good. `exponent` False: only 0.
    `left`: none below 0.
    """
    sign = sign_of(wanted, target)
    step = step_of(target, sign, bits)
    low, high = Fixed.limits(bits, sign, step)
    tries = [0]
    if exponent:
        lowest = 0 if left else target.exponents[0]
        least = max(lowest, min(_needed(wanted, low, high), target.exponents[1]))
        tries = list(dict.fromkeys([0, *(e for e in (least, least + 1) if e <= target.exponents[1])]))
    best: tuple[float, Mantissas] | None = None
    for e in tries:
        whole = np.rint(wanted / (step * 2.0**e)) * step
        values = np.clip(whole, low, high).astype(np.int64)
        made = Mantissas(values, e, bits, sign, step, int(np.count_nonzero(whole != values)))
        error = float(np.sum((made.meant - wanted) ** 2))
        if best is None or error < best[0]:
            best = error, made
    assert best is not None
    return best[1]


def _needed(wanted: Array, low: int, high: int) -> int:
    """Give the smallest exponent at which nothing is clipped."""
    parts = [(float(wanted.max(initial=0)), high), (float(-wanted.min(initial=0)), -low)]
    return max((ceil(log2(size / top)) for size, top in parts if size > 0 and top > 0), default=0)


def bias_on_grid(wanted: Array, target: Target, least: int = 0) -> tuple[Array, int, int]:
    """Give mantissas, the smallest exponent that holds them all, and how many had to be clipped."""
    low, high = target.bias_exponents
    exponent = max(low, least)
    while exponent < high and np.any(np.abs(np.rint(wanted / 2.0**exponent)) > target.bias_max):
        exponent += 1
    whole = np.rint(wanted / 2.0**exponent)
    mantissa = np.clip(whole, -target.bias_max, target.bias_max).astype(np.int64)
    return mantissa, exponent, int(np.count_nonzero(whole != mantissa))


def decay_on_grid(kept: Array, target: Target) -> Array:
    """Give the decay constants whose states keep the part `kept` of themselves each step.

    Raises:
        ValueError: a target that decays by shifts has no constant that keeps nothing.
    """
    rules = target.arithmetic
    if rules.decay == "multiply":
        return np.asarray(np.rint((1 - kept) * (1 << rules.decay_bits)), np.int64)
    if np.any(kept == 0):
        raise ValueError("a decay by shifts keeps at least half of a state")
    parts = np.concatenate([[0.0], 2.0 ** -np.arange(1, rules.v_bits)])
    return np.asarray(np.abs(parts - (1 - kept)[..., None]).argmin(axis=-1), np.int64)


def kept_by(constant: Array, target: Target) -> Array:
    """Give the part of a state that a decay constant keeps."""
    if target.arithmetic.decay == "multiply":
        return np.asarray(1 - constant / (1 << target.arithmetic.decay_bits))
    return np.where(constant == 0, 1.0, 1 - 2.0 ** -constant.astype(np.float64))
