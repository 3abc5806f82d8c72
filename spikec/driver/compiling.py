"""Compiling: load, run the passes, check, measure on the user's data, emit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from spikec.compiler.artifact import Artifact
from spikec.compiler.backend import MapsByActivity
from spikec.compiler.context import Calibration, Context, Progress, Quiet
from spikec.compiler.cores import Memories
from spikec.compiler.diagnostics import CompileError, Diagnostic, Findings, Severity, Sink, fail, ignore
from spikec.compiler.ir import Graph
from spikec.compiler.ops import Input, Output
from spikec.compiler.pipeline import Pass, Step, run_pipeline
from spikec.compiler.serialize import dumps
from spikec.compiler.spec import describe, parse
from spikec.compiler.target import Choices
from spikec.compiler.verify import is_fixed
from spikec.driver import measure
from spikec.driver.activity import activity
from spikec.driver.data import calibration, check_labels, flatten_for, repeat_static
from spikec.driver.load import (
    COMPRESSED_FILE,
    QUANTIZED_FILE,
    TRAINED_FILE,
    LoadOptions,
    Model,
    load_model,
    with_example,
)
from spikec.driver.targets import Route, route


@dataclass(frozen=True, eq=False)
class CompileOptions:
    """Everything about a compilation but the model, the target and the user's passes.

    calibrate: samples (N, T, *shape) with or without labels (`spikec.driver.data.calibration`). steps: for how many
    steps a static input is repeated. choices: what may be given up where the target cannot say it. watch: sees every
    counts: bool = False
    workers: int = 0
    cluster: str = ""
    resume: str = ""
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    calibrate: Any = None
    steps: int | None = None
    seed: int = 0
    choices: Choices = field(default_factory=Choices)
    progress: Progress = field(default_factory=Quiet)
    remark: Sink = ignore
    watch: Callable[[Step], None] = lambda _: None
    memories: Memories | None = None
    like: Artifact | str | Path | None = None
    counts: bool = False
    workers: int = 0
    cluster: str = ""
    resume: str = ""


def compile_model(model: Any, target: str, passes: str | Sequence[Pass], options: CompileOptions) -> Artifact:
    """Compile a model to an artifact (`spikec.compile` is this with plain arguments).

    Raises:
        CompileError: every reason why it cannot be compiled; nothing has been written then.
    """
    from spikec.passes import ALL

    way = route(target, options.choices, options.memories, options.like, counts=options.counts)
    own = parse(passes, ALL) if isinstance(passes, str) else tuple(passes)
    data = calibration(options.calibrate, options.load.time_axis)
    told = Findings()

    def remark(finding: Diagnostic) -> None:
        told(finding)
        options.remark(finding)

    load = options.load if data is None else with_example(options.load, data.inputs, options.steps)
    if data is not None and load.samples is None:
        load = replace(load, samples=data.inputs)
    loaded = load_model(model, load, remark=remark)
    data = _fitting(data, loaded, options)
    reports: list[Mapping[str, Any]] = []
    context = Context(
        options.seed, data, way.description, measure.runner(), options.progress, remark, reports.append,
        options.workers, options.cluster, options.resume,
    )  # fmt: skip
    seen: dict[str, Graph] = {}
    graph, steps = _lower(loaded, way, own, context, options, seen)
    way = _measured(way, graph, data)
    _check(way, graph, remark)
    with options.progress.task(f"emitting {target}"):
        artifact = way.backend.emit(graph)
    for entry in artifact.facts.get("remarks", []):
        options.remark(Diagnostic(entry["code"], entry["message"], entry["where"], severity=Severity.REMARK))
    facts = {
        **artifact.facts,
        "source": _source_name(loaded.source),
        "passes": [describe(step) for step in steps],
        "choices": {name: getattr(options.choices, name) for name in Choices.__dataclass_fields__},
        "seed": options.seed,
        "remarks": [*artifact.facts.get("remarks", []), *(_plain(finding) for finding in told if _of_result(finding))],
    }
    if reports:
        facts["compression"] = [dict(report) for report in reports]
    measured = measure.on_samples(loaded.graph, graph, artifact, data, options.progress) if data is not None else None
    if measured is not None:
        facts["measured"] = measured
        options.remark(Diagnostic("compile/measured", measure.in_words(measured), severity=Severity.REMARK))
    files = dict(artifact.files)
    compressed = seen[reports[-1]["pass"]] if reports else None
    if not is_fixed(loaded.graph) or compressed is not None:
        files[TRAINED_FILE] = dumps(loaded.graph)
    if compressed is not None and not is_fixed(loaded.graph):
        files[COMPRESSED_FILE] = dumps(compressed)
    if "quantize" in seen:
        files[QUANTIZED_FILE] = dumps(seen["quantize"])
    return Artifact(artifact.target, files, facts)


