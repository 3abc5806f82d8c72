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
    ]
