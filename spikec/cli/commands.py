"""The sub-commands: each turns words into a call of the driver and shows what comes back."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spikec.cli.ladder import show_ladder
from spikec.cli.show import Shown

if TYPE_CHECKING:
    from spikec.compiler.pipeline import Step
    from spikec.compiler.weights import Array
    from spikec.driver.load import LoadOptions

Words = argparse.Namespace
FIRST = ("layer", "kind", "size", "cores", "neurons", "words")


def compile_(words: Words, shown: Shown) -> int:
    """`spikec compile`."""
    from spikec.compiler.spec import parse_recipe
    from spikec.compiler.target import Choices
    from spikec.driver.compiling import CompileOptions, compile_model
    from spikec.passes import ALL

    choices = Choices(words.reset, words.compare, words.maxpool, words.initial)
    own: Any = parse_recipe(words.recipe, ALL) if words.recipe else words.passes

    def watch(step: Step) -> None:
        if words.print_ir:
            shown.out.print(f"// after {step.name} ({step.seconds:.3f} s)\n{step.after}\n", markup=False)

    calibrate = None
    if words.calibrate:
        inputs, labels = read_data(words, shown, words.calibrate, words.samples)
        calibrate = inputs if labels is None else (inputs, labels)
    load, told = load_options(words, shown), shown.progress()
    seen = (told, shown.remark, watch)
    built = (words.memories, words.like, words.readout == "counts")
    work = (words.workers, words.cluster, str(words.resume or ""))
    options = CompileOptions(load, calibrate, words.steps, words.seed, choices, *seen, *built, *work)
    artifact = compile_model(words.model, words.target, own, options)
    path = artifact.write(words.output or Path("build") / words.target.replace(":", "-"))
    shown.unseen_remarks()
    _show_artifact(shown, artifact.facts, artifact.target)
    if "measured" in artifact.facts:
        from spikec.driver.measure import in_words

        shown.out.print(f"on samples: {in_words(artifact.facts['measured'])}", markup=False)
    shown.out.print(
        f"wrote {path} ({len(artifact.files)} files, {sum(map(len, artifact.files.values()))} bytes)", markup=False
    )
    return 0


def run(words: Words, shown: Shown) -> int:
    """`spikec run`."""
    import numpy as np

    from spikec.cli.fpga import watch_run, watchable
    from spikec.driver.data import check_labels
    from spikec.driver.running import RunOptions, run_model

    watchable(words)
    inputs, labels = read_data(words, shown, words.input)
    trace = tuple(words.trace.split(",")) if isinstance(words.trace, str) else bool(words.trace)
    options = RunOptions(
        words.engine,
        trace,
        words.align,
        words.steps,
        words.timeout,
        load_options(words, shown),
        shown.progress(),
        shown.remark,
    )
    outcome = run_model(words.model, inputs, options)
    shown.unseen_remarks()
    for name, array in outcome.arrays().items():
        shown.note(f"{name}: {array.dtype} {list(array.shape)}")
    if outcome.latency:
        shown.note(f"the output is {outcome.latency} steps late (--align removes that)")
    classes = outcome.classes
    labels = check_labels(labels, len(classes), outcome.outputs)
    if labels is not None:
        right = int(np.count_nonzero(classes == labels))
        shown.out.print(f"{right} of {len(labels)} right ({100 * right / len(labels):.2f} %)")
    else:
        shown.out.print("classes: " + " ".join(map(str, classes[:40])) + (" ..." if len(classes) > 40 else ""))
    if words.output:
        outcome.save(words.output)
        shown.out.print(f"wrote {words.output}", markup=False)
    if words.aer or words.vcd:
        watch_run(words, shown, inputs)
    return 0


def verify(words: Words, shown: Shown) -> int:
    """`spikec verify`."""
    from spikec.compiler import artifact as artifacts
    from spikec.driver.verifying import VerifyOptions, verify_model

    inputs, labels = read_data(words, shown, words.input, words.samples)
    artifact = artifacts.read(words.artifact) if words.artifact else None
    options = VerifyOptions(
        load_options(words, shown),
        words.steps,
        not words.no_lava,
        words.timeout,
        None,
        shown.progress(),
        shown.remark,
        words.require_lava,
        not words.no_rtl,
    )
    reports = verify_model(words.model, artifact, inputs, labels, options)
    shown.unseen_remarks()
    show_ladder(shown, reports)
    if words.json:
        words.json.write_text(json.dumps([asdict(report) for report in reports], indent=1) + "\n", encoding="utf-8")
    if any(report.failed for report in reports):
        return 3
    return 1 if any(report.error for report in reports) else 0


def report(words: Words, shown: Shown) -> int:
    """`spikec report`."""
    from spikec.cli.fpga import show_report
    from spikec.compiler import artifact as artifacts
    from spikec.driver.fpga_report import measure_artifact, no_input

    artifact = artifacts.read(words.model)
    if not words.input:
        raise no_input(artifact)
    inputs, labels = read_data(words, shown, words.input, words.samples)
    made = measure_artifact(artifact, inputs, labels, rtl=not words.no_rtl, remark=shown.remark)
    shown.unseen_remarks()
    show_report(shown, artifact.facts, made)
    if words.json:
        words.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0 if made["verdict"]["equal"] else 3


def inspect(words: Words, shown: Shown) -> int:
    """`spikec inspect`."""
    from spikec.compiler import artifact as artifacts
    from spikec.driver.inspecting import layer_rows, totals
    from spikec.driver.load import compiled_graph, load_model

    facts: Mapping[str, Any] = {}
    if artifacts.is_artifact(words.model):
        artifact = artifacts.read(words.model)
        graph, facts = compiled_graph(artifact), artifact.facts
        shown.out.print(f"artifact for {artifact.target}, from {facts.get('source', '?')}", markup=False)
    else:
        graph = load_model(words.model, load_options(words, shown), remark=shown.remark).graph
    shown.unseen_remarks()
    if words.ir:
        shown.out.print(str(graph), markup=False)
    else:
        columns = ["node", "op", "shape", ">weights", ">non-zero", ">bits", "of"]
        shown.table(graph.name, columns, layer_rows(graph))
        shown.out.print(totals(graph), markup=False)
    if facts:
        _show_artifact(shown, facts, "")
    return 0


def passes(words: Words, shown: Shown) -> int:
    """`spikec passes`."""
    from spikec.passes import ALL

    rows = []
    for name, cls in sorted(ALL.items()):
        options = ", ".join(_option(f) for f in fields(cls))
        rows.append((name, cls.description, options))
    shown.table("passes", ["name", "what it does", "options"], rows)
    return 0


def _option(option: Field[Any]) -> str:
    """Give an option with its default as it is written in a pipeline; one without must be given."""
    from spikec.compiler.spec import as_text

    name = option.name.replace("_", "-")
    return name if option.default is MISSING else f"{name}={as_text(option.default)}"


def targets(words: Words, shown: Shown) -> int:
    """`spikec targets`."""
    from spikec.compiler.target import Choices
    from spikec.driver.targets import NAMES, route

    rows = [(name, route(name, Choices()).backend.description) for name in NAMES]
    shown.table("targets", ["name", "what it is"], rows)
    return 0


def doctor(words: Words, shown: Shown) -> int:
    """`spikec doctor`."""
    from spikec.driver.inspecting import health

    checks = health()
    shown.table("doctor", ["part", "state", "what to do"], [(c.part, c.state, c.help) for c in checks])
    return 0 if all(check.fine for check in checks) else 1


def lava(words: Words, shown: Shown) -> int:
    """`spikec lava install|status`."""
    from spikec.driver.inspecting import lava_status
    from spikec.runtime.lava.env import install

    if words.action == "install":
        install(shown.progress())
    check = lava_status()
    shown.out.print(f"Lava: {check.state}" + (f" ({check.help})" if check.help else ""), markup=False)
    return 0 if check.fine else 1


def load_options(words: Words, shown: Shown) -> LoadOptions:
    """Turn the words about reading a model into options."""
    from spikec.driver.data import as_network_input
    from spikec.driver.load import LoadOptions

    axis = {"none": None, "joined": "joined", "0": 0, "1": 1}[words.time_axis]
    example = None
    if words.example:
        inputs, _ = read_data(words, shown, words.example, 2)
        static = axis is None and getattr(words, "steps", None) is not None
        example = as_network_input(inputs.astype("float32"), axis, static=static)
    nir, net, onnx = (_pairs(getattr(words, name), name) for name in ("nir", "net", "onnx"))
    if words.writer:
        nir["from"] = words.writer
    readout: Any = "auto" if words.readout == "counts" else words.readout
    return LoadOptions(example, axis, words.dt, readout, words.weights, words.unsafe_weights, nir, net, onnx)


def read_data(words: Words, shown: Shown, path: str, samples: int | None = None) -> tuple[Array, Array | None]:
    """Read inputs and labels from a file, binning events as the words say."""
    from spikec.driver.inspecting import read_inputs

    shape = getattr(words, "shape", None)
    binned = {"bin": getattr(words, "bin", None), "steps": getattr(words, "steps", None)}
    rounding: Literal["nearest", "floor"] = getattr(words, "rounding", "nearest")
    return read_inputs(
        path, getattr(words, "labels", None), shape, samples, rounding=rounding, remark=shown.remark, **binned
    )


def _pairs(texts: Sequence[str], option: str) -> dict[str, Any]:
    """Read KEY=VALUE words."""
    from spikec.compiler.diagnostics import fail

    pairs = [text.partition("=") for text in texts]
    for key, equals, _ in pairs:
        if not equals:
            raise fail(
                "cli/not-a-pair", f"'--{option} {key}' is not KEY=VALUE", help=f"such as --{option} reset=subtract"
            )
    return {key: _value(value) for key, _, value in pairs}


def _value(text: str) -> Any:
    """Read a number, a list of them or a truth value where it is one."""
    if "," in text:
        return tuple(_value(part) for part in text.split(","))
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _show_artifact(shown: Shown, facts: Mapping[str, Any], target: str) -> None:
    """Show what compression did, and the core table of a chip."""
    if "compression" in facts:
        from spikec.cli.compression import show_compression

        show_compression(shown, facts["compression"])
    if "fpga" in facts:
        from spikec.cli.fpga import show_fit

        show_fit(shown, facts)
    layers = facts.get("cores", {}).get("layers", [])
    if not layers:
        return
    rows = [{**row, "use_percent": max(row["use_percent"].values())} for row in layers]
    rows = [{name: row[name] for name in (*FIRST, *sorted(set(row) - set(FIRST)))} for row in rows]
    columns = [name.replace("_", " ").replace("use percent", "fullest %") for name in rows[0]]
    shown.table(
        f"cores {target}".strip(), columns[:2] + [f">{c}" for c in columns[2:]], [tuple(row.values()) for row in rows]
    )
