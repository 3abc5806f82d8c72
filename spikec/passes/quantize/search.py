"""The search for a layer's scale: candidates on the target's grids, chosen by the spikes that come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.target import Target
from spikec.compiler.weights import Array, Fixed
from spikec.passes.quantize.grid import sign_of, step_of
from spikec.passes.quantize.keep import has_codes, kept_scales
from spikec.passes.quantize.layer import Candidate, Layer, candidate
from spikec.passes.quantize.measure import Measured, Recording

FRACTIONS = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 1.1, 1.25, 1.5, 1.8, 2.2)
"""Parts of the scale at which the largest weight just fits; above 1 the largest are clipped."""

NEAR = (0.97, 0.98, 0.99, 1.01, 1.02, 1.03)
"""Scales around the best that are tried as well: which weights are rounded up and which down changes quickly."""

TRIES = 20
"""How many of the candidates, the best by their numbers, are run."""

OCTAVES = (0, 1, 2, 3, -1, -2)
"""Doublings of the scale that the exponents of matrices allow."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen for a layer, and what it does on calibration data; `lost` says why codes could not be kept."""

    made: Candidate
    measured: Measured | None
    lost: str = ""


def search(layer: Layer, bits: int, target: Target, recorded: Recording | None, by_channel: bool) -> Choice:
    """Choose the scale of a layer: the fewest differing spikes, then the least error of its numbers.

    Candidates are judged in the order of their numbers' error, those far from overflow first, and the first without any
    differing spike is taken. Where grid weights feed the layer, scales that keep their codes come before all others.

    Raises:
        CompileError: no scale brings the layer into the target's range (`quantize/range`).
    """
    lost = ""
    if has_codes(layer):
        kept = kept_scales(layer, bits, target)
        made = [candidate(layer, scale, bits, target, keep=True) for scale in kept.scales]
        choice = _chosen(layer, made, recorded, target)
        if choice is not None and not _overflows(choice, recorded, target):
            return choice
        lost = kept.reason or _reasons(made) or "its sums would overflow"
    made = [candidate(layer, scale, bits, target) for scale in scales(layer, bits, target, by_channel)]
    choice = _chosen(layer, made, recorded, target)
    if choice is None:
        raise _out_of_range(layer, made, target)
    choice = _refined(layer, choice, bits, target, recorded)
    return replace(choice, lost=lost)


def _chosen(layer: Layer, made: list[Candidate], recorded: Recording | None, target: Target) -> Choice | None:
    """Choose among candidates, None if none fits the target."""
    fitting = [c for c in made if not c.faults]
    if not fitting:
        return None
    limit = _limit(target)
    ranked = sorted(fitting, key=lambda c: (not c.roomy(limit), c.error, -float(np.max(c.scale))))
    if recorded is None:
        return Choice(next((c for c in ranked if c.bound * c.memory < limit), ranked[0]), None)
    best = _best(layer, ranked[:TRIES], recorded, target)
    if best is None:
        small = min(fitting, key=lambda c: (c.bound, c.error))
        return Choice(small, recorded.measure(layer, small))
    return best


def _refined(layer: Layer, best: Choice, bits: int, target: Target, recorded: Recording | None) -> Choice:
    """Try scales near the best one, if it is not without fault."""
    if recorded is None or not _wrong(best.measured) or _overflows(best, recorded, target):
        return best
    near = [candidate(layer, best.made.scale * factor, bits, target) for factor in NEAR]
    found = _best(layer, [c for c in near if not c.faults], recorded, target)
    return best if found is None or _rank(found) >= _rank(best) else found


def _limit(target: Target) -> float:
    """Give the input at which a membrane leaves its range."""
    return 2.0 ** (target.arithmetic.u_bits - 1 - target.arithmetic.input_exp)


def _overflows(choice: Choice, recorded: Recording | None, target: Target) -> bool:
    """Say whether the current came near the end of its range on calibration data, and is not proved to stay in it."""
    made, seen, limit = choice.made, choice.measured, _limit(target)
    if made.bound * made.memory < limit or seen is None or recorded is None:
        return False
    return bool(2 * seen.peak * min(made.memory, recorded.steps) >= limit)


