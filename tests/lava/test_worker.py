"""The worker: a hang, a crash and a missing Lava are each one clear diagnostic, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikec.backends.loihi.lavanet import describe
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.fixed import FixedNeuron
from spikec.runtime.lava import env as environment
from spikec.runtime.lava.env import LavaEnv
from spikec.runtime.lava.shim import SHM_VARIABLE
from spikec.runtime.lava.worker import LavaRunner, run_script, run_worker
from spikec.runtime.reference import Reference
from tests.lava.networks import native

ROOT = Path(__file__).resolve().parents[2]
Golden = Callable[[str, str], None]

SLEEPS = "import time\nprint('half way', flush=True)\ntime.sleep(60)\n"
MAKES = "import tempfile\ntempfile.mkdtemp()\n" + SLEEPS
RAISES = "def first():\n    raise ValueError('the weights are made of cheese')\n\n\nfirst()\n"
EXITS = "raise SystemExit('the input has shape [1]; the network takes (samples, steps, [2])')\n"
FAULTY_MODEL = """
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import DelayDense
from lava.proc.lif.process import LIF
one, two = LIF(shape=(2,)), LIF(shape=(2,))
between = DelayDense(weights=np.full((2, 2), 2), delays=np.full((2, 2), 64))
one.s_out.connect(between.s_in)
between.a_out.connect(two.a_in)
one.run(condition=RunSteps(num_steps=3), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
one.stop()
"""


def run(lava: LavaEnv, folder: Path, text: str, timeout: float = 60) -> str:
    """Run a script that must fail; give the message."""
    script = folder / "run_lava.py"
    script.write_text(text, encoding="utf-8")
    with pytest.raises(CompileError) as caught:
        run_worker(lava, script, [], timeout)
    assert leftovers() == []
    return str(caught.value)


PARENT = """
import sys
from pathlib import Path
import numpy as np
from spikec.runtime.lava.env import LavaEnv
from spikec.runtime.lava.worker import run_script
run_script({"run_lava.py": Path(sys.argv[2]).read_bytes()}, np.zeros((1, 1, 1)), env=LavaEnv(Path(sys.argv[1])))
"""


def leftovers(of: int | None = None) -> list[str]:
    """Name the processes and the shared memory that workers of a process left (of this one)."""
    mark = f"spikec-{os.getpid() if of is None else of:x}-"
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            own = f"{SHM_VARIABLE}={mark}".encode() in (process / "environ").read_bytes()
        except OSError:
            continue  # it has just ended, or is another user's
        if own:
            found.append((process / "cmdline").read_text())
    return found + [str(path) for path in Path("/dev/shm").glob(f"{mark}*")]


@pytest.mark.lava
def test_input_beyond_32_bits_is_refused_and_not_wrapped(lava: LavaEnv) -> None:
    graph, inputs = native(5)
    for value in (1 << 31, 1 << 40):
        with pytest.raises(CompileError, match="do not fit in 32 bits"):
            LavaRunner(describe(graph), 60, lava).run(graph, np.full_like(inputs, value, dtype=np.int64))


@pytest.mark.lava
def test_a_hang_is_ended(lava: LavaEnv, tmp_path: Path, golden: Golden) -> None:
    golden("timeout", run(lava, tmp_path, SLEEPS, 2))


@pytest.mark.lava
def test_a_crash_shows_the_traceback_of_the_script(lava: LavaEnv, tmp_path: Path, golden: Golden) -> None:
    golden("crash", run(lava, tmp_path, RAISES))


@pytest.mark.lava
def test_a_refusal_of_the_script_is_shown(lava: LavaEnv, tmp_path: Path, golden: Golden) -> None:
    golden("refusal", run(lava, tmp_path, EXITS))


@pytest.mark.lava
def test_a_fault_in_a_process_model_is_no_hang(lava: LavaEnv, tmp_path: Path) -> None:
    message = run(lava, tmp_path, FAULTY_MODEL)
    assert message.startswith("error[lava/crashed]: Lava's worker ended with a fault in one of its processes:\n")
    assert "ValueError: DelayDense Process 'delays' expects values between 0 and 63 for Loihi" in message


@pytest.mark.lava
def test_a_network_that_takes_too_long_leaves_nothing(lava: LavaEnv) -> None:
    graph, inputs = native(2)
    long = np.repeat(inputs[:1], 20_000, axis=1)
    with pytest.raises(CompileError, match="lava/timeout"):
        LavaRunner(describe(graph), 3, lava).run(graph, long)
    assert leftovers() == []


@pytest.mark.lava
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_ends_with_the_process_that_started_it(lava: LavaEnv, tmp_path: Path, number: int) -> None:
    """Its processes, its shared memory and its temporary files are gone too."""
    script = tmp_path / "run_lava.py"
    script.write_text(MAKES.replace("60", "30"), encoding="utf-8")
    words = [sys.executable, "-c", PARENT, str(lava), str(script)]
    with tempfile.TemporaryDirectory() as temporary:
        with subprocess.Popen(words, cwd=ROOT, env={**os.environ, "TMPDIR": temporary}) as parent:
            until(lambda: any(path.name.startswith("tmp") for path in Path(temporary).rglob("*")))
            assert leftovers(parent.pid) != []
            parent.send_signal(number)
        until(lambda: leftovers(parent.pid) == [])
        assert list(Path(temporary).iterdir()) == []


@pytest.mark.lava
def test_an_ended_run_leaves_no_temporary_file(lava: LavaEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, Lava cannot remove its own; they lie in the folder that the worker's starter removes."""
    with tempfile.TemporaryDirectory() as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        with pytest.raises(CompileError, match="lava/timeout"):
            run_script({"run_lava.py": MAKES.encode()}, np.zeros((1, 1, 1)), timeout=4, env=lava)
        assert list(Path(temporary).iterdir()) == []


def until(holds: Callable[[], bool]) -> None:
    """Wait for something, at most ten seconds."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.lava
def test_what_the_script_prints_does_not_fill_a_pipe(lava: LavaEnv, tmp_path: Path) -> None:
    script = tmp_path / "run_lava.py"
    script.write_text("print('x' * 1_000_000)\n", encoding="utf-8")
    assert len(run_worker(lava, script, [], 60)) > 1_000_000


def test_a_missing_lava_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, golden: Golden) -> None:
    monkeypatch.delenv(environment.PYTHON_VARIABLE, raising=False)
    monkeypatch.setenv(environment.HOME_VARIABLE, str(tmp_path / "none"))
    graph, _ = native(0)
    with pytest.raises(CompileError) as caught:
        LavaRunner(describe(graph))
    golden("missing", str(caught.value).replace(str(tmp_path), "HOME"))
    assert "not installed" in environment.doctor().message


def test_a_python_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, golden: Golden) -> None:
    monkeypatch.setenv(environment.PYTHON_VARIABLE, str(tmp_path))
    with pytest.raises(CompileError) as caught:
        environment.find()
    golden("bad_python", str(caught.value).replace(str(tmp_path), "FOLDER"))


def test_a_python_without_lava_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.PYTHON_VARIABLE, sys.executable)
    with pytest.raises(CompileError) as caught:
        environment.find()
    assert caught.value.diagnostics[0].code == "lava/bad-python"
    assert "No module named 'lava'" in str(caught.value)


@pytest.mark.lava
def test_the_script_runs_alone_and_names_its_results(lava: LavaEnv, tmp_path: Path) -> None:
    graph, inputs = native(2)
    for name, data in describe(graph).items():
        (tmp_path / name).write_bytes(data)
    np.save(tmp_path / "in.npy", inputs)
    words = ["--input", str(tmp_path / "in.npy"), "--output", str(tmp_path / "out.npz"), "--trace", "all"]
    run_worker(lava, tmp_path / "run_lava.py", words, 60)
    reference = Reference().run(graph, inputs)
    with np.load(tmp_path / "out.npz") as made:
        neurons = [node.name for node in graph.of(FixedNeuron)]
        states = {f"{what}/{name}" for name in neurons for what in "suv"}
        assert set(made.files) == {"spikes", "counts", "s/in", *states, *(f"o/{name}" for name in reference.outputs)}
        assert np.array_equal(made["spikes"], reference.spikes)
        assert np.array_equal(made["counts"], reference.counts)
        assert np.array_equal(made["s/in"], inputs)


@pytest.mark.lava
def test_the_script_needs_nothing_of_spikec(lava: LavaEnv, tmp_path: Path) -> None:
    """Run as a user would: the copied files, the environment's Python, no worker and no spikec to import."""
    graph, inputs = native(1)
    for name, data in describe(graph).items():
        (tmp_path / name).write_bytes(data)
    np.savez(tmp_path / "in.npz", spikes=inputs)
    words = ["run_lava.py", "--input", "in.npz", "--output", "out.npz", "--trace", "all"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SPIKEC"))}
    subprocess.run([str(lava), *words], cwd=tmp_path, env=clean, check=True, capture_output=True, timeout=120)
    reference = Reference().run(graph, inputs, trace=True)
    with np.load(tmp_path / "out.npz") as made:
        for node in graph.of(FixedNeuron):
            assert isinstance(node.op, FixedNeuron)
            for what in "suv":
                key, start = f"{what}/{node.name}", node.op.start
                np.testing.assert_array_equal(made[key][:, start:], reference.traces[key][:, start:])
        np.testing.assert_array_equal(made["spikes"], reference.spikes)


@pytest.mark.lava
def test_an_unknown_node_and_an_empty_input_are_refused(lava: LavaEnv, tmp_path: Path, golden: Golden) -> None:
    graph, inputs = native(2)
    said = []
    for trace, given in ((("nothing",), inputs), ((), inputs[:0]), ((), inputs[..., :0])):
        with pytest.raises(CompileError) as caught:
            run_script(describe(graph), given, trace, 60, env=lava)
        said.append(str(caught.value))
    golden("refused_inputs", "\n".join(said))


def test_an_artifact_without_a_script_is_refused(golden: Golden) -> None:
    with pytest.raises(CompileError) as caught:
        run_script({"network.json": b"{}"}, np.zeros((1, 1, 1), np.int32))
    golden("no_script", str(caught.value))


def test_a_failed_install_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(environment.PYTHON_VARIABLE, raising=False)
    monkeypatch.setenv(environment.HOME_VARIABLE, str(tmp_path / "lava"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(CompileError) as caught:
        environment.install()
    assert caught.value.diagnostics[0].code == "lava/install-failed"
    assert re.search(r"could not install what Lava needs: .*numpy", str(caught.value))
    assert list(tmp_path.iterdir()) == []
    assert environment.find() is None


def test_an_install_into_no_folder_is_one_diagnostic(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, golden: Golden
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv(environment.HOME_VARIABLE, str(tmp_path / "file" / "lava"))
    with pytest.raises(CompileError) as caught:
        environment.install()
    golden("no_folder", str(caught.value).replace(str(tmp_path), "HOME"))


@pytest.mark.lava
def test_a_second_install_does_nothing(lava: LavaEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.environ.get(environment.PYTHON_VARIABLE):
        pytest.skip(f"{environment.PYTHON_VARIABLE} names an environment that spikec did not make")
    monkeypatch.setattr(environment, "_make", lambda stage: pytest.fail("it was made again"))
    assert environment.install() == lava.python
