"""The pipeline: runs passes in order, verifies before the first and after every one, times them, blames by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar, Protocol

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.compiler.ir import Graph
from spikec.compiler.verify import verify


class Pass(Protocol):
    """One rewrite: a frozen dataclass whose fields are its options; `run` gives a new graph, or the same object."""

    name: ClassVar[str]
    description: ClassVar[str]

    def run(self, graph: Graph, ctx: Context) -> Graph:
        """Rewrite the graph.

        Raises:
            CompileError: the graph cannot be rewritten so, with every reason.
        """
        ...


@dataclass(frozen=True, eq=False)
class Step:
    """What a pass did: the graph before and after it, and the seconds it took. `before is after`: nothing."""

    name: str
    before: Graph
    after: Graph
    seconds: float


Watch = Callable[[Step], None]


def run_pipeline(graph: Graph, passes: Iterable[Pass], ctx: Context, watch: Watch = lambda _: None) -> Graph:
    """Run passes in order.

    Raises:
        CompileError: the graph breaks a rule before the first pass, a pass refuses, or a pass leaves a graph that
            breaks a rule (then the diagnostics name the pass).
    """
    verify(graph)
    for step in passes:
        before, began = graph, perf_counter()
        graph = step.run(before, ctx)
        seconds = perf_counter() - began
        if graph is not before:
            _verify_after(graph, step.name)
        watch(Step(step.name, before, graph, seconds))
    return graph


def _verify_after(graph: Graph, name: str) -> None:
    try:
        verify(graph)
    except CompileError as error:
        blame = Diagnostic(
            "pipeline/broken-by-pass",
            f"pass '{name}' left a graph that breaks the rules below",
            graph.name,
            "this is a fault of the pass, not of the network: please report it",
        )
        raise CompileError((blame, *error.diagnostics)) from error
