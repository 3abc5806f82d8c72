"""Tasks and their store: results that do not depend on where or how often, and never on a file that lies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spikec.compiler.context import Quiet
from spikec.compiler.diagnostics import CompileError, Diagnostic
from spikec.passes.work import Arrays, Store, Task, executor, perform
from spikec.passes.work.task import Keys, digest
from tests.passes import work_tasks as own


def same(left: list[Arrays], right: list[Arrays]) -> None:
    """Compare results bit for bit."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape)
            assert a[name].tobytes() == b[name].tobytes()


class Seen(Quiet):
    """Progress that remembers."""

    def __init__(self) -> None:
        self.totals: list[float] = []
        self.amounts: list[float] = []

    @contextmanager
    def work(self, what: str, total: float) -> Iterator[Callable[[float], None]]:
        self.totals.append(total)
        yield self.amounts.append


def counted(folder: Path, number: int = 5) -> list[Task]:
    log = str(folder / "log")
    return [
        Task(f"piece {k}", own.count, {"value": np.full(3, float(k))}, {"log": log}, cost=k + 1.0)
        for k in range(number)
    ]


def runs(folder: Path) -> int:
    log = folder / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_results_come_in_the_order_of_the_tasks_and_progress_by_cost(tmp_path: Path) -> None:
    seen = Seen()
    made = perform(counted(tmp_path), progress=seen)
    assert [list(result["value"]) for result in made] == [[3.0 * k] * 3 for k in range(5)]
    assert seen.totals == [15.0]
    assert seen.amounts == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_task_sees_read_only_arrays_and_blas_on_one_thread() -> None:
    rows = np.zeros((4, 3))
    task = Task("t", own.solve, {"hessian": np.eye(3)[:, ::-1], "rows": rows}, {"damping": 2.0})
    perform([task])
    assert rows.flags.writeable
    blas = perform([Task("t", own.blas_threads, {})])[0]["blas"]
    assert blas.size
    assert (blas == 1).all()


def test_a_task_that_refuses_or_stumbles_says_so() -> None:
    with pytest.raises(CompileError, match=r"error\[test/refused\]"):
        perform([Task("t", own.refuse, {})])
    with pytest.raises(ZeroDivisionError):
        perform([Task("t", own.stumble, {})])


def test_a_function_without_a_name_and_python_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="no function of a module"):
        Task("t", lambda threads: {}, {})
    with pytest.raises(ValueError, match="Python objects"):
        Task("t", own.solve, {"rows": np.array([None])})


def test_no_negative_workers() -> None:
    with pytest.raises(CompileError, match="work/workers"), executor(-1):
        pass


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int8, np.bool_, np.dtype(">i4")]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
    ),
    st.data(),
)
def test_a_digest_is_of_the_values_and_says_any_bit_apart(array: np.ndarray, data: st.DataObject) -> None:
    assert digest(array) == digest(np.asfortranarray(array) if array.ndim else array.copy())
    assert digest(array) != digest(array[None])
    if array.size:
        other = array.copy()
        raw = np.frombuffer(bytearray(other.tobytes()), dtype=np.uint8).copy()
        place = data.draw(st.integers(0, raw.size - 1))
        raw[place] ^= 1
        assert digest(array) != digest(raw.view(array.dtype).reshape(array.shape))


def test_a_key_changes_with_whatever_changes_the_result() -> None:
    rows, hessian = np.ones((2, 3)), np.eye(3)
    base = Task("a", own.solve, {"rows": rows, "hessian": hessian}, {"damping": 0.5})
    others = [
        Task("a", own.solve, {"rows": rows, "hessian": hessian}, {"damping": 0.25}),
        Task("a", own.solve, {"rows": 2 * rows, "hessian": hessian}, {"damping": 0.5}),
        Task("a", own.solve, {"rows": hessian, "hessian": rows}, {"damping": 0.5}),
        Task("a", own.linger, {"rows": rows, "hessian": hessian}, {"damping": 0.5}),
    ]
    keys = {Keys()(task) for task in [base, *others]}
    assert len(keys) == 5
    renamed = Task("b", own.solve, {"hessian": hessian.copy(), "rows": rows.copy()}, {"damping": 0.5}, cost=9.0)
    assert Keys()(renamed) == Keys()(base)


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    found: list[Diagnostic] = []
    tasks = counted(tmp_path)
    perform(tasks[:3], store=Store(tmp_path / "kept", found.append))
    assert not found
    seen = Seen()
    made = perform(tasks, store=Store(tmp_path / "kept", found.append), progress=seen, what="pruning")
    assert runs(tmp_path) == 5
    assert seen.totals == [9.0]
    same(made, perform(tasks))
    assert [d.code for d in found] == ["work/resumed"]
    assert "pruning: 3 of 5 pieces" in found[0].message


