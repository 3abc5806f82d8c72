"""A layer as quantization sees it: a neuron population, everything that feeds it, and one candidate in integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Node, Shape
from spikec.compiler.neurons import Neuron, Number
from spikec.compiler.ops import Linear
from spikec.compiler.target import Target
from spikec.compiler.weights import Array
from spikec.compiler.weights_grid import Grid
from spikec.passes.quantize.codes import kept_codes
from spikec.passes.quantize.express import Form, whole_steps
from spikec.passes.quantize.grid import Mantissas, bias_on_grid, decay_on_grid, kept_by, on_grid


@dataclass(frozen=True, eq=False)
class Feed:
    """What feeds a population: a connection, or (`constant`) a bias that must pass through the synapse or begin late.

    `weight` is in float64; `unit` is what a message of 1 means; `top` the largest message; `late` the steps until a
    constant begins. `left`: its exponent must not be below 0, for the target sums it in parts, each shifted alone.
    `grid`: the codes that its weights are, if any.
    """

    node: Node
    weight: Array
    unit: float = 1.0
    top: int = 1
    message_bits: int = 0
    constant: bool = False
    late: int = 0
    left: bool = False
    grid: Grid | None = None

    @property
    def dense(self) -> bool:
        """Say whether it is a matrix."""
        return isinstance(self.node.op, Linear)


@dataclass(frozen=True, eq=False)
class Layer:
    """A population with its feeds; `bias` is what acts on its membrane from the first step."""

    node: Node
    op: Neuron
    form: Form
    shape: Shape
    feeds: tuple[Feed, ...]
    bias: Array

    def rows(self, feed: Feed, scale: Array) -> Array:
        """Give the scale of each output row of a feed's weights, to multiply them by."""
        if scale.ndim == 0:
            return scale
        rows = feed.weight.shape[0]
        if rows != len(scale):
            scale = np.broadcast_to(self.over(scale), self.shape).reshape(-1)
        return scale.reshape(-1, *(1,) * (feed.weight.ndim - 1))

    def over(self, scale: Array) -> Array:
        """Shape a scale so that it lies along the population's first axis."""
        return scale if scale.ndim == 0 else scale.reshape(-1, *(1,) * (len(self.shape) - 1))

    @property
    def by_channel(self) -> bool:
        """Say whether every channel of the population may have a scale of its own."""
        rows = {self.shape[0] if self.shape else 0, prod(self.shape)}
        plain = all(not feed.dense or len(self.shape) == 1 or feed.constant for feed in self.feeds)
        return bool(self.shape) and plain and all(feed.weight.shape[0] in rows for feed in self.feeds)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer in integers at a scale: v_int = scale * 2**input_exp * v. `faults` say why it cannot be.

    `bound` is the largest input that it can get at all, `memory` how much larger its synaptic current can become. The
    errors of threshold, bias and rounding are relative to the threshold, that of the weights to their RMS. `kept`: the
    integers of every Grid are its codes times powers of two.
    """

    scale: Array
    neuron: FixedNeuron
    weights: Mapping[str, Mantissas]
    weight_error: float
    threshold_error: float
    bias_error: float
    decay_error: float
    clipped: int
    bound: float
    memory: float
    rounding_error: float
    kept: bool = False
    faults: tuple[str, ...] = field(default=())

    @property
    def error(self) -> float:
        """What the numbers alone say about it, for ranking."""
        return self.weight_error + self.threshold_error + self.bias_error + self.rounding_error

    def roomy(self, limit: float) -> bool:
        """Say whether threshold and input lie far below where the membrane overflows: it may go the other way too."""
        return self.bound * self.memory + float(np.max(self.neuron.threshold)) < limit / 8


def candidate(layer: Layer, scale: Array, bits: int, target: Target, *, keep: bool = False) -> Candidate:
    """Put a layer on the target's grids at a scale; with `keep` at one of those that keep the codes of its grids."""
    rules, op = target.arithmetic, layer.op
    faults: list[str] = []
    weights: dict[str, Mantissas] = {}
    lost = size = 0.0
    bound = np.zeros(())
    for feed in layer.feeds:
        rows = layer.rows(feed, scale)
        wanted = feed.weight * rows * feed.unit
        exponent = feed.dense or target.conv_exponent
        if keep and feed.grid is not None:
            made = kept_codes(feed.grid, rows * feed.unit, bits, target, exponent=exponent, left=feed.left)
        else:
            made = on_grid(wanted, bits, target, exponent=exponent, left=feed.left)
        weights[feed.node.name] = made
        if not (keep and feed.grid is not None):  # kept codes are what was meant, but for the last bit of a float
            lost += float(np.sum(((made.meant - wanted) / rows) ** 2))
        size += float(np.sum((wanted / rows) ** 2))
        reach = np.abs(made.values).reshape(made.values.shape[0], -1).sum(axis=1) * feed.top * 2.0**made.exponent
        bound = bound + reach.max(initial=0)
    unit = layer.over(scale) * float(1 << rules.input_exp)
    whole = keep and _counts(layer, layer.over(scale))
    threshold, threshold_error = _threshold(layer, unit, target, faults, whole=whole)
    bias, bias_exp, over = bias_on_grid(layer.bias * unit, target, rules.input_exp if layer.form.below else 0)
    if over:
        faults.append("its bias is out of range")
    v_decay, v_off = _decay(np.asarray(op.a_mem, np.float64), target, faults)
    u_decay, u_off = (None, 0.0) if op.syn_order == "none" else _synapse(op, target, faults)
    tall = float(np.min(np.abs(np.where(np.isinf(op.v_th), 1.0, op.v_th)))) or 1.0
    neuron = FixedNeuron(
        threshold=threshold,
        v_decay=v_decay,
        u_decay=u_decay,
        bias=_plain(bias),
        bias_exp=bias_exp,
        cmp=layer.form.cmp,
        reset=layer.form.reset,
        reset_amount=_amount(layer, unit, target),
        v_min=_whole(op.v_min, unit) if layer.form.keeps_min else None,
        v_init=_start(layer, unit),
        readout=op.readout,
        scale=_scalar(1 / unit),
        arithmetic=rules,
    )
    return Candidate(
        scale=scale, neuron=neuron, weights=weights,
        weight_error=float(np.sqrt(lost / size)) if size else 0.0,
        threshold_error=threshold_error,
        bias_error=float(np.max(np.abs(bias * 2.0**bias_exp / unit - layer.bias), initial=0)) / tall,
        decay_error=max(v_off, u_off),
        clipped=sum(made.clipped for made in weights.values()),
        bound=float(bound),
        memory=_memory(op),
        rounding_error=_rounding(layer, scale, unit, weights) / tall,
        kept=keep,
        faults=tuple(faults),
    )  # fmt: skip


