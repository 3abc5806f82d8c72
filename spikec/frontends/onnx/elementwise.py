"""The rules of ONNX's elementwise ops, on piecewise-affine values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np

from spikec.compiler.ir import Shape
from spikec.frontends.onnx.algebra import Algebra, NotAffineError, Value, constant, minus, plus, scaled
from spikec.frontends.onnx.source import Call
from spikec.frontends.onnx.walk import Rule, Tensor, Walk

Made = Mapping[str, Tensor]
Given = tuple[Tensor | None, ...]


def present(given: Given) -> tuple[Tensor, ...]:
    """Give the inputs that are there."""
    return tuple(tensor for tensor in given if tensor is not None)


def spread(given: tuple[Tensor, ...]) -> Shape:
    """Give the shape that elementwise ops make of these, without the batch axis."""
    whole = [(1, *t.shape) if t.array is None else t.array.shape for t in given]
    return tuple(np.broadcast_shapes(*whole)[1:])


def elementwise(formula: Callable[[Algebra, tuple[Value, ...]], Value]) -> Rule:
    """Make the rule of an op from what it does to values."""

    def rule(walk: Walk, call: Call, given: Given) -> Made:
        own = present(given)
        value = formula(walk.algebra, tuple(tensor.value for tensor in own))
        return {call.outputs[0]: Tensor(value, spread(own))}

    return rule


def _compared(strict: bool, turned: bool) -> Callable[[Algebra, tuple[Value, ...]], Value]:
    def formula(algebra: Algebra, given: tuple[Value, ...]) -> Value:
        a, b = reversed(given) if turned else given
        return algebra.step(minus(a, b), strict=strict)

    return formula


def _quotient(algebra: Algebra, given: tuple[Value, ...]) -> Value:
    if not given[1].is_constant:
        raise NotAffineError("a quotient of two values that change")
    if not np.all(given[1].constant):
        raise NotAffineError("a division by 0")
    return scaled(given[0], 1 / given[1].constant)


def _either(algebra: Algebra, given: tuple[Value, ...]) -> Value:
    return minus(plus(given[0], given[1]), algebra.product(given[0], given[1]))


def _unlike(algebra: Algebra, given: tuple[Value, ...]) -> Value:
    return minus(plus(given[0], given[1]), scaled(algebra.product(given[0], given[1]), 2.0))


def _sign(algebra: Algebra, given: tuple[Value, ...]) -> Value:
    above = algebra.step(given[0], strict=True)
    below = algebra.step(scaled(given[0], -1.0), strict=True)
    return minus(above, below)


def _add(walk: Walk, call: Call, given: Given) -> Made:
    """Add; what is added to a layer alone is its bias."""
    a, b = present(given)
    for layer, bias in ((a, b), (b, a)):
        if bias.array is not None and layer.array is None and _read_once(walk, call, layer):
            done = walk.biased(layer, bias.array, call.outputs[0])
            if done is not None:
                return {call.outputs[0]: done}
    return {call.outputs[0]: Tensor(plus(a.value, b.value), spread((a, b)))}


def _read_once(walk: Walk, call: Call, layer: Tensor) -> bool:
    names = [name for name in call.inputs if name in walk.tensors and walk.tensors[name] is layer]
    return bool(names) and walk.source.readers(names[0]) == 1


def _cast(walk: Walk, call: Call, given: Given) -> Made:
    """Cast: spikes stay what they are; other values may only become other floats."""
    import onnx

    (tensor,) = present(given)
    kind = int(call.attributes["to"])
    value = tensor.value
    if kind == onnx.TensorProto.BOOL and value.variables():
        raise NotAffineError("a truth value of numbers other than spikes")
    if onnx.helper.tensor_dtype_to_np_dtype(kind).kind in "iu" and value.variables():
        kinds = {walk.algebra.atoms[number].kind for number in value.variables()}
        if kinds != {"floor"}:
            raise NotAffineError("whole numbers out of others by cutting off")
    return {call.outputs[0]: tensor}


def _clip(walk: Walk, call: Call, given: Given) -> Made:
    tensor = given[0]
    assert tensor is not None
    value = tensor.value
    for place, name, pick in ((1, "min", walk.algebra.largest), (2, "max", walk.algebra.smallest)):
        limit = given[place] if len(given) > place else None
        bound = None if limit is None else limit.value
        if bound is None and name in call.attributes:
            bound = constant(call.attributes[name])
        if bound is not None and not np.any(np.abs(bound.constant) > 1e38):
            value = pick(value, bound)
    return {call.outputs[0]: Tensor(value, tensor.shape)}


def _through(walk: Walk, call: Call, given: Given) -> Made:
    tensor = given[0]
    assert tensor is not None
    return {call.outputs[0]: tensor}


FORMULAS: dict[str, Callable[[Algebra, tuple[Value, ...]], Value]] = {
    "Sub": lambda algebra, given: minus(*given),
    "Mul": lambda algebra, given: algebra.product(*given),
    "Div": _quotient,
    "Neg": lambda algebra, given: scaled(given[0], -1.0),
    "Sum": lambda algebra, given: reduce(plus, given),
    "Greater": _compared(strict=True, turned=False),
    "GreaterOrEqual": _compared(strict=False, turned=False),
    "Less": _compared(strict=True, turned=True),
    "LessOrEqual": _compared(strict=False, turned=True),
    "Not": lambda algebra, given: minus(constant(1.0), given[0]),
    "And": lambda algebra, given: algebra.product(*given),
    "Or": _either,
    "Xor": _unlike,
    "Where": lambda algebra, given: algebra.choice(*given),
    "Max": lambda algebra, given: reduce(algebra.largest, given),
    "Min": lambda algebra, given: reduce(algebra.smallest, given),
    "Relu": lambda algebra, given: algebra.largest(given[0], constant(0.0)),
    "Floor": lambda algebra, given: algebra.floor(given[0]),
    "Sign": _sign,
}

RULES: dict[str, Rule] = {
    **{name: elementwise(formula) for name, formula in FORMULAS.items()},
    "Add": _add,
    "Cast": _cast,
    "Clip": _clip,
    "Identity": _through,
    "Dropout": _through,
}
"""Every elementwise op that is understood."""
