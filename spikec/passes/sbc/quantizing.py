"""The pass `sbc-quantize`: puts weights on few levels, each column making up for the rounding of those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Findings, remark, warning
from spikec.compiler.ir import Graph, Node
from spikec.compiler.weights import Array, Fixed, unwrapped
from spikec.passes.sbc.encode import quantized_weight
from spikec.passes.sbc.grids import LevelGrid
from spikec.passes.sbc.layers import Layer
from spikec.passes.sbc.levels import Levels, choose_levels
from spikec.passes.sbc.options import MIB, refuse_values
from spikec.passes.sbc.plan import Batch, batches, check_target, choose, planned, refuse_large
from spikec.passes.sbc.pruning import Job
from spikec.passes.sbc.record import samples
from spikec.passes.sbc.report import report
from spikec.passes.sbc.requantize import nearest_rows
from spikec.passes.sbc.tasks import Work, level_tasks, staged, working
from spikec.passes.surgery import edit, put


@dataclass(frozen=True, eq=False)
class _Done:
    """Codes of a layer, and losses by name."""

    codes: Array
    losses: dict[str, float]


@dataclass(frozen=True)
class SBCQuantize:
    """Quantize weights with compensation by the membranes' Hessian (methods.md 1.8); what is 0 stays 0.

    A float network gets `Grid` weights: whole codes times scales, which `quantize` keeps as they are. A network in
    integers keeps its unit and gets fewer levels.

    bits: 1 to 8; with 1 a weight is -1 or +1 times its row's scale. grid: `symmetric`, or `power2` for 0 and powers of
    two. scale: of each `row` or of a whole `layer`; `auto` is row where a row is a channel of its neurons. search: a
    scale by the largest weight (`minmax`), or by the least squared error (`mse`). skip: layers to leave as they are,
    `first`, `last`, names or patterns. method: `sbc`; `obs` for M = I; `rtn` rounds to the nearest level. damping,
    measure, memory, workers, resume: as of `sbc`.
    """

    bits: int
    grid: Literal["symmetric", "power2"] = "symmetric"
    scale: Literal["auto", "row", "layer"] = "auto"
    search: Literal["minmax", "mse"] = "minmax"
    skip: tuple[str, ...] = ()
    method: Literal["sbc", "obs", "rtn"] = "sbc"
    damping: float = 0.01
    measure: int = 64
    memory: int = 2048
    workers: int = field(default=0, metadata={"result": False})
    resume: str = field(default="", metadata={"result": False})
    name: ClassVar[str] = "sbc-quantize"
    description: ClassVar[str] = "put weights on few levels, making up for the rounding by what the membranes see (SBC)"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits must lie in 1..8, not {self.bits}")
        refuse_values(self.damping, measure=self.measure, memory=self.memory, workers=self.workers)
        object.__setattr__(self, "skip", tuple(self.skip))

    def run(self, graph: Graph, ctx: Context) -> Graph:
        """Quantize.

        Raises:
            CompileError: no fit calibration data, layers that are not there, a target of fewer bits, too little memory.
        """
        found = Findings()
        layers = choose(graph, self.skip, self.name, ctx, found)
        check_target(self.bits, ctx, graph, self.name, found)
        inputs = self._inputs(graph, ctx, found)
        found.raise_errors()
        layers = tuple(layer for layer in layers if not self._fine(layer, ctx))
        kind: Literal["uniform", "powers"] = "powers" if self.grid == "power2" else "uniform"
        grids = choose_levels(graph, layers, Levels(self.bits, kind, self.search, self.scale), ctx.target)
        plan = planned(graph, layers, self.name, ctx, filtered=self.method != "obs")
        if inputs is not None:
            refuse_large(plan, self.memory, self.name)
        made: dict[str, _Done] = {}
        with working(ctx, self.workers, self.resume) as work:
            for batch in batches(graph, plan, inputs, ctx, self.memory, self.name, work.store):
                made |= self._quantized(batch, grids, work, ctx)
        changes: dict[str, Node] = {}
        for layer in layers:
            weight = quantized_weight(layer.op.weight, made[layer.name].codes, grids[layer.name], ctx.target)
            changes |= {node.name: replace(node, op=edit(node.op, weight=weight)) for node in layer.nodes}
        result = put(graph, changes) if changes else graph
        losses = {layer: done.losses for layer, done in made.items()}
        memory = self.memory * MIB
        report(self.name, self.method, graph, result, layers, losses, ctx, inputs, self.measure, memory)
        return result

    def _inputs(self, graph: Graph, ctx: Context, found: Findings) -> Array | None:
        """Give the calibration samples; None where rounding to the nearest has none and needs none."""
        if self.method == "rtn" and (ctx.calibration is None or ctx.runner is None):
            ctx.remark(remark(f"{self.name}/not-measured", "without calibration data no loss is known", graph.name))
            return None
        with found.catching():
            return samples(graph, ctx, self.name)
        return None

    def _fine(self, layer: Layer, ctx: Context) -> bool:
        """Say whether a layer's integers have no more bits than are asked for, and remark upon it."""
        weight = unwrapped(layer.op.weight)
        if not isinstance(weight, Fixed) or weight.width > self.bits:
            return False
        text = f"its weights are integers of {weight.width} bits already"
        ctx.remark(remark(f"{self.name}/nothing", text, layer.nodes[0].where))
        return True

    def _quantized(self, batch: Batch, grids: dict[str, LevelGrid], work: Work, ctx: Context) -> dict[str, _Done]:
        """Put some layers on their levels; their Hessians, which `batch` holds, are let go."""
        jobs = [Job.of(one.layer, 0, parts, self.damping) for one, parts in batch]
        batch.clear()
        for job in jobs:
            _tell_silent(job, self.method, ctx)
        return {job.layer.name: done for job, done in zip(jobs, self._codes(jobs, grids, work), strict=True)}

    def _codes(self, jobs: Sequence[Job], grids: dict[str, LevelGrid], work: Work) -> list[_Done]:
        """Give the codes of layers, and what they lose."""
        keeps = [job.layer.stored != 0 for job in jobs]
        plain = [nearest_rows(_real(job.layer), grids[job.layer.name], keep)
                 for job, keep in zip(jobs, keeps, strict=True)]  # fmt: skip
        chosen = [codes.copy() for codes in plain]
        if self.method != "rtn":
            parts = [(i, p, one) for i, job in enumerate(jobs) for p, one in zip(job.parts, job.made, strict=True)]
            found = staged(work, "quantizing", [
                partial(level_tasks, jobs[i].layer.name, one, _real(jobs[i].layer)[p.rows], keeps[i][p.rows],
                        grids[jobs[i].layer.name].part(p.rows))
                for i, p, one in parts
            ], "codes")  # fmt: skip
            for (i, p, _), codes in zip(parts, found, strict=True):
                chosen[i][p.rows] = codes
        return [
            _Done(codes, _losses(job, grids[job.layer.name], codes, rounded))
            for job, codes, rounded in zip(jobs, chosen, plain, strict=True)
        ]


def _real(layer: Layer) -> Array:
    """Give weights in the units of their levels: integers as stored, codes and floats as what they mean."""
    return layer.stored if isinstance(unwrapped(layer.op.weight), Fixed) else layer.weights


def _losses(job: Job, grid: LevelGrid, codes: Array, rounded: Array) -> dict[str, float]:
    if not job.parts:
        return {}
    unit = np.ones(len(codes)) if isinstance(unwrapped(job.layer.op.weight), Fixed) else job.layer.unit
    back = np.where(unit > 0, 1 / np.where(unit > 0, unit, 1.0), 0.0)[:, None]
    return {
        "weights": job.loss(np.zeros_like(job.layer.stored)),
        "result": job.loss(grid.decode(codes) * back),
        "nearest level": job.loss(grid.decode(rounded) * back),
    }


def _tell_silent(job: Job, method: str, ctx: Context) -> None:
    if job.silent and method != "rtn":
        text = "nothing that it reads is active on the calibration data; its weights go to the nearest levels"
        ctx.remark(warning("sbc-quantize/silent-layer", text, job.layer.nodes[0].where, "calibrate on more samples"))
