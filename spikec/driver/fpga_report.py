"""The report of an FPGA artifact on the user's samples: verdict, cycles by layer and cause, memories, energy."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from spikec.compiler.artifact import Artifact
from spikec.compiler.context import Quiet
from spikec.compiler.cores import EventCore
from spikec.compiler.diagnostics import CompileError, Sink, fail, ignore
from spikec.compiler.runner import Result
from spikec.compiler.weights import Array
from spikec.driver.data import to_array
from spikec.driver.fpga import CycleRunner, counting, fpga_rungs, fpga_runner
from spikec.driver.load import compiled_graph
from spikec.driver.measure import encoded
from spikec.driver.running import ready
from spikec.driver.verifying import spikes_of
from spikec.runtime.cycle import CoreActivity, CycleResult
from spikec.runtime.energy import energy_of
from spikec.runtime.engine import Engine
from spikec.runtime.ladder import Rung, classify, climb
from spikec.runtime.reference import Reference


def measure_artifact(
    artifact: Artifact, inputs: Any, labels: Any = None, *, rtl: bool = True, remark: Sink = ignore
) -> dict[str, Any]:
    """Run an artifact's design on samples and give the whole report as plain data.

    Args:
        artifact: of an FPGA target.
        inputs: (N, T, *shape).
        labels: (N,) classes, or None.
        rtl: whether to run Verilator for the verdict too.
        remark: told about remarks.

    Raises:
        CompileError: it is no FPGA artifact, it is damaged, or the input does not fit.
    """
    simulator = fpga_runner(artifact, "cycle")
    assert isinstance(simulator, CycleRunner)
    graph = compiled_graph(artifact)
    given = encoded(graph, ready(graph, to_array(inputs), None))
    done = simulator.simulate(given)
    mhz = float(artifact.facts["fpga"]["mhz_assumed"])
    made: dict[str, Any] = {
        "verdict": _verdict(artifact, given, rtl=rtl),
        "samples": len(given),
        "steps": int(given.shape[1]),
        "cycles": done.cycles,
        "latency_cycles": {
            name: float(np.quantile(done.latency, part)) for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1))
        },
        "mhz_assumed": mhz,
        "memories_filled": simulator.design.memories,
        "load_cycles": artifact.facts["fpga"].get("load_cycles", 0),
        "cores": [_core(core, done.activity[core.name]) for core in simulator.design.cores],
        "memories": [{**asdict(traffic), "bits": traffic.bits} for traffic in done.memories],
        "queues": [
            {"queue": use.queue.ends, "tokens": use.tokens, "high": use.high, "depth": use.queue.depth}
            for use in done.queues
        ],
        "energy": _energy(done),
    }
    if labels is not None:
        classes = classify(Result({simulator.design.output: done.outputs}))
        made["right"] = int(np.count_nonzero(classes == to_array(labels).reshape(-1)))
    return made


def no_input(artifact: Artifact) -> CompileError:
    """Say what to give for a report: samples of the artifact's own shape.

    Raises:
        CompileError: it is no FPGA artifact, or it is damaged.
    """
    simulator = fpga_runner(artifact, "cycle")
    shape = ", ".join(map(str, ("N", "T", *simulator.design.input_shape)))
    help = (
        f"--input FILE.npz with 'spikes' ({shape}), and 'labels' (N,) if you have them; event recordings with --bin, "
        "--steps and --shape. What you calibrated with will do. Without samples, `spikec inspect` shows how it fits"
    )
    return fail("report/no-input", "a report is of a run on samples, and none were given", artifact.target, help)


def _verdict(artifact: Artifact, given: Array, *, rtl: bool) -> dict[str, Any]:
    """Compare fixed reference, engine, simulator and RTL, layer by layer."""
    graph = compiled_graph(artifact)
    keys = spikes_of(graph)
    names = tuple(key[2:] for key in keys)
    engine = Rung("engine", lambda x: Engine().run(graph, x, trace=names), "fixed reference", True, keys)
    rungs = [
        Rung("fixed reference", lambda x: Reference().run(graph, x, trace=names)),
        counting(engine, artifact),
        *fpga_rungs(graph, artifact, keys, rtl=rtl),
    ]
    reports = climb(rungs, given, None, Quiet())
    lines = []
    for report in reports[1:]:
        name = f"{report.against} = {report.name}"
        if report.skipped or report.error:
            lines.append(f"{name}: not compared: {report.skipped or report.error}")
        elif report.agreement.first is not None:
            lines.append(f"{name}: DIFFERS: {report.agreement.first}")
        else:
            what = "spikes and cycles" if report.name == "RTL in Verilator" else "spikes"
            lines.append(f"{name}: all {what} equal ({report.agreement.spike_cells} outputs of neurons, 0 differ)")
    return {"equal": not any(report.failed or report.error for report in reports), "lines": lines}


def _core(core: EventCore, did: CoreActivity) -> dict[str, Any]:
    """Give what one core did, its synaptic operations against those of a dense layer among it."""
    possible = did.spikes * core.neurons
    return {
        "core": core.name,
        "layer": core.layer,
        **asdict(did),
        "cycles": did.cycles,
        "utilisation": did.utilisation,
        "skipped_synapses": possible - did.synapses,
    }


def _energy(done: CycleResult) -> dict[str, Any]:
    """Give picojoules a sample by the model."""
    spent, samples = energy_of(done), len(done.outputs)
    return {
        "model": spent.model,
        "additions_pj": spent.additions / samples,
        "decays_pj": spent.decays / samples,
        "memories_pj": spent.memories / samples,
        "total_pj": spent.total / samples,
    }
