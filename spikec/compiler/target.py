"""What a target can hold and express, as numbers: the passes read this, the backends provide it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from spikec.compiler.fixed import LOIHI2_ARITHMETIC, Arithmetic
from spikec.compiler.weights import Sign
from spikec.compiler.weights_grid import Grid


@dataclass(frozen=True)
class Choices:
    """What the user allows where a target cannot say exactly what was trained.

    reset: soft reset or reset to another value than the target's: `error`, `hard` (reset to zero, measured), `exact`
    (a neuron of our own, on a target that can be programmed). compare: `>=` likewise: `error`, `strict` (use `>`,
    measured), `exact`. maxpool: max pooling of currents: `error`, or `spikes` (pool the spikes after the neuron,
    measured). initial: an initial membrane other than 0: `error`, `zero`, `exact`.
    """

    reset: Literal["error", "hard", "exact"] = "error"
    compare: Literal["error", "strict", "exact"] = "error"
    maxpool: Literal["error", "spikes"] = "error"
    initial: Literal["error", "zero", "exact"] = "error"


def in_python(**choice: str) -> str:
    """Say how a choice is written in a call from Python, for the end of a help text that names it as an option."""
    fields = ", ".join(f'{name}="{value}"' for name, value in choice.items())
    return f"in Python choices=spikec.Choices({fields})"


@dataclass(frozen=True)
class Target:
    """A fixed-point target.

    `even_mixed`: mixed-sign weights of n bits are multiples of 2**(9 - n), single-sign ones of 2**(8 - n).
    `conv_exponent`: whether a convolution may have a weight exponent. `exponents` and `bias_exponents` are inclusive
    ranges. `latency` is what every weighted connection takes. `max_delay` is in steps; `message_bits` the widest
    graded message (0: spikes only). `soft_reset`, `ge`, `v_init`: whether the native neuron can express them;
    `synapse`: whether it has a synaptic current. `one_sign`: whether weights of one sign may be plain magnitudes; else
    every weight is in two's complement.
    """

    name: str
    arithmetic: Arithmetic = LOIHI2_ARITHMETIC
    weight_bits: int = 8
    even_mixed: bool = True
    exponents: tuple[int, int] = (-8, 7)
    conv_exponent: bool = False
    channel_exponent: bool = False
    threshold_max: int = (1 << 17) - 1
    bias_max: int = (1 << 12) - 1
    bias_exponents: tuple[int, int] = (0, 7)
    latency: int = 1
    max_delay: int = 62
    message_bits: int = 8
    soft_reset: bool = False
    ge: bool = False
    v_init: bool = False
    synapse: bool = True
    one_sign: bool = True
    choices: Choices = field(default_factory=Choices)


def code_limits(target: Target, bits: int, sign: Sign, *, beside: bool = False) -> tuple[int, int]:
    """Give the smallest and largest code that `quantize` puts on a target as it is, for codes of `bits` bits (1 to 8).

    `sign` is that of the rows in question; `beside`: rows of another sign stand in the same tensor, which the target
    then holds in two's complement. Every whole number between is a code too, but for mixed codes of 1 bit, which are
    -1 and +1. (Where the target's own weights are even, a code is half of one.)
    """
    low, high = Grid.limits(min(bits, target.weight_bits), sign)
    if sign == "mixed" or (target.one_sign and not beside):
        return low, high
    least, most = Grid.limits(target.weight_bits, "mixed")
    return max(low, least), min(high, most)
