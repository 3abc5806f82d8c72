"""Running a model or an artifact on the user's input, and the arrays that come out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spikec.compiler import artifact as artifacts
from spikec.compiler.artifact import Artifact
from spikec.compiler.context import Progress, Quiet
from spikec.compiler.diagnostics import Sink, fail, ignore, warning
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Input, Output
from spikec.compiler.runner import Result, Runner, Trace, align, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights import Array
from spikec.driver.data import flatten_for, repeat_static, to_array
from spikec.driver.load import LoadOptions, compiled_graph, load_model, with_example
from spikec.driver.measure import encoded
from spikec.runtime.ladder import winners

Engine = Literal["fast", "reference", "lava", "cycle", "rtl"]
ENGINES: dict[Engine, str] = {
    "fast": "the C++ engine (integer networks; a float network runs in the reference)",
    "reference": "NumPy, the definition of what a network means",
    "lava": "Intel's Lava, bit-accurate, in a process of its own",
    "cycle": "the spike-core simulator: an FPGA artifact, equal to its RTL in every cycle",
    "rtl": "the RTL of an FPGA artifact, in Verilator",
}
BATCH = 32


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run gave, each array (N, T, *shape) in the steps of the target (or aligned).

    `spikes` and `counts` (their sum over T) where the readout is spikes, `v_out` where it is a membrane;
    `counted` (N, *shape) where only counts leave an FPGA: then there are neither spikes nor `v_out`.
    `traces` by `s/NODE`, `u/NODE`, `v/NODE`, with `/` in a node's name written `.`. `latency` is how many steps the
    first output is late; 0 when aligned.
    """

    spikes: Array | None
    v_out: Array | None
    traces: Mapping[str, Array] = field(default_factory=dict)
    latency: int = 0
    counted: Array | None = None

    @property
    def counts(self) -> Array | None:
        """Sum of the spikes over time, (N, *shape)."""
        if self.counted is not None:
            return self.counted
        return None if self.spikes is None else np.asarray(self.spikes.sum(axis=1))

    @property
    def _read(self) -> Array:
        out = self.counted[:, None] if self.counted is not None else self.spikes if self.v_out is None else self.v_out
        assert out is not None
        return out

    @property
    def classes(self) -> Array:
        """The winning output of each sample (N,): most spikes, or the largest summed membrane; ties to the lowest."""
        return winners(self._read)

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return int(np.prod(self._read.shape[2:]))

    def arrays(self) -> dict[str, Array]:
        """Give everything by its stable name."""
        named = {"spikes": self.spikes, "counts": self.counts, "v_out": self.v_out}
        return {**{key: array for key, array in named.items() if array is not None}, **self.traces}

    def save(self, path: str | Path) -> None:
        """Write an .npz file, whole or not at all."""
        file = Path(path)
        buffer = io.BytesIO()
        named: dict[str, Any] = dict(self.arrays())
        np.savez_compressed(buffer, **named)
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(buffer.getvalue())
        part.replace(file)


@dataclass(frozen=True, eq=False)
class RunOptions:
    """How to run. `steps`: for a static input, how often it is repeated. `align` removes the known latency."""

    engine: Engine = "fast"
    trace: Trace = False
    align: bool = False
    steps: int | None = None
    timeout: float = 600.0
    load: LoadOptions = field(default_factory=LoadOptions)
    progress: Progress = field(default_factory=Quiet)
    remark: Sink = ignore


def run_model(model: Any, inputs: Any, options: RunOptions) -> Outcome:
    """Run a model or an artifact on inputs (N, T, *shape), or (N, *shape) repeated for `steps` steps.

    Raises:
        CompileError: the model cannot be read, the engine cannot run it, or the input does not fit.
    """
    array = to_array(inputs)
    graph, artifact = graph_of(model, with_example(options.load, array, options.steps), options.remark)
    given = ready(graph, array, options.steps)
    _traceable(graph, options.trace)
    known = latencies(graph)
    warn_of_cuts(graph, given, options.remark)
    padded = pad_steps(encoded(graph, given), max(known.values(), default=0))
    result = run_graph(graph, artifact, padded, options)
    if options.align:
        result = align(result, known, given.shape[1])
    if artifact is not None and options.engine in ("cycle", "rtl") and artifact.facts["fpga"].get("count_bits"):
        named = _outcome(graph, result, 0)
        return replace(named, spikes=None, counted=result.spikes[:, 0])
    return _outcome(graph, result, 0 if options.align else known[graph.of(Output)[0].name])


def _traceable(graph: Graph, trace: Trace) -> None:
    unknown = [] if isinstance(trace, bool) else [name for name in trace if name not in graph]
    if unknown:
        help = f"nodes: {', '.join(node.name for node in graph)}"
        raise fail("run/unknown-node", f"there is no node {', '.join(unknown)} to trace", graph.name, help)


def graph_of(model: Any, load: LoadOptions, remark: Sink) -> tuple[Graph, Artifact | None]:
    """Give the graph to run: what an artifact deploys, or a model as it was trained."""
    if isinstance(model, str | Path) and artifacts.is_artifact(model):
        model = artifacts.read(model)
    if isinstance(model, Artifact):
        return compiled_graph(model), model
    return load_model(model, load, remark=remark).graph, None


