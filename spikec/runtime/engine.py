"""The engine: runs fixed graphs in the compiled core, equal to the reference at every step, on all cores."""

from __future__ import annotations

from math import prod
from typing import Literal
from weakref import WeakKeyDictionary

import _spikecore
import numpy as np
from numpy.typing import NDArray

from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Output
from spikec.compiler.runner import Result, Trace
from spikec.compiler.weights import Array
from spikec.runtime.engine_plan import Numbers, build_plan
from spikec.runtime.reference import check_inputs

Variable = Literal["s", "u", "v"]
Key = tuple[Variable, str]


class Engine:
    """Runs fixed graphs; a graph is translated once and its plan kept as long as the graph lives.

    Samples are shared out over `threads` threads (0: one for each core); the result does not depend on their number.
    Between nodes values are int32: sums wrap.
    """

    def __init__(self, threads: int = 0) -> None:
        if threads < 0:
            raise ValueError(f"an engine runs on 1 thread or more, or on 0 for all cores, not on {threads}")
        self.threads = threads
        self._plans: WeakKeyDictionary[Graph, _spikecore.Plan] = WeakKeyDictionary()

    def run(self, graph: Graph, inputs: Array, *, trace: Trace = False) -> Result:
        """Run every sample from its initial state; see `spikec.compiler.runner.Runner`.

        Args:
            graph: a fixed graph.
            inputs: (N, T, *shape of the Input), whole numbers within 32 bits.
            trace: nodes to record: True for all of them.

        Raises:
            CompileError: the graph is float or breaks a rule, or the input does not fit it.
        """
        plan = self._plans.get(graph)
        if plan is None:
            plan = self._plans[graph] = build_plan(graph)
        given = _given(graph, inputs)
        samples, steps = given.shape[:2]
        traced = [key for node in graph if trace is True or (trace and node.name in trace) for key in _variables(node)]
        outputs: list[Key] = [("s", node.name) for node in graph.of(Output)]
        arrays = {
            key: np.empty((samples, steps, *graph.shapes[key[1]]), np.int32)
            for key in dict.fromkeys([*outputs, *traced])
        }
        records: list[tuple[int, Variable, Numbers]] = [
            (graph.position[name], kind, array.reshape(samples, steps, prod(graph.shapes[name])))
            for (kind, name), array in arrays.items()
        ]
        plan.run(given, records, self.threads)
        return Result(
            {name: arrays["s", name] for _, name in outputs},
            {f"{kind}/{name}": arrays[kind, name] for kind, name in traced},
        )


def _variables(node: Node) -> list[Key]:
    """What a trace of the node records: its output, and the states of a neuron."""
    keys: list[Key] = [("s", node.name)]
    return [*keys, ("u", node.name), ("v", node.name)] if isinstance(node.op, FixedNeuron) else keys


def _given(graph: Graph, inputs: Array) -> Numbers:
    """Give the checked input as int32, (samples, steps, entries)."""
    array = check_inputs(graph, inputs, fixed=True)
    whole: NDArray[np.int32] = np.ascontiguousarray(array, dtype=np.int32)
    return whole.reshape(*array.shape[:2], prod(array.shape[2:]))
