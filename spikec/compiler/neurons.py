"""The neuron as it was trained: one op whose fields cover 44 neuron classes of five frameworks (semantics.md, 1 B)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from spikec.compiler.fields import freeze_arrays, refuse_misfits
from spikec.compiler.ir import Op, Shape
from spikec.compiler.weights import Array

Number = float | Array
"""A scalar, or an array that broadcasts against the neuron's shape (a channel's: (C, 1, 1))."""

SynapseOrder = Literal["none", "decay_add", "add_decay", "add_use_decay"]
ResetWhen = Literal["post", "next", "next_post"]


@dataclass(frozen=True, eq=False)
class Neuron(Op):
    """One time step of a population, from the summed input I, with r = 1[v_prev cmp v_th] of the step before.

        none:           i = g_in I
        decay_add:      i = a_syn i + g_in I
        add_decay:      i = a_syn (i + g_in I)
        add_use_decay:  j = i + g_in I is used below; afterwards i = a_syn j
        v = a_mem v + (1 - a_mem) v_leak + g_syn i + bias
        s = 1[v cmp v_th]                       spike "single"
        s = min(max_spikes, trunc(v / v_th))    spike "multi", where v >= v_th (max_spikes 0: no limit)
        out = graded s                          readout "spikes";   out = v  (after reset)  readout "membrane"

    Reset, with reset_amount a (None: v_th):

        post,      subtract: v = v - a s                     post,      value: v = v_reset where s
        next,      subtract: v as above, minus a r           next,      value: v = v_reset where r, before the decay
        next,      value, drop_input: the whole new v is v_reset where r (the input of that step is lost)
        next_post: as next, and after s is judged
                   subtract: v = v - a (s - r)               value: v = v - (s - r) v
        none: nothing

    The spike s is judged on v before a post reset and after a next reset (next_post: between its two). Last,
    v = max(v, v_min) if v_min is given.
    A traced v is after reset and clamp. Start: v = v_init, i = 0, r = 0 taken from v_init.
    Every Number is a scalar or broadcasts against the shape. `dt`, seconds a step, is for the record only.

    Source: the equations of the frameworks as measured (semantics.md part 1 B).
    """

    a_mem: Number = 1.0
    v_th: Number = 1.0
    a_syn: Number = 0.0
    syn_order: SynapseOrder = "none"
    g_in: Number = 1.0
    g_syn: Number = 1.0
    bias: Number = 0.0
    v_leak: Number = 0.0
    v_init: Number = 0.0
    cmp: Literal[">", ">="] = ">"
    spike: Literal["single", "multi"] = "single"
    max_spikes: int = 0
    graded: Number = 1.0
    reset: Literal["subtract", "value", "none"] = "subtract"
    reset_amount: Number | None = None
    v_reset: Number = 0.0
    reset_when: ResetWhen = "post"
    drop_input: bool = False
    v_min: Number | None = None
    readout: Literal["spikes", "membrane"] = "spikes"
    dt: float = 0.0
    mnemonic: ClassVar[str] = "neuron"
    stateful: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        freeze_arrays(self, *NUMBERS)

    def shape(self, given: Shape) -> Shape:
        """Keep the shape; every parameter must broadcast against it."""
        refuse_misfits(self, NUMBERS, given)
        return given

    @property
    def amount(self) -> Number:
        """What a subtracting reset takes away: `reset_amount`, or the threshold."""
        return self.v_th if self.reset_amount is None else self.reset_amount


NUMBERS = (
    "a_mem",
    "v_th",
    "a_syn",
    "g_in",
    "g_syn",
    "bias",
    "v_leak",
    "v_init",
    "graded",
    "reset_amount",
    "v_reset",
    "v_min",
)
"""The fields of a neuron that are numbers, scalar or per neuron."""


def IF(v_th: Number = 1.0, **fields: Any) -> Neuron:  # noqa: N802 - the field's own name
    """Integrate and fire: v = v + I."""
    return Neuron(a_mem=1.0, v_th=v_th, **fields)


def LIF(a_mem: Number, v_th: Number = 1.0, **fields: Any) -> Neuron:  # noqa: N802
    """Leaky integrate and fire: v = a_mem v + (1 - a_mem) v_leak + g_in I."""
    return Neuron(a_mem=a_mem, v_th=v_th, **fields)


def CubaLIF(  # noqa: N802
    a_syn: Number, a_mem: Number, v_th: Number = 1.0, syn_order: SynapseOrder = "decay_add", **fields: Any
) -> Neuron:
    """Current-based LIF: i = a_syn i + g_in I; v = a_mem v + g_syn i."""
    return Neuron(a_mem=a_mem, a_syn=a_syn, syn_order=syn_order, v_th=v_th, **fields)


def LI(a_mem: Number, **fields: Any) -> Neuron:  # noqa: N802
    """Leaky integrator that never spikes; its output is the membrane potential."""
    return Neuron(a_mem=a_mem, v_th=np.inf, reset="none", readout="membrane", **fields)
