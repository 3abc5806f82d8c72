"""The Python calls: what the commands do, with plain arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from spikec.compiler.artifact import Artifact
from spikec.compiler.context import Progress, Quiet
from spikec.compiler.cores import Memories
from spikec.compiler.diagnostics import Sink, ignore
from spikec.compiler.ir import Graph
from spikec.compiler.pipeline import Pass, Step
from spikec.compiler.runner import Trace
from spikec.compiler.target import Choices
from spikec.driver.compiling import CompileOptions, compile_model
from spikec.driver.load import LoadOptions, load_model
from spikec.driver.running import Engine, Outcome, RunOptions, run_model
from spikec.driver.verifying import VerifyOptions, verify_model
from spikec.runtime.ladder import RungReport


def compile(
    model: Any,
    target: str = "loihi2",
    passes: str | Sequence[Pass] = (),
    *,
    example: Any = None,
    time_axis: int | str | None = 0,
    dt: float = 1e-3,
    calibrate: Any = None,
    seed: int = 0,
    steps: int | None = None,
    readout: Literal["auto", "spikes", "membrane", "counts"] = "auto",
    weights: str | Path | None = None,
    nir: Mapping[str, Any] | None = None,
    onnx: Mapping[str, Any] | None = None,
    choices: Choices | None = None,
    memories: Memories | None = None,
    like: Artifact | str | Path | None = None,
    progress: Progress | None = None,
    remark: Sink = ignore,
    watch: Callable[[Step], None] = lambda _: None,
    workers: int = 0,
    cluster: str = "",
    resume: str | Path = "",
) -> Artifact:
    """Compile a trained network for a target.

    Args:
        model: a torch module, a Graph, a nir.NIRGraph, or a path (.nir, .onnx, .net, .spk, FILE.py:OBJECT).
        target: `loihi2`, `loihi2:netx`, `nir`, `onnx`, or `fpga:BOARD`.
        passes: compression passes, as values or in text form (`"quantize{bits=6}"`).
        example: an input as the torch network takes it; taken from `calibrate` where not given.
        time_axis: axis of time in it: 0 (T, N, *shape), 1 (N, T, *shape), None (one step, or a static input),
            "joined" (N * T, *shape): the example is then (N, T, *shape).
        dt: seconds a step.
        calibrate: samples (N, T, *shape), a pair with labels (N,), or a loader of batches.
        seed: of everything random.
        steps: for how many steps a static input (N, *shape) is repeated.
        readout: `spikes` or `membrane`, where the network returns both; `counts`: an FPGA sends the spikes of each
            output over a sample, not those of every step.
        weights: state dict for FILE.py:OBJECT.
        nir: what NIR leaves open, by name (`spikec.frontends.nir.NirOptions`).
        onnx: what an ONNX file leaves open, by name (`spikec.frontends.onnx.OnnxOptions`).
        choices: what may be given up where the target cannot say it.
        memories: of an FPGA: `baked` into the bitstream, or `overlay`, loaded over the link (None: baked).
        like: an overlay artifact, or its folder, whose geometry and so whose RTL is kept: only `image.bin` is new.
        progress: shows how far the work has come.
        remark: told about remarks and warnings.
        watch: sees the graph before and after every pass.
        workers: processes that share long work, started here with Ray (0: this process); no result depends on it.
        cluster: address of a Ray that runs already (`auto`, `host:port`), in place of one started here.
        resume: a folder in which finished pieces of long work are kept, to go on from.

    Returns:
        An artifact: `.write(directory)` puts it on disk.

    Raises:
        CompileError: with every reason.
    """
    counts = readout == "counts"
    load = LoadOptions(
        example,
        time_axis,
        dt,
        "auto" if readout == "counts" else readout,
        weights,
        nir=dict(nir or {}),
        onnx=dict(onnx or {}),
    )
    shown, given_up = progress or Quiet(), choices or Choices()
    work = (workers, cluster, str(resume))
    seen = (shown, remark, watch)
    options = CompileOptions(load, calibrate, steps, seed, given_up, *seen, memories, like, counts, *work)
    return compile_model(model, target, passes, options)


def run(
    model: Any,
    inputs: Any,
    *,
    engine: Engine = "fast",
    trace: Trace = False,
    align: bool = False,
    steps: int | None = None,
    timeout: float = 600.0,
    progress: Progress | None = None,
    remark: Sink = ignore,
    **load: Any,
) -> Outcome:
    """Run a model or an artifact (or the path of either) on the host.

    Args:
        model: an Artifact, or anything that `compile` takes.
        inputs: (N, T, *shape), or (N, *shape) repeated for `steps` steps.
        engine: `fast` (C++), `reference` (NumPy), `lava`; of an FPGA artifact `cycle` or `rtl`.
        trace: True, or the names of nodes, to record outputs, currents and membranes.
        align: remove the known latency.
        steps: see `inputs`.
        timeout: limit for Lava in seconds.
        progress: shows how far the work has come.
        remark: told about remarks and warnings.
        load: how to read the model (`example`, `time_axis`, `dt`, `readout`, `weights`, `nir`, `onnx`).

    Returns:
        Spikes (N, T, *shape) and their counts, or membranes, and traces.

    Raises:
        CompileError: with every reason.
    """
    options = RunOptions(engine, trace, align, steps, timeout, LoadOptions(**load), progress or Quiet(), remark)
    return run_model(model, inputs, options)


def verify(
    model: Any,
    artifact: Artifact | None = None,
    inputs: Any = None,
    labels: Any = None,
    *,
    steps: int | None = None,
    lava: bool = True,
    timeout: float = 600.0,
    require_lava: bool = False,
    rtl: bool = True,
    progress: Progress | None = None,
    remark: Sink = ignore,
    **load: Any,
) -> tuple[RungReport, ...]:
    """Climb the ladder from the model down to the artifact, comparing spike by spike.

    Args:
        model: anything that `compile` takes, or an artifact alone.
        artifact: what was compiled from it.
        inputs: (N, T, *shape), or (N, *shape) repeated for `steps` steps.
        labels: (N,) classes, for accuracy.
        steps: see `inputs`.
        lava: whether to climb that rung.
        timeout: limit for Lava in seconds.
        require_lava: the rung fails where it would be skipped for want of Lava.
        rtl: whether to run the RTL of an FPGA artifact in Verilator.
        progress: shows how far the work has come.
        remark: told about remarks and warnings.
        load: how to read the model (`example`, `time_axis`, `dt`, `readout`, `weights`, `nir`, `onnx`).

    Returns:
        A report a rung; `failed` says that an exact rung differed, `error` why a rung could not be run.

    Raises:
        CompileError: with every reason.
    """
    shown = progress or Quiet()
    options = VerifyOptions(LoadOptions(**load), steps, lava, timeout, None, shown, remark, require_lava, rtl)
    return verify_model(model, artifact, inputs, labels, options)


def load(model: Any, *, remark: Sink = ignore, **options: Any) -> Graph:
    """Read a model as a graph: `print(spikec.load("net.nir"))` shows the textual IR.

    Args:
        model: anything that `compile` takes.
        remark: told about choices that were made.
        options: how to read it (`example`, `time_axis`, `dt`, `readout`, `weights`, `nir`, `onnx`).

    Raises:
        CompileError: it cannot be read.
    """
    return load_model(model, LoadOptions(**options), remark=remark).graph
