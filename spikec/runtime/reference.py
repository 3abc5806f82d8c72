"""The reference: runs a graph step by step in NumPy, float or fixed, and thereby defines what a graph means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import fail
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Input, Linear, Output
from spikec.compiler.runner import Result, Trace
from spikec.compiler.verify import is_fixed, verify
from spikec.compiler.weights import Array
from spikec.runtime.reference_connection import History, connect, wrap
from spikec.runtime.reference_fixed import FixedState
from spikec.runtime.reference_neuron import FloatState
from spikec.runtime.reference_ops import stateless


@dataclass(frozen=True)
class Reference:
    """Runs float graphs in `dtype` (float32, as the frameworks compute) and fixed graphs in exact integers."""

    dtype: type[np.floating] = np.float32

    def run(self, graph: Graph, inputs: Array, *, trace: Trace = False) -> Result:
        """Run every sample from its initial state; see `spikec.compiler.runner.Runner`.

        Args:
            graph: a graph that obeys the rules of the IR.
            inputs: (N, T, *shape of the Input); integers where the graph is fixed.
            trace: nodes to record: True for all of them.

        Raises:
            CompileError: the input's shape does not fit the graph, or it is not whole where it must be.
        """
        verify(graph)
        fixed = is_fixed(graph)
        given = check_inputs(graph, inputs, fixed=fixed).astype(np.int64 if fixed else self.dtype)
        run = _Run(graph, given.shape[0], np.dtype(given.dtype))
        wanted = [n.name for n in graph if isinstance(n.op, Output) or _asked(trace, n.name)]
        records: dict[str, list[Array]] = {key: [] for name in wanted for key in run.keys(name)}
        for t in range(given.shape[1]):
            run.step(t, given[:, t])
            for key, steps in records.items():
                steps.append(run.value(key))
        kind = np.int32 if fixed else self.dtype
        empty = {key: run.value(key)[:, None][:, :0] for key in records}  # keeps the shapes where there is no step
        arrays = {
            key: (np.stack(steps, axis=1) if steps else empty[key]).astype(kind) for key, steps in records.items()
        }
        outputs = {node.name: arrays[f"s/{node.name}"] for node in graph.of(Output)}
        return Result(outputs, {key: array for key, array in arrays.items() if _asked(trace, key[2:])})


def _asked(trace: Trace, name: str) -> bool:
    return trace is True or (isinstance(trace, tuple) and name in trace)


def check_inputs(graph: Graph, inputs: Array, *, fixed: bool) -> Array:
    """Refuse an input array that does not fit the graph's Input."""
    node = graph.of(Input)[0]
    size = graph.shapes[node.name]
    array = np.asarray(inputs)
    if array.ndim != 2 + len(size) or array.shape[2:] != size:
        message = (
            f"the input has shape {list(array.shape)}; the network takes (samples, steps, {', '.join(map(str, size))})"
        )
        raise fail("run/input-shape", message, node.where, "reshape the input, or bin the events with --shape")
    if (
        fixed
        and not np.issubdtype(array.dtype, np.integer)
        and not np.issubdtype(array.dtype, np.bool_)
        and np.any(array != np.rint(array))
    ):
        message = "a fixed graph takes whole numbers; this input has fractions"
        raise fail(
            "run/input-not-whole",
            message,
            node.where,
            "compile it on samples like these, so that analog input is quantized; or give whole numbers",
        )
    if fixed and array.size and (array.min() < -(1 << 31) or array.max() >= 1 << 31):
        raise fail("run/input-width", "the input has values that do not fit in 32 bits", node.where)
    return array


class _Run:
    """One run under way: the outputs of this step and of the previous one, and what every node remembers."""

    def __init__(self, graph: Graph, samples: int, dtype: np.dtype[Any]) -> None:
        self.graph = graph
        self.samples = samples
        self.dtype = dtype
        self.now: dict[str, Array] = {name: np.zeros((samples, *shape), dtype) for name, shape in graph.shapes.items()}
        self.states: Mapping[str, FloatState | FixedState | History] = {
            node.name: state for node in graph if (state := self._state(node)) is not None
        }

    def _state(self, node: Node) -> FloatState | FixedState | History | None:
        shape = (self.samples, *self.graph.shapes[node.name])
        if isinstance(node.op, Neuron):
            return FloatState(node.op, shape, self.dtype)
        if isinstance(node.op, FixedNeuron):
            return FixedState(node.op, shape)
        if isinstance(node.op, Delay):
            return History(int(np.max(node.op.steps)))
        if isinstance(node.op, Linear | Conv1d | Conv2d):
            delays = node.op.delays if isinstance(node.op, Linear) else None
            return History(node.op.latency + (0 if delays is None else int(np.max(delays, initial=0))))
        return None

    def keys(self, name: str) -> tuple[str, ...]:
        """Give the keys under which a node is traced: its output, and a neuron's current and membrane potential."""
        kinds = "suv" if isinstance(self.states.get(name), FloatState | FixedState) else "s"
        return tuple(f"{kind}/{name}" for kind in kinds)

    def value(self, key: str) -> Array:
        """Give what a key stands for at this step."""
        kind, name = key[0], key[2:]
        state = self.states.get(name)
        if kind == "s" or not isinstance(state, FloatState | FixedState):
            return self.now[name]
        return state.u if kind == "u" else state.v

    def step(self, t: int, given: Array) -> None:
        """Compute every node once, in order; what stands later still holds its output of the previous step."""
        for node in self.graph:
            self.now[node.name] = self._compute(node, t, given)

    def _compute(self, node: Node, t: int, given: Array) -> Array:
        if isinstance(node.op, Input):
            return given
        shape = (self.samples, *self._input_shape(node))
        x = sum((self.now[name] for name in node.inputs), np.zeros(shape, self.dtype))
        if np.issubdtype(self.dtype, np.integer):
            x = wrap(x, 32)  # what passes between the nodes of a fixed graph has 32 bits
        state = self.states.get(node.name)
        if isinstance(state, FloatState):
            return state.step(x)
        if isinstance(state, FixedState):
            return state.step(t, x)
        if isinstance(state, History):
            state.push(x)
            return (
                delay(node.op, state)
                if isinstance(node.op, Delay)
                else connect(node.op, state, self.graph.shapes[node.name])
            )
        return stateless(node.op, x)

    def _input_shape(self, node: Node) -> Shape:
        return self.graph.shapes[node.inputs[0]] if node.inputs else self.graph.shapes[node.name]


def delay(op: Delay, history: History) -> Array:
    """Give out[t] = in[t - steps], for every distinct number of steps where it is per element."""
    if np.ndim(op.steps) == 0:
        return history.back(int(op.steps))
    steps = np.broadcast_to(op.steps, history.back(0).shape[1:])
    out = np.zeros_like(history.back(0))
    for d in np.unique(steps):
        out = np.where(steps == d, history.back(int(d)), out)
    return out