def damage(path: Path, how: str, other: Path) -> None:
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "noise":
        path.write_bytes(np.random.default_rng(1).bytes(len(data)))
    elif how == "foreign":
        path.write_bytes(other.read_bytes())
    elif how == "value":  # a whole .npz with the right seal, but not the arrays that were sealed
        with np.load(path) as file:
            content = {name: file[name] for name in file.files}
        content["value"] = content["value"] + 1e-9
        np.savez(path, **content)
    elif how == "no seal":
        np.savez(path, value=np.zeros(3))
    elif how == "pickle":
        np.savez(path, value=np.array([Path()], dtype=object))
    elif how == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["truncated", "empty", "noise", "foreign", "value", "no seal", "pickle"])
def test_a_damaged_entry_is_told_and_done_again_and_nothing_else_touched(tmp_path: Path, how: str) -> None:
    tasks, kept = counted(tmp_path, 3), tmp_path / "kept"
    perform(tasks, store=Store(kept))
    (kept / "note.txt").write_text("a user's own")
    paths = [kept / f"{Keys()(task)}.npz" for task in tasks]
    whole = [path.read_bytes() for path in paths]
    stamps = [path.stat().st_mtime_ns for path in paths]
    damage(paths[1], how, paths[0])
    found: list[Diagnostic] = []
    made = perform(tasks, store=Store(kept, found.append))
    same(made, perform(tasks))
    assert [d.code for d in found] == ["work/damaged", "work/resumed"]
    assert "'piece 1'" in found[0].message
    assert [path.read_bytes() for path in paths] == whole
    assert [paths[k].stat().st_mtime_ns for k in (0, 2)] == [stamps[0], stamps[2]]
    assert (kept / "note.txt").read_text() == "a user's own"
    assert len(list(kept.iterdir())) == 5


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    tasks, kept = counted(tmp_path, 1), tmp_path / "kept"
    right = perform(tasks, store=Store(kept))
    path = kept / f"{Keys()(tasks[0])}.npz"
    whole = path.read_bytes()
    noticed = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        found = Store(kept).get(Keys()(tasks[0]), "piece 0")
        noticed += found is None
        if found is not None:
            same([found], right)
    assert noticed > len(whole) // 6


def test_an_entry_that_is_a_folder_is_not_removed(tmp_path: Path) -> None:
    tasks, kept = counted(tmp_path, 1), tmp_path / "kept"
    perform(tasks, store=Store(kept))
    path = kept / f"{Keys()(tasks[0])}.npz"
    damage(path, "folder", path)
    with pytest.raises(CompileError, match="work/write"):
        perform(tasks, store=Store(kept))
    assert path.is_dir()
    assert not list(kept.glob(".*.tmp"))


def test_folders_of_something_else_are_refused_and_left_alone(
    tmp_path: Path, golden: Callable[[str, str], None]
) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("text")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "spikec-work.json").write_text('{"format": 99}')
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "spikec-work.json").write_bytes(b"\xff\x00")
    said = []
    for name in ("file", "theirs", "newer", "odd", "file/inside"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(CompileError) as error:
            Store(tmp_path / name)
        said.append(str(error.value).replace(str(tmp_path), "PATH"))
        assert sorted(tmp_path.rglob("*")) == before
    golden("work_folders", "\n\n".join(said))


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, kept = counted(tmp_path, 2), tmp_path / "kept"
    store = Store(kept)
    perform(tasks[:1], store=store)

    def full(file: object, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(CompileError, match=r"work/write.*No space left"):
        perform(tasks, store=store)
    assert sorted(path.suffix for path in kept.iterdir()) == [".json", ".npz"]


KILLED = """
import os, signal, sys
from spikec.passes.work import Store, perform
from tests.passes import work_tasks as own

store, after = Store(sys.argv[1]), int(sys.argv[2])
keep, done = store.put, []

def put(key, arrays):
    if sys.argv[3] == "between":
        keep(key, arrays)
        done.append(key)
    if len(done) == after:
        if sys.argv[3] == "writing":
            os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
            keep(key, arrays)
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[3] == "writing":
        keep(key, arrays)
        done.append(key)

store.put = put
perform(own.tasks(), store=store)
"""


@pytest.mark.parametrize("when", ["between", "writing"])
def test_a_killed_run_is_taken_up_again_with_the_same_bytes(tmp_path: Path, when: str) -> None:
    kept, undisturbed = tmp_path / "kept", tmp_path / "undisturbed"
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(kept), "3", when], cwd=root, check=False)
    assert killed.returncode == -9
    assert len(list(kept.glob("*.npz"))) == 3
    assert len(list(kept.glob(".*.tmp"))) == (when == "writing")
    found: list[Diagnostic] = []
    made = perform(own.tasks(), store=Store(kept, found.append))
    assert ["3 of 6" in d.message for d in found] == [True]
    same(made, perform(own.tasks(), store=Store(undisturbed)))
    listed = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert listed == {path.name: path.read_bytes() for path in undisturbed.iterdir()}
