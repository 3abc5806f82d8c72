"""Work in pieces: tasks that are pure functions of arrays, done here or spread with Ray, and kept so as to resume."""

from spikec.passes.work.executor import HERE, Executor, executor
from spikec.passes.work.perform import perform
from spikec.passes.work.store import Store
from spikec.passes.work.task import Arrays, Task

__all__ = ["HERE", "Arrays", "Executor", "Store", "Task", "executor", "perform"]
