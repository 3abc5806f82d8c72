"""The contract of a backend: say every reason why a graph would not fit, and emit an artifact when none is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from spikec.compiler.artifact import Artifact
from spikec.compiler.diagnostics import Diagnostic
from spikec.compiler.ir import Graph


class Backend(Protocol):
    """A place where a network can go."""

    @property
    def name(self) -> str:
        """Name of the target, as users type it."""
        ...

    @property
    def description(self) -> str:
        """Say in one line what the target is."""
        ...

    def check(self, graph: Graph) -> Iterator[Diagnostic]:
        """Yield every reason why the graph would not fit or not mean the same, one small rule each."""
        ...

    def emit(self, graph: Graph) -> Artifact:
        """Make the artifact; called only when `check` found no error."""
        ...


@runtime_checkable
class MapsByActivity(Protocol):
    """A backend that lays a network out by how busy its nodes are."""

    def with_activity(self, activity: Mapping[str, float]) -> Backend:
        """Give the backend for a network whose nodes send so many spikes a step, by name."""
        ...
