"""Random fixed graphs, small and wild: what the engine, the reference and Lava must agree on.

Half of the graphs are mild (they fire now and then), the others have exponents, messages and biases that make v
saturate, u wrap and sums overflow 32 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikec.compiler.fixed import LOIHI2_ARITHMETIC, Arithmetic, FixedNeuron
from spikec.compiler.ir import Graph, Node, Op, Shape
from spikec.compiler.ops import (
    Conv1d,
    Conv2d,
    Delay,
    FixedSum,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Output,
    Reshape,
    SumPool,
)
from spikec.compiler.schedule import latencies
from spikec.compiler.weights import Array, Fixed, Sparse

Rng = np.random.Generator


def random_fixed_graph(rng: Rng, *, lava: bool = False, initial: bool = True) -> Graph:
    """Make a valid fixed graph of one to three layers of neurons.

    Args:
        rng: where every choice comes from.
        lava: only what Lava's fixed_pt LIF, LIFReset, Dense, Sparse, DelayDense and Conv do (semantics.md part 2 B):
            every forward connection has latency 1; recurrent Linears stand before their neuron, latency 0; weights and
            exponents in Loihi's ranges; flatten only before a Linear, after the input or a convolution's neurons.
        initial: some neurons begin from u_init, v_init other than 0 (LIF(u=..., v=...) in Lava).
    """
    return _Maker(rng, lava=lava, initial=initial).graph()


def random_inputs(rng: Rng, graph: Graph, n: int, t: int) -> Array:
    """Make inputs (n, t, *shape), int32: spikes with a few other values that count as one, or graded messages."""
    op = graph.of(Input)[0].op
    assert isinstance(op, Input)
    shape = (n, t, *op.size)
    events = rng.random(shape) < rng.choice([0.05, 0.3, 0.7])
    if op.message_bits == 0:
        values = np.where(rng.random(shape) < 0.9, 1, rng.integers(-5, 6, shape))
    else:
        top = (1 << op.message_bits) - 1
        values = rng.integers(-top, top + 1, shape)
    return np.where(events, values, 0).astype(np.int32)


class _Maker:
    """A graph under construction: nodes so far, the node that the next layer reads, its shape."""

    def __init__(self, rng: Rng, *, lava: bool, initial: bool) -> None:
        self.rng = rng
        self.lava = lava
        self.initial = initial
        self.wild = self.chance(0.5)
        self.latency = 1 if lava else int(rng.integers(0, 3))
        self.nodes: list[Node] = []
        self.last = ""
        self.shape: Shape = ()
        self.neurons: list[tuple[str, Shape]] = []

    def chance(self, p: float) -> bool:
        """Say yes with probability p."""
        return bool(self.rng.random() < p)

    def whole(self, low: int, high: int) -> int:
        """Give an integer of [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, *choices: Any) -> Any:
        return choices[self.whole(0, len(choices) - 1)]

    def add(self, op: Op, *inputs: str, name: str = "") -> str:
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs))
        return name

    def then(self, op: Op) -> None:
        """Append an op that reads the last node."""
        self.last = self.add(op, self.last)
        self.shape = op.shape(self.shape)

    def graph(self) -> Graph:
        self.input()
        for layer in range(self.whole(1, 3)):
            self.layer(first=layer == 0)
        outputs = [self.last] if self.lava or self.chance(0.7) else [self.last, self.neurons[0][0]]
        for name in outputs:
            self.add(Output(), name)
        return Graph(tuple(self.nodes), "random")

    def input(self) -> None:
        rank = self.pick(0, 0, 2) if self.lava else self.pick(0, 0, 1, 2)
        self.shape = (self.whole(1, 3), *(self.whole(4, 7) for _ in range(rank))) if rank else (self.whole(2, 12),)
        graded = self.chance(0.4)
        bits = 0 if not graded else self.whole(16, 24) if self.wild else self.whole(2, 8)
        self.bits = bits
        self.last = self.add(Input(self.shape, "analog" if graded else "spikes", 1.0, bits), name="in")

    def layer(self, *, first: bool) -> None:
        source, before = self.last, self.shape
        if not first:
            self.bits = 0 if self.lava or self.chance(0.7) else 8
        if not self.lava:
            self.between()
        if len(self.shape) > 1 and self.chance(0.7 if first else 0.3):
            feeds = self.convolution()
        else:
            if len(self.shape) > 1 and (self.lava or self.chance(0.7)):
                self.then(Flatten())
            feeds = self.linear()
        recurrent: list[str] = []
        name = f"spike{len(self.neurons)}"
        if len(self.shape) == 1 and self.chance(0.3):
            recurrent = self.recurrence(name)
        if not self.lava:
            feeds += self.extras(name, feeds, source, before)
        neuron = self.lava_neuron() if self.lava else self.any_neuron()
        self.last = self.add(neuron, *feeds, *recurrent, name=name)
        self.neurons.append((name, self.shape))
        if "back" in recurrent:
            self.add(Delay(self.whole(0, 2)), name, name="back")

    def between(self) -> None:
        """Put a delay, a pool or a reshape before a connection."""
        if self.chance(0.2):
            per_element = self.rng.integers(0, 4, self.shape)
            self.then(Delay(self.pick(0, 1, 3, per_element)))
        if len(self.shape) > 1 and self.chance(0.4) and min(self.shape[1:]) >= 3:
            rank = len(self.shape) - 1
            padding = tuple((self.whole(0, 1), self.whole(0, 1)) for _ in range(rank))
            stride = tuple(self.whole(1, 2) for _ in range(rank))
            self.then(self.pick(SumPool, MaxPool)((2,) * rank, stride, padding))
        if self.chance(0.1):
            self.then(Reshape((*self.shape[:-1], 1, self.shape[-1]) if len(self.shape) == 1 else self.shape[::-1]))

    def linear(self) -> list[str]:
        """One Linear from the last node, or two side by side; the shape becomes theirs."""
        out = self.whole(2, 10)
        feeds = [self.one_linear(self.last, self.shape[-1], out, self.latency) for _ in range(self.pick(1, 1, 2))]
        self.shape = (*self.shape[:-1], out)
        return feeds

    def one_linear(self, source: str, columns: int, out: int, latency: int, bits: int | None = None) -> str:
        fixed = self.weight((out, columns), per_channel=not self.lava)
        delays = self.rng.integers(0, self.pick(2, 5, 20), (out, columns)) if self.chance(0.3) else None
        weight = Sparse(fixed) if self.chance(0.3) else fixed
        return self.add(Linear(weight, None, latency, delays, self.sum(bits=bits)), source)

    def sum(self, width: int = 0, bits: int | None = None) -> FixedSum:
        width = width or (32 if self.lava else self.pick(32, 32, 24, 12))
        return FixedSum(self.bits if bits is None else bits, width)

    def convolution(self) -> list[str]:
        rank = len(self.shape) - 1
        groups = self.shape[0] if self.chance(0.2) else 1
        out = groups * self.whole(1, 3)
        kernel = tuple(self.whole(1, min(3, n)) for n in self.shape[1:])
        roomy = all(n >= 2 * k for n, k in zip(self.shape[1:], kernel, strict=True))
        dilation = tuple(self.whole(1, 2) if roomy else 1 for _ in range(rank))
        sides = [(p, p if self.lava else self.whole(0, 2)) for p in self.rng.integers(0, 3, rank).tolist()]
        weight = self.weight((out, self.shape[0] // groups, *kernel), per_channel=not self.lava, exponent=not self.lava)
        kind = Conv1d if rank == 1 else Conv2d
        stride = tuple(self.whole(1, 2) for _ in range(rank))
        total = self.sum(24 if self.lava else 0)
        op = kind(weight, None, stride, tuple(sides), dilation, groups, self.latency, total)
        self.then(op)
        return [self.last]

    def weight(self, shape: Shape, *, per_channel: bool, exponent: bool = True) -> Fixed:
        """Weights of 4 to 8 bits as Loihi has them: even numbers where signs are mixed; a third are zero or fewer."""
        width = self.whole(4, 8)
        sign = self.pick("mixed", "mixed", "mixed", "excitatory", "inhibitory")
        step = 1 << (8 - width + (sign == "mixed"))
        low, high = (bound // step for bound in Fixed.limits(width, sign, step))
        values = self.rng.integers(low, high + 1, shape) * step
        values[self.rng.random(shape) < self.pick(0.0, 0.3, 0.8)] = 0
        if sign == "mixed":  # Lava tells the mode from the values, and the lowest mixed one is no inhibitory weight
            values.flat[0], values.flat[-1] = step, -step if values.size > 1 else step
        reach = (-8, 7) if self.lava else (-20, 24)
        span = reach if self.wild else (-3, 1)
        e: Any = self.whole(*span) if exponent else 0
        if per_channel and self.chance(0.3):
            e = self.rng.integers(span[0], span[1] + 1, shape[0])
        return Fixed(values, e, width, sign, step)

    def recurrence(self, name: str) -> list[str]:
        """Feed the coming neuron's own previous step back: by a Linear, by one behind a delay, or directly."""
        size = self.shape[0]
        way = "linear" if self.lava else self.pick("linear", "late", "direct")
        if way == "direct":
            return [name]
        if way == "late" and all(node.name != "back" for node in self.nodes):
            return [self.one_linear("back", size, size, 0), "back"]
        return [self.one_linear(name, size, size, 0, bits=0)]

    def extras(self, name: str, feeds: list[str], source: str, before: Shape) -> list[str]:
        """Give more inputs of the coming neuron: a skip around the layer, a constant source."""
        more = []
        if len(self.shape) == 1 and len(before) == 1 and self.chance(0.3):
            late = latencies(Graph(tuple(self.nodes)))
            wait = late[feeds[0]] - late[source] - self.latency
            held = self.add(Delay(wait, balance=True), source)
            more.append(self.one_linear(held, before[0], self.shape[0], self.latency))
        if self.latency == 0 and self.chance(0.2):
            op = FixedNeuron(1, v_decay=0, bias=self.whole(1, 200), units=self.shape)
            more.append(self.add(op, name=f"{name}.source"))
        return more

    def lava_neuron(self) -> FixedNeuron:
        """A LIF as Lava has it, its threshold somewhere between 1 and the largest of 17 bits."""
        interval = self.whole(2, 9) if self.chance(0.4) else 0
        return FixedNeuron(
            self.threshold(LOIHI2_ARITHMETIC),
            v_decay=self.pick(0, 4096, self.whole(0, 4096), self.rng.integers(0, 4097, self.shape)),
            u_decay=self.pick(None, 0, self.whole(0, 4096), self.rng.integers(0, 4097, self.shape)),
            bias=self.bias(),
            bias_exp=self.whole(0, 7) if self.wild else self.whole(-2, 3),
            u_init=self.state(LOIHI2_ARITHMETIC.u_bits),
            v_init=self.state(LOIHI2_ARITHMETIC.v_bits),
            reset_interval=interval,
            reset_offset=self.whole(0, 12) if interval else 0,
        )

    def any_neuron(self) -> FixedNeuron:
        """A neuron of any setting."""
        rules = self.arithmetic()
        top = 1 << rules.decay_bits if rules.decay == "multiply" else 12
        u_decay = self.pick(None, 0, self.whole(0, top), self.rng.integers(0, top + 1, self.shape))
        per_channel = self.rng.integers(0, top + 1, (self.shape[0], *(1,) * (len(self.shape) - 1)))
        interval = self.whole(1, 9) if self.chance(0.3) else 0
        return FixedNeuron(
            self.threshold(rules),
            v_decay=self.pick(0, self.whole(0, top), per_channel, self.rng.integers(0, top + 1, self.shape)),
            u_decay=u_decay if rules.decay == "multiply" else None,
            bias=self.bias(),
            bias_exp=self.whole(-3, 20 if self.wild else 4),
            cmp=self.pick(">", ">="),
            reset=self.pick("value", "subtract", "none"),
            reset_amount=self.pick(None, self.whole(-50, 2000), self.rng.integers(0, 200, self.shape)),
            v_reset=self.pick(0, self.whole(-500, 500), self.rng.integers(-500, 500, self.shape)),
            v_min=self.pick(None, None, self.whole(-3000, 0), self.rng.integers(-3000, 1, self.shape)),
            u_init=self.state(min(rules.u_bits, 24)),
            v_init=self.state(min(rules.v_bits, 24)),
            readout=self.pick("spikes", "spikes", "membrane"),
            start=self.pick(0, 0, self.whole(1, 4)),
            reset_interval=interval,
            reset_offset=self.whole(0, 12),
            arithmetic=rules,
        )

    def arithmetic(self) -> Arithmetic:
        if self.chance(0.3):
            return LOIHI2_ARITHMETIC
        return Arithmetic(
            name="random",
            decay=self.pick("multiply", "shift"),
            decay_bits=self.whole(4, 16),
            input_exp=self.whole(0, 8),
            threshold_exp=self.whole(0, 8),
            u_bits=self.whole(8, 32),
            u_overflow=self.pick("wrap", "saturate"),
            v_bits=self.whole(8, 32),
            v_overflow=self.pick("wrap", "saturate"),
            symmetric=self.chance(0.5),
        )

    def threshold(self, rules: Arithmetic) -> int | Array:
        """Mantissas low enough to be crossed, of all magnitudes; per neuron now and then."""
        bits = max(2, min(17, rules.v_bits - rules.threshold_exp - 1, 17 if self.wild else 9))
        size = self.shape if self.chance(0.3) else ()
        values = (2 ** self.rng.uniform(0, bits, size)).astype(np.int64)
        return values if size else int(values)

    def bias(self) -> int | Array:
        """13 bits with sign where wild, else of the thresholds' order; scalar, per neuron or none."""
        reach = 4096 if self.wild else 60
        given: int | Array = self.pick(0, self.whole(-reach, reach - 1), self.rng.integers(-reach, reach, self.shape))
        return given

    def state(self, bits: int) -> int | Array:
        """A state to begin from: zero in most neurons."""
        if not self.initial or self.chance(0.7):
            return 0
        half = 1 << (bits - 1)
        return self.rng.integers(-half + 1, half, self.shape)
