"""The main job, from a trained network to proof: what `make demo` runs. Every step is a command that you can type."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from spikec.cli import main

DIGITS = Path(os.path.relpath(Path(__file__).resolve().parent / "digits"))
MODEL = DIGITS / "model.py"
OUT = Path("build/demo")
ALL = ("--samples", "1438")


def show(title: str) -> None:
    """Print what comes next."""
    print(f"\n--- {title}", flush=True)


def spikec(*words: str, expect: int = 0) -> None:
    """Run one command in this process, as typed; stop if it does not end as expected."""
    print("$ spikec " + shlex.join(words), flush=True)
    code = main(words)
    sys.stdout.flush()
    if code != expect:
        sys.exit(f"that command ended with exit code {code}, not {expect}")


def demo() -> None:
    """Compile for Loihi, export NIR, simulate, and compare every rung."""
    OUT.mkdir(parents=True, exist_ok=True)
    show("real digits as spikes: samples to calibrate on, and the held-out ones")
    for split in ("train", "test"):
        command = [sys.executable, str(DIGITS / "data.py"), str(OUT / f"{split}.npz"), "--split", split]
        subprocess.run(command, check=True)
    train, test = str(OUT / "train.npz"), str(OUT / "test.npz")
    hard = [f"{MODEL}:net", "--weights", str(DIGITS / "digits.pt")]
    soft = [f"{MODEL}:net_soft", "--weights", str(DIGITS / "digits_soft.pt")]

    show("a soft reset, which Loihi's native neuron does not have: first what spikec says, then each way out, measured")
    spikec("compile", *soft, "-t", "loihi2", "--calibrate", train, *ALL, "-o", str(OUT / "soft"), expect=1)
    for choice in ("hard", "exact"):
        spikec(
            "compile",
            *soft,
            "-t",
            "loihi2",
            "--calibrate",
            train,
            *ALL,
            "--reset",
            choice,
            "-o",
            str(OUT / f"soft-{choice}"),
        )
        spikec("verify", *soft, "--artifact", str(OUT / f"soft-{choice}"), "--input", test, "--no-lava")

    show("the trained network to NIR, and read back")
    spikec("compile", *hard, "-t", "nir", "--calibrate", train, *ALL, "-o", str(OUT / "nir"))
    spikec("verify", *hard, "--artifact", str(OUT / "nir"), "--input", test)

    show("the trained network to Loihi 2, simulated on the host")
    spikec("compile", *hard, "-t", "loihi2", "--calibrate", train, *ALL, "-o", str(OUT / "loihi2"))
    spikec("compile", *hard, "-t", "loihi2:netx", "--calibrate", train, *ALL, "-o", str(OUT / "netx"))
    spikec("run", str(OUT / "loihi2"), "--input", test, "-o", str(OUT / "spikes.npz"))

    show("the proof: every rung on the held-out digits, compared spike by spike")
    spikec("verify", *hard, "--artifact", str(OUT / "loihi2"), "--input", test)


if __name__ == "__main__":
    demo()
