"""What the command line shows of an FPGA artifact: how it was mapped and what it takes of the board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikec.cli.show import Shown


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
