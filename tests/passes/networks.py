"""Networks for the tests of the passes: fixed ones of one step a layer, drawn at random."""

from __future__ import annotations

import numpy as np

from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv2d, Delay, FixedSum, Flatten, Input, Linear, Output
from spikec.compiler.verify import verify
from spikec.compiler.weights import Fixed

WIDTH = 5


def linear(rng: np.random.Generator, rows: int = WIDTH, columns: int = WIDTH, **fields) -> Linear:
    """A fixed Linear with weights that make some of its readers fire."""
    values = rng.integers(-40, 60, (rows, columns)) * 2
    return Linear(Fixed(values, step=2), sum=FixedSum(message_bits=fields.pop("message_bits", 0)), **fields)


def neuron(rng: np.random.Generator, **fields) -> FixedNeuron:
    """A fixed neuron with a bias, leak and often a synapse."""
    synapse = {"u_decay": int(rng.integers(1024, 4097))} if rng.random() < 0.5 else {}
    bias = rng.integers(-3000, 4000, WIDTH)
    return FixedNeuron(
        threshold=int(rng.integers(60, 140)), v_decay=int(rng.integers(0, 2048)), bias=bias, **synapse, **fields
    )


def random_fixed(seed: int) -> Graph:
    """A fixed graph without latency: 2 to 5 layers with skips, recurrence, feedback over delays and late sources."""
    rng = np.random.default_rng(seed)
    nodes = [Node("x", Input((WIDTH,)))]
    spiking = ["x"]
    for index in range(int(rng.integers(2, 6))):
        nodes, name = _layer(rng, nodes, spiking, index)
        spiking.append(name)
    _feedback(rng, nodes, spiking)
    nodes.append(Node("out", Output(), (spiking[-1],)))
    return verify(Graph(tuple(nodes)))


def _layer(rng: np.random.Generator, nodes: list[Node], spiking: list[str], index: int) -> tuple[list[Node], str]:
    name = f"n{index}"
    feeds = []
    nodes.append(Node(f"fc{index}", linear(rng), (spiking[-1],)))
    feeds.append(f"fc{index}")
    if len(spiking) > 1 and rng.random() < 0.6:  # a skip, summed as current or as spikes
        source = spiking[int(rng.integers(0, len(spiking) - 1))]
        if rng.random() < 0.5:
            nodes.append(Node(f"skip{index}", linear(rng), (source,)))
            feeds.append(f"skip{index}")
        else:
            nodes[-1] = Node(f"fc{index}", linear(rng, message_bits=2), (spiking[-1], source))
    back = rng.random()
    if back < 0.25:
        nodes.append(Node(f"rec{index}", linear(rng), (name,)))
        feeds.append(f"rec{index}")
    elif back < 0.5:
        nodes.append(Node(f"mix{index}", linear(rng, message_bits=2), (name, spiking[-1])))
        feeds.append(f"mix{index}")
    if rng.random() < 0.3:
        source = FixedNeuron(threshold=0, v_decay=4096, bias=1, units=(1,))
        nodes.append(Node(f"one{index}", source))
        nodes.append(Node(f"late{index}", Delay(int(rng.integers(0, 3))), (f"one{index}",)))
        nodes.append(Node(f"fill{index}", linear(rng, WIDTH, 1), (f"late{index}",)))
        feeds.append(f"fill{index}")
    if rng.random() < 0.3:
        feeds.append(f"ring{index}")
    nodes.append(Node(name, neuron(rng), tuple(feeds)))
    if f"ring{index}" in feeds:
        nodes.append(Node(f"w{index}", linear(rng), (name,)))
        nodes.append(Node(f"ring{index}", Delay(int(rng.integers(0, 3))), (f"w{index}",)))
    return nodes, name


def _feedback(rng: np.random.Generator, nodes: list[Node], spiking: list[str]) -> None:
    """From the last layer to the first, with enough delay in it for the connections on the way."""
    if rng.random() < 0.5 or len(spiking) < 3:
        return
    spare = len(spiking) - 2 + int(rng.integers(0, 2))
    at = next(i for i, node in enumerate(nodes) if node.name == "n0")
    nodes[at] = Node("n0", nodes[at].op, (*nodes[at].inputs, "back"))
    order = ([("wait", Delay(spare)), ("back", linear(rng))], [("back0", linear(rng)), ("back", Delay(spare))])
    chain = order[int(rng.integers(0, 2))]
    source = spiking[-1]
    for name, op in chain:
        nodes.insert(at, Node(name, op, (source,)))
        at, source = at + 1, name


def conv_net(rng: np.random.Generator) -> Graph:
    """A convolution, a skip over it, and a dense layer."""
    kernel = Fixed(rng.integers(-40, 60, (2, 2, 3, 3)) * 2, step=2)
    conv = Conv2d(kernel, padding=((1, 1), (1, 1)), sum=FixedSum(width=24))
    one = FixedNeuron(threshold=90, v_decay=512, bias=rng.integers(-500, 900, (2, 1, 1)))
    return verify(
        Graph(
            (
                Node("x", Input((2, 4, 4))),
                Node("c1", conv, ("x",)),
                Node("n1", one, ("c1",)),
                Node("c2", conv, ("n1",)),
                Node("skip", conv, ("x",)),
                Node("n2", one, ("c2", "skip")),
                Node("flat", Flatten(), ("n2",)),
                Node("fc", linear(rng, 3, 32), ("flat",)),
                Node("n3", FixedNeuron(threshold=100, v_decay=100, bias=700), ("fc",)),
                Node("out", Output(), ("n3",)),
            )
        )
    )