def _lower(
    loaded: Model,
    way: Route,
    own: tuple[Pass, ...],
    context: Context,
    options: CompileOptions,
    seen: dict[str, Graph],
) -> tuple[Graph, tuple[Pass, ...]]:
    """Run the passes of the route around the user's own; a graph that is in integers already takes only the latter.

    The graph after each pass is put into `seen`.
    """

    def watch(step: Step) -> None:
        seen[step.name] = step.after
        options.watch(step)

    if is_fixed(loaded.graph):
        if way.description is None:
            message = f"the target '{way.backend.name}' takes networks as they were trained; this one is in integers"
            raise fail("target/fixed-graph", message, loaded.source, "compile the trained network instead")
        steps = own
    else:
        named = {step.name for step in own}
        before = tuple(step for step in way.before if step.name not in named)
        after = tuple(step for step in way.after if step.name not in named)
        steps = (*before, *own, *after)
    with options.progress.task("running passes"):
        return run_pipeline(loaded.graph, steps, context, watch), steps


def _fitting(data: Calibration | None, loaded: Model, options: CompileOptions) -> Calibration | None:
    """Give a static input its time axis, and refuse data that does not fit the network."""
    if data is None:
        return None
    size = loaded.graph.shapes[loaded.graph.of(Input)[0].name]
    inputs = flatten_for(repeat_static(data.inputs, len(size), options.steps), size)
    if inputs.shape[2:] != size:
        taken = ", ".join(["samples", "steps", *map(str, size)])
        message = f"the calibration data has shape {list(inputs.shape)}; the network takes ({taken})"
        raise fail("data/shape", message, loaded.source)
    if not np.all(np.isfinite(inputs)):
        raise fail("data/not-finite", "the calibration data holds NaN or infinity", loaded.source)
    outputs = prod(loaded.graph.shapes[loaded.graph.of(Output)[0].name])
    return Calibration(inputs, check_labels(data.labels, len(inputs), outputs))


def _measured(way: Route, graph: Graph, data: Calibration | None) -> Route:
    """Tell a backend that lays out by activity how busy the network is on the samples, if there are any."""
    backend = way.backend
    if data is None or not isinstance(backend, MapsByActivity) or not is_fixed(graph):
        return way
    return replace(way, backend=backend.with_activity(activity(graph, data.inputs)))


def _check(way: Route, graph: Graph, remark: Sink) -> None:
    found = Findings()
    for diagnostic in way.backend.check(graph):
        found(diagnostic)
        if diagnostic.severity is not Severity.ERROR:
            remark(diagnostic)
    if found.errors:
        raise CompileError(found.errors)


def _source_name(source: str) -> str:
    """Give the file's own name: an artifact holds no path of one machine."""
    head, colon, tail = source.partition(".py:")
    return f"{Path(head).name}{colon}{tail}" if colon else Path(source).name


def _of_result(finding: Diagnostic) -> bool:
    """Say whether a finding is about what was compiled, not about how the work was done on this machine."""
    return not finding.code.startswith("work/")


def _plain(finding: Diagnostic) -> dict[str, str]:
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "message": finding.message,
        "where": finding.where,
    }
