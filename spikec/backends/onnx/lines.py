"""An ONNX graph under way: nodes named after the graph's, constants, states with where they start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array

LARGEST = float(np.finfo(np.float32).max)


@dataclass(eq=False)
class Lines:
    """What was written so far. Every method gives the name of the tensor that it makes."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    states: dict[str, tuple[str, Any]] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    place: str = ""
    count: int = 0

    def make(self, op: str, *inputs: str, made: str = "", **attributes: Any) -> str:
        """Write one node of the present place."""
        import onnx

        self.count += 1
        made = made or f"{self.place}/{op.lower()}.{self.count}"
        node = onnx.helper.make_node(op, list(inputs), [made], name=f"{self.place}/{op}.{self.count}", **attributes)
        self.nodes.append(node)
        return made

    def number(self, value: Any, what: str) -> str:
        """Write a constant; infinity becomes the largest float, which no membrane passes."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = np.clip(array, -LARGEST, LARGEST).astype(np.float32)
        name = f"{self.place}.{what}"
        self.constants[name] = array
        return name

    def state(self, what: str, shape: Shape, start: Any = 0.0) -> str:
        """Write a state of the present place; `after` says what follows it."""
        name = f"{self.place}.{what}"
        self.states[name] = (f"{name}_next", start)
        self.shapes[name] = shape
        return name

    def after(self, state: str, tensor: str) -> None:
        """Say what a state is in the next step."""
        self.make("Identity", tensor, made=self.states[state][0])

    def times(self, tensor: str, factor: Any, what: str) -> str:
        """Multiply, if the factor is not 1."""
        return tensor if np.all(np.asarray(factor) == 1) else self.make("Mul", self.number(factor, what), tensor)

    def plus(self, tensor: str, term: Any, what: str) -> str:
        """Add, if the term is not 0."""
        return self.make("Add", tensor, self.number(term, what)) if np.any(np.asarray(term)) else tensor

    def sum(self, tensors: list[str]) -> str:
        """Add tensors one after the other."""
        total = tensors[0]
        for tensor in tensors[1:]:
            total = self.make("Add", total, tensor)
        return total

    def kept(self, tensor: str, shape: Shape, steps: int, what: str) -> list[str]:
        """Keep a tensor for some steps: give it as it is now, one step ago, two steps ago, ..."""
        back = [tensor]
        for step in range(1, steps + 1):
            state = self.state(f"{what}{step}", shape)
            self.after(state, back[-1])
            back.append(state)
        return back
