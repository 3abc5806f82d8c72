"""The pass `spike-nm`: N of M weights in one shot on a trained network, chosen and made up for as SBC does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Findings, remark
from spikec.compiler.ir import Graph, Node
from spikec.compiler.weights import Array
from spikec.compiler.weights_nm import NM, Axis
from spikec.passes.sbc.encode import stored_weight
from spikec.passes.sbc.layers import Layer
from spikec.passes.sbc.options import MIB, refuse_values
from spikec.passes.sbc.plan import Batch, batches, choose, planned, refuse_large
from spikec.passes.sbc.pruning import How, Job, Pruned, prune, tell_silent
from spikec.passes.sbc.record import samples
from spikec.passes.sbc.report import report
from spikec.passes.sbc.tasks import Work, working
from spikec.passes.spike_nm.masks import needed, second_order
from spikec.passes.spike_nm.structure import Structure, refuse
from spikec.passes.surgery import edit, put


@dataclass(frozen=True)
class SpikeNM:
    """Keep at most n of every m weights (methods.md 2.5), those that the membranes would miss most.

    With calibration data by SBC's Hessian: greedy OBS under the constraint of the blocks, then the least squares for
    what is kept. Without it the largest weights of each block stay as they are.

    n, m: n of m weights are kept, at most 32. axis: blocks along the outputs (`out`: m outputs of one input and
    position of the kernel) or along the inputs (`in`: m input channels of one output and position). skip: layers to
    leave as they are, `first`, `last`, names or patterns. method: `sbc`; `obs` for M = I; `magnitude`. compensate: let
    the kept weights make up for the others (none: as the method has it, magnitude has not). padding: let the last
    block of a line be shorter; else a layer where it would be is refused. damping, baselines, measure, memory,
    workers, resume: as of `sbc`.
    """

    n: int = 2
    m: int = 8
    axis: Axis = "out"
    skip: tuple[str, ...] = ()
    method: Literal["sbc", "obs", "magnitude"] = "sbc"
    compensate: bool | None = None
    padding: bool = True
    damping: float = 0.01
    baselines: bool = True
    measure: int = 64
    memory: int = 2048
    workers: int = field(default=0, metadata={"result": False})
    resume: str = field(default="", metadata={"result": False})
    name: ClassVar[str] = "spike-nm"
    description: ClassVar[str] = "keep n of every m weights in one shot, by what the membranes miss least (SpikeNM)"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        Structure(self.n, self.m, self.axis)
        refuse_values(self.damping, measure=self.measure, memory=self.memory, workers=self.workers)
        object.__setattr__(self, "skip", tuple(self.skip))

    @property
    def structure(self) -> Structure:
        """What the weights come to have."""
        return Structure(self.n, self.m, self.axis)

    def run(self, graph: Graph, ctx: Context) -> Graph:
        """Prune.

        Raises:
            CompileError: calibration data that does not fit, layers that are not there or cannot have the structure,
                or too little memory.
        """
        found, structure = Findings(), self.structure
        layers = choose(graph, self.skip, self.name, ctx, found)
        refuse(layers, structure, found, ctx.remark, padding=self.padding, name=self.name)
        inputs = self._inputs(graph, ctx, found)
        found.raise_errors()
        how = self._how(inputs)
        plan = planned(graph, layers, self.name, ctx, filtered=how.method != "obs")
        if inputs is not None:
            refuse_large(plan, self.memory, self.name, partial(needed, structure=structure))
        made: dict[str, Pruned] = {}
        with working(ctx, self.workers, self.resume) as work:
            for batch in batches(graph, plan, inputs, ctx, self.memory, self.name, work.store):
                made |= self._pruned(batch, how, work, ctx)
        result = put(graph, _nodes(layers, made, structure))
        losses = {layer: pruned.losses for layer, pruned in made.items()}
        memory = self.memory * MIB
        report(self.name, how.method, graph, result, layers, losses, ctx, inputs, self.measure, memory)
        return result

    def _pruned(self, batch: Batch, how: How, work: Work, ctx: Context) -> dict[str, Pruned]:
        """Prune some layers; their Hessians, which `batch` holds, are let go."""
        jobs = [Job.of(one.layer, 0, parts, self.damping) for one, parts in batch]
        batch.clear()
        for job in jobs:
            tell_silent(job, self.name, ctx)
        plain = [self.structure.largest(job.layer.weights, job.layer.op.weight.shape) for job in jobs]
        chosen = plain if how.method == "magnitude" else second_order(jobs, self.structure, work)
        pruned = prune(jobs, chosen, plain, how, work)
        return {job.layer.name: made for job, made in zip(jobs, pruned, strict=True)}

    def _inputs(self, graph: Graph, ctx: Context, found: Findings) -> Array | None:
        """Give the calibration samples; none are needed, but then magnitudes choose, which is said."""
        if ctx.calibration is None and not self.compensate:
            text = "without calibration data the largest weights of each block stay as they are, and no loss is known"
            ctx.remark(remark(f"{self.name}/magnitude", text, graph.name, "give training samples: --calibrate DATA"))
            return None
        with found.catching():
            return samples(graph, ctx, self.name)
        return None

    def _how(self, inputs: Array | None) -> How:
        method = self.method if inputs is not None else "magnitude"
        compensate = method != "magnitude" if self.compensate is None else self.compensate
        return How(method, compensate, 1, self.damping, self.baselines)


def _nodes(layers: tuple[Layer, ...], made: Mapping[str, Pruned], structure: Structure) -> dict[str, Node]:
    """Give the connections with their pruned weights; those that share weights still do, one that had it all stays."""
    changes: dict[str, Node] = {}
    for layer in layers:
        old, stored = layer.op.weight, made[layer.name].stored
        same = isinstance(old, NM) and (old.n, old.m, old.axis) == (structure.n, structure.m, structure.axis)
        if same and np.array_equal(stored, layer.stored):
            continue
        weight = NM(stored_weight(old, stored), structure.n, structure.m, structure.axis)
        changes |= {node.name: replace(node, op=edit(node.op, weight=weight)) for node in layer.nodes}
    return changes
