"""The token queues of a design, in one order that the RTL, the simulator and their traces share."""

from __future__ import annotations

from dataclasses import dataclass

from spikec.compiler.cores import OUTPUT, Design

COUNTER = "counter"


@dataclass(frozen=True)
class Queue:
    """One queue: `q<number>`, of link `link`, for the link's source or target of that place.

    `joins`: it stands before the link's join, behind core `place` of its sources; else before target `place`.
    The queue behind a counter has the number of links as its `link`.
    A token is {kind (2 bits), group, payload}, payload lowest.
    """

    name: str
    link: int
    place: int
    joins: bool
    depth: int
    group_bits: int
    payload_bits: int
    ends: str

    @property
    def width(self) -> int:
        """Bits of a token."""
        return 2 + self.group_bits + self.payload_bits


def group_bits(design: Design, link: int) -> int:
    """Give the bits of the group in a token of a link."""
    groups = sum(core.groups for core in design.layers[link - 1]) if link else design.input_groups
    return max(1, (groups - 1).bit_length())


def queues(design: Design) -> tuple[Queue, ...]:
    """Give every queue: link by link, those before its join first; then the one behind the counter, if there is one."""
    made: list[Queue] = []
    for k, link in enumerate(design.links):
        payload = design.in_lanes if k == 0 else design[link.sources[0]].payload_bits
        joined = len(link.sources) > 1
        other = "join" if joined else "".join(link.sources)
        sides = [(True, link.sources)] if joined else []
        for joins, names in [*sides, (False, link.targets)]:
            for place, name in enumerate(names):
                reader = COUNTER if name == OUTPUT and design.count_bits else name
                ends = f"{name} -> join" if joins else f"{other} -> {reader}"
                made.append(Queue(f"q{len(made)}", k, place, joins, link.depth, group_bits(design, k), payload, ends))
    if design.count_bits:
        last = made[-1]
        payload, ends = design.layers[-1][0].lanes * design.count_bits, f"{COUNTER} -> {OUTPUT}"
        made.append(Queue(f"q{len(made)}", last.link + 1, 0, False, last.depth, last.group_bits, payload, ends))
    return tuple(made)


def token_words(made: tuple[Queue, ...]) -> int:
    """Give the 32-bit words of a recorded token: an even number that holds the widest."""
    return 2 * max(-(-queue.width // 64) for queue in made)
