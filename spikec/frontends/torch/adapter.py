"""What a framework's adapter provides: how its modules are called, read, reset and understood."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from spikec.compiler.ir import Op, Shape
from spikec.compiler.neurons import Neuron, Number
from spikec.compiler.weights import Array
from spikec.frontends.torch.layers import array
from spikec.frontends.torch.values import Layout, Port

Refusal = tuple[str, str]
"""Why a module is refused, and what to do instead."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """The tensors that a call returned, or left in its module.

    `every` lie in the module's layout (one step, or all of time); `last` are of the last step alone.
    """

    every: Mapping[Port, Any]
    last: Mapping[Port, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Inner:
    """The connections inside a neuron's module, each a chain of ops.

    `feed` is what the input passes first; `recurrent` leads from the neuron's own spikes of the step before to its
    input. `at_once`: the recurrent chain acts at the first step too, on no spikes (its biases then count).
    """

    feed: tuple[Op, ...] = ()
    recurrent: tuple[Op, ...] = ()
    at_once: bool = True


class Adapter(ABC):
    """One framework. Modules are recognised by class name and package, so that nothing is imported for nothing."""

    package: ClassVar[str]
    """Name of the framework's top-level package."""
    neurons: ClassVar[Collection[str]]
    """Classes that are neurons with memory, exactly: a subclass may do anything, and is refused."""
    unsupported: ClassVar[Mapping[str, str]] = {}
    """Classes that have no op, and what to use instead."""
    layers: ClassVar[Collection[str]] = ()
    """Classes without memory that have an op."""
    forgets: ClassVar[Refusal] = (
        "so that the neurons start anew at every step",
        "hand a neuron the state that it returned at the step before",
    )
    """Said of a neuron that is called again and neither keeps its state nor is handed one."""
    transient: ClassVar[Collection[str]] = ()
    """Names of hidden states that a state dict may hold; they are not loaded."""

    def refusal(self, module: Any) -> Refusal | None:
        """Give (reason, help) for a module of this package that must be refused, as a class or for its settings."""
        name = type(module).__name__
        if name in self.unsupported:
            return f"{self.package}'s {name} is not supported", self.unsupported[name]
        return self.setting_refusal(module) if name in self.neurons else None

    def setting_refusal(self, module: Any) -> Refusal | None:
        """Refuse a neuron for a setting that the neuron op does not have."""
        return None

    def is_layer(self, module: Any) -> bool:
        """Say whether a module is one of `layers`."""
        return type(module).__name__ in self.layers

    def hint(self, module: Any) -> str:
        """Give what is known of a module that may make forward fail, or an empty text."""
        return ""

    def layout(self, module: Any) -> Layout | None:
        """Say how a module takes time: all steps of a call in this layout, or one step (None)."""
        return None

    def states(self, module: Any) -> Mapping[str, Port]:
        """Give the hidden states of a neuron by name, and what each holds."""
        return {}

    def given(self, module: Any, args: Any, kwargs: Any) -> Mapping[str, Any]:
        """Give the states that a call was handed; those that it was not are missing or None."""
        return {}

    def held(self, module: Any) -> Mapping[str, Any]:
        """Give the states that a module keeps in itself from call to call."""
        return {}

    def initial(self, tensor: Any, shape: Any) -> Any | None:
        """Give a state that a call was handed in the shape (N, *shape) that it acts in; None if the module drops it."""
        import torch

        return torch.broadcast_to(tensor, shape)

    @abstractmethod
    def outputs(self, module: Any, result: Any) -> Outputs:
        """Name the tensors that a call of a neuron returned."""

    @abstractmethod
    def prepare(self, module: Any, samples: int) -> None:
        """Put the hidden states of a module to their start, and fit it to a number of samples."""

    @abstractmethod
    def neuron(self, module: Any, shape: Shape, v_init: Number | None, dt: float) -> Neuron:
        """Give the neuron op; `v_init` None is the module's own start.

        Raises:
            ValueError: a parameter does not fit the shape.
        """

    def membrane_refusal(self, module: Any) -> Refusal | None:
        """Refuse to read the membrane potential where it is not the op's (the spikes are)."""
        return None

    def recurs(self, module: Any) -> bool:
        """Say whether a neuron's module has a recurrent connection inside."""
        return False

    def inner(self, module: Any, shape: Shape) -> Inner:
        """Give the connections inside a neuron's module. Raises ValueError where they have no op."""
        return Inner()

    def layer(self, module: Any, given: Shape, made: Shape) -> Op | tuple[Op, ...] | None:
        """Give the op, or ops in a row, of one of `layers`; None if it does nothing. Raises ValueError without op."""
        raise ValueError(f"the adapter of {self.package} knows no op for {type(module).__name__}")


def number(tensor: Any, shape: Shape, name: str) -> Number:
    """Give a parameter as a scalar, or as an array that broadcasts against the neurons' shape.

    Raises:
        ValueError: it differs between samples of a batch, or does not fit the shape.
    """
    values: Array = array(tensor)
    if values.size == 1:
        return float(values.reshape(()))
    while values.ndim > len(shape) and values.shape[0] == 1:
        values = values[0]
    if values.ndim > len(shape) or np.broadcast_shapes(values.shape, shape) != shape:
        raise ValueError(f"{name} of shape {list(tensor.shape)} does not fit neurons of shape {list(shape)}")
    return values
