"""SpikingJelly 0.0.0.0.14 and 2.0: IF, LIF, ParametricLIF and CUBALIF as the one neuron op, and its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from spikec.compiler.ir import Op, Shape
from spikec.compiler.neurons import Neuron, Number
from spikec.compiler.ops import AvgPool, Conv2d, Delay, Flatten, Linear, Reshape
from spikec.compiler.weights import Dense
from spikec.frontends.torch.adapter import Adapter, Inner, Outputs, Refusal, number
from spikec.frontends.torch.layers import LAYERS, array
from spikec.frontends.torch.spikingjelly_names import LEGACY, NODES, PLACES, UNSUPPORTED, WRAPPED
from spikec.frontends.torch.values import Layout, Port

RECURRENT = "LinearRecurrentContainer"
PROBE = (-1.0, -1e-30, 0.0, 1e-30, 1.0)
EVERY_STEP = Layout(0)


class SpikingJelly(Adapter):
    """The adapter for both versions: they differ in how they compute a step, and not in what they compute."""

    package = "spikingjelly"
    neurons = (*NODES, RECURRENT)
    unsupported = UNSUPPORTED
    layers = (*WRAPPED, "VotingLayer", "Delay")

    def refusal(self, module: Any) -> Refusal | None:
        """Refuse the packages of old that hold neurons of the same names, and joins of spikes that are no sum."""
        name, place = type(module).__name__, type(module).__module__.split(".", 2)
        if place[1] in LEGACY:
            help = "use spikingjelly.activation_based, and there what this has become"
            return f"{'.'.join(place[:2])} is the package of earlier versions", help
        join = getattr(module, "cnf", None)
        if join in ("AND", "IAND"):
            return f"it joins its branches by {join}, a product of spikes", "train it with cnf='ADD', a sum of spikes"
        if name not in (*self.neurons, *self.unsupported):
            parts = [instead for part, instead in PLACES.items() if place[-1].startswith(part)]
            if parts:
                return f"{self.package}'s {name} is not supported", parts[0]
        return super().refusal(module)

    def setting_refusal(self, module: Any) -> Refusal | None:
        """Refuse a surrogate that is no step, quantized arithmetic, and starts that are no number."""
        node = _node(module)
        if type(node).__name__ not in NODES or not _of_package(node):
            help = "give it one neuron of SpikingJelly (IFNode, LIFNode, ParametricLIFNode, CUBALIFNode)"
            return f"it leads back the output of {type(node).__name__}, which is no neuron with an op", help
        if not _fires_at_zero(node):
            return "surrogate_function is not a step at the threshold", (
                "use one of SpikingJelly's own, with spiking=True: its forward is 1 from 0 on"
            )
        if getattr(node, "backend", "torch") == "lava" or getattr(node, "_neuron_precision", None) is not None:
            return "it computes in a precision of its own", "use the backend 'torch' and float32; spikec quantizes"
        if not isinstance(_start(node, "v"), int | float) or _start(node, "c"):
            return "its memory starts from a tensor, or from a current", "start v from a number, c from 0"
        return None

    def hint(self, module: Any) -> str:
        """Say how step modes take their input."""
        if getattr(module, "step_mode", "s") != "m":
            return "step mode 's' is one step a call; functional.set_step_mode(net, 'm') lets it take all of time"
        return (
            "step mode 'm' takes (T, N, ...): --time-axis 0 (in Python: time_axis=0); all modules need one step mode: "
            "functional.set_step_mode(net, 'm')"
        )

    def layout(self, module: Any) -> Layout | None:
        """Step mode 'm' takes (T, N, *shape), 's' one step."""
        return EVERY_STEP if getattr(module, "step_mode", "s") == "m" else None

    def states(self, module: Any) -> Mapping[str, Port]:
        """Give the memories: the membrane potential, the current of CUBALIF, the spikes that are led back."""
        states: dict[str, Port] = {"v": "membrane"}
        if type(_node(module)).__name__ == "CUBALIFNode":
            states["c"] = "synapse"
        if self.recurs(module):
            states["y"] = "spikes"
        return states

    def held(self, module: Any) -> Mapping[str, Any]:
        """Give the memories that are tensors: before the first step they are numbers."""
        found = {name: getattr(module if name == "y" else _node(module), name) for name in self.states(module)}
        return {name: value for name, value in found.items() if hasattr(value, "untyped_storage")}

    def outputs(self, module: Any, result: Any) -> Outputs:
        """Name the spikes, and the membrane of every step where it is kept."""
        node = _node(module)
        kept = getattr(node, "v_seq", None)
        if self.layout(module) is None:
            return Outputs({"spikes": result, "membrane": node.v})
        if kept is None or self.recurs(module):
            return Outputs({"spikes": result}, {"membrane": node.v})
        return Outputs({"spikes": result, "membrane": kept})

    def prepare(self, module: Any, samples: int) -> None:
        """Do as functional.reset_net does, and have the membrane of every step kept."""
        if hasattr(module, "reset"):
            module.reset()
        if type(module).__name__ in NODES and getattr(module, "store_v_seq", True) is False:
            module.store_v_seq = self.layout(module) is not None

    def neuron(self, module: Any, shape: Shape, v_init: Number | None, dt: float) -> Neuron:
        """Give the neuron op: a hard reset puts v to v_reset, which LIF also leaks to; v_reset None subtracts."""
        node = _node(module)
        rest = node.v_reset
        a_mem, gain = _decay(node, shape)
        cuba = type(node).__name__ == "CUBALIFNode"
        return Neuron(
            a_mem=a_mem,
            g_in=gain,
            a_syn=float(node.c_decay) if cuba else 0.0,
            syn_order="decay_add" if cuba else "none",
            v_leak=0.0 if cuba or rest is None else float(rest),
            v_th=number(_tensor(node.v_threshold), shape, "v_threshold"),
            v_init=float(_start(node, "v")) if v_init is None else v_init,
            v_reset=0.0 if rest is None else float(rest),
            reset="subtract" if rest is None else "value",
            cmp=">=",
            dt=dt,
        )

    def recurs(self, module: Any) -> bool:
        """Say whether the module leads its spikes back to its input."""
        return type(module).__name__ == RECURRENT

    def inner(self, module: Any, shape: Shape) -> Inner:
        """Part the connection of LinearRecurrentContainer, which takes (input, spikes of the step before) as one."""
        if not self.recurs(module):
            return Inner()
        weights, bias = array(module.rc.weight), module.rc.bias
        inputs = weights.shape[1] - module.sub_module_out_features
        feed = Linear(Dense(weights[:, :inputs].copy()), None if bias is None else array(bias))
        return Inner((feed,), (Linear(Dense(weights[:, inputs:].copy())),))

    def layer(self, module: Any, given: Shape, made: Shape) -> Op | tuple[Op, ...] | None:
        """Give the op of torch's layer inside, with the weights that it computes with, or ops in a row."""
        kind = type(module).__name__
        if kind == "VotingLayer":
            if len(given) != 1:
                raise ValueError(f"VotingLayer is given {list(given)}, not a vector")
            return Reshape((1, *given)), AvgPool((module.voting_size,)), Flatten()
        if kind == "Delay":
            return Delay(module.delay_steps)
        op = LAYERS[WRAPPED[kind]](module, given, made)
        if isinstance(op, Linear | Conv2d) and hasattr(module, "get_weight"):
            return replace(op, weight=Dense(array(module.get_weight())))
        return op


