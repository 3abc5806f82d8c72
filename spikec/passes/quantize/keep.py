"""The scales of a layer at which the codes of its grid weights stay: every integer is a code times a power of two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spikec.compiler.target import Target
from spikec.compiler.weights import Array
from spikec.passes.quantize.codes import NEAR_ENOUGH, Codes, shifts_of
from spikec.passes.quantize.layer import Feed, Layer

WIDEST_SHIFT = 24
"""No weight is larger than this power of two."""


@dataclass(frozen=True, eq=False)
class Kept:
    """Scales that keep the codes of a layer; if there are none, why."""

    scales: tuple[Array, ...] = ()
    reason: str = ""


def has_codes(layer: Layer) -> bool:
    """Say whether any weights of a layer are codes other than 0."""
    return any(feed.grid is not None and bool(np.any(Codes.of(feed.grid).live)) for feed in layer.feeds)


def kept_scales(layer: Layer, bits: int, target: Target) -> Kept:
    """Give the scales at which the target holds the codes of every grid as they are.

    A message of 1 through a code of 1 adds S * unit * |scale| to the membrane, S being the layer's scale. Where that is
    a power of two for every row, nothing is rounded. One S serves rows and connections whose scales are powers of two
    apart; else every channel has an S of its own, where the layer may have that (`Layer.by_channel`). Rows without
    codes bind nothing.
    """
    base = tuple(_bases(layer))
    if not base:
        return Kept(reason=_apart(layer))
    found: list[Array] = []
    for scale in base:
        found.extend(_octaves(layer, scale, bits, target))
    if not found:
        return Kept(reason=_too_wide(layer, bits, target))
    return Kept(tuple(found))


def _bases(layer: Layer) -> Iterator[Array]:
    """Give scales that keep the codes but for a power of two: one for all rows, and those of each channel."""
    one = _groups(layer, 1)
    if one is not None:
        yield np.asarray(one[0])
    if not layer.by_channel:
        return
    own = _groups(layer, layer.shape[0])
    if own is not None and not np.all(own == own[0]):
        yield own  # every channel's codes times the same power of two
        if one is None:
            yield own / 2.0 ** np.floor(np.log2(own / np.median(own)))  # scales alike within an octave


def _groups(layer: Layer, count: int) -> Array | None:
    """Give for each of `count` equal groups of rows the scale at which 1 of a code is 1; None where rows disagree.

    Groups without codes get the median of the others'.
    """
    scale = np.full(count, np.nan)
    for feed in layer.feeds:
        if feed.grid is None:
            continue
        live = Codes.of(feed.grid).live
        size = np.abs(feed.grid.scales) * feed.unit
        group = np.arange(len(size)) * count // len(size)
        for g in np.unique(group[live]):
            rows = size[live & (group == g)]
            if np.isnan(scale[g]):
                scale[g] = 1 / rows[0]
            powers = np.log2(rows * scale[g])
            if np.any(np.abs(powers - np.rint(powers)) > NEAR_ENOUGH):
                return None
    known = scale[~np.isnan(scale)]
    return np.where(np.isnan(scale), np.median(known), scale)


def _octaves(layer: Layer, scale: Array, bits: int, target: Target) -> Iterator[Array]:
    """Yield the powers of two times a scale at which every grid fits, largest first."""
    grids = [(feed, Codes.of(feed.grid), _shifts(layer, feed, scale)) for feed in layer.feeds if feed.grid is not None]
    known = np.concatenate([shifts[codes.live] for _, codes, shifts in grids])
    for octave in range(WIDEST_SHIFT - int(known.min()), -WIDEST_SHIFT - int(known.max()), -1):
        if all(_fits(feed, codes, shifts + octave, bits, target) for feed, codes, shifts in grids):
            yield scale * 2.0**octave


def _shifts(layer: Layer, feed: Feed, scale: Array) -> Array:
    assert feed.grid is not None
    shifts = shifts_of(feed.grid, layer.rows(feed, scale) * feed.unit)
    assert shifts is not None, "a base scale makes every code a power of two"
    return shifts


def _fits(feed: Feed, codes: Codes, shifts: Array, bits: int, target: Target) -> bool:
    exponent = feed.dense or target.conv_exponent
    return codes.place(shifts, bits, target, exponent=exponent, left=feed.left) is not None


def _apart(layer: Layer) -> str:
    """Say why no scale makes every code a power of two."""
    feeds = [feed for feed in layer.feeds if feed.grid is not None]
    for feed in feeds:
        if len(feeds) == 1 or not tuple(_bases(replace(layer, feeds=(feed,)))):
            shape = "x".join(map(str, layer.shape))
            what = f"the scales of the rows of '{feed.node.name}' are no powers of two apart"
            return f"{what}, and its {shape} neurons cannot have scales of their own"
    names = " and ".join(f"'{feed.node.name}'" for feed in feeds)
    return f"the scales of {names}, which feed the same neurons, are no powers of two apart"


def _too_wide(layer: Layer, bits: int, target: Target) -> str:
    widths = ", ".join(f"'{f.node.name}' of {f.grid.width} bits" for f in layer.feeds if f.grid is not None)
    return f"weights of {bits} bits on {target.name} do not hold the codes of {widths}"
