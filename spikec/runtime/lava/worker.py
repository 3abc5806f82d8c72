"""Runs a Loihi artifact's Lava script in a worker process: a time limit, one clear fault, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spikec.compiler.artifact import read
from spikec.compiler.diagnostics import CompileError, fail
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input
from spikec.compiler.runner import Result, Trace
from spikec.compiler.weights import Array
from spikec.runtime.lava.env import LavaEnv, require
from spikec.runtime.lava.shim import FOLDER_VARIABLE, PARENT_VARIABLE, SHM_VARIABLE

SCRIPT = "run_lava.py"
TIMEOUT = 300.0
SEGMENTS = Path("/dev/shm")
TRACEBACK = "Traceback (most recent call last)"
GRACE = 5.0
"""Seconds to wait for killed processes to be gone."""

SOCKET_ROOM = 70
"""Longest path of a folder in which multiprocessing still finds room for its sockets' names (103 bytes on macOS)."""

TAIL = 25
"""Lines of what the worker printed that a diagnostic shows."""

Files = Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class LavaRunner:
    """Runs the files of one Loihi artifact in Lava; a Runner whose graph is the one that the artifact was made of.

    Attributes:
        files: `run_lava.py` and what it reads, by relative name.
        timeout: the limit of one run, in seconds.
        env: Lava's environment; found when the runner is made.

    Raises:
        CompileError: Lava is not installed.
    """

    files: Files
    timeout: float = TIMEOUT
    env: LavaEnv = field(default_factory=require)

    def run(self, graph: Graph, inputs: Array, *, trace: Trace = False) -> Result:
        """Run every sample; see `spikec.compiler.runner.Runner`.

        Traces hold the network's input and its neurons: the rest has no process of its own in Lava. Before a neuron's
        start its u and v are given as zero.
        """
        known = [node.name for node in graph.of(Input, FixedNeuron)]
        wanted = known if trace is True else [name for name in known if trace and name in trace]
        return run_script(self.files, inputs, wanted, self.timeout, env=self.env)


def run_script(
    artifact: str | Path | Files,
    inputs: Array,
    trace: Sequence[str] = (),
    timeout: float = TIMEOUT,
    *,
    env: LavaEnv | None = None,
) -> Result:
    """Run an artifact's Lava script on inputs (N, T, *shape) in a worker process.

    Args:
        artifact: the artifact's directory, or its files.
        inputs: whole numbers (N, T, *shape).
        trace: names of neurons (or of the input) to record.
        timeout: seconds after which the worker is ended.
        env: Lava's environment (None: the one that is found).

    Raises:
        CompileError: `lava/missing`, `lava/timeout`, `lava/crashed`, or `lava/no-script` where the artifact has none.
    """
    files = artifact if isinstance(artifact, Mapping) else read(artifact).files
    if SCRIPT not in files:
        raise fail("lava/no-script", f"the artifact has no {SCRIPT}", help="compile for loihi2: -t loihi2")
    found = env or require()
    with tempfile.TemporaryDirectory(prefix="spikec-lava-") as folder:
        place = Path(folder)
        for name, data in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        given, made = place / "worker-in.npz", place / "worker-out.npz"
        np.savez(given, spikes=np.asarray(inputs))
        arguments = ["--input", str(given), "--output", str(made)]
        arguments += ["--trace", ",".join(trace)] if trace else []
        run_worker(found, place / SCRIPT, arguments, timeout, folder=place)
        try:
            return _result(files, made, trace)
        except (OSError, KeyError, ValueError) as error:
            raise fail("lava/crashed", f"the worker's result cannot be read: {error}", SCRIPT) from error


