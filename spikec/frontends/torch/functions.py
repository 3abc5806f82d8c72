"""Torch functions in a forward pass: each is understood as an op or as handling of time, or it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spikec.frontends.torch import operations as op
from spikec.frontends.torch import timing as tm
from spikec.frontends.torch.values import Add, Apply, Unknown, Value, tensors_in

if TYPE_CHECKING:
    from spikec.frontends.torch.tracer import Tracer

QUESTIONS = frozenset(
    {
        "size",
        "dim",
        "ndimension",
        "numel",
        "stride",
        "storage_offset",
        "is_floating_point",
        "is_complex",
        "is_contiguous",
        "__len__",
        "get_device",
        "data_ptr",
        "element_size",
        "nelement",
        "is_inference",
        "requires_grad_",
        "retain_grad",
        "has_names",
        "is_same_size",
        "zeros_like",
        "ones_like",
        "empty_like",
        "rand_like",
        "randn_like",
        "full_like",
        "new_zeros",
        "new_ones",
        "new_empty",
        "new_full",
        "__repr__",
        "__format__",
        "__hash__",
    }
)
PROPERTIES = frozenset(
    {
        "shape",
        "dtype",
        "device",
        "ndim",
        "layout",
        "requires_grad",
        "is_cuda",
        "is_leaf",
        "grad",
        "is_sparse",
        "is_quantized",
        "names",
        "_version",
    }
)
"""What may be asked of a tensor without its values: shapes, kinds, and constants made like it."""

SAME = frozenset(
    {
        "clone",
        "detach",
        "detach_",
        "contiguous",
        "to",
        "float",
        "double",
        "cpu",
        "cuda",
        "alias",
    }
)
RESHAPES = frozenset(
    {
        "flatten",
        "reshape",
        "view",
        "squeeze",
        "unsqueeze",
        "unflatten",
        "view_as",
        "reshape_as",
        "ravel",
    }
)
PERMUTES = frozenset(
    {
        "transpose",
        "permute",
        "movedim",
        "moveaxis",
        "swapaxes",
        "swapdims",
    }
)
ADDS = frozenset(
    {
        "add",
        "__add__",
        "__radd__",
        "__iadd__",
        "add_",
        "sub",
        "__sub__",
        "__rsub__",
        "__isub__",
        "sub_",
        "subtract",
        "rsub",
    }
)
SCALES = frozenset(
    {
        "mul",
        "__mul__",
        "__rmul__",
        "__imul__",
        "mul_",
        "multiply",
        "div",
        "__div__",
        "__truediv__",
        "__itruediv__",
        "div_",
        "divide",
        "true_divide",
        "neg",
        "__neg__",
    }
)
POOLS = frozenset(
    {
        "avg_pool1d",
        "avg_pool2d",
        "max_pool1d",
        "max_pool2d",
    }
)

Handler = Callable[["Tracer", str, Any, Any, Any], Value | None]
HANDLERS: dict[str, Handler] = {
    **dict.fromkeys((*SAME, "property data"), op.same),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d"), op.dropout),
    **dict.fromkeys(RESHAPES, op.reshape),
    **dict.fromkeys(PERMUTES, tm.permute),
    **dict.fromkeys(ADDS, op.add),
    **dict.fromkeys(SCALES, op.scale),
    **dict.fromkeys(POOLS, op.pool),
    **dict.fromkeys(("matmul", "__matmul__", "linear"), op.linear),
    "__getitem__": tm.index,
    "select": tm.select,
    "stack": tm.stack,
    **dict.fromkeys(("cat", "concat", "concatenate"), tm.cat),
    **dict.fromkeys(("repeat", "expand", "repeat_interleave"), tm.repeat),
    "sum": tm.reduce,
    "mean": tm.reduce,
}


def name_of(func: Any) -> str:
    """Give the name of a torch function, of the property behind `__get__`."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return f"property {getattr(func.__self__, '__name__', '')}"
    return name


def is_question(func: Any) -> bool:
    """Say whether a function asks only for what does not depend on a tensor's values."""
    name = name_of(func)
    kind, _, what = name.rpartition(" ")
    return what in (PROPERTIES if kind else QUESTIONS)


def apply_function(tracer: Tracer, func: Any, args: Any, kwargs: Any, *, poisoned: bool) -> Any:
    """Run a function on tensors of known origin, and remember what its result is."""
    name = name_of(func)
    if name == "__setitem__" and not poisoned:
        return tm.assign(tracer, func, args)
    if name in ("unbind", "__iter__") and not poisoned and (made := tm.unbind(tracer, func, args, kwargs)) is not None:
        return made
    frozen = _target_of_write(tracer, name, args, poisoned)
    before = args
    if _writes(name) and tracer.trace.value_of(args[0]) is None:
        before = (args[0].clone(), *args[1:])  # the constant as it was
    result = func(*args, **kwargs)
    made = tensors_in(result)
    if poisoned or frozen:
        for tensor in made:
            tracer.know(tensor, Unknown(tensor=tensor))
        return result
    handler = HANDLERS.get(name)
    value = handler(tracer, name, before, kwargs, result) if handler is not None and len(made) == 1 else None
    if value is None:
        _refuse(tracer, name, result, made)
    else:
        tracer.know(made[0], value)
    return result


def _writes(name: str) -> bool:
    inplace = name.endswith("_") and not name.endswith("__") and name != "detach_"
    return inplace or (name.startswith("__i") and name != "__iter__")


def _target_of_write(tracer: Tracer, name: str, args: Any, poisoned: bool) -> bool:
    """Refuse to write into a tensor that others see: the result of a module, or the input."""
    if poisoned or not _writes(name):
        return False
    value = tracer.trace.value_of(args[0])
    if value is None or isinstance(value, Add) or (isinstance(value, Apply) and value.key[0] == "scale"):
        return False
    tracer.refuse(
        "torch/in-place",
        f"'{name}' writes into a tensor that is still in use",
        tracer.scope,
        "use x = x + y, not x += y",
    )
    return True


def _refuse(tracer: Tracer, name: str, result: Any, made: list[Any]) -> None:
    if not made:
        message = f"'{name}' takes a value out of the network, and forward goes on with it"
        tracer.refuse("torch/data-dependent", message, tracer.scope, "let no control flow depend on the data")
        return
    tracer.refuse(
        "torch/unknown-op",
        f"spikec does not know what '{SPOKEN.get(name, name)}' means here",
        tracer.scope,
        ADVICE.get(name, GENERAL),
    )
    for tensor in made:
        tracer.know(tensor, Unknown(tensor=tensor))


SPOKEN = {"__getitem__": "x[...]"}
PICKING = "picking some values of a step has no op: give the layer all of them"
GENERAL = "use modules of torch.nn, sums, multiplication by constants, and stack, sum or mean over time"
PRODUCT = "a product of two signals (SEW's joins AND and IAND among them) has no op: join them by a sum (ADD)"
ADVICE = {
    **dict.fromkeys(("mul", "__mul__", "mul_", "multiply"), PRODUCT),
    **dict.fromkeys(("__getitem__", "select", "unbind", "narrow", "split", "chunk", "index_select"), PICKING),
    "cat": "concatenation has no op: add the branches, or give each its own Linear and add those",
    "relu": "an ANN must be converted to a spiking network first: use spiking neurons",
    "softmax": "return the spikes or the membrane, and apply softmax to what spikec returns",
    "log_softmax": "return the spikes or the membrane, and apply softmax to what spikec returns",
}
