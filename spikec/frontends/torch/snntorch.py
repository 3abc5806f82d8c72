"""snnTorch 1.0: Leaky, Synaptic, RLeaky, RSynaptic and Lapicque as the one neuron op, exactly as their source runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from spikec.compiler.ir import Shape
from spikec.compiler.neurons import Neuron, Number, ResetWhen
from spikec.compiler.ops import Scale
from spikec.frontends.torch.adapter import Adapter, Inner, Outputs, Refusal, number
from spikec.frontends.torch.layers import is_layer, layer_op
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


class SnnTorch(Adapter):
    """The adapter for snnTorch."""

    package = "snntorch"
    neurons = STATES
    unsupported = UNSUPPORTED
    transient = ("mem", "syn", "spk")

    def setting_refusal(self, module: Any) -> Refusal | None:
        """Refuse settings that the neuron op does not have."""
        if module.inhibition:
            return "inhibition=True lets one neuron of a layer silence the others", "train without inhibition"
        if module.state_quant:
            return "state_quant quantizes the state in snnTorch's own way", "train without it; spikec quantizes"
        if not _fires_above_zero(module):
            return "spike_grad is not a step at the threshold", "use a surrogate whose forward is 1 above 0, else 0"
        return _reset_refusal(module)

    def hint(self, module: Any) -> str:
        """Name the fault of snnTorch 1.0.0 in RSynaptic: its delayed reset runs on the arguments of forward alone."""
        if type(module).__name__ != "RSynaptic" or module.reset_delay:
            return ""
        return "snnTorch's RSynaptic fails with reset_delay=False unless it is handed all states, where it does nothing"

    def states(self, module: Any) -> Mapping[str, Port]:
        """Give the hidden states in the order of forward's arguments."""
        return STATES[type(module).__name__]

    def given(self, module: Any, args: Any, kwargs: Any) -> Mapping[str, Any]:
        """Give the states that a call was handed."""
        names = self.states(module)
        return dict(zip(names, args[1:], strict=False)) | {k: v for k, v in kwargs.items() if k in names}

    def held(self, module: Any) -> Mapping[str, Any]:
        """Give the states that a module keeps."""
        return {name: getattr(module, name) for name in self.states(module)}

    def initial(self, tensor: Any, shape: Any) -> Any | None:
        """Drop a state of another shape: snnTorch then starts at zero."""
        return tensor if tensor.shape == shape else None

    def outputs(self, module: Any, result: Any) -> Outputs:
        """Name what a call returned; spikes alone with init_hidden and not output."""
        tensors = result if isinstance(result, tuple) else (result,)
        named = dict(zip(RETURNED[type(module).__name__], tensors, strict=False))
        named.setdefault("membrane", module.mem)
        return Outputs(named)

    def prepare(self, module: Any, samples: int) -> None:
        """Empty the hidden states: snnTorch starts at zero when their shape does not fit."""
        import torch

        for name in STATES.get(type(module).__name__, {}):
            setattr(module, name, torch.zeros(0, device=getattr(module, name).device))

    def neuron(self, module: Any, shape: Shape, v_init: Number | None, dt: float) -> Neuron:
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
            v_init=0.0 if v_init is None else v_init,
            cmp=">",
            graded=number(module.graded_spikes_factor, shape, "graded_spikes_factor"),
            reset=KINDS[reset],
            reset_when="post" if reset == 2 else when,
            drop_input=reset == 1 and kind != "Leaky",
            dt=dt,
        )

    def recurs(self, module: Any) -> bool:
        """Say whether the class is RLeaky or RSynaptic."""
        return "spk" in STATES[type(module).__name__]

    def inner(self, module: Any, shape: Shape) -> Inner:
        """Give the connection inside RLeaky and RSynaptic: dense, convolution, or one weight V a neuron."""
        if not self.recurs(module):
            return Inner()
        connection = module.recurrent
        if is_layer(connection):
            made = layer_op(connection, shape, shape)
            return Inner(recurrent=() if made is None else (made,))
        return Inner(recurrent=(Scale(number(connection.V, shape, "V")),))


def _decay(module: Any, shape: Shape) -> tuple[Number, Number]:
    """Give (a_mem, g_in), computed in the types and order in which snnTorch computes them."""
    if type(module).__name__ != "Lapicque":
        return number(module.beta.clamp(0, 1), shape, "beta"), 1.0
    rate = 1 / (module.R * module.C)
    gain = module.R * rate * module.time_step
    return number(1 - module.time_step / (module.R * module.C), shape, "R and C"), number(gain, shape, "R and C")


def _fires_above_zero(module: Any) -> bool:
    import torch

    with torch.no_grad():
        fired = module.spike_grad(torch.tensor(PROBE))
    return bool(torch.equal(fired, torch.tensor([float(x > 0) for x in PROBE])))


def _reset_refusal(module: Any) -> Refusal | None:
    """Refuse a module that resets otherwise than its state says: the constructor fixed it, the state came later."""
    built = RESETS.get(module.state_function.__name__)
    said = int(module.reset_mechanism_val)
    if built is None:
        return "its state function was replaced", "use the one that snnTorch chose"
    if built == said:
        return None
    message = f"it was built with reset_mechanism='{NAMES[built]}', but its state says '{NAMES[said]}'"
    return message, f"build it with reset_mechanism='{NAMES[said]}' before loading the weights"
