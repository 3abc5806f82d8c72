"""Small graphs that the tests of the compiler room share."""

from __future__ import annotations

import numpy as np

from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node, Origin
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Conv2d, FixedSum, Flatten, Input, Linear, Output, SumPool
from spikec.compiler.weights import Dense, Fixed


def float_graph() -> Graph:
    """Give a small recurrent network as trained."""
    rng = np.random.default_rng(0)
    return Graph(
        (
            Node("in", Input((4,)), origin=Origin("net.py", "")),
            Node(
                "fc",
                Linear(Dense(rng.normal(size=(3, 4)).astype("f4")), np.zeros(3, "f4")),
                ("in",),
                Origin("net.py", "fc"),
            ),
            Node("rec", Linear(Dense(rng.normal(size=(3, 3)).astype("f4"))), ("lif",)),
            Node("lif", LIF(0.875), ("fc", "rec")),
            Node("out", Output(), ("lif",)),
        ),
        "small",
    )


def fixed_graph() -> Graph:
    """Give a small convolutional network as lowered to Loihi."""
    rng = np.random.default_rng(1)
    kernel = Fixed(rng.integers(-20, 20, (2, 1, 3, 3)) * 2, width=8, step=2)
    dense = Fixed(rng.integers(0, 200, (5, 18)), width=8, sign="excitatory", exponent=-2)
    return Graph(
        (
            Node("in", Input((1, 8, 8))),
            Node("conv", Conv2d(kernel, padding=((1, 1), (1, 1)), latency=1, sum=FixedSum(width=24)), ("in",)),
            Node("lif1", FixedNeuron(threshold=np.full((2, 1, 1), 40), v_decay=128, u_decay=1024, start=1), ("conv",)),
            Node("pool", SumPool((2, 2), stride=(3, 3)), ("lif1",)),
            Node("flat", Flatten(), ("pool",)),
            Node("fc", Linear(dense, latency=1, sum=FixedSum(message_bits=3)), ("flat",)),
            Node("lif2", FixedNeuron(threshold=90, bias=3, bias_exp=6, start=2), ("fc",)),
            Node("out", Output(), ("lif2",)),
        ),
        "small-fixed",
    )
