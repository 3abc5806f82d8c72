"""What N:M weights save in Loihi's synapse memory, and what would save more: a remark a connection."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from spikec.backends.loihi.memory import CoreLimits, conv_words, dense_words
from spikec.backends.loihi.partition import LIMITS, fixed_of
from spikec.compiler.diagnostics import Diagnostic, remark
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv1d, Conv2d, Linear
from spikec.compiler.weights_nm import NM


def stored_zeros(graph: Graph, limits: CoreLimits = LIMITS) -> Iterator[Diagnostic]:
    """Say of every connection with N:M weights that its zeros are stored, and what saves words instead.

    A core stores all synapses of an input that it uses at all (semantics.md part 2), and a kernel once, whole: only
    inputs without any weight save words. Words are those of the connection before it is cut over cores.
    """
    for node in graph.of(Linear, Conv1d, Conv2d):
        weight = getattr(node.op, "weight", None)
        if isinstance(weight, NM):
            yield _said(node, weight, limits)


def _said(node: Node, weight: NM, limits: CoreLimits) -> Diagnostic:
    fixed = fixed_of(node)
    rows, inputs = fixed.shape[:2]
    linear = isinstance(node.op, Linear)
    used = int(np.count_nonzero(fixed.values.any(axis=0))) if linear else inputs

    def words(axons: int, bits: int) -> int:
        if linear:
            return dense_words(axons, rows, bits, limits.overhead)
        return conv_words(inputs, prod(fixed.shape[2:]), rows, bits)

    now, full = words(used, fixed.width), words(inputs, fixed.width)
    text = f"{now} words of synapse memory, as many as of dense weights"
    if now < full:
        left = f"{inputs - used} of {inputs} inputs left without any"
        text = f"{now} words of synapse memory; of dense weights {full}, with {left}"
    why = "an input that is used is stored with its zeros" if linear else "a kernel is stored with its zeros"
    half = fixed.width // 2
    fewer = f"sbc-quantize{{bits={half}}} takes {words(used, half)}, and " if half > 1 else ""
    whole = "inputs that meet no weight at all take none" if linear else "fewer channels take fewer"
    return remark("loihi/zeros", f"{weight.n}:{weight.m} takes {text}: {why}; {fewer}{whole}", node.where)
