"""What the command line shows of an FPGA artifact: how it was mapped and what it takes of the board."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spikec.cli.show import Shown

if TYPE_CHECKING:
    from spikec.compiler.weights import Array


def show_fit(shown: Shown, facts: Mapping[str, Any]) -> None:
    """Show the cores with their memories and cycles, and the use of the board."""
    fit = facts["fpga"]
    columns = [
        "core",
        "layer",
        ">neurons",
        ">lanes",
        "weights",
        ">Kb",
        ">blocks",
        ">LUTs",
        ">cycles a spike",
        ">to fire",
    ]
    rows = [
        (
            core["core"],
            core["layer"],
            core["neurons"],
            core["lanes"],
            core["structure"],
            f"{core['weight_bits'] / 1024:.1f}",
            core["weight_blocks"] + core["neuron_blocks"] + core["membrane_blocks"],
            core["luts"],
            core["walk_cycles"],
            core["fire_cycles"],
        )
        for core in fit["cores"]
    ]
    shown.table(f"cores on {fit['board']['title']} ({fit['board']['part']})", columns, rows)
    for line in in_words(facts):
        shown.out.print(line, markup=False)


def in_words(facts: Mapping[str, Any]) -> list[str]:
    """Say what the board's use and the expected time of a step are."""
    fit = facts["fpga"]
    use = [
        f"{fit['blocks'][0]} of {fit['blocks'][1]} block memories",
        f"about {fit['luts_estimated'][0]} of {fit['luts_estimated'][1]} look-up tables",
        f"{fit['dsps'][0]} of {fit['dsps'][1]} multipliers",
    ]
    slowest = max(fit["cycles_a_step"])
    cycles = ", ".join(f"{cycles:g}" for cycles in fit["cycles_a_step"])
    bits = facts["bits_on_target"]
    stored = f"stored: {bits['weights']} bits of weights, {bits['neurons']} of neurons"
    return [
        f"board: {', '.join(use)}",
        f"cycles a step by layer: {cycles}; {fit['mhz_assumed'] * 1e6 / slowest:.0f} steps a second at an assumed "
        f"{fit['mhz_assumed']} MHz (activity {fit['activity']})",
        f"{stored}; image.bin {bits['image'] // 8} bytes",
        _filled(fit),
        *_counted(fit),
    ]


def _counted(fit: Mapping[str, Any]) -> list[str]:
    """Say what leaves a design that counts."""
    bits = fit.get("count_bits", 0)
    if not bits:
        return []
    return [f"output: counts of a sample in {bits} bits, exact up to {(1 << bits) - 1} steps"]


def _filled(fit: Mapping[str, Any]) -> str:
    """Say how the memories are filled, and how long that takes."""
    if fit.get("memories", "baked") == "baked":
        return "memories: baked into the bitstream"
    cycles, mhz = fit["load_cycles"], fit["mhz_assumed"]
    return f"memories: overlay, image.bin over the link: {cycles} cycles at a byte a cycle ({cycles / mhz:.1f} us)"


def show_report(shown: Shown, facts: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Show a report: the verdict first, then cycles, memories, queues and energy."""
    verdict = made["verdict"]
    shown.out.print("verdict: " + ("every rung equal" if verdict["equal"] else "DIFFERENT"), markup=False)
    for line in verdict["lines"]:
        shown.out.print(f"  {line}", markup=False)
    mhz, latency = made["mhz_assumed"], made["latency_cycles"]
    times = ", ".join(f"{name} {cycles:.0f} ({cycles / mhz:.1f} us)" for name, cycles in latency.items())
    shown.out.print(
        f"{made['samples']} samples of {made['steps']} steps: {made['cycles']} cycles; latency in cycles "
        f"(at an assumed {mhz:g} MHz): {times}",
        markup=False,
    )
    if "right" in made:
        share = 100 * made["right"] / made["samples"]
        shown.out.print(f"{made['right']} of {made['samples']} right ({share:.2f} %)", markup=False)
    _show_cycles(shown, made)
    _show_memories(shown, made)
    energy = made["energy"]
    parts = ", ".join(f"{name} {energy[f'{name}_pj'] / 1000:.3g} nJ" for name in ("memories", "additions", "decays"))
    shown.out.print(f"energy a sample: {energy['total_pj'] / 1000:.3g} nJ ({parts})", markup=False)
    shown.out.print(f"  model: {energy['model']}", markup=False)
    for line in in_words(facts):
        shown.out.print(line, markup=False)


def _show_cycles(shown: Shown, made: Mapping[str, Any]) -> None:
    causes = ("walking", "padding", "firing", "stalled", "idle")
    numbers = (*causes, "in use", "spikes in", "out", "synapses", "skipped")
    columns = ["core", "layer", *(f">{name}" for name in numbers)]
    rows = [
        (
            core["core"],
            core["layer"],
            *(core[cause] for cause in causes),
            f"{100 * core['utilisation']:.1f} %",
            core["spikes"],
            core["sent"],
            core["synapses"],
            core["skipped_synapses"],
        )
        for core in made["cores"]
    ]
    shown.table("cycles by cause", columns, rows)


def _show_memories(shown: Shown, made: Mapping[str, Any]) -> None:
    rows = [
        (m["core"], m["memory"], m["word_bits"], m["read"], m["written"], f"{m['bits'] / 1024:.0f}")
        for m in made["memories"]
    ]
    shown.table("memories", ["core", "memory", ">bits a word", ">words read", ">written", ">Kb moved"], rows)
    queues = [(q["queue"], q["tokens"], f"{q['high']} of {q['depth']}") for q in made["queues"]]
    shown.table("queues", ["queue", ">tokens", ">most held"], queues)


def watchable(words: argparse.Namespace) -> None:
    """Refuse options of a trace that nothing would use."""
    from spikec.compiler.diagnostics import Findings, fail

    found = Findings()
    if (words.aer or words.vcd) and words.engine != "cycle":
        message = f"--aer and --vcd show what the spike-core simulator does; the engine is '{words.engine}'"
        found(fail("run/not-cycle", message, help="add --engine cycle (of an artifact for an FPGA)").diagnostics[0])
    if (words.window or words.sample is not None) and not words.vcd:
        message = "--window and --sample say what --vcd draws, and it is not there"
        found(fail("run/no-vcd", message, help="add --vcd FILE.vcd").diagnostics[0])
    found.raise_errors()


def watch_run(words: argparse.Namespace, shown: Shown, inputs: Array) -> None:
    """Write the AER table and the VCD that were asked for."""
    from spikec.compiler import artifact as artifacts
    from spikec.driver.fpga_traces import write_aer, write_vcd

    artifact = artifacts.read(words.model)
    if words.aer:
        count = write_aer(artifact, inputs, words.aer, steps=words.steps, progress=shown.progress())
        shown.out.print(f"wrote {words.aer} ({count} events)", markup=False)
    if words.vcd:
        sample = words.sample or 0
        start, stop = write_vcd(artifact, inputs, words.vcd, sample=sample, window=words.window, steps=words.steps)
        shown.out.print(f"wrote {words.vcd} (cycles {start} to {stop} of sample {sample})", markup=False)
