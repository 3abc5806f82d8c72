"""A folder of finished work: one .npz a task, under a key that says everything about it; what is damaged is redone."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spikec.compiler.diagnostics import CompileError, Sink, fail, ignore, remark
from spikec.compiler.weights import Array
from spikec.passes.work.task import Arrays, digest

MARK = "spikec-work.json"
CONTENT = {"format": 1, "holds": "finished work of spikec, one .npz a task"}
SEAL = "spikec/seal"
"""The member of an entry that holds its key and the digests of its arrays."""


class Store:
    """Finished work in a folder.

    An entry is `KEY.npz` (uncompressed, no pickle), written to a temporary file and moved into place, so that it is
    there whole or not at all. It carries its key and a SHA-256 of every array; one that does not hold what it should is
    told in a remark and counts as not there. One folder may serve many networks and options: their keys differ.
    """

    def __init__(self, folder: str | Path, report: Sink = ignore) -> None:
        """Open a folder, or make it.

        Raises:
            CompileError: `work/not-ours`, the folder holds something else, or is no folder; `work/write`.
        """
        self._folder, self._report = Path(folder), report
        _claim(self._folder)

    def get(self, key: str, name: str) -> Arrays | None:
        """Give what is kept under a key, or None. `name` says whose it is in the remark on a damaged entry."""
        path = self._path(key)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError("it is no regular file")
            return _read(path, key)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever a broken file makes zipfile, zlib or numpy say
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            message = f"what was kept of '{name}' cannot be trusted and is computed again: {reason}"
            self._report(remark("work/damaged", message, str(path)))
            return None

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep a result.

        Raises:
            CompileError: `work/write`; nothing half-written stays.
        """
        sealed: dict[str, Array] = {**arrays, SEAL: np.array(_seal(key, arrays))}
        path = self._path(key)
        try:
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=f".{key}.", suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, allow_pickle=False, **sealed)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            for left in self._folder.glob(f".{key}.*.tmp"):  # of a run that was killed in the middle
                left.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(path, error) from error

    def tell(self, found: int, total: int, what: str) -> None:
        """Remark how much of a piece of work is taken from an earlier run."""
        if found:
            message = f"{what}: {found} of {total} pieces were finished before"
            self._report(remark("work/resumed", message, str(self._folder)))

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"


def _seal(key: str, arrays: Mapping[str, Array]) -> str:
    return json.dumps([key, {name: digest(array) for name, array in sorted(arrays.items())}])


def _read(path: Path, key: str) -> Arrays:
    """Read an entry.

    Raises:
        Exception: of any kind, where the file is not what was written under this key.
    """
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    seal = str(arrays.pop(SEAL))
    if json.loads(seal)[0] != key:
        raise ValueError("it is the result of something else")
    if seal != _seal(key, arrays):
        raise ValueError("its arrays are not those that were written")
    return arrays


def _claim(folder: Path) -> None:
    """Make the folder and its mark, or see that it has one."""
    help = "name a new or empty folder, or one that spikec kept finished work in"
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
        if not folder.is_dir():
            raise fail("work/not-ours", f"{folder} is no folder", str(folder), help)
        mark = folder / MARK
        if mark.exists():
            if not _is_mark(mark):
                raise fail("work/not-ours", f"{mark} is not what this version of spikec writes", str(folder), help)
        elif any(folder.iterdir()):
            raise fail("work/not-ours", f"{folder} holds something else than finished work", str(folder), help)
        else:
            mark.write_text(json.dumps(CONTENT), encoding="utf-8")
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _is_mark(mark: Path) -> bool:
    try:
        return bool(json.loads(mark.read_text(encoding="utf-8")) == CONTENT)
    except ValueError:
        return False


def _cannot_write(path: Path, error: OSError) -> CompileError:
    help = "what was kept there before is whole; make room or name another folder, and start again"
    return fail("work/write", f"finished work cannot be kept: {error.strerror or error}", str(path), help)
