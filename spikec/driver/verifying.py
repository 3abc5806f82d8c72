"""Verifying: builds the ladder for a model and its artifact, from the source framework down to the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from spikec.compiler import artifact as artifacts
from spikec.compiler.artifact import Artifact
from spikec.compiler.context import Progress, Quiet
from spikec.compiler.diagnostics import CompileError, Sink, fail, ignore
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Input, Output
from spikec.compiler.runner import Result, Runner, align, pad_steps
from spikec.compiler.schedule import latencies
from spikec.compiler.serialize import dumps, loads
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights import Array
from spikec.driver.data import check_labels, to_array
from spikec.driver.load import (
    COMPRESSED_FILE,
    QUANTIZED_FILE,
    TRAINED_FILE,
    LoadOptions,
    Model,
    compiled_graph,
    load_model,
    trained_graph,
    with_example,
)
from spikec.driver.measure import encoded, run_aligned
from spikec.driver.running import lava_runner, ready, warn_of_cuts
from spikec.runtime.engine import Engine
from spikec.runtime.ladder import Rung, RungReport, climb
from spikec.runtime.reference import Reference

TRACE_BYTES = 256_000_000


@dataclass(frozen=True, eq=False)
class VerifyOptions:
    """How to verify.

    `lava`: whether to run that rung; `timeout`: its limit in seconds; `require_lava`: the rung fails where it would be
    skipped because Lava is missing or cannot hold the network. `rtl`: whether to run the RTL of an FPGA artifact in
    Verilator. `batch`: samples at a time; None takes as many
    as hold their traces in about 256 MB a rung.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    steps: int | None = None
    lava: bool = True
    timeout: float = 600.0
    batch: int | None = None
    progress: Progress = field(default_factory=Quiet)
    remark: Sink = ignore
    require_lava: bool = False
    rtl: bool = True


def verify_model(
    model: Any, artifact: Artifact | None, inputs: Any, labels: Any | None, options: VerifyOptions
) -> tuple[RungReport, ...]:
    """Climb the ladder.

    Args:
        model: the model (None: only what the artifact holds), or an artifact itself.
        artifact: what was compiled from it.
        inputs: (N, T, *shape), or (N, *shape) repeated for `steps` steps.
        labels: (N,) classes, or None.
        options: how to verify.

    Raises:
        CompileError: the model cannot be read, or the input does not fit it.
    """
    if isinstance(model, str) and artifacts.is_artifact(model):
        model = artifacts.read(model)
    if isinstance(model, Artifact):
        model, artifact = None, model
    array = to_array(inputs)
    loaded = _loaded(model, artifact, replace(options, load=with_example(options.load, array, options.steps)))
    if model is not None and artifact is not None:
        _same_network(loaded.graph, trained_graph(artifact), loaded.source)
    given = ready(loaded.graph, array, options.steps)
    outputs = prod(loaded.graph.shapes[loaded.graph.of(Output)[0].name])
    classes = None if labels is None else check_labels(to_array(labels), len(given), outputs)
    for cut in (loaded.graph, artifact):
        if cut is not None:
            warn_of_cuts(compiled_graph(cut) if isinstance(cut, Artifact) else cut, given, options.remark)
    rungs = build_rungs(loaded, artifact, options)
    batch = options.batch or _batch(loaded.graph, given.shape[1])
    return climb(rungs, given, classes, options.progress, batch=batch)


def _same_network(model: Graph, compiled: Graph, source: str) -> None:
    """Refuse an artifact that was compiled from another network, or from other weights.

    Names of files do not count, nor does the kind of the input, which depends on the samples.
    """
    if dumps(_bare(model)) == dumps(_bare(compiled)):
        return
    names = [n.name for n in model if n.name not in compiled] + [n.name for n in compiled if n.name not in model]
    unlike = names or [n.name for n in model if dumps(Graph((_plain(n),))) != dumps(Graph((_plain(compiled[n.name]),)))]
    message = f"the artifact was compiled from another network, or with other weights; unlike: {', '.join(unlike[:5])}"
    help = "give the weights that it was compiled with (--weights), compile again, or verify the artifact alone"
    raise fail("verify/other-network", message, source, help)


def _bare(graph: Graph) -> Graph:
    return Graph(tuple(_plain(node) for node in graph))


def _plain(node: Node) -> Node:
    op = Input(node.op.size) if isinstance(node.op, Input) else node.op
    return Node(node.name, op, node.inputs)


