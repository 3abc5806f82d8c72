"""The report of compression: by layer, weights and bits, losses against the baselines', spikes, synaptic operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Diagnostic, remark
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv1d, Conv2d, Linear
from spikec.compiler.weights import Array
from spikec.passes.sbc.layers import Layer
from spikec.passes.sbc.operations import Work, reads_analog, work
from spikec.passes.sbc.record import Chunk, run


@dataclass
class Seen:
    """What a population did on samples, dense and compressed."""

    spikes: int = 0
    spikes_after: int = 0
    differing: int = 0
    power: float = 0.0
    error: float = 0.0

    def add(self, one: Array, other: Array, *, membrane: bool) -> None:
        """Count what it sent, (N, T, *shape), before and after."""
        if membrane:
            self.power += float(np.square(one, dtype=np.float64).sum())
            self.error += float(np.square(np.subtract(one, other, dtype=np.float64)).sum())
            return
        self.spikes += int(np.count_nonzero(one))
        self.spikes_after += int(np.count_nonzero(other))
        self.differing += int(np.count_nonzero(one != other))


@dataclass(frozen=True)
class Measured:
    """What was measured on some samples: populations by name, the work of layers before and after."""

    samples: int
    neurons: Mapping[str, Seen]
    work: Mapping[str, tuple[Work, Work]]

    def of(self, layers: Sequence[Layer]) -> dict[str, Any]:
        """Give what layers cost and what the populations behind them did (each counted once) as plain data."""
        before = sum((self.work[layer.name][0] for layer in layers), Work())
        after = sum((self.work[layer.name][1] for layer in layers), Work())
        found: dict[str, Any] = {"sops_before": before.sops, "sops": after.sops}
        if before.macs:
            found |= {"macs_before": before.macs, "macs": after.macs}
        seen = [self.neurons[name] for name in dict.fromkeys(name for layer in layers for name in neurons_of(layer))]
        if any(one.spikes or one.spikes_after for one in seen):
            found |= {
                "spikes_before": sum(one.spikes for one in seen),
                "spikes": sum(one.spikes_after for one in seen),
                "spikes_differing": sum(one.differing for one in seen),
            }
        power = sum(one.power for one in seen)
        if power:
            found["membrane_error"] = float(np.sqrt(sum(one.error for one in seen) / power))
        return found


def neurons_of(layer: Layer) -> tuple[str, ...]:
    """Name the populations that a layer's currents reach."""
    return tuple(dict.fromkeys(path.neuron for path in layer.paths if path.neuron is not None))


