"""Where tasks run: the Executor protocol, this process, and how one is chosen."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from spikec.compiler.diagnostics import fail
from spikec.passes.work.task import Arrays, Task, carry_out

Finished = Generator[tuple[int, Arrays], None, None]
"""The place of a task in the given order, and its result, as tasks finish."""


class Executor(Protocol):
    """Something that carries tasks out. Where it runs changes no bit of a result."""

    def finished(self, tasks: Sequence[Task]) -> Finished:
        """Carry tasks out and give each result once it is there, in any order. Closing it stops what is under way.

        Raises:
            CompileError: a task refuses, or the machinery fails.
        """
        ...


class _Here:
    """This process: one task after the other, each with all cores."""

    def finished(self, tasks: Sequence[Task]) -> Finished:
        """Carry tasks out in order."""
        for index, task in enumerate(tasks):
            yield index, carry_out(task.function, task.arrays, task.options, 0)


HERE: Executor = _Here()


@contextmanager
def executor(workers: int = 0, address: str = "") -> Iterator[Executor]:
    """Choose where tasks run, for the length of the block.

    Args:
        workers: 0 is this process. N spreads tasks over so many workers with Ray, started on this machine and shut
            down at the end of the block.
        address: of a Ray cluster that runs already (`host:port`, or `auto` for the one of this machine); `workers` is
            then how many tasks it may be given at once (0: as many as it has CPUs). Its machines need the same spikec.

    Raises:
        CompileError: Ray is not installed, does not start, or cannot be reached.
    """
    if workers < 0:
        raise fail("work/workers", f"{workers} workers cannot be", help="give 0 for this process, or how many")
    if not workers and not address:
        yield HERE
        return
    from spikec.passes.work.cluster import cluster

    with cluster(workers, address) as made:
        yield made
