"""What comes before compression: layers are chosen, kept within the memory bound, their Hessians made in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Diagnostic, Findings, remark
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Linear
from spikec.compiler.weights import Array
from spikec.passes.sbc.collect import Part, Way, collect, hessian_bytes, ways
from spikec.passes.sbc.kept import kept
from spikec.passes.sbc.kernels import order_bytes
from spikec.passes.sbc.layers import Layer, find
from spikec.passes.sbc.options import MIB, skipped
from spikec.passes.sbc.prune import default_block
from spikec.passes.work import Store

HELD = 20
"""Bytes for each entry of a Hessian that is waiting: itself, damped, and the inverse."""

SOLVING = 8
"""Bytes more for each entry while rows are solved for what they keep; factorising takes 4 more, and less in all."""


@dataclass(frozen=True, eq=False)
class Planned:
    """A layer that will be compressed, and its ways."""

    layer: Layer
    ways: tuple[Way, ...]


Batch = list[tuple[Planned, tuple[Part, ...]]]
"""Layers with their Hessians."""


def choose(graph: Graph, skip: Iterable[str], name: str, ctx: Context, found: Findings) -> tuple[Layer, ...]:
    """Give the layers to compress; faults of the choice go to `found`, and each layer left out is remarked upon."""
    layers = find(graph)
    if not layers:
        found(Diagnostic(f"{name}/no-weights", "the network has no layer with weights", graph.name))
    left = skipped(layers, skip, found)
    for layer in layers:
        if layer.name in left:
            ctx.remark(remark(f"{name}/skipped", "left as it is, as was asked for", layer.nodes[0].where))
    chosen = tuple(layer for layer in layers if layer.name not in left)
    if layers and not chosen:
        found(Diagnostic(f"{name}/nothing-left", "every layer is skipped", graph.name, "skip fewer"))
    for layer in chosen:
        for node in layer.nodes:
            delays = node.op.delays if isinstance(node.op, Linear) else None
            if delays is not None and np.any(delays != delays[:1]):
                message = "the delays of its synapses differ between its rows, which then share no Hessian"
                found(Diagnostic(f"{name}/delays", message, node.where, f"leave it out: skip={layer.name}"))
    return chosen


def planned(graph: Graph, layers: Sequence[Layer], name: str, ctx: Context, *, filtered: bool) -> tuple[Planned, ...]:
    """Give the layers with their responses."""
    return tuple(Planned(layer, ways(graph, layer, ctx, filtered=filtered)) for layer in layers)


def refuse_large(
    planned: Sequence[Planned], memory: int, name: str, ordering: Callable[[Layer], int] | None = None
) -> None:
    """Refuse layers whose Hessian cannot be worked on within `memory` MiB, all at once and before any work.

    `ordering` gives the bytes that ordering a layer takes beside its Hessians and their factors: that of `sbc` if none.

    Raises:
        CompileError: one diagnostic a layer, with what it needs.
    """
    found = Findings()
    for one in planned:
        need = largest_need(one, (ordering or batch_bytes)(one.layer))
        if need > memory * MIB:
            text = f"its {one.layer.columns} inputs need {-(-need // MIB)} MiB, and {memory} are allowed"
            help = f"allow them: {name}{{memory={-(-need // MIB)}}}, or leave it out: skip={one.layer.name}"
            found(Diagnostic(f"{name}/memory", text, one.layer.nodes[0].where, help))
    found.raise_errors()


def largest_need(one: Planned, ordering: int) -> int:
    """Give the bytes that a layer needs at its worst: what is held, and one Hessian being ordered or solved."""
    return held(one) + max(SOLVING * one.layer.columns**2, ordering)


def batch_bytes(layer: Layer, block: int = 0) -> int:
    """Give the bytes that ordering a layer's rows in batches of `block` takes (0: the default); the inverse is held."""
    size = layer.columns
    return order_bytes(size, block or default_block(size)) - 4 * size**2


def held(one: Planned) -> int:
    """Give the bytes of a layer's Hessians and their factors."""
    return HELD * hessian_bytes(one.layer, one.ways) // 8


def batches(
    graph: Graph,
    planned: Sequence[Planned],
    inputs: Array | None,
    ctx: Context,
    memory: int,
    name: str,
    store: Store | None = None,
) -> Iterator[Batch]:
    """Give the layers with their Hessians in batches, those of as many at a time as half the memory holds.

    Who takes a batch clears it: else its Hessians stay while the next ones are made.

    So one run of the dense network is the rule; more are remarked upon. Without inputs no Hessian is made. Hessians
    that a store holds are taken from there.
    """
    if inputs is None:
        yield [(one, ()) for one in planned]
        return
    parted = list(_parted(planned, memory * MIB // 2))
    if len(parted) > 1:
        text = f"the network runs {len(parted)} times on the calibration data: its Hessians pass {memory // 2} MiB"
        ctx.remark(remark(f"{name}/runs", text, graph.name, f"{name}{{memory=...}} allows more"))
    for now in parted:
        left = max(memory * MIB // 8, memory * MIB - sum(map(held, now)))
        these = [(one.layer, one.ways) for one in now]
        made = kept(store, graph, these, inputs, left, partial(collect, graph, these, ctx, inputs, left))
        yield [(one, made.pop(one.layer.name)) for one in now]


def _parted(planned: Sequence[Planned], bound: int) -> Iterator[list[Planned]]:
    """Cut a list so that what each part holds stays within a bound, one layer at least."""
    now: list[Planned] = []
    for one in planned:
        if now and sum(map(held, now)) + held(one) > bound:
            yield now
            now = []
        now.append(one)
    yield now


def check_target(bits: int, ctx: Context, graph: Graph, name: str, found: Findings) -> None:
    """Refuse weights that are wider than the target's."""
    if ctx.target is not None and bits > ctx.target.weight_bits:
        message = f"{ctx.target.name} has weights of {ctx.target.weight_bits} bits, not of {bits}"
        help = f"ask for {ctx.target.weight_bits} bits or fewer"
        found(Diagnostic(f"{name}/target", message, graph.name, help))
