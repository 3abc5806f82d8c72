"""What Loihi's own neuron cannot say and a Lava process of ours can: errors, unless such processes are allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spikec.backends.loihi.lavaneuron import never_fires
from spikec.compiler.diagnostics import Diagnostic, remark
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.target import Target, in_python

Rule = Callable[[Graph, Node, Target], Iterator[Diagnostic]]


def a_spike_resets_to_zero(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Loihi's neuron has a hard reset to zero."""
    op = node.op
    if not isinstance(op, FixedNeuron) or never_fires(op):
        return
    help_ = (
        "convert with measured cost (--reset=hard), or emit a process of our own (--reset=exact); "
        f"{in_python(reset='hard')}"
    )
    if op.reset == "subtract" and not target.soft_reset:
        yield Diagnostic(
            "loihi/soft-reset", "a spike takes the threshold off; Loihi 2 resets to zero", node.where, help_
        )
    if op.reset == "none":
        yield Diagnostic("loihi/no-reset", "a spike does not reset; Loihi 2 resets to zero", node.where, help_)
    if op.reset == "value" and np.any(np.asarray(op.v_reset) != 0):
        message = "a spike resets to another value; Loihi 2 resets to zero"
        yield Diagnostic("loihi/reset-value", message, node.where, help_)


def a_spike_needs_more_than_the_threshold(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Loihi's comparison is strict."""
    op = node.op
    if isinstance(op, FixedNeuron) and op.cmp == ">=" and not target.ge and not never_fires(op):
        message = "it fires at v >= threshold; Loihi 2 fires at v > threshold, in steps of 64"
        help_ = (
            "use > with measured cost (--compare=strict), or a process of our own (--compare=exact); "
            f"{in_python(compare='strict')}"
        )
        yield Diagnostic("loihi/compare", message, node.where, help_)


def a_membrane_has_no_lower_bound(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Loihi's membrane saturates at its width alone."""
    if isinstance(node.op, FixedNeuron) and node.op.v_min is not None:
        message = "its membrane has a lower bound; on Loihi 2 it has none"
        help_ = f"train without it, or emit a process of our own (--reset=exact, {in_python(reset='exact')})"
        yield Diagnostic("loihi/v-min", message, node.where, help_)


def a_sample_starts_from_zero(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Loihi's reset sets the state to zero."""
    op = node.op
    if isinstance(op, FixedNeuron) and not target.v_init and (np.any(op.v_init) or np.any(op.u_init)):
        message = "its state starts from another value than zero"
        help_ = (
            "start from zero with measured cost (--initial=zero), or set it from the host (--initial=exact); "
            f"{in_python(initial='zero')}"
        )
        yield Diagnostic("loihi/initial-state", message, node.where, help_)


CUSTOM: tuple[Rule, ...] = (
    a_spike_resets_to_zero,
    a_spike_needs_more_than_the_threshold,
    a_membrane_has_no_lower_bound,
    a_sample_starts_from_zero,
)
"""What a Lava process of our own can do, which real Loihi 2 would need as microcode."""


def allowed(found: Diagnostic) -> Diagnostic:
    help_ = "Lava runs it as a process of our own, marked custom; a real chip needs microcode for it"
    return remark(found.code, found.message, found.where, help_)
