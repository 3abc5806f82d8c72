"""Tasks for the tests of `spikec.passes.work`: functions of a module, as a worker process must find them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikec.compiler.diagnostics import fail
from spikec.passes.work import Arrays, Task

Floats = npt.NDArray[np.float64]


def solve(hessian: Floats, rows: Floats, damping: float, threads: int) -> Arrays:
    """Give (H + damping I)^-1 applied to every row, and the Gram matrix: BLAS and LAPACK whose sums have an order."""
    assert not hessian.flags.writeable
    assert not rows.flags.writeable
    damped = hessian + damping * np.eye(len(hessian))
    return {"rows": np.linalg.solve(damped, rows.T).T, "gram": rows @ rows.T, "threads": np.array(0 * threads)}


def tasks(blocks: int = 6, size: int = 160) -> list[Task]:
    """Blocks of rows of one layer; all share one Hessian."""
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(3 * size, size))
    hessian, rows = inputs.T @ inputs, rng.normal(size=(blocks * 20, size))
    return [
        Task(f"fc1 rows {20 * k}..", solve, {"hessian": hessian, "rows": rows[20 * k : 20 * k + 20]}, {"damping": 0.5})
        for k in range(blocks)
    ]


def refuse(threads: int) -> Arrays:
    """Refuse with two diagnostics' worth of words."""
    raise fail("test/refused", "this cannot be", "layer fc1", "try another")


def stumble(threads: int) -> Arrays:
    """Fail as a fault of our own would."""
    raise ZeroDivisionError("stumbled")


def die_once(value: Floats, flag: str, threads: int) -> Arrays:
    """Kill the process that runs this, the first time."""
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": value + 1}


def die(threads: int) -> Arrays:
    """Kill the process that runs this, every time."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def linger(value: Floats, seconds: float, threads: int) -> Arrays:
    """Take a while."""
    time.sleep(seconds)
    return {"value": value * 2}


def blas_threads(threads: int) -> Arrays:
    """Give the number of threads that BLAS may use here."""
    from threadpoolctl import threadpool_info

    return {"blas": np.array([pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"])}


def count(value: Floats, log: str, threads: int) -> Arrays:
    """Add a line to a file, so that a test sees how often this ran."""
    with Path(log).open("a", encoding="utf-8") as file:
        file.write("ran\n")
    return {"value": value * 3}
