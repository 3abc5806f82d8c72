"""The self-test of co-simulation: faults planted in the RTL and in the memory images, each of which must be caught."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikec.compiler.weights import Array
from spikec.runtime.rtl.compare import verify_rtl
from spikec.runtime.rtl.run import Rtl

MUTATIONS: tuple[tuple[str, str, str, str], ...] = (
    ("a weight is taken without its sign", "snn_lane.sv", "AB'(weight6)", "AB'({1'b0, weight6})"),
    ("a sum does not saturate", "snn_lane.sv", "if (sum6 > AB'(TOP)) state7 <= TOP;", "if (1'b0) state7 <= TOP;"),
    ("fires one too late", "snn_lane.sv", "state7 > threshold7", "state7 > threshold7 + 1'b1"),
    ("decays to the floor, not toward zero", "snn_lane.sv", "AB'(negative10 ? -wide10 : wide10)",
     "AB'(negative10 ? -wide10 - 1'b1 : wide10)"),
    ("forgets the bias", "snn_lane.sv", "+ AB'(bias10)", "+ AB'(1'b0)"),
    ("does not reset", "snn_lane.sv", "fired9 && RESET != 0", "1'b0"),
    ("does not clear at the end of a sample", "snn_lane.sv", "clear9 ? initial9 : state9", "state9"),
    ("a spike takes a cycle less", "snn_core.sv", "count == CW'(WALK - 1)", "count == CW'(WALK - 2)"),
    ("a fire pass takes a cycle more", "snn_core.sv", "count == CW'(FIRE - 1)", "count == CW'(FIRE)"),
    ("takes the highest spike first", "snn_core.sv", "for (int b = IN_LANES - 1; b >= 0; b--)",
     "for (int b = 0; b < IN_LANES; b++)"),
    ("sends groups without spikes", "snn_core.sv", "spikes8 != '0", "1'b1"),
    ("a queue says too early that a token waits", "snn_fifo.sv", "head != tail;", "head != tail || push;"),
)  # fmt: skip
"""What goes wrong, in which file, and the text before and after."""


@dataclass(frozen=True)
class Fault:
    """One planted fault and how it was caught: the first line of the verdict; empty if it was not."""

    what: str
    caught: str


def self_test(rtl: Rtl, inputs: Array, seed: int = 0) -> Iterator[Fault]:
    """Plant each fault alone, compare with the simulator, and say what was seen.

    A fault may have no effect on a design (a bias of 0 can be forgotten): choose a design that uses what is broken.

    Raises:
        ValueError: a mutation's text is not in the RTL.
    """
    for what, name, before, after in MUTATIONS:
        if rtl.rtl[name].count(before) != 1:
            raise ValueError(f"{name} does not hold '{before}' once")
        broken = replace(rtl, rtl={**rtl.rtl, name: rtl.rtl[name].replace(before, after)})
        yield Fault(what, _caught(broken, inputs))
    for name, memories in flipped(rtl.memories, seed):
        yield Fault(f"a bit of {name} is flipped", _caught(replace(rtl, memories=memories), inputs))


def flipped(memories: Mapping[str, str], seed: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Flip the highest bit of a field's word in each memory that holds something."""
    rng = np.random.default_rng(seed)
    for name, text in memories.items():
        lines = text.split()
        filled = [k for k, line in enumerate(lines) if line.strip("0")]
        if not filled:
            continue
        at = filled[int(rng.integers(len(filled)))]
        digit = next(k for k, c in enumerate(lines[at]) if c != "0")
        value = int(lines[at][digit], 16) ^ (1 << (int(lines[at][digit], 16).bit_length() - 1))
        lines[at] = lines[at][:digit] + f"{value:x}" + lines[at][digit + 1 :]
        yield name, {**memories, name: "\n".join([*lines, ""])}


def _caught(rtl: Rtl, inputs: Array) -> str:
    verdict = verify_rtl(rtl, inputs)
    return "" if verdict.equal else str(verdict).splitlines()[0]
