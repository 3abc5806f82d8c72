"""Preparation: every connection feeds one population, and what it reads has one unit and fits into a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import CompileError, Findings, Sink, fail, remark
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Delay, Input
from spikec.compiler.target import Target
from spikec.passes.quantize.apart import split_by_delay
from spikec.passes.surgery import PASSING, edit, is_connection, redirect, sources_through, unused


@dataclass(frozen=True)
class Message:
    """What a node sends: integers up to `top`, each unit of which means `unit`; `binary` if they are 0 or 1."""

    unit: float
    top: int
    binary: bool


def messages(graph: Graph, given: Message) -> Mapping[str, Message | None]:
    """Give what every input, neuron, reshape and delay sends, or None where it sums values of different units."""
    found: dict[str, Message | None] = {}
    for _ in range(2):  # a delay may stand later than who reads it
        for node in graph:
            if isinstance(node.op, Input):
                found[node.name] = given
            elif isinstance(node.op, Neuron):
                found[node.name] = Message(1.0, 1, binary=True)
            elif isinstance(node.op, (*PASSING, Delay)):
                found[node.name] = joined([found.get(name) for name in node.inputs])
    return found


def joined(parts: list[Message | None]) -> Message | None:
    """Give what the sum of messages is."""
    known = [part for part in parts if part is not None]
    if len(known) != len(parts) or len({part.unit for part in known}) != 1:
        return None
    return Message(known[0].unit, sum(part.top for part in known), len(known) == 1 and known[0].binary)


def input_message(node: Node, target: Target, ctx: Context) -> Message:
    """Decide what the network's input is sent as.

    Raises:
        CompileError: analog input where the target has no graded messages, or nobody knows its range.
    """
    assert isinstance(node.op, Input)
    given = None if ctx.calibration is None else np.asarray(ctx.calibration.inputs)
    if node.op.kind == "spikes" and (given is None or np.all((given == 0) | (given == 1))):
        return Message(1.0, 1, binary=True)
    largest = 0.0 if given is None else float(np.abs(given).max(initial=0))
    what = "analog input" if node.op.kind == "analog" else f"input of counts up to {largest:g}"
    if target.message_bits == 0:
        help = "encode the input as spikes (rate or latency coding) and train with that"
        raise fail(
            "quantize/analog-input", f"{what} needs graded messages, which {target.name} has not", node.where, help
        )
    top = (1 << target.message_bits) - 1
    if node.op.kind == "spikes":
        if largest > top or given is None or np.any(given != np.rint(given)):
            message = f"{what} does not fit into whole messages of {target.message_bits} bits"
            raise fail("quantize/analog-input", message, node.where, "declare the input analog, or bin it to spikes")
        ctx.remark(remark("quantize/counts", f"{what} is sent as graded messages", node.where))
        return Message(1.0, max(1, int(largest)), binary=False)
    if given is None or largest == 0:
        message = "the range of the analog input is not known"
        raise fail("quantize/needs-calibration", message, node.where, "give samples of it: --calibrate DATA")
    unit = _unit(given, largest, top)
    sent = Message(unit, min(top, int(np.rint(largest / unit))), binary=False)
    bits = message_bits(sent)
    text = f"analog input is sent as messages of {bits} bit{'s' * (bits > 1)}, {unit:.6g} a unit"
    ctx.remark(remark("quantize/graded-input", text, node.where))
    return sent


def _unit(given: np.ndarray, largest: float, top: int) -> float:
    """Give the unit of graded messages: a power of two that holds every sample exactly, else the largest's share."""
    for exponent in range(0, 17):
        unit = 2.0**-exponent
        if largest / unit > top:
            break
        if np.all(np.rint(given / unit) * unit == given):
            return unit
    return largest / top


def prepare(graph: Graph, given: Message, target: Target, sink: Sink) -> Graph:
    """Split connections until each feeds one population and reads what the target sends together; exact in floats.

    Raises:
        CompileError: one node alone sends more than a message holds (`quantize/graded`).
    """
    return _one_reader(_one_unit(split_by_delay(graph, target, sink), given, target))


def message_bits(message: Message) -> int:
    """Give the width of a message: 0 for a spike, which counts as 1 whatever it holds."""
    return 0 if message.binary else max(1, message.top.bit_length())


def _one_unit(graph: Graph, given: Message, target: Target) -> Graph:
    sent = messages(graph, given)
    twins: dict[str, list[str]] = {}
    nodes: list[Node] = []
    found = Findings()
    for node in graph:
        inputs = tuple(part for name in node.inputs for part in twins.get(name, [name]))
        node = replace(node, inputs=inputs) if inputs != node.inputs else node
        whole = joined([sent.get(name) for name in node.inputs]) if is_connection(node) else None
        if not is_connection(node) or (whole is not None and message_bits(whole) <= target.message_bits):
            nodes.append(node)
            continue
        parts = []
        for index, source in enumerate(node.inputs):
            part = sent[source]
            if part is None or message_bits(part) > target.message_bits:
                with found.catching():
                    raise _too_wide(graph, node, source, target)
            name = unused(graph, f"{node.name}.{source}", (n.name for n in nodes)) if index else node.name
            parts.append(replace(node, name=name, inputs=(source,), op=edit(node.op, bias=None) if index else node.op))
        nodes.extend(parts)
        twins[node.name] = [part.name for part in parts]
    found.raise_errors()
    return replace(graph, nodes=tuple(nodes)) if twins else graph


def _too_wide(graph: Graph, node: Node, source: str, target: Target) -> CompileError:
    names = ", ".join(f"'{name}'" for name in sources_through(graph, source)) or f"'{source}'"
    return fail(
        "quantize/graded",
        f"'{node.name}' reads the sum of {names} through '{source}', which is no message of {target.name}",
        node.where,
        "let the weighted layer read each of them directly",
    )


def _one_reader(graph: Graph) -> Graph:
    """Give every reader of a connection's currents a connection of its own, of the same weights."""
    for node in reversed(graph.nodes):
        readers = graph.consumers[node.name]
        carries = is_connection(node) or (
            isinstance(node.op, (*PASSING, Delay))
            and any(is_connection(graph[name]) for name in sources_through(graph, node.name))
        )
        if carries and len(readers) > 1:
            return _one_reader(_copied(graph, node, readers[1:]))
    return graph


def _copied(graph: Graph, node: Node, readers: tuple[str, ...]) -> Graph:
    names = {reader: unused(graph, f"{node.name}.to.{reader}") for reader in readers}
    nodes: list[Node] = []
    for other in graph:
        nodes.append(redirect(other, {node.name: names[other.name]}) if other.name in names else other)
        if other.name == node.name:
            nodes.extend(replace(node, name=name) for name in names.values())
    return replace(graph, nodes=tuple(nodes))
