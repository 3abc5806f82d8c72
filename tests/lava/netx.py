"""Runs a `.net` on Lava by the real netx, in a process of its own with a time limit."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("netx_run.py")
LIMIT = 120


def python():
    """Give the interpreter that has Lava and lava-dl, or skip the test with the reason."""
    named = os.environ.get("SPIKEC_LAVA_PYTHON")
    if named is None:
        try:
            from spikec.runtime.lava import env
        except ImportError:
            pytest.skip("Lava is not installed: run `spikec lava install`, or set SPIKEC_LAVA_PYTHON")
        found = env.find()
        named = None if found is None else str(getattr(found, "python", found))
    if named is None or not Path(named).exists():
        pytest.skip("Lava is not installed: run `spikec lava install`, or set SPIKEC_LAVA_PYTHON")
    return named


def run(path, spikes, folder, *, reset_interval=0, reset_offset=0, inject=False):
    """Run samples (N, T, inputs as netx orders them); give `s`, `u/LAYER`, `v/LAYER`."""
    given, made = Path(folder) / "netx_in.npz", Path(folder) / "netx_out.npz"
    np.savez(given, spikes=spikes, reset_interval=reset_interval, reset_offset=reset_offset, inject=int(inject))
    command = [python(), str(SCRIPT), str(path), str(given), str(made)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        pytest.fail(f"netx did not end within {LIMIT} s:\n{said}")
    assert process.returncode == 0, said
    with np.load(made) as box:
        return {key: box[key] for key in box.files}
