"""Lava's own environment: made by `spikec lava install`, found by everything else, never mixed with spikec's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from spikec.compiler.context import Progress, Quiet
from spikec.compiler.diagnostics import CompileError, Diagnostic, fail, remark, warning

VERSION = "0.10.0"
PYTHON_VARIABLE = "SPIKEC_LAVA_PYTHON"
HOME_VARIABLE = "SPIKEC_LAVA_HOME"
STAMP = "spikec-lava.txt"
CHECK_SECONDS = 60
INSTALL_SECONDS = 1800


@dataclass(frozen=True)
class LavaEnv:
    """An interpreter that has Lava."""

    python: Path

    def __str__(self) -> str:
        """Give the interpreter's path."""
        return str(self.python)


def home() -> Path:
    """Give the folder of the environment: $SPIKEC_LAVA_HOME, or one in the user's data folder."""
    if given := os.environ.get(HOME_VARIABLE):
        return Path(given)
    if sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "spikec" / f"lava-{VERSION}-py{sys.version_info[0]}.{sys.version_info[1]}"


def find() -> LavaEnv | None:
    """Find Lava's environment: the interpreter of $SPIKEC_LAVA_PYTHON, else the one that `install` made.

    Raises:
        CompileError: the variable names something that cannot be run, or has no Lava.
    """
    if given := os.environ.get(PYTHON_VARIABLE):
        _check_given(given)
        return LavaEnv(Path(given))
    place = home()
    return LavaEnv(_python(place)) if _stamp_of(place) == _stamp() and _python(place).is_file() else None


@lru_cache(maxsize=8)
def _check_given(given: str) -> None:
    """Refuse an interpreter of the user's that cannot be run or has no Lava; asked once a process."""
    help_ = "name the Python of an environment that has lava-nc, or unset it"
    if not os.access(given, os.X_OK) or Path(given).is_dir():
        raise fail("lava/bad-python", f"{PYTHON_VARIABLE} is no program that can be run", given, help_)
    try:
        _check(Path(given))
    except CompileError as error:
        message = f"the Python of {PYTHON_VARIABLE} cannot import Lava: {error.diagnostics[0].message}"
        raise fail("lava/bad-python", message, given, help_) from None


def require() -> LavaEnv:
    """Find Lava's environment.

    Raises:
        CompileError: it is not installed.
    """
    found = find()
    if found is None:
        raise fail("lava/missing", "Lava is not installed", str(home()), "spikec lava install")
    return found


def install(progress: Progress | None = None) -> Path:
    """Make Lava's environment, whole or not at all; gives its interpreter. Quick where it is there already.

    Raises:
        CompileError: a step failed; the diagnostic holds the last lines that it printed.
    """
    shown = progress or Quiet()
    place = home()
    if _stamp_of(place) == _stamp() and _python(place).is_file():
        return _python(place)
    stage = _stage(place)
    try:
        with shown.task("making Lava's environment"):
            _make(stage)
        with shown.task("checking that Lava runs"):
            _check(_python(stage))
        (stage / STAMP).write_text(_stamp(), encoding="utf-8")
        _put(stage, place)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return _python(place)


def doctor() -> Diagnostic:
    """Say how it stands: a remark that Lava is ready, or a warning with the reason and what to do."""
    try:
        found = require()
        _check(found.python)
    except CompileError as error:
        first = error.diagnostics[0]
        return warning(first.code, first.message, first.where, first.help)
    return remark("lava/ready", f"Lava {VERSION} is ready", str(found))


def _make(stage: Path) -> None:
    """Install into a new virtual environment: first what Lava needs, then Lava without what it asks for."""
    _run([sys.executable, "-m", "venv", str(stage)], INSTALL_SECONDS, "make a virtual environment")
    pip = [str(_python(stage)), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    _run([*pip, "-r", str(_beside("pins.txt"))], INSTALL_SECONDS, "install what Lava needs")
    lava = ["--no-deps", "--ignore-requires-python", "-r", str(_beside("lava.txt"))]
    _run([*pip, *lava], INSTALL_SECONDS, "install Lava")


def _check(python: Path) -> None:
    """Import Lava once, in a process of its own."""
    _run([str(python), str(_beside("shim.py")), "--check"], CHECK_SECONDS, "start Lava")


def _run(command: Sequence[str], seconds: float, what: str) -> None:
    """Run a program to its end.

    Raises:
        CompileError: it failed, could not be started, or took too long.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise fail("lava/install-failed", f"could not {what} within {seconds:g} s", help="try again") from None
    except OSError as error:
        raise fail("lava/install-failed", f"could not {what}: {error.strerror}", command[0]) from None
    if done.returncode:
        last = "; ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        help_ = "check that pip can install packages here, then run spikec lava install again"
        raise fail("lava/install-failed", f"could not {what}: {last}", command[0], help_)


def _stage(place: Path) -> Path:
    """Make the folder beside `place` in which the environment grows."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        message = f"cannot make Lava's environment here: {error.strerror}"
        raise fail("lava/install-failed", message, str(place), f"name another folder in {HOME_VARIABLE}") from None


def _beside(name: str) -> Path:
    return Path(__file__).with_name(name)


def _put(stage: Path, place: Path) -> None:
    """Put the finished environment in its place; another install that was quicker is as good."""
    if place.exists() and _stamp_of(place) != _stamp():
        shutil.rmtree(place)
    try:
        stage.rename(place)
    except OSError as error:
        if _stamp_of(place) != _stamp():
            message = f"cannot put Lava's environment here: {error.strerror}"
            raise fail("lava/install-failed", message, str(place), f"name another folder in {HOME_VARIABLE}") from None


def _stamp() -> str:
    """Give what a whole environment says of itself: what was installed."""
    listed = _beside("pins.txt").read_text(encoding="utf-8") + _beside("lava.txt").read_text(encoding="utf-8")
    return hashlib.sha256(listed.encode()).hexdigest() + "\n"


def _stamp_of(place: Path) -> str:
    try:
        return (place / STAMP).read_text(encoding="utf-8")
    except OSError:
        return ""


def _python(place: Path) -> Path:
    return place / "bin" / "python"
