"""Runs a script in Lava's worker process: mends lava-nc 0.10.0 for Python 3.11 and later, and surfaces every fault.

    python shim.py SCRIPT [ARGUMENT ...]
    python shim.py --check                  only say whether Lava can be imported

Imports nothing of spikec: it runs with the Python of Lava's own environment.
"""

from __future__ import annotations

import logging
import multiprocessing.shared_memory as shared_memory
import os
import runpy
import secrets
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

SHM_VARIABLE = "SPIKEC_LAVA_SHM"
"""Prefix of the names of shared-memory segments, so that the worker's parent can sweep up after a kill."""

PARENT_VARIABLE = "SPIKEC_LAVA_PARENT"
"""Process id of the one that started the worker."""

FOLDER_VARIABLE = "SPIKEC_LAVA_FOLDER"
"""Folder that the one that started the worker made for it alone."""

COMPATIBILITY = Path(__file__).resolve().parents[2] / "backends" / "loihi" / "templates" / "lava_compat.py"
"""What lets Lava be imported on later Pythons: the file that artifacts carry, found by path as spikec is not here."""


def name_segments() -> None:
    """Name shared-memory segments by the prefix that the parent gave."""
    prefix = os.environ.get(SHM_VARIABLE)
    if prefix:
        setattr(shared_memory, "_make_filename", lambda: f"/{prefix}{secrets.token_hex(4)}")  # noqa: B010 - private


def surface_faults() -> None:
    """Print the traceback of a process model and end the whole group: Lava would swallow the one and hang."""
    from lava.magma.runtime import runtime

    original = runtime.target_fn

    def watched(*args: Any, **options: Any) -> None:
        try:
            original(*args, **options)
        except Exception:
            sys.stderr.write(traceback.format_exc())
            sys.stderr.flush()
            if os.getpgrp() == os.getsid(0):  # a group of our own, never the caller's
                os.killpg(os.getpgrp(), signal.SIGKILL)
            raise

    runtime.target_fn = watched


def end_with_parent() -> None:
    """End the group, and sweep up, when the process that started it is gone: killed, it could not do so itself."""
    parent = os.environ.get(PARENT_VARIABLE)
    prefix = os.environ.get(SHM_VARIABLE)
    folder = os.environ.get(FOLDER_VARIABLE)

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(1)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        for segment in Path("/dev/shm").glob(f"{prefix}*") if prefix else ():
            segment.unlink(missing_ok=True)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if parent and os.getpgrp() == os.getpid():  # a group of our own
        threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Prepare Lava and run the script as if it had been started itself."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    runpy.run_path(str(COMPATIBILITY))
    name_segments()
    end_with_parent()
    surface_faults()
    script = sys.argv[1]
    if script == "--check":
        import lava.proc.lif.process  # noqa: F401

        return
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