def run_worker(
    env: LavaEnv, script: Path, arguments: Sequence[str], timeout: float, *, folder: Path | None = None
) -> str:
    """Run any script in Lava's environment, mended by the shim; gives what it printed to stderr.

    The worker has a process group and a prefix of shared-memory names of its own; however it ends, the group is killed
    and the segments are removed. If this process dies, even by SIGKILL, the worker does so itself within a second or
    so, and removes `folder`, a temporary one made for it alone, where its own temporary files go too.

    Raises:
        CompileError: `lava/timeout` or `lava/crashed`.
    """
    prefix = f"spikec-{os.getpid():x}-{secrets.token_hex(2)}-"
    environment = _environment(prefix, folder)
    shim = Path(__file__).with_name("shim.py")
    with tempfile.TemporaryFile() as printed:
        try:
            worker = subprocess.Popen(
                [str(env.python), str(shim), str(script), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            raise fail("lava/crashed", f"Lava's Python cannot be started: {error.strerror}", str(env)) from error
        late = False
        try:
            worker.wait(timeout)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            _end(worker, prefix)
        printed.seek(0)
        text = printed.read().decode(errors="replace").replace(f"{script.parent}{os.sep}", "")
    if late:
        raise _timed_out(timeout, text, script.name)
    if worker.returncode:
        raise _crashed(worker.returncode, text, script.name)
    return text


def _environment(prefix: str, folder: Path | None) -> dict[str, str]:
    """Give the worker's environment variables."""
    chosen = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    chosen |= {
        SHM_VARIABLE: prefix,
        PARENT_VARIABLE: str(os.getpid()),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    if folder is not None:
        chosen[FOLDER_VARIABLE] = str(folder)
        if len(os.fsencode(folder)) <= SOCKET_ROOM:
            chosen["TMPDIR"] = str(folder)
    return chosen


def _end(worker: subprocess.Popen[bytes], prefix: str) -> None:
    """Kill whatever is left of the worker's group, wait for it, and remove its shared memory."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    until = time.monotonic() + GRACE  # a kill takes a moment to reach what the worker had started
    while _alive(worker.pid) and time.monotonic() < until:
        time.sleep(0.01)
    if SEGMENTS.is_dir():
        for segment in SEGMENTS.glob(f"{prefix}*"):
            segment.unlink(missing_ok=True)


def _alive(group: int) -> bool:
    """Say whether a process of the group still runs; one that has ended but was not waited for does not."""
    processes = Path("/proc")
    if not (processes / "self" / "stat").is_file():
        try:
            os.killpg(group, 0)
        except OSError:
            return False
        return True
    for stat in processes.glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[:3]
        except (OSError, ValueError):
            continue  # it has just ended
        if int(its_group) == group and state not in "ZX":
            return True
    return False


def _timed_out(timeout: float, text: str, script: str) -> CompileError:
    message = f"Lava did not finish within {timeout:g} s and was ended"
    fault = _fault(text, script)
    message += f"; it printed:\n{fault}" if fault else ""
    return fail("lava/timeout", message, script, "run fewer samples or steps, or allow more time with --timeout")


def _crashed(code: int, text: str, script: str) -> CompileError:
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL and TRACEBACK in text:
        how = "a fault in one of its processes"
    message = f"Lava's worker ended with {how}:\n{_fault(text, script) or '    (it printed nothing)'}"
    return fail("lava/crashed", message, script, "spikec doctor says whether Lava itself runs")


def _fault(text: str, script: str) -> str:
    """Give the first traceback in what was printed, from the script's own frames on; or else the last lines."""
    lines = [line for line in text.splitlines() if line.strip() and not re.match(r"(INFO|DEBUG):", line)]
    start = next((i for i, line in enumerate(lines) if line.startswith(TRACEBACK)), None)
    if start is not None:
        end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines) - 1)
        frames = lines[start + 1 : end + 1]
        own = next((i for i, line in enumerate(frames) if line.startswith(f'  File "{script}"')), 0)
        lines = [lines[start], *frames[own:][-TAIL:]]
    return "\n".join(f"    {line}" for line in lines[-TAIL - 1 :])


def _result(files: Files, made: Path, trace: Sequence[str]) -> Result:
    """Read the script's output file; keys get back the names of the graph."""
    document = json.loads(files["network.json"])
    with np.load(made) as stored:
        outputs = {o["name"]: stored[f"o/{o['name'].replace('/', '.')}"] for o in document["outputs"]}
        keys = [f"{what}/{name}" for name in trace for what in "suv"]
        traces = {key: stored[escaped] for key in keys if (escaped := _escaped(key)) in stored.files}
    return Result(outputs, traces)


def _escaped(key: str) -> str:
    return key[:2] + key[2:].replace("/", ".")
