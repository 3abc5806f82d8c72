"""What a pass is given beside the graph: nothing else crosses from pass to pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from spikec.compiler.diagnostics import Sink, ignore
from spikec.compiler.runner import Runner
from spikec.compiler.target import Target
from spikec.compiler.weights import Array

T = TypeVar("T")

Facts = Callable[[Mapping[str, Any]], None]
"""Where a pass puts what it measured: plain data (strings, numbers, lists, mappings) for the artifact's manifest."""


class Progress(Protocol):
    """Shows how far a long piece of work has come."""

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
        """Pass the items through, showing progress under the title `what`."""
        ...

    def task(self, what: str) -> AbstractContextManager[None]:
        """Show that `what` is under way while the block runs."""
        ...

    def work(self, what: str, total: float) -> AbstractContextManager[Callable[[float], None]]:
        """Show how much of `total` is done, and how long the rest will take; the block reports each amount once done.

        For pieces of unequal size that finish in any order.
        """
        ...


class Quiet:
    """Progress that shows nothing."""

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
        """Pass the items through."""
        return items

    @contextmanager
    def task(self, what: str) -> Iterator[None]:
        """Run the block."""
        yield

    @contextmanager
    def work(self, what: str, total: float) -> Iterator[Callable[[float], None]]:
        """Run the block."""
        yield lambda _: None


@dataclass(frozen=True, eq=False)
class Calibration:
    """Samples of the user's data: inputs (N, T, *shape), and labels (N,) where known."""

    inputs: Array
    labels: Array | None = None


def forget(_: Mapping[str, Any]) -> None:
    """Drop what a pass measured."""


@dataclass(frozen=True, eq=False)
class Context:
    """Seed, calibration data, the target's description, a runner for float and for fixed graphs, and three sinks.

    `fact` takes what a pass reports as data, with `pass` for its name; the driver keeps it in the manifest. `workers`,
    `cluster` and `resume` say how long work is done, and change no result: processes of a Ray that is started here (0:
    this one), the address of a Ray that runs, a folder in which what is finished is kept.
    """

    seed: int = 0
    calibration: Calibration | None = None
    target: Target | None = None
    runner: Runner | None = None
    progress: Progress = field(default_factory=Quiet)
    remark: Sink = ignore
    fact: Facts = forget
    workers: int = 0
    cluster: str = ""
    resume: str = ""

    def quiet(self) -> Context:
        """Give the same context with progress that shows nothing."""
        return replace(self, progress=Quiet())
