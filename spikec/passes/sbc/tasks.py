"""The long work of SBC as tasks: blocks of rows to order, to make up for a mask, to put on a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from spikec.compiler.context import Context, Progress
from spikec.compiler.weights import Array
from spikec.passes.sbc.grids import LevelGrid
from spikec.passes.sbc.kernels import cores, keep_solve, order
from spikec.passes.sbc.prune import Factor, default_block
from spikec.passes.sbc.requantize import Columns, columns, quantize_rows
from spikec.passes.work import Arrays, Executor, Store, Task, executor, perform

ROWS = 64
"""Rows of a task: always as many, so that what was kept is found again by any number of workers."""


@dataclass(frozen=True, eq=False)
class Work:
    """Where tasks run, where results are kept, and who is shown how far they are."""

    by: Executor
    store: Store | None
    progress: Progress

    def __call__(self, tasks: Sequence[Task], what: str) -> list[Arrays]:
        """Carry tasks out; results in their order."""
        return perform(tasks, by=self.by, store=self.store, progress=self.progress, what=what) if tasks else []


@contextmanager
def working(ctx: Context, workers: int, resume: str) -> Iterator[Work]:
    """Give the work of a pass: with its own options, or those of the context where it has none."""
    folder = resume or ctx.resume
    store = Store(folder, ctx.remark) if folder else None
    with executor(workers or ctx.workers, ctx.cluster) as by:
        yield Work(by, store, ctx.progress)


def blocks(count: int) -> Iterator[slice]:
    """Cut rows into blocks."""
    return (slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS))


def order_block(inverse: Array, rows: Array, alive: Array, *, block: int, threads: int) -> Arrays:
    """Give the `losses` of rows (methods.md 1.6)."""
    return {"losses": order(inverse, rows, block, threads, alive)}


def refit_block(damped: Array, rows: Array, keep: Array, *, threads: int) -> Arrays:
    """Give the best `rows` for a mask (methods.md 1.7), on as many threads as together hold one matrix like `damped`.

    A thread holds the square of what a row keeps: 100 of them at 90 % sparsity, one where hardly anything goes. Rows
    that keep most go first: so a thread's memory need not grow, and no long row is left for the end.
    """
    kept = np.count_nonzero(keep, axis=1)
    turn = np.argsort(-kept, kind="stable")
    fit = max(1, len(damped) ** 2 // max(1, int(kept.max(initial=0)) ** 2))
    made = np.empty(rows.shape)
    made[turn] = keep_solve(damped, rows[turn], keep[turn], min(fit, threads or cores()))
    return {"rows": made}


def level_block(
    hessian: Array, column_order: Array, lower: Array, rows: Array, keep: Array, sign: Array, scale: Array,
    mixed: Array, above: Array, below: Array, *, damping: float, threads: int,
) -> Arrays:  # fmt: skip
    """Give the `codes` of rows on a grid, each column making up for those before it (methods.md 1.8)."""
    grid = LevelGrid((mixed, above, below), sign, scale, 8)
    return {"codes": quantize_rows(Columns(hessian, damping, column_order, lower), rows, grid, keep)}


def order_tasks(name: str, made: Factor, rows: Array, block: int) -> Iterator[Task]:
    """Give the tasks that order the rows of a part."""
    size = block or default_block(rows.shape[1])
    for cut in blocks(len(rows)):
        arrays = {"inverse": made.inverse, "rows": rows[cut], "alive": made.alive}
        cost = (cut.stop - cut.start) * rows.shape[1] ** 3 / 6
        yield Task(f"{name} rows {cut.start}..", order_block, arrays, {"block": size}, cost)


def refit_tasks(name: str, made: Factor, rows: Array, keep: Array) -> Iterator[Task]:
    """Give the tasks that make up for a mask."""
    damped = made.damped
    for cut in blocks(len(rows)):
        arrays = {"damped": damped, "rows": rows[cut], "keep": keep[cut]}
        yield Task(f"{name} rows {cut.start}..", refit_block, arrays, {}, _solving(keep[cut]))


def level_tasks(name: str, made: Factor, rows: Array, keep: Array, grid: LevelGrid) -> Iterator[Task]:
    """Give the tasks that put rows on a grid."""
    ready = columns(made)
    tables = dict(zip(("mixed", "above", "below"), grid.levels, strict=True))
    for cut in blocks(len(rows)):
        arrays = {
            "hessian": ready.hessian, "column_order": ready.order, "lower": ready.lower,
            "rows": rows[cut], "keep": keep[cut], "sign": grid.sign[cut], "scale": grid.scale[cut], **tables,
        }  # fmt: skip
        cost = _solving(keep[cut]) + rows[cut].size * rows.shape[1] * 8
        yield Task(f"{name} rows {cut.start}..", level_block, arrays, {"damping": ready.damping}, cost)


def _solving(keep: Array) -> float:
    """Give the multiplications of solving for the kept weights of each row, and one for each weight."""
    return float(np.sum(np.count_nonzero(keep, axis=1).astype(np.float64) ** 3) / 6 + keep.size)


def joined(results: Sequence[Arrays], name: str) -> Array:
    """Put the blocks of a result below one another."""
    return np.concatenate([result[name] for result in results])


def staged(work: Work, what: str, makers: Sequence[Callable[[], Iterator[Task]]], name: str) -> list[Array]:
    """Carry out the tasks of several parts as one piece of work, and give each part's rows."""
    made = [list(maker()) for maker in makers]
    results = iter(work([task for tasks in made for task in tasks], what))
    return [joined([next(results) for _ in tasks], name) for tasks in made]
