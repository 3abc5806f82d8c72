"""Spreads tasks over processes and machines with Ray: shared arrays are sent once, lost workers are replaced."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import CompileError, Diagnostic, fail
from spikec.passes.work.executor import Executor, Finished
from spikec.passes.work.task import VERSION, Arrays, Options, Task, as_given, carry_out

RETRIES = 3
SHARED = 64 << 10
"""Bytes from which an array goes to Ray's object store, once, instead of along with every task."""
SHORT = 25
"""Characters that the folder of temporary files may have: Linux holds the path of a socket to 107 bytes."""
INSTALL = "pip install 'spikec[ray]', or leave the workers out: one process gives the same result"


@contextmanager
def cluster(workers: int, address: str) -> Iterator[Executor]:
    """Connect to a Ray cluster, or start one on this machine and shut it down at the end.

    Raises:
        CompileError: `work/no-ray`, `work/ray-start`.
    """
    try:
        import ray
    except ImportError as error:
        raise fail("work/no-ray", f"spreading work needs Ray, which does not import: {error}", help=INSTALL) from error
    if ray.is_initialized():  # by the caller, who has chosen the cluster and will shut it down
        yield _Ray(ray, workers or _cpus(ray), 1)
        return
    folder = None if address else _folder()
    try:
        _start(ray, workers, address, folder)
        threads = 1 if address else max(1, (os.cpu_count() or 1) // workers)
        yield _Ray(ray, workers or _cpus(ray), threads)
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _folder() -> str:
    """Make a folder for Ray's logs and sockets, which goes with us, where its path is short enough for a socket's."""
    usual = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="spikec-ray-", dir=usual if len(usual) <= SHORT else "/tmp")


def _reach(address: str) -> None:
    """Knock at `host:port`: Ray itself would wait for minutes for a cluster that is not there."""
    host, colon, port = address.rpartition("//")[2].partition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _start(ray: Any, workers: int, address: str, folder: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    before = os.environ.get("RAY_USAGE_STATS_ENABLED")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent to anyone
    try:
        if address:
            _reach(address)
            ray.init(address=address, **quiet)
        else:
            ray.init("local", num_cpus=workers, num_gpus=0, include_dashboard=False, _temp_dir=folder, **quiet)
    except Exception as error:  # of many kinds, by what is wrong
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        what = f"the Ray cluster at {address} cannot be reached" if address else "Ray does not start"
        help = "is it running, with the same version of Ray?" if address else "leave the workers out to use one process"
        raise fail("work/ray-start", f"{what}: {reason}", address, help) from error
    finally:
        if before is None:
            del os.environ["RAY_USAGE_STATS_ENABLED"]
        else:
            os.environ["RAY_USAGE_STATS_ENABLED"] = before


def _cpus(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _remote(
    version: str, function: Any, options: Options, threads: int, *given: Any
) -> Arrays | tuple[Diagnostic, ...]:
    """Carry a task out in a worker; a refusal comes back as a value. `given`: names and arrays in turn."""
    if version != VERSION:
        help = "install the same version on every machine of the cluster"
        message = f"a worker has spikec {VERSION}, and this is spikec {version}"
        return (Diagnostic("work/other-version", message, help=help),)
    try:
        return carry_out(function, dict(zip(given[::2], given[1::2], strict=True)), options, threads)
    except CompileError as error:
        return error.diagnostics


class _Shared:
    """Arrays in Ray's object store: put when a task first needs one, let go when the last has finished."""

    def __init__(self, ray: Any, tasks: Sequence[Task]) -> None:
        self._ray = ray
        self._refs: dict[int, Any] = {}
        self._uses = Counter(id(array) for task in tasks for array in task.arrays.values())

    def given(self, task: Task) -> list[Any]:
        """Give names and arrays in turn, large arrays as references."""
        made: list[Any] = []
        for name, array in task.arrays.items():
            made.extend((name, array if array.nbytes < SHARED else self._ref(array)))
        return made

    def _ref(self, array: Any) -> Any:
        if id(array) not in self._refs:
            self._refs[id(array)] = self._ray.put(as_given(array))
        return self._refs[id(array)]

    def done(self, task: Task) -> None:
        """Let go what no task needs any more."""
        for array in task.arrays.values():
            self._uses[id(array)] -= 1
            if not self._uses[id(array)]:
                self._refs.pop(id(array), None)


class _Ray:
    """Tasks on a Ray cluster, as many at a time as there are workers, and as many more waiting beside them."""

    def __init__(self, ray: Any, workers: int, threads: int) -> None:
        self._ray, self._workers, self._threads = ray, workers, threads

    def finished(self, tasks: Sequence[Task]) -> Finished:
        """Carry tasks out; what is under way when this is closed is cancelled."""
        ray = self._ray
        remote = ray.remote(max_retries=RETRIES, num_cpus=1)(_remote)
        shared, waiting, running = _Shared(ray, tasks), deque(enumerate(tasks)), dict[Any, int]()
        try:
            while waiting or running:
                while waiting and len(running) < 2 * self._workers:
                    index, task = waiting.popleft()
                    head = (VERSION, task.function, dict(task.options), self._threads)
                    running[remote.options(name=task.name).remote(*head, *shared.given(task))] = index
                ready, _ = ray.wait(list(running), num_returns=1)
                index = running.pop(ready[0])
                result = _value(ray, ready[0], tasks[index].name)
                shared.done(tasks[index])
                yield index, result
        finally:
            if ray.is_initialized():
                for reference in running:
                    ray.cancel(reference)


def _value(ray: Any, reference: Any, name: str) -> Arrays:
    """Fetch a result. Copied: an array in Ray's store would keep its memory there, and end with Ray."""
    try:
        made = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # the function's own exception, of its own class
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        message = f"Ray could not finish '{name}', with up to {RETRIES} retries: {reason}"
        help = "was a worker out of memory, or killed? Fewer workers need less; what was kept is taken up again"
        raise fail("work/ray-died", message, help=help) from error
    if isinstance(made, tuple):
        raise CompileError(made)
    return {key: np.array(array, order="C") for key, array in made.items()}
