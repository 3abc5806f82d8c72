"""Small lowered networks for the tests of the Loihi backend."""

from __future__ import annotations

import numpy as np

from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Origin
from spikec.compiler.ops import Conv2d, FixedSum, Flatten, Input, Linear, Output
from spikec.compiler.weights import Fixed

WEIGHTS = np.array([[2, -4, 8], [100, -6, 254]])


def origin(path):
    """Give a place in the user's words."""
    return Origin("net.pt", path)


def neuron(**fields):
    """Give a neuron of Loihi."""
    return FixedNeuron(**{"threshold": 80, "v_decay": 128, "u_decay": 1024, **fields})


def linear(values=WEIGHTS, exponent=0, **fields):
    """Give a dense connection; odd weights are kept with step 1."""
    array = np.asarray(values)
    step = 1 if np.any(array % 2) else 2
    spans = {w: Fixed.limits(w, "mixed", step) for w in (8, 9, 10, 16)}
    width = next(w for w, (low, high) in spans.items() if low <= array.min() <= array.max() <= high)
    return Linear(Fixed(array, exponent, width, "mixed", step), **{"latency": 1, "sum": FixedSum(), **fields})


def dense(connection=None, population=None, given=None):
    """Give Input, one connection, one population, Output."""
    op = connection or linear()
    return Graph(
        (
            Node("input", given or Input((op.weight.shape[1],))),
            Node("fc", op, ("input",), origin("fc")),
            Node("lif", population or neuron(), ("fc",), origin("lif")),
            Node("output", Output(), ("lif",)),
        ),
        "small",
    )


def image(values=None, exponent=0, **fields):
    """Give a convolution, neurons, flatten, a dense layer with neurons."""
    kernel = np.arange(-16, 16, 2).reshape(2, 2, 2, 2) if values is None else values
    step = 1 if np.any(kernel % 2) else 2
    conv = Conv2d(Fixed(kernel, exponent, 8, "mixed", step), latency=1, sum=FixedSum(0, 24), **fields)
    size = int(np.prod(conv.shape((2, 4, 5))))
    head = linear(2 * (np.arange(3 * size).reshape(3, size) % 101 - 50))
    return Graph(
        (
            Node("input", Input((2, 4, 5))),
            Node("conv", conv, ("input",), origin("conv")),
            Node("lif1", neuron(), ("conv",), origin("lif1")),
            Node("flatten", Flatten(), ("lif1",)),
            Node("fc", head, ("flatten",), origin("fc")),
            Node("lif2", neuron(), ("fc",), origin("lif2")),
            Node("output", Output(), ("lif2",)),
        ),
        "image",
    )
