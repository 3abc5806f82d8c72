"""A step with states in and out becomes a graph: pair the states, recognise the neurons, keep what is only delayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from spikec.compiler.diagnostics import CompileError, Findings, Sink, fail, remark
from spikec.compiler.ir import Graph, Origin, Shape
from spikec.compiler.ops import Input
from spikec.compiler.weights import Array
from spikec.frontends.onnx import custom, elementwise, layers
from spikec.frontends.onnx.algebra import Value
from spikec.frontends.onnx.assemble import Assembly
from spikec.frontends.onnx.options import OnnxOptions
from spikec.frontends.onnx.probe import probe
from spikec.frontends.onnx.recognise import Found, State, recognise
from spikec.frontends.onnx.refusals import refusal
from spikec.frontends.onnx.source import Source
from spikec.frontends.onnx.states import Pairs, no_batch, note_of, pairs_of
from spikec.frontends.onnx.walk import Signal, Tensor, Walk

RULES = {**elementwise.RULES, **layers.RULES, **custom.RULES}


@dataclass(frozen=True, eq=False)
class Stepping:
    """One step: its graph and model, shapes of its inputs without the batch axis; of a Scan also what is known."""

    source: Source
    model: Any
    shapes: Mapping[str, Shape]
    main: str = ""
    pairs: Pairs = field(default_factory=dict)
    starts: Mapping[str, Array] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()


def one_step(source: Source, model: Any) -> Stepping:
    """Give a whole file as one step."""
    return Stepping(source, model, {n: no_batch(shape, n, source.name) for n, shape in source.inputs.items()})


def lower_step(
    step: Stepping, options: OnnxOptions, readout: Literal["auto", "spikes", "membrane"], tell: Sink
) -> Graph:
    """Give the graph of a step.

    Raises:
        CompileError: a node is not understood, a state has no next value, or an update is no neuron's.
    """
    if not step.main and len(step.source.inputs) == 1 and _repeats(step.source):
        raise _unrolled(step.source)
    walk = Walk(step.source, RULES, refusal)
    for name, shape in step.shapes.items():
        walk.tensors[name] = Tensor(walk.algebra.variable("state", name), shape)
    walk.run()
    main, pairs = (step.main, step.pairs) if step.main else pairs_of(walk, options)
    _say_pairs(step, pairs, options, tell)
    states = _states(walk, step, pairs)
    _no_memory(walk, states, step.source)
    (number,) = walk[main].value.variables()
    port = walk.name(main)
    walk.signals[number] = _input(port, main, walk[main].shape, step.source, options)
    found, kept = _sorted_out(walk, states, step.source)
    probe(walk, step.model, step.source, found, tell)
    names = _named(walk, found)
    assembly = Assembly(walk, found, kept, names)
    wanted = _outputs(walk, step, pairs, options)
    own = bool(note_of(step.source))
    outputs = [(name if own or len(wanted) > 1 else "output", walk[name].value, name) for name in wanted]
    graph = assembly.graph(outputs, step.source.name, membrane=readout == "membrane")
    _say_unused(walk, graph, names, tell)
    return graph


def _input(port: str, main: str, shape: Shape, source: Source, options: OnnxOptions) -> Signal:
    kind: Literal["spikes", "analog"] = "analog" if options.input == "analog" else "spikes"
    return Signal(port, Input(shape, kind), Value({}), shape, main, Origin(source.name, main))


def _say_pairs(step: Stepping, pairs: Pairs, options: OnnxOptions, tell: Sink) -> None:
    if pairs and not step.main and not options.pairs_given and not note_of(step.source):
        listed = ", ".join(f"{a} -> {b}" for a, b in pairs.items())
        message = f"states and the results that follow them: {listed}; all start at 0"
        tell(remark("onnx/states", message, step.source.name, "if that is wrong: --onnx states=IN:OUT,IN:OUT"))


def _states(walk: Walk, step: Stepping, pairs: Pairs) -> tuple[State, ...]:
    note = {} if step.main else note_of(step.source)
    states = []
    for before, after in pairs.items():
        (number,) = walk[before].value.variables()
        start = step.starts.get(before, np.asarray(note[before][1], np.float64) if before in note else np.zeros(()))
        states.append(State(before, number, walk[after].value, walk[before].shape, start))
    return (*states, *custom.hidden_states(walk))


def _no_memory(walk: Walk, states: tuple[State, ...], source: Source) -> None:
    """Refuse a graph of spikes without any state.

    Raises:
        CompileError: `onnx/lost-state`.
    """
    if states:
        return
    message = "it makes spikes and carries no state from step to step: an export that lost its memory"
    raise fail("onnx/lost-state", message, source.name, _EXPORT)


_EXPORT = "export one step, every state an input and an output (snnTorch: init_hidden=False), or use torch's scan"


def _unrolled(source: Source) -> CompileError:
    message = "it unrolls time: the same layers stand in it once for every step"
    return fail("onnx/unrolled", message, source.name, _EXPORT)


def _repeats(source: Source) -> bool:
    """Say whether layers share their weights, as the steps of an unrolled loop do."""
    weights = [
        call.inputs[1] for call in source.calls if call.op in ("Gemm", "Conv", "MatMul") and len(call.inputs) > 1
    ]
    return len(set(weights)) < len(weights)


def _sorted_out(walk: Walk, states: tuple[State, ...], source: Source) -> tuple[list[Found], list[State]]:
    """Tell membranes and their currents from tensors that are only kept for a step.

    Raises:
        CompileError: the update of a state is no neuron's; every such state.
    """
    algebra = walk.algebra
    seen = [walk[name].value for name in source.outputs] + [signal.given for signal in walk.signals.values()]
    read = set().union(*(algebra.deep(value) for value in (*seen, *(s.after for s in states))))

    def moves(state: State) -> bool:
        own = state.after.variables()
        alone = state.number not in read and any(_memoryless(walk, n) for n in state.after.steps())
        return state.number in own or bool(own and state.number in algebra.deep(state.after)) or bool(own and alone)

    moving = [state for state in states if moves(state)]
    by_number = {state.number: state for state in moving}
    currents = {n for state in moving for n in state.after.variables() if n in by_number and n != state.number}
    found, findings = [], Findings()
    for state in moving:
        if state.number in currents:
            continue
        own = [by_number[n] for n in state.after.variables() if n in by_number and n != state.number]
        neuron = recognise(algebra, state, own, seen)
        if neuron is None:
            findings(_unknown(state, own, source).diagnostics[0])
        else:
            found.append(neuron)
    findings.raise_errors()
    return found, [state for state in states if state not in moving]


def _memoryless(walk: Walk, step: int) -> bool:
    """Say whether a comparison reads layers alone."""
    return all(walk.algebra.atoms[n].kind != "state" for n in walk.algebra.deep(walk.algebra.of(step)))


def _unknown(state: State, own: list[State], source: Source) -> CompileError:
    beside = f" (with {', '.join(repr(s.name) for s in own)})" if own else ""
    message = f"the update of state '{state.name}'{beside} is no neuron that spikec has"
    help = "use leaky integrate-and-fire: v = a v + I, a spike at a threshold, a reset by subtraction or to a value"
    return fail("onnx/unknown-neuron", message, source.name, help)


def _named(walk: Walk, found: list[Found]) -> dict[int, str]:
    """Name every neuron after the module that computes its state, or the state."""
    makers = {output: call for call in walk.source.calls for output in call.outputs}
    outputs = {id(walk[name].value): name for name in walk.source.outputs}
    names = {}
    for neuron in found:
        call = makers.get(outputs.get(id(neuron.membrane.after), ""))
        named = call is not None and call.place not in call.outputs and not call.place.startswith("node_")
        place = call.place if call is not None and named else neuron.membrane.name
        names[neuron.membrane.number] = walk.name(place)
    return names


def _outputs(walk: Walk, step: Stepping, pairs: Pairs, options: OnnxOptions) -> list[str]:
    """Choose the results that are outputs of the network: those that are no states, else the last spikes."""
    names = step.outputs or step.source.outputs
    if options.output:
        if options.output not in names:
            help = f"results: {', '.join(names)}"
            raise fail("onnx/output", f"there is no result '{options.output}'", step.source.name, help)
        return [options.output]
    free = [name for name in names if name not in pairs.values()]
    spikes = [name for name in names if not walk[name].value.variables() and walk[name].value.steps()]
    return free or spikes[-1:] or list(names[-1:])


def _say_unused(walk: Walk, graph: Graph, names: Mapping[int, str], tell: Sink) -> None:
    lost = [name for name in names.values() if name not in graph and f"{name}.membrane" not in graph]
    if lost:
        message = "it does not reach the output and is left out"
        tell(remark("onnx/unused", message, ", ".join(lost), "choose another output: --onnx output=NAME"))
