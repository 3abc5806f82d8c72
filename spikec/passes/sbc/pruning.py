"""Pruning one layer: how many weights go is given; which ones, what the others become, and what that loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spikec.compiler.weights import Array
from spikec.passes.sbc.collect import Part
from spikec.passes.sbc.layers import Layer
from spikec.passes.sbc.prune import Factor, compensate, factor, magnitude_mask, masks, order_rows, reconstruction

Method = Literal["sbc", "obs", "magnitude"]


@dataclass(frozen=True)
class How:
    """How layers are pruned; `block` 0 is the default of methods.md 1.6, `threads` 0 all cores."""

    method: Method = "sbc"
    compensate: bool = True
    block: int = 0
    damping: float = 0.01
    threads: int = 0


@dataclass(frozen=True, eq=False)
class Pruned:
    """What became of a layer: what is kept (rows, columns), the weights in stored units, and rows' losses by name."""

    keep: Array
    stored: Array
    losses: dict[str, float]
    silent: bool


def prune(layer: Layer, parts: Sequence[Part], number: int, how: How, *, baselines: bool) -> Pruned:
    """Prune a layer. Weights that are 0 already stay so, and count.

    Args:
        layer: the dense layer.
        parts: its Hessians; none where the method needs none and nothing is measured.
        number: how many weights go.
        how: method and options.
        baselines: measure magnitude pruning as well, with and without the best weights for its mask.
    """
    made = [factor(part.hessian, how.damping) for part in parts]
    keep = _mask(layer, parts, made, number, how)
    stored = _refit(layer, parts, made, keep, how) if how.compensate else np.where(keep, layer.stored, 0.0)
    losses = {}
    if parts:
        losses = {"weights": _loss(layer, parts, np.zeros_like(stored)), "result": _loss(layer, parts, stored)}
        losses["mask alone"] = _loss(layer, parts, np.where(keep, layer.stored, 0.0))
    if parts and baselines:
        plain = _magnitude(layer, number)
        losses["magnitude"] = _loss(layer, parts, np.where(plain, layer.stored, 0.0))
        losses["magnitude refit"] = _loss(layer, parts, _refit(layer, parts, made, plain, how))
    return Pruned(keep, stored, losses, bool(made) and all(one.silent for one in made))


def _mask(layer: Layer, parts: Sequence[Part], made: Sequence[Factor], number: int, how: How) -> Array:
    """Choose what is kept: by the losses of all rows together, what is 0 first."""
    if how.method == "magnitude":
        return _magnitude(layer, number)
    losses = np.empty(layer.stored.shape, np.float32)
    scales = layer.scales * layer.unit
    for part, one in zip(parts, made, strict=True):
        rows, block = part.rows, how.block or None
        losses[rows] = order_rows(one, layer.stored[rows], scales[rows], block, how.threads)
    losses[layer.stored == 0] = -1
    return masks(losses, max(number, int(np.count_nonzero(layer.stored == 0))))


def _magnitude(layer: Layer, number: int) -> Array:
    return magnitude_mask(layer.weights, max(number, int(np.count_nonzero(layer.stored == 0))))


def _refit(layer: Layer, parts: Sequence[Part], made: Sequence[Factor], keep: Array, how: How) -> Array:
    """Give the best weights for a mask; on the layer's own grid where it has one."""
    stored = np.zeros_like(layer.stored)
    for part, one in zip(parts, made, strict=True):
        rows = part.rows
        best = compensate(one, layer.stored[rows], keep[rows], how.threads)
        stored[rows] = np.where(keep[rows], best, 0.0)
    return stored


def _loss(layer: Layer, parts: Sequence[Part], stored: Array) -> float:
    """Give the loss of a layer: e^T H e over all rows, in the units in which its rows count alike."""
    scales = layer.scales * layer.unit
    return float(sum(
        np.sum(scales[part.rows] ** 2 * reconstruction(part.hessian, layer.stored[part.rows], stored[part.rows]))
        for part in parts
    ))  # fmt: skip
