"""Custom neuron nodes: `ai.nmc::LIF`, and `SNN_implementation::LIF` and `::LIF_stateful` of event-flow networks.

    v = beta v + x;  s = 1[v cmp threshold];  then v = v - threshold s (subtract), v = 0 where s (zero), or stays (none)

`ai.nmc::LIF(x[, v]) -> s[, v]` has attributes `beta` and `threshold` (a number, or one a channel), `reset`
(`subtract`, `zero`, `none`; default `zero`) and `compare` (`>` or `>=`; default `>=`).
`SNN_implementation::LIF(x, v, beta, threshold) -> s, v` resets to zero at v >= threshold;
`LIF_stateful(x, beta, threshold) -> s[, v]` keeps v itself.
A node that is given no v keeps it from step to step, from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.frontends.onnx.algebra import Value, constant, minus, plus, scaled
from spikec.frontends.onnx.recognise import State
from spikec.frontends.onnx.source import Call
from spikec.frontends.onnx.walk import Rule, Tensor, Walk

Made = Mapping[str, Tensor]
Given = tuple[Tensor | None, ...]


def hidden_states(walk: Walk) -> tuple[State, ...]:
    """Give the states that custom nodes keep themselves."""
    return tuple(walk.hidden)


def _nmc(walk: Walk, call: Call, given: Given) -> Made:
    x = _input(call, given)
    beta, threshold = (_numbers(call, name, call.attributes.get(name), x) for name in ("beta", "threshold"))
    reset, compare = call.attributes.get("reset", "zero"), call.attributes.get("compare", ">=")
    if reset not in ("subtract", "zero", "none") or compare not in (">", ">="):
        message = f"{call.kind} has reset {reset!r} and compare {compare!r}"
        raise fail("onnx/bad-node", message, call.where, "reset: subtract, zero, none; compare: > or >=")
    return _lif(walk, call, x, given[1] if len(given) > 1 else None, beta, threshold, str(reset), strict=compare == ">")


def _event_flow(walk: Walk, call: Call, given: Given) -> Made:
    x = _input(call, given)
    first = 1 if call.op == "LIF_stateful" else 2
    parts = [given[first + k] if len(given) > first + k else None for k in range(2)]
    named = zip(("beta", "threshold"), parts, strict=True)
    beta, threshold = (
        _numbers(call, name, call.attributes.get(name) if part is None else part.array, x) for name, part in named
    )
    v = given[1] if first == 2 and len(given) > 1 else None
    return _lif(walk, call, x, v, beta, threshold, "zero", strict=False)


def _input(call: Call, given: Given) -> Tensor:
    if not given or given[0] is None or given[0].array is not None:
        raise fail("onnx/operands", f"{call.kind} has no input", call.where, "give it the current of a layer")
    return given[0]


def _numbers(call: Call, name: str, value: Any, x: Tensor) -> Any:
    """Give a parameter so that it lies along the channels."""
    if value is None:
        message = f"{call.kind} has no constant {name}"
        raise fail("onnx/bad-node", message, call.where, f"give {name} as an attribute or a constant")
    array = np.asarray(value, np.float64)
    if not np.all(np.isfinite(array)):
        raise fail("onnx/not-finite", f"{name} of {call.kind} is NaN or infinite", call.where, "repair the parameter")
    if array.ndim == 1 and len(x.shape) > 1 and len(array) == x.shape[0]:
        return array.reshape(-1, *(1,) * (len(x.shape) - 1))
    return array


def _lif(
    walk: Walk, call: Call, x: Tensor, v: Tensor | None, beta: Any, threshold: Any, reset: str, *, strict: bool
) -> Made:
    algebra = walk.algebra
    kept = algebra.variable("state", call.place) if v is None else v.value
    raised = plus(scaled(kept, beta), x.value)
    spikes = algebra.step(minus(raised, constant(threshold)), strict=strict)
    after = raised
    if reset == "subtract":
        after = minus(raised, scaled(spikes, threshold))
    elif reset == "zero":
        after = algebra.product(minus(constant(1.0), spikes), raised)
    if v is None:
        _keep(walk, call, kept, after, x)
    made = {call.outputs[0]: Tensor(spikes, x.shape)}
    if len(call.outputs) > 1 and call.outputs[1]:
        made[call.outputs[1]] = Tensor(after, x.shape)
    return made


def _keep(walk: Walk, call: Call, kept: Value, after: Value, x: Tensor) -> None:
    (number,) = kept.variables()
    walk.hidden.append(State(str(call.attributes.get("state_id", call.place)), number, after, x.shape))


RULES: dict[str, Rule] = {
    "ai.nmc::LIF": _nmc,
    "SNN_implementation::LIF": _event_flow,
    "SNN_implementation::LIF_stateful": _event_flow,
}
"""The custom nodes that are understood."""
