"""How many weights each layer loses: LAMP with a power, the same share everywhere, or as given (methods.md 1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor
from typing import Literal

import numpy as np

from spikec.compiler.weights import Array

Rule = Literal["lamp", "uniform"]


def removed(
    weights: Mapping[str, Array],
    sparsity: float,
    rule: Rule = "lamp",
    power: float = 2.0,
    given: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Give the number of weights that each layer loses.

    Args:
        weights: the dense weights of every layer, by name.
        sparsity: the share of weights that goes, of the layers that are not in `given`, in [0, 1).
        rule: `lamp` ranks the scores of all layers together and counts; `uniform` takes the same share of each.
        power: p of the LAMP score; 2 is LAMP (Lee et al. 2021), 3 what the SBC authors use for static images.
        given: layers with a share of their own. The rest share `sparsity` among themselves.

    Shares are the decimal numbers that they are written as (0.29 of 100 weights is 29), rounded down.

    Raises:
        ValueError: a share outside [0, 1], a power that is not above 0, or a layer in `given` that there is not.
    """
    own = dict(given or {})
    for share in (sparsity, *own.values()):
        if not 0 <= share <= 1:
            raise ValueError(f"a sparsity lies between 0 and 1, which {share} does not")
    if not power > 0:
        raise ValueError(f"the power of LAMP is above 0, which {power} is not")
    strangers = sorted(set(own) - set(weights))
    if strangers:
        raise ValueError(f"no layer is named {', '.join(strangers)}")
    rest = {name: array for name, array in weights.items() if name not in own}
    counts = _lamp(rest, sparsity, power) if rule == "lamp" else {n: _share(a.size, sparsity) for n, a in rest.items()}
    return {n: _share(a.size, own[n]) if n in own else counts[n] for n, a in weights.items()}


def lamp_scores(weights: Array, power: float = 2.0) -> Array:
    """Give the LAMP scores of a layer, sorted by |w| ascending: v_u / sum_{r >= u} v_r of v = |w|^p (float64).

    The largest weight always has score 1, unless the whole layer is zero: then all scores are 0.
    """
    size = np.sort(np.abs(np.asarray(weights, np.float64)).reshape(-1))
    if not size.size or size[-1] == 0:
        return np.zeros_like(size)
    values = (size / size[-1]) ** power  # the scale cancels; without it a high power could leave the float's range
    return np.asarray(values / np.cumsum(values[::-1])[::-1])


def _share(size: int, share: float) -> int:
    return floor(size * Fraction(repr(float(share))))


def _lamp(weights: Mapping[str, Array], sparsity: float, power: float) -> dict[str, int]:
    """Take the smallest scores of all layers together; ties go to the layer that comes first."""
    if not weights:
        return {}
    scores = [lamp_scores(array, power) for array in weights.values()]
    owner = np.repeat(np.arange(len(scores)), [s.size for s in scores])
    ranked = np.argsort(np.concatenate(scores), kind="stable")
    taken = owner[ranked[: _share(len(owner), sparsity)]]
    counts = np.bincount(taken, minlength=len(scores))
    return {name: int(count) for name, count in zip(weights, counts, strict=True)}
