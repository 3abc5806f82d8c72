"""Neurons for Lava: the native LIF or LIFReset where it says it exactly, else a process of our own, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from spikec.compiler.fixed import LOIHI2_ARITHMETIC, FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.weights import Array

THRESHOLDS = (-(1 << 25), (1 << 25) - 1)
"""Mantissas that Lava may shift left by 6 without leaving int32."""


def why_custom(op: FixedNeuron, *, sent_on: bool) -> tuple[str, ...]:
    """Give every reason why Lava's own LIF cannot be this neuron; none if it can.

    `sent_on` says that something other than an output of the network reads it.
    """
    return tuple(_reasons(op, sent_on))


def _reasons(op: FixedNeuron, sent_on: bool) -> Iterator[str]:
    if op.arithmetic != LOIHI2_ARITHMETIC:
        yield f"its arithmetic is {op.arithmetic.name}, Lava's is loihi2"
    if not never_fires(op):
        yield from _firing(op)
    if op.v_min is not None:
        yield "its membrane has a lower bound"
    if op.readout == "membrane" and sent_on:
        yield "it sends its membrane to another layer"
    bias, threshold = np.asarray(op.bias), np.asarray(op.threshold)
    if bias.min(initial=0) < -(1 << 15) or bias.max(initial=0) >= 1 << 15:
        yield "its bias mantissa does not fit into Lava's 16 bits"
    if threshold.min(initial=0) < THRESHOLDS[0] or threshold.max(initial=0) > THRESHOLDS[1]:
        yield "its threshold mantissa does not fit into Lava's 26 bits"


def _firing(op: FixedNeuron) -> Iterator[str]:
    """Say how a neuron that can fire does so otherwise than Lava's."""
    if op.reset == "subtract":
        yield "it resets by subtraction; Lava's LIF resets to zero"
    if op.reset == "none":
        yield "it does not reset; Lava's LIF resets to zero"
    if op.reset == "value" and np.any(np.asarray(op.v_reset) != 0):
        yield "it resets to another value than zero"
    if op.cmp == ">=":
        yield "it fires at v >= threshold; Lava's LIF fires at v > threshold"


def never_fires(op: FixedNeuron) -> bool:
    """Say whether the membrane cannot reach the threshold, so that reset and comparison do not matter."""
    rules = op.arithmetic
    top = (1 << (rules.v_bits - 1)) - 1
    threshold = np.asarray(op.threshold, np.int64) << rules.threshold_exp
    return bool(np.all(threshold > top if op.cmp == ">=" else threshold >= top))


def parameters(graph: Graph, node: Node, *, custom: bool) -> dict[str, Any]:
    """Give the parameters under the names that the script uses; Array values are still in the neuron's IR shape."""
    op = node.op
    assert isinstance(op, FixedNeuron)
    whole = graph.shapes[node.name]
    if not custom:
        u_decay: Any = 4096 if op.u_decay is None else op.u_decay
        given = {
            "vth": op.threshold,
            "du": np.asarray(u_decay, np.int64) - 1,  # Lava adds one to du, and none to dv
            "dv": op.v_decay,
            "bias_mant": op.bias,
            "u": op.u_init,
            "v": op.v_init,
        }
        return {**{name: _plain(value, whole) for name, value in given.items()}, "bias_exp": op.bias_exp}
    names = ("threshold", "v_decay", "u_decay", "bias", "amount", "v_reset", "v_min", "u_init", "v_init")
    given = {name: value for name in names if (value := getattr(op, name)) is not None}
    rules = op.arithmetic
    return {
        **{name: _plain(value, whole) for name, value in given.items()},
        "bias_exp": op.bias_exp,
        "cmp": op.cmp,
        "reset": op.reset,
        "readout": op.readout,
        "arithmetic": {name: getattr(rules, name) for name in type(rules).__dataclass_fields__ if name != "name"},
    }


def _plain(value: Any, shape: tuple[int, ...]) -> int | Array:
    """Give a plain int where every neuron has the same, else an array of the whole shape."""
    array = np.asarray(value)
    if array.size and np.all(array == array.reshape(-1)[0]):
        return int(array.reshape(-1)[0])
    return np.ascontiguousarray(np.broadcast_to(array, shape), dtype=np.int64)