def measure(dense: Graph, made: Graph, layers: Sequence[Layer], ctx: Context, inputs: Array, memory: int) -> Measured:
    """Run the dense and the compressed network on the same samples; compare populations, count operations.

    Args:
        dense: before.
        made: after; the same nodes with other weights.
        layers: to report on.
        ctx: runner and progress.
        inputs: (N, T, *shape).
        memory: bytes for the records of both networks.
    """
    neurons = {name: Seen() for layer in layers for name in neurons_of(layer)}
    done = {layer.name: (Work(), Work()) for layer in layers}
    wanted = frozenset(neurons) | {source for layer in layers for node in layer.nodes for source in node.inputs}
    pair = zip(
        run(dense, ctx, inputs, wanted, memory // 2, "measuring"),
        run(made, ctx.quiet(), inputs, wanted, memory // 2, ""),
        strict=True,
    )
    for old, new in pair:
        for name, seen in neurons.items():
            op = dense[name].op
            membrane = isinstance(op, Neuron | FixedNeuron) and op.readout == "membrane"
            seen.add(old.sent[name], new.sent[name], membrane=membrane)
        for layer in layers:
            before, after = done[layer.name]
            done[layer.name] = (before + _work(old, layer), after + _work(new, layer))
    return Measured(len(inputs), neurons, done)


def _work(chunk: Chunk, layer: Layer) -> Work:
    total = Work()
    for node in layer.nodes:
        op = chunk.graph[node.name].op
        assert isinstance(op, Linear | Conv1d | Conv2d)
        total = total + work(op, chunk.given(node.name), analog=reads_analog(chunk.graph, node.name))
    return total


def facts(layer: Layer, made: Graph, losses: Mapping[str, float], seen: Measured | None) -> dict[str, Any]:
    """Give everything that is known of a layer as plain data; losses are parts of what the dense weights make."""
    old, new = layer.op.weight, made[layer.name].op
    weight = getattr(new, "weight", old)
    found: dict[str, Any] = {
        "layer": layer.name,
        "weights": int(layer.stored.size),
        "zeros_before": int(np.count_nonzero(layer.stored == 0)),
        "zeros": int(np.count_nonzero(weight.decode() == 0)),
        "bits_before": old.bits,
        "bits": weight.bits,
    }
    whole = losses.get("weights", 0.0)
    if whole > 0:
        found["loss"] = {name: value / whole for name, value in losses.items() if name != "weights"}
    return found | (seen.of([layer]) if seen is not None else {})


def as_remark(found: Mapping[str, Any], code: str, where: str) -> Diagnostic:
    """Say in one remark what became of a layer."""
    share = 100 * found["zeros"] / max(1, found["weights"])
    parts = [f"{found['zeros']} of {found['weights']} weights are 0 ({share:.2f} %)"]
    parts.append(f"{found['bits_before']} bits are now {found['bits']}")
    if "loss" in found:
        others = [f"{name} {100 * value:.3g} %" for name, value in found["loss"].items() if name != "result"]
        also = f" ({', '.join(others)})" if others else ""
        parts.append(f"loss {100 * found['loss']['result']:.3g} % of what its weights make{also}")
    if "spikes_differing" in found:
        parts.append(f"{found['spikes_differing']} spikes differ of {found['spikes_before']}")
    if "membrane_error" in found:
        parts.append(f"membrane error {100 * found['membrane_error']:.3g} %")
    if found.get("sops_before"):
        parts.append(f"{found['sops_before']} synaptic operations are now {found['sops']}")
    if found.get("macs_before"):
        parts.append(f"{found['macs_before']} multiply-adds are now {found['macs']}")
    return remark(code, "; ".join(parts), where)


def report(
    name: str, method: str, graph: Graph, made: Graph, layers: Sequence[Layer],
    losses: Mapping[str, Mapping[str, float]], ctx: Context, inputs: Array | None, count: int, memory: int,
) -> None:  # fmt: skip
    """Tell what a pass did: a remark a layer, and the table of `facts.compression`.

    Args:
        name: of the pass.
        method: that it used.
        graph: before.
        made: after.
        layers: that were compressed.
        losses: by layer and name.
        ctx: is told.
        inputs: the calibration samples, if there are any.
        count: of them both networks are run on so many.
        memory: bytes for that.
    """
    taken = None if inputs is None or not count else chosen_samples(inputs, count)
    seen = None if taken is None else measure(graph, made, layers, ctx, taken, memory)
    rows = [facts(layer, made, losses[layer.name], seen) for layer in layers]
    for layer, row in zip(layers, rows, strict=True):
        ctx.remark(as_remark(row, f"{name}/layer", layer.nodes[0].where))
    ctx.fact({
        "pass": name,
        "method": method,
        "calibration": 0 if inputs is None else len(inputs),
        "measured": 0 if taken is None else len(taken),
        "layers": rows,
        "total": totals(rows, layers, seen),
    })  # fmt: skip


def totals(rows: Sequence[Mapping[str, Any]], layers: Sequence[Layer], seen: Measured | None) -> dict[str, Any]:
    """Give the same of all layers together."""
    names = ("weights", "zeros_before", "zeros", "bits_before", "bits")
    return {name: sum(row[name] for row in rows) for name in names} | (seen.of(layers) if seen is not None else {})


def chosen_samples(inputs: Array, count: int) -> Array:
    """Give `count` samples, evenly chosen."""
    picked = np.unique(np.linspace(0, len(inputs) - 1, min(count, len(inputs))).astype(int))
    return np.asarray(inputs[picked])
