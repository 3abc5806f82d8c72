"""The engine's view of a graph: every node of a fixed graph as a stage of the compiled core."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import _spikecore
import numpy as np
from numpy.typing import NDArray

from spikec.compiler.diagnostics import CompileError, Findings, fail
from spikec.compiler.fixed import FixedNeuron, Whole
from spikec.compiler.ir import Graph, Node, Op, Shape
from spikec.compiler.ops import (
    Conv1d,
    Conv2d,
    Delay,
    FixedSum,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Output,
    Reshape,
    SumPool,
)
from spikec.compiler.verify import is_fixed, verify
from spikec.compiler.weights import Fixed, Weight, unwrapped

Numbers = NDArray[np.int32]
Longs = NDArray[np.int64]
Maker = Callable[[Any, Shape, Shape], _spikecore.Stage]
"""Makes a stage of an op, the shape of its input and that of its output."""

NONE32 = np.zeros(0, np.int32)
NONE64 = np.zeros(0, np.int64)


def build_plan(graph: Graph) -> _spikecore.Plan:
    """Translate a fixed graph.

    Raises:
        CompileError: the graph breaks a rule of the IR, is float, or has a parameter that the engine cannot hold.
    """
    verify(graph)
    if not is_fixed(graph):
        message = "the engine computes in integers; this graph is float"
        raise fail("engine/float-graph", message, graph.name, "quantize it first, or run it by the reference")
    found = Findings()
    stages: list[_spikecore.Stage] = []
    for node in graph:
        with found.catching():
            stages.append(_stage(graph, node))
    found.raise_errors()
    sources = [[graph.position[name] for name in node.inputs] for node in graph]
    return _spikecore.Plan(stages, sources, graph.position[graph.of(Input)[0].name])


def _stage(graph: Graph, node: Node) -> _spikecore.Stage:
    out = graph.shapes[node.name]
    given = graph.shapes[node.inputs[0]] if node.inputs else out
    maker = MAKERS.get(type(node.op))
    if maker is None:
        raise fail("engine/unknown-op", f"the engine does not run the op '{node.op.mnemonic}'", node.where)
    try:
        return maker(node.op, given, out)
    except CompileError as error:
        raise fail(error.diagnostics[0].code, error.diagnostics[0].message, node.where) from error
    except (ValueError, OverflowError, TypeError) as error:
        raise fail("engine/parameter-range", f"the engine cannot hold this: {error}", node.where) from error


def _identity(op: Op, given: Shape, out: Shape) -> _spikecore.Stage:
    return _spikecore.identity(prod(out))


def _linear(op: Linear, given: Shape, out: Shape) -> _spikecore.Stage:
    rows, columns = op.weight.shape
    return _spikecore.linear(
        rows=prod(given[:-1]),
        columns=columns,
        out=rows,
        weights=_integers(op.weight),
        delays=NONE32 if op.delays is None else _int32(op.delays, "delays"),
        latency=op.latency,
        **_sum(op.weight, op.sum),
    )


def _convolution(op: Conv1d | Conv2d, given: Shape, out: Shape) -> _spikecore.Stage:
    pairs = zip(given[1:], op.kernel, op.stride, op.padding, op.dilation, strict=True)
    return _spikecore.convolution(
        in_channels=given[0],
        out_channels=out[0],
        groups=op.groups,
        axes=[(size, kernel, stride, *padding, dilation) for size, kernel, stride, padding, dilation in pairs],
        weights=_integers(op.weight),
        latency=op.latency,
        **_sum(op.weight, op.sum),
    )


def _pool(op: SumPool | MaxPool, given: Shape, out: Shape) -> _spikecore.Stage:
    pairs = zip(given[1:], op.kernel, op.stride, op.padding, strict=True)
    return _spikecore.pool(
        channels=given[0],
        axes=[(size, kernel, stride, *padding, 1) for size, kernel, stride, padding in pairs],
        largest=isinstance(op, MaxPool),
    )


def _delay(op: Delay, given: Shape, out: Shape) -> _spikecore.Stage:
    steps = op.steps if np.ndim(op.steps) == 0 else np.broadcast_to(op.steps, out)
    return _spikecore.delay(size=prod(out), steps=_int32(steps, "steps"))


def _neuron(op: FixedNeuron, given: Shape, out: Shape) -> _spikecore.Stage:
    rules = op.arithmetic

    def each(value: Whole | None) -> Longs:
        """Give one value, or one for each neuron; nothing for None."""
        if value is None:
            return NONE64
        return np.ravel(np.broadcast_to(value, out) if np.ndim(value) else np.asarray(value)).astype(np.int64)

    return _spikecore.neuron(
        size=prod(out),
        threshold=_shift(each(op.threshold), rules.threshold_exp),
        amount=_shift(each(op.amount), rules.threshold_exp) if op.reset == "subtract" else np.zeros(1, np.int64),
        bias=_wrap32(_shift(each(op.bias), op.bias_exp)),
        v_decay=each(op.v_decay),
        u_decay=each(op.u_decay),
        v_reset=each(op.v_reset),
        v_min=each(op.v_min),
        u_init=each(op.u_init),
        v_init=each(op.v_init),
        shift_decay=rules.decay == "shift",
        decay_bits=rules.decay_bits,
        input_exp=rules.input_exp,
        u_bits=rules.u_bits,
        u_saturates=rules.u_overflow == "saturate",
        v_bits=rules.v_bits,
        v_saturates=rules.v_overflow == "saturate",
        symmetric=rules.symmetric,
        at_threshold=op.cmp == ">=",
        reset=op.reset,
        membrane=op.readout == "membrane",
        start=op.start,
        reset_interval=op.reset_interval,
        reset_offset=op.reset_offset % op.reset_interval if op.reset_interval > 0 else 0,
    )


MAKERS: dict[type[Op], Maker] = {
    Input: _identity,
    Output: _identity,
    Flatten: _identity,
    Reshape: _identity,
    Linear: _linear,
    Conv1d: _convolution,
    Conv2d: _convolution,
    SumPool: _pool,
    MaxPool: _pool,
    Delay: _delay,
    FixedNeuron: _neuron,
}


def _integers(weight: Weight) -> Numbers:
    """Give the decoded weights, flat, in C order."""
    values = weight.decode()
    if not np.issubdtype(values.dtype, np.integer):
        raise fail(
            "engine/float-weight", f"the engine adds whole weights; these are {values.dtype} ({weight.encoding})"
        )
    return _int32(values, "weights")


def _sum(weight: Weight, rule: FixedSum | None) -> dict[str, Any]:
    """Give the integer arithmetic of a connection as the core takes it."""
    assert rule is not None, "a verified fixed graph has it"
    inner = unwrapped(weight)
    exponent = inner.exponent if isinstance(inner, Fixed) else 0
    return {
        "exponent": _int32(np.atleast_1d(np.asarray(exponent)), "exponent"),
        "graded": rule.message_bits != 0,
        "width": rule.width,
    }


def _int32(values: Any, name: str) -> Numbers:
    whole = np.ravel(np.asarray(values))
    if whole.size and (whole.min() < -(1 << 31) or whole.max() >= 1 << 31):
        raise ValueError(f"{name} do not fit in 32 bits")
    return np.ascontiguousarray(whole, dtype=np.int32)


def _shift(values: Longs, exponent: int) -> Longs:
    """Shift left, or right (a floor) where the exponent is negative."""
    return values << exponent if exponent >= 0 else values >> -exponent


def _wrap32(values: Longs) -> Longs:
    return values.astype(np.int32).astype(np.int64)
