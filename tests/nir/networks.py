"""Random float graphs for the NIR tests, drawn from a seed: every op that NIR holds and every neuron field."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from spikec.compiler.ir import Graph, Node, Op, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import (
    AvgPool,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Linear,
    Output,
    Reshape,
    Scale,
    SumPool,
)
from spikec.compiler.weights import Dense, Sparse

DT = 2.0**-13
"""A time step for which 1 - dt/tau is exact."""


class Draw:
    """Draws one graph. With `plain`, only what NIR can say, so that any reader must find the same spikes."""

    def __init__(self, seed: int, *, plain: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.plain = plain
        self.nodes: list[Node] = []

    def graph(self) -> Graph:
        """Draw a graph of 3 to 7 layers."""
        shape: Shape = [(6,), (2, 9), (2, 6, 7)][self.pick(0, 1, 2)]
        self.nodes = [Node("in", Input(shape))]
        for index in range(self.pick(3, 4, 5, 6, 7)):
            shape = self.layer(index, shape)
        self.nodes.append(Node("out", Output(), (self.nodes[-1].name,)))
        return Graph(tuple(self.nodes), "drawn")

    def pick(self, *options: Any) -> Any:
        """Pick one."""
        return options[int(self.rng.integers(len(options)))]

    def eighths(self, *shape: int) -> np.ndarray[Any, Any]:
        """Draw multiples of 1/8 in [-1, 1]."""
        return (self.rng.integers(-8, 9, size=shape) / 8).astype(np.float32)

    def number(self, shape: Shape, *options: float) -> Any:
        """Draw a scalar, or one value a neuron, or one a channel."""
        form = self.pick("scalar", "scalar", "neuron", "channel")
        if form == "scalar":
            return float(self.pick(*options))
        whole = shape if form == "neuron" else (shape[0],) + (1,) * (len(shape) - 1)
        return self.rng.choice(options, size=whole)

    def add(self, op: Op, shape: Shape, *inputs: str) -> Shape:
        """Append a node that reads the last one, or those named; NIR cannot hold everything, so it may be left out."""
        name = f"{self.pick('n', 'a/b', 'x.y')}{len(self.nodes)}"
        try:
            made = op.shape(shape)
        except ValueError:
            return shape
        self.nodes.append(Node(name, op, inputs or (self.nodes[-1].name,)))
        return made

    def layer(self, index: int, shape: Shape) -> Shape:
        """Append one layer."""
        kind = self.pick("connect", "connect", "neuron", "neuron", "pool", "shape", "scale", "delay", "sum", "loop")
        if kind == "connect":
            return self.connection(shape)
        if kind == "neuron":
            return self.add(self.neuron(shape), shape)
        if kind == "pool":
            cls, size = self.pick(SumPool, AvgPool), (self.pick(1, 2), 2)
            return self.add(cls(size, padding=((1, 1), (0, 0)) if size[0] == 2 else ()), shape)
        if kind == "shape":
            return self.add(self.pick(Flatten(), Flatten(0, 1), Reshape((prod(shape),))), shape)
        if kind == "scale":
            return self.add(Scale(self.number(shape, 0.5, 2.0)), shape)
        if kind == "delay":
            steps = self.pick(0, 2, self.rng.integers(0, 4, size=shape))
            return self.add(Delay(steps), shape)
        if kind == "sum":
            other = self.pick(*(node.name for node in self.nodes))
            same = Graph((*self.nodes, Node("o", Output(), (self.nodes[-1].name,)))).shapes[other] == shape
            return self.add(self.neuron(shape), shape, self.nodes[-1].name, *([other] if same else []))
        return self.loop(shape)

    def connection(self, shape: Shape) -> Shape:
        """Append a linear layer or a convolution."""
        if len(shape) == 1:
            out = self.pick(3, 5)
            weight = Dense(self.eighths(out, shape[0]))
            kept = weight if self.plain else self.pick(weight, Sparse(weight))
            return self.add(Linear(kept, self.pick(None, self.eighths(out))), shape)
        groups = self.pick(1, 1, 2) if shape[0] % 2 == 0 else 1
        rank = len(shape) - 1
        kernel = tuple(int(self.pick(1, 2, 3)) for _ in range(rank))
        weight = Dense(self.eighths(2, shape[0] // groups, *kernel))
        sides = tuple((int(self.pick(0, 1, 2)), int(self.pick(0, 1, 2))) for _ in range(rank))
        stride, dilation = ((int(self.pick(1, 1, 2)),) * rank for _ in range(2))
        cls = Conv1d if rank == 1 else Conv2d
        return self.add(cls(weight, self.pick(None, self.eighths(2)), stride, sides, dilation, groups), shape)

    def loop(self, shape: Shape) -> Shape:
        """Append a neuron that a recurrent connection feeds, whose bias starts at step 0 or 1."""
        if len(shape) != 1:
            return shape
        size, before = shape[0], self.nodes[-1].name
        name = f"rec{len(self.nodes)}"
        fed = self.neuron(shape)
        back = Linear(Dense(self.eighths(size, size)), self.eighths(size))
        if self.pick(True, False):
            inputs = (before, f"{name}.w", f"{name}.w") if not self.plain else (before, f"{name}.w")
            self.nodes += [Node(f"{name}.w", back, (name,)), Node(name, fed, inputs)]
        else:
            late = Node(f"{name}.late", Delay(0), (f"{name}.w",))
            self.nodes += [Node(name, fed, (before, late.name)), Node(f"{name}.w", back, (name,)), late]
            self.nodes.append(Node(f"{name}.on", Scale(1.0), (name,)))
        return shape

    def neuron(self, shape: Shape) -> Neuron:
        """Draw a neuron."""
        cuba = self.pick(True, False)
        op = Neuron(
            a_mem=self.number(shape, 0.0, 0.5, 0.75, 1.0),
            a_syn=self.number(shape, 0.0, 0.5) if cuba else 0.0,
            syn_order=self.pick("decay_add", "add_decay", "add_use_decay") if cuba else "none",
            g_in=self.number(shape, 0.5, 1.0),
            g_syn=self.number(shape, 1.0, 2.0),
            v_leak=self.pick(0.0, self.number(shape, 0.0, 0.25)),
            v_th=self.number(shape, 0.5, 1.0, 2.0),
            cmp=self.pick(">", ">="),
            reset=self.pick("value", "none"),
            v_reset=self.pick(0.0, self.number(shape, 0.0, -0.5)),
            graded=self.pick(1.0, 1.0, self.number(shape, 0.5, 2.0)),
            dt=DT,
        )
        if self.pick(True, False, False):
            op = replace(op, readout="membrane", reset="none")
        return op if self.plain else self.unsayable(op, shape)

    def unsayable(self, op: Neuron, shape: Shape) -> Neuron:
        """Change fields of which NIR knows nothing."""
        changed: dict[str, Any] = {
            "reset": self.pick("value", "none", "subtract"),
            "reset_when": self.pick("post", "next", "next_post"),
            "reset_amount": self.pick(None, self.number(shape, 0.5, 1.5)),
            "v_init": self.pick(0.0, self.number(shape, 0.0, 1.5)),
            "v_min": self.pick(None, self.number(shape, -1.0, -0.5)),
            "spike": self.pick("single", "multi"),
            "max_spikes": self.pick(0, 2),
            "dt": self.pick(0.0, DT, 1e-3),
        }
        changed["drop_input"] = changed["reset_when"] == "next" and self.pick(True, False)
        if np.all(np.asarray(op.a_mem) < 1):
            changed["bias"] = self.number(shape, 0.0, 0.25)
        awkward = {"a_mem": 0.1 + 0.8 * self.rng.random(), "g_in": self.rng.normal()}
        return replace(op, **changed, **self.pick({}, awkward))
