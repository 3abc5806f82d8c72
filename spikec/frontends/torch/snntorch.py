"""snnTorch 1.0: Leaky, Synaptic, RLeaky, RSynaptic and Lapicque as the one neuron op, exactly as their source runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from spikec.compiler.ir import Op, Shape
from spikec.compiler.neurons import Neuron, Number, ResetWhen
from spikec.compiler.ops import Scale
from spikec.compiler.weights import Array
from spikec.frontends.torch.layers import array, is_layer, layer_op
from spikec.frontends.torch.values import Port

STATES: dict[str, dict[str, Port]] = {
    "Leaky": {"mem": "membrane"},
    "Lapicque": {"mem": "membrane"},
    "Synaptic": {"syn": "synapse", "mem": "membrane"},
    "RLeaky": {"spk": "spikes", "mem": "membrane"},
    "RSynaptic": {"spk": "spikes", "syn": "synapse", "mem": "membrane"},
}
RETURNED: dict[str, tuple[Port, ...]] = {
    "Leaky": ("spikes", "membrane"),
    "Lapicque": ("spikes", "membrane"),
    "RLeaky": ("spikes", "membrane"),
    "Synaptic": ("spikes", "synapse", "membrane"),
    "RSynaptic": ("spikes", "synapse", "membrane"),
}
RESETS = {"_base_sub": 0, "_base_zero": 1, "_base_int": 2}
NAMES = ("subtract", "zero", "none")
KINDS: tuple[Literal["subtract", "value", "none"], ...] = ("subtract", "value", "none")
UNSUPPORTED = {
    "Alpha": "use Synaptic, which has one synaptic current",
    "SLSTM": "use Synaptic or RSynaptic",
    "SConv2dLSTM": "use Conv2d with Leaky, or RLeaky with conv2d_channels",
    "LeakyParallel": "use Leaky in a loop over time: it has a reset, this one has none and a random input matrix",
    "StateLeaky": "use Leaky in a loop over time",
    "LinearLeaky": "use Linear and Leaky",
    "DeltaLeaky": "use Leaky",
    "AssociativeLeaky": "use Leaky in a loop over time",
}
PROBE = (-1.0, -1e-30, 0.0, 1e-30, 1.0)


class SnnTorch:
    """The adapter for snnTorch."""

    package = "snntorch"

    def is_neuron(self, module: Any) -> bool:
        """Say whether the class is one of the five, exactly (a subclass may do anything)."""
        return _of_snntorch(module) and type(module).__name__ in STATES

    def refusal(self, module: Any) -> tuple[str, str] | None:
        """Refuse other classes of snnTorch, subclasses, and settings that the neuron op does not have."""
        name = type(module).__name__
        if not _of_snntorch(module):
            return None
        if name in UNSUPPORTED:
            return f"snntorch's {name} is not supported", UNSUPPORTED[name]
        if name not in STATES:
            return None
        if module.inhibition:
            return "inhibition=True lets one neuron of a layer silence the others", "train without inhibition"
        if module.state_quant:
            return "state_quant quantizes the state in snnTorch's own way", "train without it; spikec quantizes"
        if not _fires_above_zero(module):
            return "spike_grad is not a step at the threshold", "use a surrogate whose forward is 1 above 0, else 0"
        return _reset_refusal(module)

    def hint(self, module: Any) -> str:
        """Name the fault of snnTorch 1.0.0 in RSynaptic: its delayed reset runs on the arguments of forward alone."""
        if not _of_snntorch(module) or type(module).__name__ != "RSynaptic" or module.reset_delay:
            return ""
        return "snnTorch's RSynaptic fails with reset_delay=False unless it is handed all states, where it does nothing"

    def states(self, module: Any) -> Mapping[str, Port]:
        """Give the hidden states in the order of forward's arguments."""
        return STATES[type(module).__name__]

    def outputs(self, module: Any, result: Any) -> Mapping[Port, Any]:
        """Name what a call returned; spikes alone with init_hidden and not output."""
        tensors = result if isinstance(result, tuple) else (result,)
        named = dict(zip(RETURNED[type(module).__name__], tensors, strict=False))
        named.setdefault("membrane", module.mem)
        return named

    def forget(self, module: Any) -> None:
        """Empty the hidden states: snnTorch starts at zero when their shape does not fit."""
        import torch

        for name in self.states(module):
            setattr(module, name, torch.zeros(0, device=getattr(module, name).device))

    def neuron(self, module: Any, shape: Shape, v_init: Number, dt: float) -> Neuron:
        """Give the neuron op of a module."""
        kind = type(module).__name__
        reset = RESETS[module.state_function.__name__]
        late = kind == "RSynaptic" or getattr(module, "reset_delay", True)
        when: ResetWhen = "next" if late else "next_post"
        a_mem, g_in = _decay(module, shape)
        synaptic = kind in ("Synaptic", "RSynaptic")
        return Neuron(
            a_mem=a_mem,
            g_in=g_in,
            a_syn=number(module.alpha.clamp(0, 1), shape, "alpha") if synaptic else 0.0,
            syn_order="decay_add" if synaptic else "none",
            v_th=number(module.threshold, shape, "threshold"),
            v_init=v_init,
            cmp=">",
            graded=number(module.graded_spikes_factor, shape, "graded_spikes_factor"),
            reset=KINDS[reset],
            reset_when="post" if reset == 2 else when,
            drop_input=reset == 1 and kind != "Leaky",
            dt=dt,
        )

    def recurrent(self, module: Any, shape: Shape) -> Op | None:
        """Give the connection inside RLeaky and RSynaptic: dense, convolution, or one weight V a neuron."""
        inner = getattr(module, "recurrent", None)
        if inner is None:
            return None
        if is_layer(inner):
            return layer_op(inner, shape, shape)
        return Scale(number(inner.V, shape, "V"))


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


def _decay(module: Any, shape: Shape) -> tuple[Number, Number]:
    """Give (a_mem, g_in), computed in the types and order in which snnTorch computes them."""
    if type(module).__name__ != "Lapicque":
        return number(module.beta.clamp(0, 1), shape, "beta"), 1.0
    rate = 1 / (module.R * module.C)
    gain = module.R * rate * module.time_step
    return number(1 - module.time_step / (module.R * module.C), shape, "R and C"), number(gain, shape, "R and C")


def _of_snntorch(module: Any) -> bool:
    return type(module).__module__.partition(".")[0] == "snntorch"


def _fires_above_zero(module: Any) -> bool:
    import torch

    with torch.no_grad():
        fired = module.spike_grad(torch.tensor(PROBE))
    return bool(torch.equal(fired, torch.tensor([float(x > 0) for x in PROBE])))


def _reset_refusal(module: Any) -> tuple[str, str] | None:
    """Refuse a module that resets otherwise than its state says: the constructor fixed it, the state came later."""
    built = RESETS.get(module.state_function.__name__)
    said = int(module.reset_mechanism_val)
    if built is None:
        return "its state function was replaced", "use the one that snnTorch chose"
    if built == said:
        return None
    message = f"it was built with reset_mechanism='{NAMES[built]}', but its state says '{NAMES[said]}'"
    return message, f"build it with reset_mechanism='{NAMES[said]}' before loading the weights"
