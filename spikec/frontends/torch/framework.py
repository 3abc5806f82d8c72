"""Runs the user's own module on data and records what its neurons do: the first rung of the verification ladder."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikec.compiler.diagnostics import fail, ignore
from spikec.compiler.ir import Graph
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Output
from spikec.compiler.runner import Result
from spikec.compiler.weights import Array
from spikec.frontends.torch.build import Built, build
from spikec.frontends.torch.folding import Folded, Source, fold
from spikec.frontends.torch.lower import as_tensor, check_axes, does_one_step, place_namer
from spikec.frontends.torch.readout import Candidate, choose
from spikec.frontends.torch.state import untouched
from spikec.frontends.torch.tracer import Trace, record
from spikec.frontends.torch.values import Call, Expr, Port, Sequence, TimeAxis

SAMPLES_AT_ONCE = 64


def run_framework(
    module: Any, inputs: Array, graph: Graph, *, time_axis: TimeAxis = 0, batch_axis: int | None = None
) -> Result:
    """Run a module as its framework runs it, in evaluation mode, every sample from the initial state.

    Args:
        module: the module that `graph` was lowered from; it is left as it was.
        inputs: (N, T, *shape).
        graph: what `lower` gave; its nodes give the names of traces and output.
        time_axis: as in `lower`. Where forward repeats one input over time, all steps of `inputs` must be equal, and
            T is the number of steps that forward makes.
        batch_axis: as in `lower`.

    Returns:
        Outputs and the traces `s/NODE` of every neuron, (N, T, *shape), as the framework computed them.

    Raises:
        CompileError: the module does not run on the input, or does otherwise than when it was lowered.
    """
    check_axes(inputs.ndim - (time_axis is None), time_axis, batch_axis, type(module).__name__)
    parts: list[dict[str, Array]] = []
    with untouched(module):
        module.eval()
        for start in range(0, max(1, inputs.shape[0]), SAMPLES_AT_ONCE):
            parts.append(_run(module, inputs[start : start + SAMPLES_AT_ONCE], graph, time_axis))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    output = graph.of(Output)[0].name
    return Result({output: joined.pop(output)}, joined)


def _run(module: Any, inputs: Array, graph: Graph, time_axis: TimeAxis) -> dict[str, Array]:
    name = place_namer(module, "")
    trace, static = _trace(module, inputs, time_axis)
    folded = fold(trace, name, static=static, least=1)
    if folded.steps != inputs.shape[1]:
        raise fail(
            "torch/steps",
            f"forward makes {folded.steps} steps, and the input has {inputs.shape[1]}",
            name(""),
            "give an input of as many steps as forward makes",
        )
    node = graph[graph.of(Output)[0].inputs[0]]
    membrane = isinstance(node.op, Neuron) and node.op.readout == "membrane"
    spikes = isinstance(node.op, Neuron) and not membrane
    chosen = choose(folded, trace, "membrane" if membrane else "spikes" if spikes else "auto", ignore)
    _, built = build(folded, chosen.term, tuple(inputs.shape[2:]), "spikes", 0.0, "")
    arrays = {f"s/{n}": array for n, array in _neurons(folded, built, graph).items()}
    arrays[graph.of(Output)[0].name] = _output(folded, chosen)
    return arrays


def _trace(module: Any, inputs: Array, time_axis: TimeAxis) -> tuple[Trace, bool]:
    """Trace the module on the inputs; and say whether one input served for all steps."""
    name = place_namer(module, "")
    if time_axis is not None:
        whole = np.swapaxes(inputs, 0, 1) if time_axis == 0 else inputs
        return record(module, [as_tensor(whole)], time_axis, name), False
    steps = [as_tensor(inputs[:, t]) for t in range(inputs.shape[1])]
    trace = record(module, steps[:1], None, name)
    if does_one_step(trace):
        return (trace if len(steps) == 1 else record(module, steps, None, name)), False
    if np.any(inputs != inputs[:, :1]):
        raise fail(
            "torch/direct-input",
            "forward repeats one input over time, and this input changes from step to step",
            name(""),
            "give each sample once, repeated over the steps",
        )
    return trace, True


def _neurons(folded: Folded, built: Built, graph: Graph) -> dict[str, Array]:
    """Give the output of every neuron of the graph over time."""
    found: dict[str, Array] = {}
    for (leaf, port), name in built.ports.items():
        known = all(port in call.outputs for call in folded.calls[leaf])
        if known and isinstance(built.nodes[name].op, Neuron) and name in graph:
            found[name] = _over_time(folded.calls[leaf], port, folded.steps)
    return found


def _output(folded: Folded, chosen: Candidate) -> Array:
    term = chosen.term
    if isinstance(term, Source) and term.leaf is not None:
        calls = folded.calls[term.leaf]
        if not all(term.port in call.outputs for call in calls):
            kind = f"{type(calls[0].module).__module__}.{type(calls[0].module).__qualname__}"
            message = f"{kind} keeps the {term.port} of its last step alone, so that the other steps cannot be compared"
            raise fail("torch/output", message, folded.name(term.leaf[0]), "read the spikes, or call it step by step")
        return _over_time(calls, term.port, folded.steps)
    if isinstance(chosen.value, Sequence) and chosen.over_time != "last":
        items = [item for item in chosen.value.items if isinstance(item, Expr)]
        return np.stack([item.tensor.numpy() for item in items], axis=1)
    raise fail(
        "torch/output",
        "forward returns a function of the last step alone, so that the other steps cannot be compared",
        folded.name(""),
        "return every step, or the spikes or the membrane of a neuron",
    )


def _over_time(calls: tuple[Call, ...], port: Port, steps: int) -> Array:
    arrays = [call.outputs[port].numpy() for call in calls]
    return np.stack(arrays * steps if len(arrays) == 1 else arrays, axis=1)
