"""Pruning layers: how many weights go is given; which ones, what the others become, and what that loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import warning
from spikec.compiler.weights import Array
from spikec.passes.sbc.collect import Part
from spikec.passes.sbc.encode import levels_of
from spikec.passes.sbc.layers import Layer
from spikec.passes.sbc.prune import Factor, factor, magnitude_mask, masks, reconstruction
from spikec.passes.sbc.tasks import Work, level_tasks, order_tasks, refit_tasks, staged

Method = Literal["sbc", "obs", "magnitude"]


@dataclass(frozen=True)
class How:
    """How layers are pruned; `block` 0 is the default of methods.md 1.6; `baselines`: measure magnitude pruning too."""

    method: Method = "sbc"
    compensate: bool = True
    block: int = 0
    damping: float = 0.01
    baselines: bool = True


@dataclass(frozen=True, eq=False)
class Job:
    """A dense layer with its Hessians, factorised, and how many of its weights go.

    Without parts there is no calibration data: nothing is made up for, and no loss is known.
    """

    layer: Layer
    number: int
    parts: tuple[Part, ...]
    made: tuple[Factor, ...]

    @staticmethod
    def of(layer: Layer, number: int, parts: Sequence[Part], damping: float) -> Job:
        """Factorise the Hessians of a layer. Weights that are 0 already count among those that go."""
        already = int(np.count_nonzero(layer.stored == 0))
        return Job(layer, max(number, already), tuple(parts), tuple(factor(part.hessian, damping) for part in parts))

    @property
    def silent(self) -> bool:
        """Say whether nothing that it reads was ever active."""
        return bool(self.made) and all(one.silent for one in self.made)

    def loss(self, stored: Array) -> float:
        """Give e^T H e over all rows, each in the units in which its neurons' thresholds are alike."""
        counts, old = (self.layer.scales * self.layer.unit) ** 2, self.layer.stored
        return float(sum(
            np.sum(counts[part.rows] * reconstruction(part.hessian, old[part.rows], stored[part.rows]))
            for part in self.parts
        ))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pruned:
    """What became of a layer: the weights in stored units, exact zeros where they went, and losses by name."""

    stored: Array
    losses: dict[str, float]


def prune(jobs: Sequence[Job], chosen: Sequence[Array], plain: Sequence[Array], how: How, work: Work) -> list[Pruned]:
    """Prune layers together, so that their work is shared out and shown as one.

    Args:
        jobs: the layers.
        chosen: of each what is kept, bool (rows, columns).
        plain: the same by magnitude, for the baselines.
        how: of it `compensate` and `baselines`.
        work: carries the tasks out.
    """
    if how.compensate:
        made = refit(jobs, chosen, work, "compensating")
    else:
        made = [np.where(keep, job.layer.stored, 0.0) for job, keep in zip(jobs, chosen, strict=True)]
    losses: list[dict[str, float]] = [{} for _ in jobs]
    for job, keep, stored, found in zip(jobs, chosen, made, losses, strict=True):
        if job.parts:
            found["weights"] = job.loss(np.zeros_like(stored))
            found["result"] = job.loss(stored)
            found["mask alone"] = job.loss(np.where(keep, job.layer.stored, 0.0))
    if how.baselines:
        known = [one for one in zip(jobs, plain, losses, strict=True) if one[0].parts]
        _baselines([job for job, _, _ in known], [mask for _, mask, _ in known], [found for *_, found in known], work)
    return [Pruned(stored, found) for stored, found in zip(made, losses, strict=True)]


def by_magnitude(jobs: Sequence[Job]) -> list[Array]:
    """Choose what is kept: the largest weights of each layer."""
    return [magnitude_mask(job.layer.weights, job.number) for job in jobs]


def by_loss(jobs: Sequence[Job], how: How, work: Work) -> list[Array]:
    """Choose what is kept: by the losses of all rows of a layer together, what is 0 first."""
    parts = [(job, part, one) for job in jobs for part, one in zip(job.parts, job.made, strict=True)]
    ordered = staged(work, "ordering", [
        partial(order_tasks, job.layer.name, one, job.layer.stored[part.rows], how.block) for job, part, one in parts
    ], "losses")  # fmt: skip
    losses = {job.layer.name: np.empty(job.layer.stored.shape, np.float32) for job in jobs}
    for (job, part, _), found in zip(parts, ordered, strict=True):
        counts = (job.layer.scales * job.layer.unit)[part.rows, None] ** 2
        losses[job.layer.name][part.rows] = found * counts.astype(np.float32)
    for job in jobs:
        losses[job.layer.name][job.layer.stored == 0] = -1
    return [masks(losses[job.layer.name], job.number) for job in jobs]


def refit(jobs: Sequence[Job], chosen: Sequence[Array], work: Work, what: str) -> list[Array]:
    """Give the best weights for each layer's mask; on the layer's own grid where it has one."""
    parts = [(i, p, one) for i, job in enumerate(jobs) for p, one in zip(job.parts, job.made, strict=True)]
    best = staged(work, what, [
        partial(refit_tasks, jobs[i].layer.name, one, jobs[i].layer.stored[p.rows], chosen[i][p.rows])
        for i, p, one in parts
    ], "rows")  # fmt: skip
    grids = [levels_of(job.layer.op.weight) for job in jobs]
    gridded = [n for n, (i, _, _) in enumerate(parts) if grids[i] is not None]
    codes = staged(work, f"{what} on the grid", [
        partial(level_tasks, jobs[i].layer.name, one, best[n], chosen[i][p.rows], grid.part(p.rows))
        for n in gridded for i, p, one in [parts[n]] if (grid := grids[i]) is not None
    ], "codes")  # fmt: skip
    for n, found in zip(gridded, codes, strict=True):
        i, p, _ = parts[n]
        grid = grids[i]
        assert grid is not None
        best[n] = grid.part(p.rows).decode(found)
    made = [np.zeros_like(job.layer.stored) for job in jobs]
    for (i, p, _), rows in zip(parts, best, strict=True):
        made[i][p.rows] = np.where(chosen[i][p.rows], rows, 0.0)
    return made


def tell_silent(job: Job, name: str, ctx: Context) -> None:
    """Warn of a layer whose weights are chosen by their size alone."""
    if job.silent:
        text = "nothing that it reads is active on the calibration data; its smallest weights go"
        ctx.remark(warning(f"{name}/silent-layer", text, job.layer.nodes[0].where, "calibrate on more samples"))


def _baselines(jobs: Sequence[Job], plain: Sequence[Array], losses: Sequence[dict[str, float]], work: Work) -> None:
    """Measure what magnitude pruning to as many weights loses, as it is and with the best weights for its mask."""
    best = refit(jobs, plain, work, "measuring magnitude pruning")
    for job, found, keep, stored in zip(jobs, losses, plain, best, strict=True):
        found["magnitude"] = job.loss(np.where(keep, job.layer.stored, 0.0))
        found["magnitude refit"] = job.loss(stored)