def _best(layer: Layer, tries: list[Candidate], recorded: Recording, target: Target) -> Choice | None:
    """Run candidates in order until one is without fault; give the best whose current stayed far from overflow."""
    best: Choice | None = None
    for made in tries:
        seen = recorded.measure(layer, made)
        found = Choice(made, seen)
        if _overflows(found, recorded, target):
            continue
        if best is None or _rank(found) < _rank(best):
            best = found
        if not _wrong(seen):
            break
    return best


def _rank(choice: Choice) -> tuple[float, float, float]:
    assert choice.measured is not None
    return float(choice.measured.differing), choice.measured.relative, choice.made.error


def _wrong(seen: Measured | None) -> bool:
    return seen is not None and (seen.differing > 0 or seen.relative >= 1e-6)


def scales(layer: Layer, bits: int, target: Target, by_channel: bool) -> Iterator[Array]:
    """Yield scales to try: powers of two, which may hold the layer exactly, and those that use the weights' range."""
    full = _full(layer, bits, target, by_channel and layer.by_channel)
    if full is None:
        full = np.asarray(_for_threshold(layer, target))
        yield full
    size = float(np.max(full))
    octaves = OCTAVES if all(f.dense or target.conv_exponent for f in layer.feeds) else (0,)
    top = int(np.floor(np.log2(size))) + max(octaves) + 1
    for exponent in range(top, top - 14, -1):
        yield np.asarray(2.0**exponent)
    for octave in octaves:
        for fraction in FRACTIONS if octave == 0 else FRACTIONS[:6]:
            yield full * fraction * 2.0**octave


def _full(layer: Layer, bits: int, target: Target, by_channel: bool) -> Array | None:
    """Give the scale at which the largest weight just fits (of all connections without an exponent, if any)."""
    fits: list[Array] = []
    rigid = [f for f in layer.feeds if not f.dense and not target.conv_exponent]
    for feed in rigid or [f for f in layer.feeds if not f.constant] or list(layer.feeds):
        values = feed.weight * feed.unit
        sign = sign_of(values, target)
        low, high = Fixed.limits(bits, sign, step_of(target, sign, bits))
        rows = values.reshape(values.shape[0], -1)
        if by_channel and rows.shape[0] == layer.shape[0]:
            above, below = rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0)
        else:
            above, below = np.asarray(rows.max(initial=0)), np.asarray(-rows.min(initial=0))
        with np.errstate(divide="ignore", invalid="ignore"):
            fit = np.minimum(np.where(above > 0, high / above, np.inf), np.where(below > 0, -low / below, np.inf))
        fits.append(np.asarray(fit))
    least = np.min(np.broadcast_arrays(*fits), axis=0) if fits else np.asarray(np.inf)
    if not np.any(np.isfinite(least)):
        return None
    return np.where(np.isfinite(least), least, np.min(least[np.isfinite(least)]))


def _for_threshold(layer: Layer, target: Target) -> float:
    """Give a scale for a layer without weights: its threshold near 1000."""
    th = np.abs(np.asarray(layer.op.v_th, np.float64))
    size = float(np.max(th[np.isfinite(th)], initial=0)) or 1.0
    return float(2.0 ** np.round(np.log2(1024 / size)))


def _reasons(made: list[Candidate]) -> str:
    """Say what stands against every candidate, or else against any."""
    always = set(made[0].faults).intersection(*(c.faults for c in made)) if made else set()
    return "; ".join(sorted(always or {fault for c in made for fault in c.faults}))


def _out_of_range(layer: Layer, made: list[Candidate], target: Target) -> CompileError:
    return fail(
        "quantize/range",
        f"at no scale does the layer fit {target.name}: {_reasons(made)}",
        layer.node.where,
        "bring weights, threshold and bias of the layer nearer to each other, or train with smaller ones",
    )