def _memory(op: Neuron) -> float:
    """Give how much larger than its largest input a synaptic current can become."""
    if op.syn_order == "none":
        return 1.0
    kept = float(np.max(op.a_syn))
    return float("inf") if kept >= 1 else 1 / (1 - kept)


def _rounding(layer: Layer, scale: Array, unit: Array, weights: Mapping[str, Mantissas]) -> float:
    """Estimate what a step loses by rounding, in trained units: sums that are shifted right, states that decay."""
    floors = sum(bool(np.any(made.meant != np.rint(made.meant))) for made in weights.values())
    loss = floors * 0.5 / float(np.min(scale))
    return loss if whole_steps(layer.op) else loss + 1 / float(np.min(unit))


def never(target: Target) -> int:
    """Give the threshold that no membrane reaches."""
    return 1 << (target.arithmetic.v_bits - 1 - target.arithmetic.threshold_exp)


def _counts(layer: Layer, scale: Array) -> bool:
    """Say whether the membrane only ever holds whole steps of a scale that keeps codes."""
    plain = whole_steps(layer.op) and layer.form.reset != "subtract" and not np.any(layer.op.v_init)
    steps = layer.bias * scale
    return (
        plain and all(f.grid is not None for f in layer.feeds) and bool(np.all(np.abs(steps - np.rint(steps)) < 1e-9))
    )


def _threshold(
    layer: Layer, unit: Array, target: Target, faults: list[str], *, whole: bool = False
) -> tuple[int | Array, float]:
    """Give thresholds and their error; with `whole` those that whole membranes are above (or at) as trained: exact."""
    th = np.asarray(layer.op.v_th, np.float64)
    if np.all(np.isinf(th)):
        return never(target), 0.0
    wanted = th * unit / (1 << target.arithmetic.threshold_exp)
    if layer.form.below:
        integer = np.ceil(wanted - 1e-9) - 1
    elif whole:
        integer = np.floor(wanted + 1e-9) if layer.form.cmp == ">" else np.ceil(wanted - 1e-9)
    else:
        integer = np.rint(wanted)
    integer = np.where(np.isinf(integer), never(target), integer)
    if np.any((integer > target.threshold_max) & ~np.isinf(wanted)):
        faults.append("its threshold is out of range")
    if np.any(integer < 0):
        faults.append("its threshold is below 0")
    off = np.zeros(()) if whole else np.abs(integer + layer.form.below - wanted)
    relative = off / np.maximum(np.abs(wanted), 1e-12)
    error = float(np.max(relative[np.isfinite(relative)], initial=0)) if th.any() else 0.0
    return _plain(np.clip(integer, -(2**31), 2**31 - 1).astype(np.int64)), error


def _decay(kept: Array, target: Target, faults: list[str]) -> tuple[int | Array, float]:
    """Give a decay constant and the error of what it keeps."""
    try:
        constant = decay_on_grid(kept, target)
    except ValueError as reason:
        faults.append(str(reason))
        return 0, 0.0
    return _plain(constant), float(np.max(np.abs(kept_by(constant, target) - kept)))


def _synapse(op: Neuron, target: Target, faults: list[str]) -> tuple[int | Array | None, float]:
    """Give the decay of the synaptic current, which a target that decays by shifts has not."""
    if target.arithmetic.decay == "shift":
        faults.append("it has a synaptic current, which the target has not")
        return None, 0.0
    return _decay(np.asarray(op.a_syn, np.float64), target, faults)


def _amount(layer: Layer, unit: Array, target: Target) -> int | Array | None:
    """Give what a subtracting reset takes away, None where that is the threshold."""
    if layer.form.reset != "subtract" or layer.op.reset_amount is None:
        return None
    return _whole(layer.op.reset_amount, unit / (1 << target.arithmetic.threshold_exp))


def _start(layer: Layer, unit: Array) -> int | Array:
    start = _whole(layer.op.v_init, unit) if layer.form.keeps_init else None
    return 0 if start is None else start


def _whole(value: Number | None, unit: Array) -> int | Array | None:
    """Round a number to whole units."""
    return None if value is None else _plain(np.rint(np.asarray(value, np.float64) * unit).astype(np.int64))


def _plain(whole: Array) -> int | Array:
    """Give one number where all are the same."""
    whole = np.asarray(whole)
    return int(whole.reshape(-1)[0]) if whole.size and np.all(whole == whole.reshape(-1)[0]) else whole


def _scalar(value: Array) -> float | Array:
    value = np.asarray(value)
    return float(value) if value.ndim == 0 else value