def _batch(graph: Graph, steps: int) -> int:
    """Give how many samples at a time keep the traces of a rung (4 bytes each of output, u and v) within the bound."""
    cells = sum(prod(graph.shapes[name]) for name in neurons(graph))
    return max(1, TRACE_BYTES // max(1, 12 * cells * steps))


def _loaded(model: Any, artifact: Artifact | None, options: VerifyOptions) -> Model:
    if model is not None:
        return load_model(model, options.load, remark=options.remark)
    assert artifact is not None
    return Model(trained_graph(artifact), artifact.target)


def build_rungs(loaded: Model, artifact: Artifact | None, options: VerifyOptions) -> tuple[Rung, ...]:
    """Give the rungs that this model and artifact have, highest first."""
    rungs: list[Rung] = []
    if not is_fixed(loaded.graph):
        if loaded.native is not None:
            rungs.append(Rung("framework", loaded.native))
        rungs.append(_on_reference("float reference", loaded.graph, "framework"))
    if artifact is not None and COMPRESSED_FILE in artifact.files:
        compressed = loads(artifact.files[COMPRESSED_FILE], COMPRESSED_FILE)
        rungs.append(_on_reference("compressed", compressed, "float reference"))
    if artifact is not None and artifact.target == "nir":
        return (*rungs, *_nir_rungs(artifact, options, rungs[-1].name))
    if artifact is not None and artifact.target == "onnx":
        return (*rungs, *_onnx_rungs(artifact, options, rungs[-1].name))
    fixed = loaded.graph if artifact is None else compiled_graph(artifact)
    if is_fixed(fixed):
        rungs.extend(_fixed_rungs(loaded.graph, fixed, artifact, options, rungs[-1].name if rungs else ""))
    return tuple(rungs)


def _on_reference(
    name: str, graph: Graph, against: str, keys: tuple[str, ...] | None = None, *, exact: bool = False
) -> Rung:
    keep = neurons(graph)

    def run(inputs: Array) -> Result:
        return run_aligned(graph, inputs, Reference(), trace=keep)

    return Rung(name, run, against, exact, keys)


def _fixed_rungs(
    loaded: Graph, fixed: Graph, artifact: Artifact | None, options: VerifyOptions, above: str
) -> list[Rung]:
    """Integers: as quantized (no latency) or as they came, as lowered, in the engine, in Lava or on the spike core."""
    states = state_keys(fixed)
    rungs = []
    if artifact is not None and QUANTIZED_FILE in artifact.files:
        quantized = loads(artifact.files[QUANTIZED_FILE], QUANTIZED_FILE)
        rungs.append(_on_reference("quantized", quantized, above, spike_keys(loaded, quantized)))
    if artifact is not None and is_fixed(loaded) and TRAINED_FILE in artifact.files:
        rungs.append(_on_reference("uncompressed", loaded, ""))
        rungs.append(_on_reference("fixed reference", fixed, "uncompressed", states))
    else:
        rungs.append(_on_reference("fixed reference", fixed, "quantized" if rungs else "", states, exact=bool(rungs)))
    rungs.append(Rung("engine", _aligned_run(fixed, Engine()), "fixed reference", True, states))
    if artifact is not None and artifact.target.startswith("fpga:"):
        from spikec.driver.fpga import counting, fpga_rungs

        rungs[-1] = counting(rungs[-1], artifact)
        return [*rungs, *fpga_rungs(fixed, artifact, spikes_of(fixed), rtl=options.rtl)]
    rungs.append(_lava_rung(fixed, artifact, states, options))
    return rungs


def _lava_rung(fixed: Graph, artifact: Artifact | None, states: tuple[str, ...], options: VerifyOptions) -> Rung:
    """Lava; or the reason why it is skipped; or a rung that fails, where a Lava is there and broken, or is required."""

    def rung(run: Callable[[Array], Result], skipped: str = "") -> Rung:
        return Rung("Lava", run, "fixed reference", True, states, skipped=skipped)

    def unused(_: Array) -> Result:
        raise AssertionError("a skipped rung is never run")

    if not options.lava:
        return rung(unused, "not asked for")
    try:
        chosen = lava_runner(fixed, artifact, options.timeout)
    except CompileError as error:
        refusal, first = error, error.diagnostics[0]
    else:
        return rung(_aligned_run(fixed, chosen))

    def fails(_: Array) -> Result:
        raise refusal

    # Missing, or (another room's code) a network that Lava cannot hold: no fault. Any other word of Lava's own is one.
    harmless = first.code == "lava/missing" or not first.code.startswith("lava/")
    return rung(unused, first.message) if harmless and not options.require_lava else rung(fails)


def _aligned_run(graph: Graph, chosen: Runner) -> Callable[[Array], Result]:
    known = latencies(graph)
    keep = neurons(graph)

    def run(inputs: Array) -> Result:
        padded = pad_steps(encoded(graph, inputs), max(known.values(), default=0))
        return align(chosen.run(graph, padded, trace=keep), known, inputs.shape[1])

    return run


def _nir_rungs(artifact: Artifact, options: VerifyOptions, above: str) -> list[Rung]:
    """What our own reader, and what any other, makes of the file."""
    from spikec.backends.nir import as_read_by_others
    from spikec.driver.nirfile import read_back

    ours = read_back(artifact, options.remark)
    plain = as_read_by_others(compiled_graph(artifact))
    return [
        _on_reference("NIR read back", ours, above),
        _on_reference("NIR as others read it", plain, above),
    ]


def _onnx_rungs(artifact: Artifact, options: VerifyOptions, above: str) -> list[Rung]:
    """What our own reader makes of the file, and what onnxruntime does with it."""
    from spikec.driver.onnxfile import read_back, step_of
    from spikec.runtime.onnxstep import installed

    graph, step = compiled_graph(artifact), step_of(artifact)
    skipped = "" if installed() else "onnxruntime is not installed: pip install onnxruntime"
    return [
        _on_reference("ONNX read back", read_back(artifact, options.remark), above),
        Rung("onnxruntime", lambda inputs: step.run(graph, inputs), above, skipped=skipped),
    ]


def neurons(graph: Graph) -> tuple[str, ...]:
    """Give the names of a graph's neurons in order."""
    return tuple(node.name for node in graph.of(Neuron, FixedNeuron))


def spike_keys(*graphs: Graph) -> tuple[str, ...]:
    """Give the traces of the neurons that send spikes in all graphs: membranes are in other units in each."""
    sending = [[n for n in neurons(graph) if getattr(graph[n].op, "readout", "") == "spikes"] for graph in graphs]
    return tuple(f"s/{name}" for name in sending[0] if all(name in others for others in sending))


def spikes_of(graph: Graph) -> tuple[str, ...]:
    """Give the traces of every neuron's output in the order of layers."""
    return tuple(f"s/{name}" for name in neurons(graph))


def state_keys(graph: Graph) -> tuple[str, ...]:
    """Give the traces of every neuron in the order of layers: output, current, membrane potential."""
    return tuple(f"{kind}/{name}" for name in neurons(graph) for kind in "suv")
