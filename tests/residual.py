"""Residual networks for tests: skips of spikes and of currents over one layer or more, linear and convolutional."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spikec.compiler.ir import Graph, Node, Op
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import Conv2d, Delay, Flatten, Input, Linear, Output
from spikec.compiler.verify import verify
from spikec.compiler.weights import Dense

MAP, WIDTH = (2, 4, 4), 8
"""The shapes of all that is sent: maps by convolutions, vectors by matrices."""

FACTORS = 2.0 ** np.arange(-3, 7)
"""What the weights of a connection are multiplied by: from 1/8 to 64."""


def residual(seed: int) -> Graph:
    """A trained network of 3 to 5 layers, of which later ones read spikes of several earlier ones, or their own."""
    return _Maker(np.random.default_rng(seed)).graph()


@dataclass
class _Maker:
    rng: np.random.Generator
    nodes: list[Node] = field(default_factory=list)
    maps: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)

    def chance(self, part: float) -> bool:
        return bool(self.rng.random() < part)

    def add(self, name: str, op: Op, *inputs: str) -> str:
        self.nodes.append(Node(name, op, inputs))
        return name

    def graph(self) -> Graph:
        conv = self.chance(0.6)
        (self.maps if conv else self.vectors).append(self.add("x", Input(MAP if conv else (WIDTH,))))
        layers = int(self.rng.integers(3, 6))
        last = ""
        for index in range(layers):
            as_map = conv and index < layers - 1 and not self.vectors and (index < 2 or self.chance(0.5))
            feeds = self.convolved(index) if as_map else self.linear(index)
            neuron = LIF(float(self.rng.choice([0.5, 0.9])), v_th=float(self.rng.choice(FACTORS)), reset="value")
            last = self.add(f"n{index}", neuron, *feeds)
            (self.maps if as_map else self.vectors).append(last)
        self.add("out", Output(), last)
        return verify(Graph(tuple(self.nodes), "residual"))

    def some(self, names: list[str]) -> list[str]:
        """The last of some names, and up to two others before it."""
        others = names[:-1]
        count = min(len(others), int(self.rng.integers(0, 3)))
        return [names[-1], *(str(name) for name in self.rng.permutation(others)[:count])] if others else names[-1:]

    def late(self, index: int, name: str, shape: tuple[int, ...]) -> str:
        """Now and then a delay of the network's own, one for all or one an element."""
        if not self.chance(0.15):
            return name
        own = self.rng.integers(0, 3, shape) if self.chance(0.5) else int(self.rng.integers(1, 4))
        return self.add(f"late{index}.{name}", Delay(own), name)

    def convolved(self, index: int) -> list[str]:
        sources = [self.late(index, name, MAP) for name in self.some(self.maps)]
        return self.sums(index, sources, (MAP[0], MAP[0], 3, 3))

    def linear(self, index: int) -> list[str]:
        feeds: list[str] = []
        if self.maps and (not self.vectors or self.chance(0.5)):
            sources = [self.late(index, name, MAP) for name in self.some(self.maps)]
            if self.chance(0.5):
                flat = [self.add(f"flat{index}", Flatten(), *sources)]
            else:
                flat = [self.add(f"flat{index}.{name}", Flatten(), name) for name in sources]
            feeds += self.sums(index, flat, (WIDTH, int(np.prod(MAP))))
        given = [self.late(index, name, (WIDTH,)) for name in self.some(self.vectors)] if self.vectors else []
        if self.chance(0.3):
            given.append(f"n{index}")  # its own spikes of the step before
        if given:
            feeds += self.sums(index, given, (WIDTH, WIDTH), "v")
        return feeds

    def sums(self, index: int, sources: list[str], shape: tuple[int, ...], mark: str = "w") -> list[str]:
        """One connection that reads the sum of the spikes, or one for each source; with a bias or without."""
        groups = [sources] if self.chance(0.7) else [[name] for name in sources]
        return [self.connection(f"{mark}{index}.{i}", shape, group) for i, group in enumerate(groups)]

    def connection(self, name: str, shape: tuple[int, ...], sources: list[str]) -> str:
        factor = float(self.rng.choice(FACTORS))
        weight = Dense((self.rng.normal(0.2, 0.7, shape) * factor).astype(np.float32))
        bias = (self.rng.normal(0, 0.1, shape[0]) * factor).astype(np.float32) if self.chance(0.5) else None
        if len(shape) == 2:
            return self.add(name, Linear(weight, bias), *sources)
        return self.add(name, Conv2d(weight, bias, padding=((1, 1), (1, 1))), *sources)
