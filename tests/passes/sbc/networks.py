"""Networks and calibration data for the tests of the passes `sbc` and `sbc-quantize`."""

from __future__ import annotations

import numpy as np

from spikec.compiler.context import Calibration, Context
from spikec.compiler.diagnostics import Findings
from spikec.compiler.ir import Graph, Node, Op, Origin
from spikec.compiler.neurons import LI, LIF, CubaLIF
from spikec.compiler.ops import AvgPool, Conv2d, Delay, Flatten, Input, Linear, Output
from spikec.compiler.verify import verify
from spikec.compiler.weights import Array, Dense
from spikec.driver.measure import runner


def dense(rng: np.random.Generator, *shape: int) -> Dense:
    return Dense((rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])) * 2).astype(np.float32))


def spikes(seed: int, samples: int, steps: int, *shape: int, rate: float = 0.2) -> Array:
    return (np.random.default_rng(seed).random((samples, steps, *shape)) < rate).astype(np.float32)


def context(inputs: Array | None = None, **fields) -> Context:
    """A context with the driver's runner; remarks go to `.remark`, facts to the list `facts`."""
    calibration = None if inputs is None else Calibration(inputs)
    return Context(**{"calibration": calibration, "runner": runner(), "remark": Findings(), **fields})


def chain(*ops: Op) -> Graph:
    nodes = [Node(f"{op.mnemonic}{i}", op, (), Origin("net.pt", f"seq.{i}")) for i, op in enumerate((*ops, Output()))]
    linked = [Node(n.name, n.op, (nodes[i].name,), n.origin) for i, n in enumerate(nodes[1:])]
    return verify(Graph((nodes[0], *linked)))


def two_layers(seed: int = 0, given: int = 24, hidden: int = 12, out: int = 4) -> Graph:
    """Linear, LIF, Linear, current-based LIF; spikes in."""
    rng = np.random.default_rng(seed)
    return chain(
        Input((given,)),
        Linear(dense(rng, hidden, given), rng.normal(size=hidden).astype(np.float32) / 10),
        LIF(0.75, 0.6, reset="value"),
        Linear(dense(rng, out, hidden)),
        CubaLIF(0.5, 0.8, 0.5, reset="value"),
    )


def convolutional(seed: int = 0) -> Graph:
    """A convolution, another behind an average pool with two groups, a matrix, a membrane readout."""
    rng = np.random.default_rng(seed)
    return chain(
        Input((2, 8, 8)),
        Conv2d(dense(rng, 4, 2, 3, 3), padding=((1, 1), (1, 1))),
        LIF(0.5, 0.5, reset="value"),
        AvgPool((2, 2)),
        Conv2d(dense(rng, 6, 2, 3, 3), groups=2),
        LIF(0.9, 0.4, reset="value"),
        Flatten(),
        Linear(dense(rng, 3, 24)),
        LI(0.9),
    )


def recurrent(seed: int = 0) -> Graph:
    """A layer that two connections feed, one of them recurrent and one over a delay; its spikes also skip a layer."""
    rng = np.random.default_rng(seed)
    nodes = (
        Node("x", Input((10,))),
        Node("fc", Linear(dense(rng, 8, 10)), ("x",)),
        Node("slow", Linear(dense(rng, 8, 10)), ("x",)),
        Node("wait", Delay(2), ("slow",)),
        Node("rec", Linear(dense(rng, 8, 8)), ("n",)),
        Node("n", LIF(0.8, 0.5, reset="value"), ("fc", "wait", "rec")),
        Node("top", Linear(dense(rng, 3, 8)), ("n",)),
        Node("m", LIF(0.8, 0.5, reset="value"), ("top",)),
        Node("out", Output(), ("m",)),
    )
    return verify(Graph(nodes))
