"""Tasks spread by a real Ray on this machine: the same bits, lost workers replaced, every fault in one diagnostic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spikec.compiler.diagnostics import CompileError
from spikec.passes.work import Executor, Store, Task, executor, perform
from tests.passes import work_tasks as own
from tests.passes.test_work import Seen, counted, runs, same

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def two() -> Iterator[Executor]:
    """Two workers of a Ray that is started here."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with executor(2) as made:
        yield made
    import ray

    assert not ray.is_initialized()


def test_results_are_those_of_one_process_bit_for_bit(two: Executor) -> None:
    tasks = own.tasks()
    assert tasks[0].arrays["hessian"].nbytes > 64 << 10  # goes through the object store
    same(perform(tasks, by=two), perform(tasks))
    turned = [
        Task(t.name, t.function, {k: np.asfortranarray(a) for k, a in t.arrays.items()}, t.options) for t in tasks
    ]
    same(perform(turned, by=two), perform(tasks))


def test_results_may_be_written_to_and_outlive_the_next_work(two: Executor) -> None:
    made = perform(own.tasks(), by=two)
    before = made[0]["rows"].copy()
    perform(own.tasks(), by=two)
    assert made[0]["rows"].tobytes() == before.tobytes()
    made[0]["rows"][:] = 0


def test_tasks_that_finish_in_any_order_come_in_theirs(two: Executor) -> None:
    seconds = [0.6, 0.0, 0.0, 0.1]
    tasks = [
        Task(f"t{k}", own.linger, {"value": np.array(float(k))}, {"seconds": s}, cost=10 * s + k)
        for k, s in enumerate(seconds)
    ]
    seen = Seen()
    made = perform(tasks, by=two, progress=seen)
    assert [float(result["value"]) for result in made] == [0.0, 2.0, 4.0, 6.0]
    assert sorted(seen.amounts) == sorted(task.cost for task in tasks)
    assert seen.amounts[0] != tasks[0].cost


def test_what_is_finished_is_not_done_again(two: Executor, tmp_path: Path) -> None:
    tasks = counted(tmp_path)
    perform(tasks[:3], store=Store(tmp_path / "kept"))
    made = perform(tasks, by=two, store=Store(tmp_path / "kept"))
    assert runs(tmp_path) == 5
    same(made, perform(tasks))


def test_a_worker_that_dies_is_replaced(two: Executor, tmp_path: Path) -> None:
    tasks = [Task("fragile", own.die_once, {"value": np.ones(3)}, {"flag": str(tmp_path / "flag")}), *own.tasks()]
    made = perform(tasks, by=two)
    assert list(made[0]["value"]) == [2.0, 2.0, 2.0]
    same(made[1:], perform(own.tasks()))


def test_a_worker_that_always_dies_is_one_diagnostic(two: Executor) -> None:
    with pytest.raises(CompileError, match=r"work/ray-died.*'doomed', with up to 3 retries"):
        perform([Task("doomed", own.die, {})], by=two)
    same(perform(own.tasks(2), by=two), perform(own.tasks(2)))


def test_a_task_that_refuses_or_stumbles_says_so_from_afar(two: Executor) -> None:
    with pytest.raises(CompileError) as error:
        perform([Task("t", own.refuse, {})], by=two)
    with pytest.raises(CompileError) as here:
        perform([Task("t", own.refuse, {})])
    assert error.value.diagnostics == here.value.diagnostics
    with pytest.raises(ZeroDivisionError, match="stumbled"):
        perform([Task("t", own.stumble, {})], by=two)


def test_no_cluster_at_an_address_is_one_diagnostic() -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    command = "from spikec.passes.work import executor\nwith executor(0, '127.0.0.1:9'): pass"
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "work/ray-start" in ended.stderr
    assert "127.0.0.1:9 cannot be reached" in ended.stderr


INTERRUPTED = """
import sys
import numpy as np
from spikec.passes.work import Store, Task, executor, perform
from tests.passes import work_tasks as own

tasks = [Task(f"t{k}", own.linger, {"value": np.array(k)}, {"seconds": 0.05 if k < 2 else 60.0}) for k in range(6)]
try:
    with executor(int(sys.argv[2])) as by:
        perform(tasks, by=by, store=Store(sys.argv[1]))
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_stops_at_once_and_keeps_what_is_finished(tmp_path: Path, workers: str) -> None:
    kept, temporary = tmp_path / "kept", Path(tempfile.mkdtemp(prefix="s-"))
    begun = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(kept), workers], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(kept.glob("*.npz"))) < 2:
        assert begun.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGINT)  # as a terminal does: the whole group
    said, _ = begun.communicate(timeout=30)
    assert said == "stopped\n"
    assert begun.returncode == 0
    assert len(list(kept.glob("*.npz"))) == 2
    assert not list(kept.glob(".*.tmp"))
    temporary.rmdir()  # it is empty
    with pytest.raises(ProcessLookupError):
        os.killpg(begun.pid, 0)


def test_without_ray_one_diagnostic_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CompileError, match=r"work/no-ray(.|\n)*spikec\[ray\]"), executor(2):
        pass
