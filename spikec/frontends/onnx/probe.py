"""Proof by running: the file's own nodes, in ONNX's reference, and the recognised neurons, on random states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import Sink, fail, remark
from spikec.compiler.weights import Array
from spikec.frontends.onnx.algebra import NONE, Algebra, Value
from spikec.frontends.onnx.equation import stepped
from spikec.frontends.onnx.recognise import Found
from spikec.frontends.onnx.source import Source
from spikec.frontends.onnx.walk import Walk

SAMPLES = 4
MOST = 20_000_000
"""Larger networks (a file may state any shape) are not tried."""
CLOSE = 1e-4
"""Relative: the file computes in float32, and comparisons nearer to a tie than this are not judged."""


def probe(walk: Walk, model: Any, source: Source, found: Sequence[Found], tell: Sink) -> None:
    """Run both on random input and states; every result and every recognised state must agree.

    Raises:
        CompileError: `onnx/not-equal`, with the result that differs.
    """
    if any(call.domain for call in source.calls):
        return  # ONNX's reference cannot run custom nodes
    size = sum(prod(walk[name].shape) for name in source.inputs) + sum(prod(s.shape) for s in walk.signals.values())
    if size > MOST:
        message = f"a trial would need {size} values a sample, and is left out"
        tell(remark("onnx/not-run", message, source.name, "the neurons are recognised by algebra alone"))
        return
    given = _inputs(walk, source, found)
    try:
        made = run_model(model, given, [*source.outputs, *(s.tensor for s in walk.signals.values() if s.tensor)])
    except Exception as error:  # whatever NumPy or the reference raise
        message = f"ONNX's own reference cannot run the file: {type(error).__name__}"
        tell(remark("onnx/not-run", message, source.name, "the neurons are recognised by algebra alone"))
        return
    known = _known(walk, given, made)
    checks = [(name, walk[name].value) for name in source.outputs]
    for neuron in found:
        i = neuron.synapse
        now = walk.algebra.of(neuron.membrane.number)
        current = None if i is None else walk.algebra.of(i.number)
        after = stepped(walk.algebra, neuron.op, now, current, neuron.given).v
        checks += [(name, after) for name, value in list(checks) if value is neuron.membrane.after]
    for name, value in checks:
        if name in made and walk.algebra.deep(value) <= set(known) | _steps(walk.algebra, value):
            _compare(walk.algebra, name, value, known, made[name], source)


def _steps(algebra: Algebra, value: Value) -> set[int]:
    return {number for number in algebra.deep(value) if algebra.atoms[number].kind in ("step", "floor")}


def _inputs(walk: Walk, source: Source, found: Sequence[Found]) -> dict[str, Array]:
    """Make random inputs: as wide as the thresholds, a third of the entries whole numbers of halves of them."""
    rng = np.random.default_rng(0)
    width = max(
        (float(np.abs(t[np.isfinite(t)]).max(initial=0)) for n in found if (t := np.asarray(n.op.v_th)).size),
        default=1.0,
    )
    given = {}
    for name, shape in source.inputs.items():
        size = (shape[0] if shape and shape[0] else SAMPLES, *walk[name].shape)
        values = rng.normal(0.0, 2 * width or 1.0, size)
        halves = rng.integers(-4, 5, size) * width / 2
        given[name] = np.where(rng.random(size) < 1 / 3, halves, values).astype(np.float32)
    return given


def run_model(model: Any, given: Mapping[str, Array], wanted: Sequence[str]) -> dict[str, Array]:
    """Run a copy of the model whose outputs are these tensors."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    makers = {name for node in copy.graph.node for name in node.output}
    names = [name for name in dict.fromkeys(wanted) if name in makers]
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    made = ReferenceEvaluator(copy).run(names, dict(given))
    return {name: np.asarray(array) for name, array in zip(names, made, strict=True)}


def _known(walk: Walk, given: Mapping[str, Array], made: Mapping[str, Array]) -> dict[int, Array]:
    known: dict[int, Array] = {}
    for name, array in given.items():
        (number,) = walk[name].value.variables()
        known[number] = array.astype(np.float64)
    for number, signal in walk.signals.items():
        if signal.tensor in made:
            known[number] = made[signal.tensor].astype(np.float64)
    return known


def _compare(
    algebra: Algebra, name: str, value: Value, known: Mapping[int, Array], made: Array, source: Source
) -> None:
    cells = dict(known)
    ours = evaluated(algebra, value, cells)
    shape = np.broadcast_shapes(ours.shape, made.shape)
    tied = np.zeros(shape, bool)
    for number in algebra.deep(value):
        inner = algebra.atoms[number].inner
        if inner is not None:
            level = evaluated(algebra, inner, cells)
            near = np.abs(level) if algebra.atoms[number].kind == "step" else np.abs(level - np.rint(level))
            tied = tied | np.broadcast_to(near <= CLOSE * (1 + _scale(inner, cells)), shape)
    off = np.abs(np.asarray(made, np.float64) - ours) > CLOSE * (1 + np.abs(ours))
    if np.any(off & ~tied):
        bad = int(np.count_nonzero(off & ~tied))
        message = f"the recognised neurons give another '{name}' in {bad} of {off.size} cells of a trial"
        raise fail("onnx/not-equal", message, source.name, "please report this file; export standard LIF ops meanwhile")


def _scale(value: Value, known: Mapping[int, Array]) -> Array:
    """Give how large the terms of a value are, cell by cell."""
    total: Array = np.zeros(())
    for (_, variable), factor in value.terms.items():
        total = total + np.abs(factor) * (1.0 if variable == NONE else np.abs(known.get(variable, np.ones(()))))
    return total


def evaluated(algebra: Algebra, value: Value, known: dict[int, Array]) -> Array:
    """Compute a value from what is known of its variables; steps are put into `known` as they are found."""
    total: Array = np.zeros(())
    for (steps, variable), factor in value.terms.items():
        part: Array = np.asarray(factor)
        for number in (*steps, *((variable,) if variable != NONE else ())):
            if number not in known:
                known[number] = _atom(algebra, number, known)
            part = part * known[number]
        total = total + part
    return total


def _atom(algebra: Algebra, number: int, known: dict[int, Array]) -> Array:
    atom = algebra.atoms[number]
    assert atom.inner is not None
    inner = evaluated(algebra, atom.inner, known)
    if atom.kind == "floor":
        return np.floor(inner)
    return (inner > 0 if atom.strict else inner >= 0).astype(np.float64)
