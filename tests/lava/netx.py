"""Runs a `.net` on Lava by the real netx of lava-dl, in Lava's worker process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikec.runtime.lava.env import find
from spikec.runtime.lava.worker import run_worker

SCRIPT = Path(__file__).with_name("netx_run.py")
LIMIT = 240.0


def run(path, spikes, folder, *, reset_interval=0, reset_offset=0, message_bits=0, inject=False):
    """Run samples (N, T, inputs as netx orders them); give `s`, `u/LAYER`, `v/LAYER`, or skip where Lava is absent."""
    lava = find()
    if lava is None:
        pytest.skip("Lava is not installed (spikec lava install)")
    given, made = Path(folder) / "netx_in.npz", Path(folder) / "netx_out.npz"
    settings = {"reset_interval": reset_interval, "reset_offset": reset_offset, "message_bits": message_bits}
    np.savez(given, spikes=spikes, inject=int(inject), **settings)
    run_worker(lava, SCRIPT, [str(path), str(given), str(made)], LIMIT)
    with np.load(made) as box:
        return {key: box[key] for key in box.files}


def channels_first(array):
    """Turn netx's (..., W, H, C) into the IR's (..., C, H, W); vectors stay."""
    return array.transpose(0, 1, 4, 3, 2) if array.ndim == 5 else array
