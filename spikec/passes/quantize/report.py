"""The report of quantization: one remark a layer, with the scale that was chosen and every error that it makes."""

from __future__ import annotations

import numpy as np

from spikec.compiler.diagnostics import Diagnostic, remark, warning
from spikec.compiler.target import Target
from spikec.passes.quantize.layer import Layer
from spikec.passes.quantize.search import Choice


def report(layer: Layer, choice: Choice, target: Target) -> Diagnostic:
    """Say what became of a layer."""
    made = choice.made
    parts = [_scale(made.scale), *_weights(layer, choice)]
    parts.append(f"threshold error {100 * made.threshold_error:.3g} %")
    if np.any((np.asarray(made.neuron.threshold) == 0) & (np.asarray(layer.op.v_th) > 0)):
        parts.append("its threshold is rounded to 0: it fires at any membrane above 0")
    parts.append(f"decay error {made.decay_error:.2g}")
    if np.any(layer.bias):
        parts.append(f"bias error {100 * made.bias_error:.3g} % of the threshold")
    seen = choice.measured
    if seen is None:
        parts.append("spikes not measured")
    elif layer.op.readout == "spikes":
        parts.append(f"{seen.differing} spikes differ of {seen.spikes}")
    else:
        parts.append(f"membrane error {100 * seen.relative:.3g} % of its spread")
    limit = 2.0 ** (target.arithmetic.u_bits - 1 - target.arithmetic.input_exp)
    if made.bound * made.memory >= limit:
        parts.append("its current is not proved to stay in range")
    return remark("quantize/layer", "; ".join(parts), layer.node.where)


def rounded_again(layer: Layer, choice: Choice) -> Diagnostic:
    """Warn of codes that were not kept, and say what that costs."""
    made = choice.made
    names = ", ".join(f"'{feed.node.name}'" for feed in layer.feeds if feed.grid is not None)
    cost = f"weight RMS error {100 * made.weight_error:.3g} %, {made.clipped} weights clipped"
    text = f"the codes of {names} are rounded again ({cost}): {choice.lost}"
    help = "quantize the trained weights for this target, or let quantize round them once, without codes"
    return warning("quantize/rounded-again", text, layer.node.where, help)


def _scale(scale: np.ndarray) -> str:
    if scale.ndim == 0:
        return f"scale {float(scale):.6g}"
    return f"scales {float(scale.min()):.6g}..{float(scale.max()):.6g} by channel"


def _weights(layer: Layer, choice: Choice) -> list[str]:
    made = choice.made
    if not layer.feeds:
        return []
    total = sum(feed.weight.size for feed in layer.feeds)
    kinds = []
    for feed in layer.feeds:
        weights = made.weights[feed.node.name]
        exponent = f" exponent {weights.exponent}" if weights.exponent else ""
        kept = f" ({feed.grid.width}-bit codes kept)" if made.kept and feed.grid is not None else ""
        kinds.append(f"'{feed.node.name}' {weights.sign} {weights.width} bits step {weights.step}{exponent}{kept}")
    return [
        ", ".join(kinds),
        f"weight RMS error {100 * made.weight_error:.3g} %",
        f"{made.clipped} of {total} weights clipped",
    ]
