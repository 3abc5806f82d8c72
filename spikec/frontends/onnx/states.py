"""Which result of a step is which state of the next: as told, by names, by data flow, by order."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import networkx as nx

from spikec.compiler.diagnostics import CompileError, fail
from spikec.frontends.onnx.options import OnnxOptions
from spikec.frontends.onnx.source import Source
from spikec.frontends.onnx.walk import Tensor, Walk

NOTE = "spikec.states"
"""The property in which spikec's own files say which tensors are states: {input: [output, where it starts]}."""
IGNORED = frozenset(
    ("in", "out", "input", "output", "new", "next", "prev", "previous", "old", "last", "state", "init", "final", "t")
)
MAIN = frozenset(("x", "input", "data", "spikes", "in", "inputs", "input.1", "x_in", "spk_in"))
NAME, FLOW, ORDER = 16, 8, 1

Pairs = dict[str, str]


def pairs_of(walk: Walk, options: OnnxOptions) -> tuple[str, Pairs]:
    """Give the network's input, and the result that follows each state.

    Raises:
        CompileError: a state has no result that could follow it, or names are unknown.
    """
    source = walk.source
    told = dict(options.pairs_given) or {name: entry[0] for name, entry in note_of(source).items()}
    if told:
        return _told(source, told)
    inputs = list(source.inputs)
    firsts = [name for name in inputs if name.lower() in MAIN][:1] or inputs
    for main in firsts:
        states = [name for name in inputs if name != main]
        pairs = _matched(walk, states)
        if len(pairs) == len(states):
            return main, {name: pairs[name] for name in states}
    states = [name for name in inputs if name != firsts[0]]
    alone = [name for name in states if name not in _matched(walk, states)]
    message = f"no result could be the next value of {', '.join(repr(name) for name in alone)}"
    help = "return every state after the step in the shape in which it came, or name them: --onnx states=IN:OUT,..."
    raise fail("onnx/state-without-result", message, source.name, help)


def note_of(source: Source) -> dict[str, Any]:
    """Give what spikec itself noted of the states, if it did."""
    try:
        note = json.loads(source.properties.get(NOTE, "{}"))
        fits = isinstance(note, dict) and all(
            isinstance(entry, list) and len(entry) == 2 and entry[0] in source.outputs for entry in note.values()
        )
    except (ValueError, RecursionError):
        return {}
    return note if fits and set(note) < set(source.inputs) else {}


def _told(source: Source, told: Pairs) -> tuple[str, Pairs]:
    unknown = [n for n in told if n not in source.inputs] + [n for n in told.values() if n not in source.outputs]
    rest = [name for name in source.inputs if name not in told]
    if unknown or len(rest) != 1:
        message = f"unknown: {', '.join(unknown)}" if unknown else f"{len(rest)} inputs are no states, not 1"
        help = f"inputs: {', '.join(source.inputs)}; results: {', '.join(source.outputs)}"
        raise fail("onnx/states", f"the states given do not fit: {message}", source.name, help)
    return rest[0], told


def _matched(walk: Walk, states: Sequence[str]) -> Pairs:
    """Match states and results of the same shape: the matching whose names, data flow and order agree best."""
    outputs = list(dict.fromkeys(walk.source.outputs))
    graph: nx.Graph[Any] = nx.Graph()
    for place, state in enumerate(states):
        for at, output in enumerate(outputs):
            tensor = walk[output]
            if tensor.shape == walk[state].shape:
                weight = _likeness(walk, state, output, tensor)
                weight += ORDER * (at - (len(outputs) - len(states)) == place)
                graph.add_edge(("in", state), ("out", output), weight=1 + 4 * weight - (at < place))
    matching = nx.max_weight_matching(graph, maxcardinality=True)
    pairs = [(a, b) if a[0] == "in" else (b, a) for a, b in matching]
    return {state[1]: output[1] for state, output in pairs}


def _likeness(walk: Walk, state: str, output: str, tensor: Tensor) -> int:
    (number,) = walk[state].value.variables()
    flows = number in tensor.value.variables()
    return NAME * bool(_stem(state) and _stem(state) == _stem(output)) + FLOW * flows


def _stem(name: str) -> str:
    """Give what names a state apart from words such as in, out and next."""
    return " ".join(part for part in re.split(r"[^a-z0-9]+", name.lower()) if part and part not in IGNORED)


def no_batch(shape: tuple[int | None, ...], name: str, where: str) -> tuple[int, ...]:
    """Give a shape without its batch axis.

    Raises:
        CompileError: an axis other than the first has no fixed size.
    """
    if not shape or any(size is None or size < 1 for size in shape[1:]):
        raise unknown_shape(name, where)
    return tuple(int(size) for size in shape[1:] if size is not None)


def unknown_shape(name: str, where: str) -> CompileError:
    """Make the error for an input whose shape is open."""
    message = f"the shape of '{name}' is open beyond its first axis"
    return fail("onnx/shape", message, where, "export with fixed shapes; only the first axis (samples) may be free")
