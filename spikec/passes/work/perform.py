"""Has tasks carried out: what is kept from an earlier run is taken, what is new is kept, progress is shown by cost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from spikec.compiler.context import Progress, Quiet
from spikec.passes.work.executor import HERE, Executor
from spikec.passes.work.store import Store
from spikec.passes.work.task import Arrays, Keys, Task


def perform(
    tasks: Sequence[Task],
    *,
    by: Executor = HERE,
    store: Store | None = None,
    progress: Progress | None = None,
    what: str = "working",
) -> list[Arrays]:
    """Carry tasks out and give their results in the order of the tasks.

    Each result is kept in `store` as soon as it is there: whatever stops the work later (an error, Ctrl-C, a crash),
    the same call finds it again.

    Raises:
        CompileError: a task refuses, the executor fails, or the store cannot be written.
    """
    results: dict[int, Arrays] = {}
    keys: list[str] = []
    if store is not None:
        make = Keys()
        for index, task in enumerate(tasks):
            keys.append(make(task))
            found = store.get(keys[-1], task.name)
            if found is not None:
                results[index] = found
        store.tell(len(results), len(tasks), what)
    left = [index for index in range(len(tasks)) if index not in results]
    given = [tasks[index] for index in left]
    shown = progress or Quiet()
    with shown.work(what, sum(task.cost for task in given)) as advance, closing(by.finished(given)) as finished:
        for place, result in finished:
            if store is not None:
                store.put(keys[left[place]], result)
            results[left[place]] = result
            advance(given[place].cost)
    return [results[index] for index in range(len(tasks))]
