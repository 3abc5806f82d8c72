"""The pass `sbc`: prunes a trained network in one shot, float or in integers, and says what that costs."""

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
from spikec.passes.sbc.allocation import removed
from spikec.passes.sbc.encode import pruned_weight
from spikec.passes.sbc.layers import Layer
from spikec.passes.sbc.options import MIB, given_sparsities, pairs, refuse_values
from spikec.passes.sbc.plan import Batch, batch_bytes, batches, choose, planned, refuse_large
from spikec.passes.sbc.pruning import How, Job, Pruned, by_loss, by_magnitude, prune, tell_silent
from spikec.passes.sbc.record import samples
from spikec.passes.sbc.report import report
from spikec.passes.sbc.tasks import Work, working
from spikec.passes.surgery import edit, put


@dataclass(frozen=True)
class SBC:
    """Prune to a sparsity by Spiking Brain Compression (methods.md 1): the weights that the membranes miss least go.

    Every layer's Hessian is 2 (MX)^T (MX), X what the layer reads on calibration data and M the membrane's filter
    without its reset; from it follow which weights go and what the others become to make up for them.

    sparsity: the share of weights that goes, of all layers that have none of their own. allocation: how many each
    layer loses, by LAMP scores |w|^power or the same share of each. layers: sparsities of single layers,
    `fc1:0.5+fc2:0.9`. skip: layers to leave as they are, `first`, `last`, names or patterns. method: `sbc`; `obs` for
    M = I (ExactOBS); `magnitude`. compensate: let the kept weights make up for the others (none: as the method has
    it, magnitude has not). block: weights of a row that go at once (0: a 256th of them; 1: exact greedy). damping: of
    the Hessian, a part of its mean diagonal. baselines: measure the losses of magnitude pruning as well. measure: on
    how many samples the pruned network is compared with the dense one. memory: MiB for Hessians, the work on them and
    records of runs. workers: processes that share the work (0: as the caller has it). resume: a folder of what is
    finished, to go on from.
    """

    sparsity: float
    allocation: Literal["lamp", "uniform"] = "lamp"
    power: float = 2.0
    layers: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    method: Literal["sbc", "obs", "magnitude"] = "sbc"
    compensate: bool | None = None
    block: int = 0
    damping: float = 0.01
    baselines: bool = True
    measure: int = 64
    memory: int = 2048
    workers: int = field(default=0, metadata={"result": False})
    resume: str = field(default="", metadata={"result": False})
    name: ClassVar[str] = "sbc"
    description: ClassVar[str] = "prune weights in one shot by what the membranes miss least (SBC)"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity must lie in [0, 1), not {self.sparsity:g}")
        if not 0 < self.power < float("inf"):
            raise ValueError(f"power must be above 0, not {self.power:g}")
        refuse_values(self.damping, block=self.block, measure=self.measure, memory=self.memory, workers=self.workers)
        object.__setattr__(self, "layers", pairs(self.layers))
        object.__setattr__(self, "skip", tuple(self.skip))

    @property
    def how(self) -> How:
        """The options of a layer's pruning."""
        compensate = self.method != "magnitude" if self.compensate is None else self.compensate
        return How(self.method, compensate, self.block, self.damping, self.baselines)

    def run(self, graph: Graph, ctx: Context) -> Graph:
        """Prune.

        Raises:
            CompileError: no fit calibration data, layers that are not there or cannot be pruned, or too little memory.
        """
        found = Findings()
        layers = choose(graph, self.skip, self.name, ctx, found)
        own = given_sparsities(layers, self.layers, found)
        inputs = self._inputs(graph, ctx, found)
        found.raise_errors()
        number = removed(
            {layer.name: layer.weights for layer in layers}, self.sparsity, self.allocation, self.power, own
        )
        plan = planned(graph, layers, self.name, ctx, filtered=self.method != "obs")
        if inputs is not None:
            refuse_large(plan, self.memory, self.name, partial(batch_bytes, block=self.block))
        made: dict[str, Pruned] = {}
        with working(ctx, self.workers, self.resume) as work:
            for batch in batches(graph, plan, inputs, ctx, self.memory, self.name, work.store):
                made |= self._pruned(batch, number, work, ctx)
        result = put(graph, _nodes(layers, made))
        losses = {layer: pruned.losses for layer, pruned in made.items()}
        memory = self.memory * MIB
        report(self.name, self.method, graph, result, layers, losses, ctx, inputs, self.measure, memory)
        return result

    def _pruned(self, batch: Batch, number: Mapping[str, int], work: Work, ctx: Context) -> dict[str, Pruned]:
        """Prune some layers; their Hessians, which `batch` holds, are let go."""
        jobs = [Job.of(one.layer, number[one.layer.name], parts, self.damping) for one, parts in batch]
        batch.clear()
        for job in jobs:
            tell_silent(job, self.name, ctx)
        plain = by_magnitude(jobs)
        chosen = plain if self.method == "magnitude" else by_loss(jobs, self.how, work)
        pruned = prune(jobs, chosen, plain, self.how, work)
        return {job.layer.name: made for job, made in zip(jobs, pruned, strict=True)}

    def _inputs(self, graph: Graph, ctx: Context, found: Findings) -> Array | None:
        """Give the calibration samples; None where magnitude pruning has none and needs none."""
        if self.method == "magnitude" and not self.how.compensate and (ctx.calibration is None or ctx.runner is None):
            ctx.remark(remark("sbc/not-measured", "without calibration data no loss is known", graph.name))
            return None
        with found.catching():
            return samples(graph, ctx, self.name)
        return None


def _nodes(layers: tuple[Layer, ...], made: Mapping[str, Pruned]) -> dict[str, Node]:
    """Give the connections with their pruned weights; those that share weights still do, one that lost none stays."""
    changes: dict[str, Node] = {}
    for layer in layers:
        if np.array_equal(made[layer.name].stored, layer.stored):
            continue
        weight = pruned_weight(layer.op.weight, made[layer.name].stored)
        changes |= {node.name: replace(node, op=edit(node.op, weight=weight)) for node in layer.nodes}
    return changes
