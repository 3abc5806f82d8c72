"""The neuron of a fixed graph: integers of stated widths, whose arithmetic is a field and not a convention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from spikec.compiler.fields import freeze_arrays, refuse_misfits
from spikec.compiler.ir import Op, Shape
from spikec.compiler.weights import Array

Whole = int | Array
"""An integer, or an array of integers that broadcasts against the neuron's shape."""


@dataclass(frozen=True)
class Arithmetic:
    """The integer arithmetic of a neuron core.

    decay `multiply`: D(x, d) = sign(x) ((|x| (2**decay_bits - d)) >> decay_bits), so toward zero;
    decay `shift`:    D(x, d) = x - sign(x) (|x| >> d), toward zero likewise, and D(x, 0) = x.
    The summed input is shifted left by `input_exp` and wrapped to 32 bits; a threshold or reset mantissa is shifted
    left by `threshold_exp`.
    A state of n bits that wraps lies in (-2**(n-1), 2**(n-1)] and is brought back by one subtraction of 2**n (an
    overflow by more than that stays outside, as in Lava). One that saturates lies in [-2**(n-1) + 1, 2**(n-1) - 1]
    where `symmetric`, else in [-2**(n-1), 2**(n-1) - 1].
    """

    name: str
    decay: Literal["multiply", "shift"] = "multiply"
    decay_bits: int = 12
    input_exp: int = 0
    threshold_exp: int = 0
    u_bits: int = 24
    u_overflow: Literal["wrap", "saturate"] = "saturate"
    v_bits: int = 24
    v_overflow: Literal["wrap", "saturate"] = "saturate"
    symmetric: bool = False


LOIHI2_ARITHMETIC = Arithmetic(
    name="loihi2",
    input_exp=6,
    threshold_exp=6,
    u_bits=24,
    u_overflow="wrap",
    v_bits=24,
    v_overflow="saturate",
    symmetric=True,
)
"""Exact to Lava's LIF of tag `fixed_pt` (semantics.md part 2 B)."""


def fpga_arithmetic(v_bits: int = 16, decay: Literal["multiply", "shift"] = "multiply") -> Arithmetic:
    """Give the arithmetic of the spike core: no exponents, v of `v_bits` bits that saturates; u is just the input.

    Written down in docs/integer-neuron.md. A neuron of it has no current (u_decay None) and no v_min.
    """
    return Arithmetic(name="fpga", decay=decay, u_bits=32, v_bits=v_bits)


@dataclass(frozen=True, eq=False)
class FixedNeuron(Op):
    """One time step of a population in integers, from the summed integer input a (int32, wrapped).

        u = over_u( D(u, u_decay) + (a << input_exp) )
        b = bias << bias_exp   (bias_exp < 0: bias >> -bias_exp), wrapped to 32 bits
        v = over_v( D(v, v_decay) + u + b ),  the sum wrapped to 32 bits first
        s = v > threshold << threshold_exp    (or >=, by `cmp`)
        reset value: v = v_reset where s;  subtract: v = v - (reset_amount << threshold_exp) where s, then over_v;  none
        v = max(v, v_min) if v_min is given
        out = s   readout "spikes";    out = v   readout "membrane"

    `threshold` and `reset_amount` are mantissas (reset_amount None: the threshold); bias_exp applies to bias alone;
    v_reset, v_min, v_init and u_init are in the units of v and u. `u_decay` 2**decay_bits keeps nothing (u is the
    input), 0 keeps all; with decay `shift`, u_decay must keep nothing, which is written None.
    Time: before step `start` of a sample the neuron sends 0 (its state moves all the same), and its state is set to
    (u_init, v_init) before the update of step `start`. With `reset_interval` R > 0 the state is set to zero before
    the update of every step t (from 0) with t % R == reset_offset % R, whatever `start` says.
    `units` is the shape of a population that has no input (a source of constant spikes); else None.
    `scale` is what one unit of v means in the trained network's terms (0 where nobody knows).
    A traced u and v are after the reset. Source of the loihi2 setting: Lava's PyLifModelBitAcc, semantics.md part 2 B.
    """

    threshold: Whole
    v_decay: Whole = 0
    u_decay: Whole | None = None
    bias: Whole = 0
    bias_exp: int = 0
    cmp: Literal[">", ">="] = ">"
    reset: Literal["value", "subtract", "none"] = "value"
    reset_amount: Whole | None = None
    v_reset: Whole = 0
    v_min: Whole | None = None
    u_init: Whole = 0
    v_init: Whole = 0
    readout: Literal["spikes", "membrane"] = "spikes"
    start: int = 0
    reset_interval: int = 0
    reset_offset: int = 0
    units: Shape | None = None
    scale: float | Array = 0.0
    arithmetic: Arithmetic = LOIHI2_ARITHMETIC
    mnemonic: ClassVar[str] = "fixed_neuron"
    stateful: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Store every number as an int, or as read-only int64."""
        for name in WHOLES:
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value)
            if not np.issubdtype(array.dtype, np.integer):
                raise ValueError(f"{name} of a fixed neuron must be whole numbers, not {array.dtype}")
            object.__setattr__(self, name, int(array) if array.ndim == 0 else array.astype(np.int64))
        freeze_arrays(self, *WHOLES, "scale")

    def shape(self, given: Shape) -> Shape:
        """Keep the shape (or give `units`); every parameter must broadcast against it."""
        whole = self.units if self.units is not None else given
        refuse_misfits(self, WHOLES, whole)
        return whole

    @property
    def amount(self) -> Whole:
        """Mantissa that a subtracting reset takes away: `reset_amount`, or the threshold."""
        return self.threshold if self.reset_amount is None else self.reset_amount

    @property
    def has_current(self) -> bool:
        """Say whether u remembers anything from one step to the next."""
        return self.u_decay is not None and bool(np.any(np.asarray(self.u_decay) != 1 << self.arithmetic.decay_bits))


WHOLES = ("threshold", "v_decay", "u_decay", "bias", "reset_amount", "v_reset", "v_min", "u_init", "v_init")
"""The fields of a fixed neuron that are integers, scalar or per neuron."""