def ready(graph: Graph, inputs: Array, steps: int | None) -> Array:
    """Give a static input its time axis, flatten frames for a flat network, and refuse what does not fit.

    Raises:
        CompileError: the shape does not fit, there is no sample, or values are NaN.
    """
    node = graph.of(Input)[0]
    size = graph.shapes[node.name]
    full = flatten_for(repeat_static(inputs, len(size), steps), size)
    if full.shape[2:] != size or full.ndim != len(size) + 2:
        taken = ", ".join(["samples", "steps", *map(str, size)])
        message = f"the input has shape {list(inputs.shape)}; the network takes ({taken})"
        raise fail("run/input-shape", message, node.where, "reshape the input, or bin the events with --shape")
    if 0 in full.shape[:2]:
        raise fail("data/empty", f"the input holds no {'sample' if not len(full) else 'step'}")
    if not np.all(np.isfinite(full)):
        raise fail("data/not-finite", "the input holds NaN or infinity")
    return full


def warn_of_cuts(graph: Graph, given: Array, remark: Sink) -> None:
    """Warn where an integer network takes values of the input for others: it says so, and runs."""
    node = graph.of(Input)[0]
    op = node.op
    assert isinstance(op, Input)
    if not is_fixed(graph):
        return
    if op.message_bits == 0:
        count = int(np.count_nonzero((given != 0) & (given != 1)))
        message = f"{count} values of the input are neither 0 nor 1; where messages are spikes each counts as 1"
        help_ = "calibrate on such input, and its counts are sent as graded messages"
    else:
        top = ((1 << op.message_bits) - 1) * op.scale
        count = int(np.count_nonzero(np.abs(given) > top * (1 + 1e-6)))
        message = f"{count} values of the input lie beyond {top:.6g}, the range of its messages, and are clipped to it"
        help_ = "calibrate on samples that span the whole range"
    if count:
        remark(warning("run/input-range", message, node.where, help_))


def run_graph(graph: Graph, artifact: Artifact | None, padded: Array, options: RunOptions) -> Result:
    """Run encoded and padded inputs on the engine that was asked for, in batches."""
    chosen = _runner(graph, artifact, options)
    if options.engine == "lava":
        with options.progress.task("running Lava"):
            return chosen.run(graph, padded, trace=options.trace)
    parts = [
        chosen.run(graph, padded[start : start + BATCH], trace=options.trace)
        for start in options.progress.track(range(0, len(padded), BATCH), "running")
    ]
    return join(parts)


def join(parts: list[Result]) -> Result:
    """Put the results of batches one after another."""
    return Result(
        {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs},
        {name: np.concatenate([part.traces[name] for part in parts]) for name in parts[0].traces},
    )


def _runner(graph: Graph, artifact: Artifact | None, options: RunOptions) -> Runner:
    from spikec.runtime.engine import Engine as Fast
    from spikec.runtime.reference import Reference

    if options.engine == "reference" or (options.engine == "fast" and not is_fixed(graph)):
        return Reference()
    if options.engine == "fast":
        return Fast()
    if options.engine == "lava":
        return lava_runner(graph, artifact, options.timeout)
    if options.engine in ("cycle", "rtl"):
        from spikec.driver.fpga import fpga_runner

        return fpga_runner(artifact, options.engine)
    raise fail("run/unknown-engine", f"there is no engine '{options.engine}'", help=f"known: {', '.join(ENGINES)}")


def lava_runner(graph: Graph, artifact: Artifact | None, timeout: float) -> Runner:
    """Give Lava for an artifact's own script, or for one made on the spot from an integer graph.

    Raises:
        CompileError: the network is not for Loihi, or Lava is not installed.
    """
    from spikec.backends.loihi.lavanet import describe
    from spikec.runtime.lava.worker import LavaRunner

    if not is_fixed(graph):
        raise fail(
            "run/lava-float",
            "Lava runs what was compiled for Loihi; this network is as trained",
            help="compile it: -t loihi2",
        )
    files = artifact.files if artifact is not None and artifact.target.startswith("loihi2") else describe(graph)
    return LavaRunner(files, timeout=timeout)


def _outcome(graph: Graph, result: Result, latency: int) -> Outcome:
    traces = {f"{key[:2]}{key[2:].replace('/', '.')}": array for key, array in result.traces.items()}
    if reads_membrane(graph):
        return Outcome(None, result.spikes, traces, latency)
    return Outcome(result.spikes, None, traces, latency)


def reads_membrane(graph: Graph) -> bool:
    """Say whether the first output is a membrane potential: the nearest neurons before it are read so."""
    name = graph.of(Output)[0].inputs[0]
    while not isinstance(graph[name].op, Neuron | FixedNeuron) and len(graph[name].inputs) == 1:
        name = graph[name].inputs[0]
    op = graph[name].op
    return isinstance(op, Neuron | FixedNeuron) and op.readout == "membrane"