def _node(module: Any) -> Any:
    """Give the neurons inside a module that leads their spikes back; any other module is its own."""
    return module.sub_module if type(module).__name__ == RECURRENT else module


def _of_package(module: Any) -> bool:
    return type(module).__module__.startswith("spikingjelly.activation_based.")


def _start(node: Any, memory: str) -> Any:
    """Give what reset puts a memory to."""
    return node._memories_rv.get(memory, 0.0)


def _tensor(value: Any) -> Any:
    import torch

    return torch.as_tensor(value, dtype=torch.float64)


def _decay(node: Any, shape: Shape) -> tuple[Number, Number]:
    """Give (a_mem, g_in): 1 - 1/tau, and 1/tau where the input decays too."""
    kind = type(node).__name__
    if kind == "CUBALIFNode":
        return float(node.v_decay), 1.0
    if kind not in ("LIFNode", "SimpleLIFNode", "ParametricLIFNode"):
        return 1.0, 1.0
    rate: Number = number(node.w.sigmoid(), shape, "w") if kind == "ParametricLIFNode" else 1.0 / float(node.tau)
    return 1.0 - np.asarray(rate).item(), rate if node.decay_input else 1.0


def _fires_at_zero(node: Any) -> bool:
    import torch

    with torch.no_grad():
        fired = node.surrogate_function(torch.tensor(PROBE))
    return bool(torch.equal(fired, torch.tensor([float(x >= 0) for x in PROBE])))
