"""From a torch module to the IR: trace it on an example, fold the trace over time, choose the output, build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import Diagnostic, Findings, Sink, fail, ignore
from spikec.compiler.ir import Graph
from spikec.compiler.verify import verify
from spikec.frontends.torch.advice import STATIC
from spikec.frontends.torch.build import build
from spikec.frontends.torch.folding import Folded, fold
from spikec.frontends.torch.readout import Wanted, choose
from spikec.frontends.torch.state import untouched
from spikec.frontends.torch.tracer import PROBE_CALLS, Trace, record
from spikec.frontends.torch.values import TimeAxis

LARGEST_COUNT = 255


def lower(
    module: Any,
    example: Any,
    *,
    time_axis: TimeAxis = 0,
    batch_axis: int | None = None,
    dt: float = 1e-3,
    readout: Wanted = "auto",
    source: str = "",
    remark: Sink = ignore,
) -> Graph:
    """Lower a network of torch.nn layers and the neurons of a framework into a float graph.

    The module is run once on the example, in evaluation mode, from the initial state, and is left as it was.

    Args:
        module: the trained network.
        example: an input as forward takes it, a tensor or an array; at least 2 steps (3 show all that 2 may hide).
        time_axis: 0 for (T, N, *shape), 1 for (N, T, *shape), None where a call is one step or where forward repeats
            one input (N, *shape) in a loop over time (direct coding); "joined" where forward takes (N * T, *shape),
            the steps of a sample one after another: the example is then (N, T, *shape).
        batch_axis: the axis of the samples; the other one of the first two.
        dt: seconds a step, for the record.
        readout: what to take where spikes and membrane are returned; `auto` takes the spikes.
        source: name of the model for diagnostics and origins.
        remark: is told of every choice that was made.

    Raises:
        CompileError: `torch/...`: unknown modules and functions by path and class, all at once; what differs from step
            to step; states that are not handed on; parameters that no op can express.
    """
    where = source or type(module).__name__
    tensor = as_tensor(example, where)
    check_axes(tensor.dim(), time_axis, batch_axis, where)
    check_real(module, source)
    with untouched(module):
        traced = trace(module, tensor, time_axis, source)
        output = choose(traced.folded, traced.trace, readout, remark)
        size = tuple(tensor.shape[1:] if time_axis is None else tensor.shape[2:])
        kind = input_kind(tensor, traced.folded)
        graph, _ = build(traced.folded, output.term, size, kind, dt, source)
    return verify(graph)


@dataclass(frozen=True, eq=False)
class Traced:
    """A trace and its folded form."""

    trace: Trace
    folded: Folded


def trace(module: Any, tensor: Any, time_axis: TimeAxis, source: str) -> Traced:
    """Trace a module on one feed; where one call is one step, on the same feed several times."""
    module.eval()
    name = place_namer(module, source)
    made = record(module, [tensor], time_axis, name)
    one_step = time_axis is None and does_one_step(made)
    if one_step:
        made = record(module, [tensor.clone() for _ in range(PROBE_CALLS)], None, name)
    return Traced(made, fold(made, name, static=time_axis is None and not one_step))


def does_one_step(made: Trace) -> bool:
    """Say whether the one call of the network that was traced was one step."""
    return all(call.index == 0 for call in made.calls if call.neuron)


def place_namer(module: Any, source: str) -> Callable[[str], str]:
    """Give the function that names a module by source and path for a diagnostic."""
    root = source or type(module).__name__
    return lambda path: f"{root}:{path}" if path else root


def as_tensor(example: Any, where: str = "") -> Any:
    """Give an example as a tensor of floats.

    Raises:
        CompileError: `torch/example`: it holds something other than real numbers.
    """
    import torch

    if not isinstance(example, torch.Tensor):
        values = np.ascontiguousarray(example)
        if values.dtype.kind not in "fiubc":
            message = f"an example of {values.dtype} holds no numbers"
            raise fail("torch/example", message, where, "give an array or a tensor, laid out as forward takes it")
        example = torch.from_numpy(values)
    if example.is_complex():
        message = f"the example is complex ({str(example.dtype).removeprefix('torch.')}), and spikec computes in reals"
        raise fail("torch/example", message, where, "give the real part, or both parts as values of their own")
    if example.layout != torch.strided:
        example = example.to_dense()
    example = example.detach().clone()
    return example if example.is_floating_point() else example.to(torch.get_default_dtype())


def check_real(module: Any, source: str) -> None:
    """Refuse complex weights, all of them."""
    name = place_namer(module, source)
    found = Findings()
    for path, part in module.named_modules():
        for key, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            if tensor.is_complex():
                kind = str(tensor.dtype).removeprefix("torch.")
                message = f"'{key}' of {type(part).__name__} is complex ({kind}), and weights are real"
                found(Diagnostic("torch/weight-dtype", message, name(path), "train with real weights"))
    found.raise_errors()


def check_axes(rank: int, time_axis: TimeAxis, batch_axis: int | None, where: str) -> None:
    """Refuse a layout other than (T, N, ...), (N, T, ...) and (N, ...)."""
    expected = {0: 1, 1: 0, None: 0, "joined": 0}
    if time_axis not in expected or batch_axis not in (None, expected.get(time_axis)):
        raise fail(
            "torch/axes",
            f"time_axis={time_axis}, batch_axis={batch_axis} is not a layout that spikec reads",
            where,
            "time and samples are the first two axes: --time-axis 0 or 1 (in Python: time_axis=0 or 1); "
            "none (None) where there is no axis of time, joined where the two are one",
        )
    if rank < (1 if time_axis is None else 2) + 1:
        wanted = "samples and values" if time_axis is None else "samples, time and values"
        message = f"an example of {rank} {'axis' if rank == 1 else 'axes'} has no room for {wanted}"
        help = f"{STATIC}; an example of one sample keeps its axis for the samples"
        raise fail("torch/axes", message, where, help)


def input_kind(tensor: Any, folded: Folded) -> str:
    """Say whether an input is spikes (small whole numbers) or analog."""
    whole = (
        bool((tensor == tensor.round()).all()) and bool((tensor >= 0).all()) and bool((tensor <= LARGEST_COUNT).all())
    )
    return "spikes" if whole and not folded.static else "analog"
