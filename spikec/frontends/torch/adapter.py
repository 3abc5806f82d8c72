"""What a framework's adapter provides: how its neurons are called, read, reset and understood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from spikec.compiler.ir import Op, Shape
from spikec.compiler.neurons import Neuron
from spikec.compiler.weights import Array
from spikec.frontends.torch.values import Port


class Adapter(Protocol):
    """One framework. Modules are recognised by class name and module, so that nothing is imported for nothing."""

    @property
    def package(self) -> str:
        """Name of the framework's top-level package."""
        ...

    def is_neuron(self, module: Any) -> bool:
        """Say whether the adapter knows this class as a neuron with memory."""
        ...

    def refusal(self, module: Any) -> tuple[str, str] | None:
        """Give (reason, help) if a neuron, or a class that the adapter knows to be unsupported, must be refused."""
        ...

    def hint(self, module: Any) -> str:
        """Give what is known of a module that may make forward fail, or an empty text."""
        ...

    def states(self, module: Any) -> Mapping[str, Port]:
        """Give the hidden states: the argument of forward and attribute of the module, and what it holds."""
        ...

    def outputs(self, module: Any, result: Any) -> Mapping[Port, Any]:
        """Name the tensors that a call returned."""
        ...

    def forget(self, module: Any) -> None:
        """Put the hidden states to their start."""
        ...

    def neuron(self, module: Any, shape: Shape, v_init: float | Array, dt: float) -> Neuron:
        """Give the neuron op. Raises ValueError where a parameter does not fit the shape."""
        ...

    def recurrent(self, module: Any, shape: Shape) -> Op | None:
        """Give the connection from the neuron's own previous spikes, if it has one inside."""
        ...
