"""sinabs 3.1: LIF, IAF, their recurrent and squeezing forms, and ExpLeak as the one neuron op, as their source runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from spikec.compiler.ir import Op, Shape
from spikec.compiler.neurons import LI, Neuron, Number
from spikec.compiler.ops import SumPool
from spikec.frontends.torch.adapter import Adapter, Inner, Outputs, Refusal, number
from spikec.frontends.torch.layers import chain_ops, sum_pool
from spikec.frontends.torch.values import Layout, Port

NEURONS = (
    "LIF",
    "IAF",
    "ExpLeak",
    "LIFRecurrent",
    "IAFRecurrent",
    "LIFSqueeze",
    "IAFSqueeze",
    "ExpLeakSqueeze",
)
IN_DATA = "encode the input before the network is given it"
UNSUPPORTED = {
    "ALIF": "use LIF: its threshold does not adapt",
    "ALIFRecurrent": "use LIFRecurrent: its threshold does not adapt",
    "StatefulLayer": "use LIF or IAF",
    "SpikingMaxPooling2dLayer": "use SumPool2d or AvgPool2d: it lets spikes through by the counts of all earlier steps",
    "NeuromorphicReLU": "turn the ANN into a spiking network first: sinabs.from_torch.from_model",
    "QuantizeLayer": "leave it out: spikes are whole numbers",
    "ChannelShift": "give the following layer weights for the channels that are there",
    "Cropping2dLayer": "crop the data, or let a convolution have less padding",
    "Img2SpikeLayer": IN_DATA,
    "Sig2SpikeLayer": IN_DATA,
}
SPIKES = ("SingleSpike", "MultiSpike", "MaxSpike")
RESETS = ("MembraneSubtract", "MembraneReset")


class Sinabs(Adapter):
    """The adapter for sinabs."""

    package = "sinabs"
    neurons = NEURONS
    unsupported = UNSUPPORTED
    layers = ("SumPool2d",)
    transient = ("v_mem", "i_syn")

    def setting_refusal(self, module: Any) -> Refusal | None:
        """Refuse spike and reset functions other than sinabs's own, and what ExpLeak gives out before its clamp."""
        if _leaks(module):
            if module.min_v_mem is None:
                return None
            return "with min_v_mem it gives out the membrane potential before the clamp", "leave min_v_mem out"
        if _spikes(module) not in SPIKES:
            return "spike_fn is not one of sinabs's own", f"use {', '.join(SPIKES)}"
        if _spikes(module) == "MaxSpike" and module.spike_fn.max_num_spikes_per_bin == 0:
            return "MaxSpike(0) never spikes", "allow at least one spike a step"
        if not bool((module.spike_threshold > 0).all()):
            return "spike_threshold is not above 0", "use thresholds above 0"
        if _own_name(type(module.reset_fn), "reset_mechanism") not in RESETS:
            return "reset_fn is not one of sinabs's own", f"use {' or '.join(RESETS)}"
        return None

    def hint(self, module: Any) -> str:
        """Say how squeezing layers take their input."""
        if not type(module).__name__.endswith("Squeeze"):
            return ""
        return "a network of Squeeze layers takes (N * T, ...): --time-axis joined (in Python: time_axis='joined')"

    def layout(self, module: Any) -> Layout | None:
        """Every neuron takes (N, T, *shape), a squeezing one (N * T, *shape)."""
        name = type(module).__name__
        return Layout(1, joined=name.endswith("Squeeze")) if name in NEURONS else None

    def states(self, module: Any) -> Mapping[str, Port]:
        """Give the membrane potential, and the synaptic current where there is one."""
        states: dict[str, Port] = {"v_mem": "membrane"}
        if _alpha_syn(module) is not None:
            states["i_syn"] = "synapse"
        return states

    def held(self, module: Any) -> Mapping[str, Any]:
        """Give the buffers that hold the states."""
        return {name: getattr(module, name) for name in self.states(module)}

    def outputs(self, module: Any, result: Any) -> Outputs:
        """Name the spikes (ExpLeak: the membrane), the recorded membrane, and the state after the last step."""
        if _leaks(module):
            return Outputs({"membrane": result})
        membrane = module.recordings.get("v_mem")
        if membrane is None or self.recurs(module):  # a recurrent layer records v before the reset
            return Outputs({"spikes": result}, {"membrane": module.v_mem})
        return Outputs({"spikes": result, "membrane": membrane.flatten(0, 1) if _squeezes(module) else membrane})

    def prepare(self, module: Any, samples: int) -> None:
        """Empty the states, have the membrane recorded, and set the batch size that squeezing layers are fixed to."""
        import torch

        name = type(module).__name__
        if name in NEURONS:
            for state in self.states(module):
                module.register_buffer(state, torch.zeros(0))
            module.record_states = True
        if name.endswith("Squeeze"):
            module.batch_size, module.num_timesteps = samples, -1
        elif name == "UnflattenTime":
            module.batch_size = samples

    def neuron(self, module: Any, shape: Shape, v_init: Number | None, dt: float) -> Neuron:
        """Give the neuron op: v = a v + (1 - a) i with norm_input, v = a v + i without; i = a_syn (i + I) or I.

        MembraneReset(r) adds r to every potential that it does not reset as well. The op's v is less by r: it is put
        to 0 at a spike, and gets a r at every step.
        """
        a_mem = module.alpha_mem_calculated
        gain = number(1 - a_mem, shape, "tau_mem") if module.norm_input else 1.0
        a_mem = number(a_mem, shape, "tau_mem")
        if _leaks(module):
            return LI(a_mem, g_syn=gain, v_init=0.0, dt=dt)
        a_syn, shift = _alpha_syn(module), _shift(module)
        limit = module.spike_fn.max_num_spikes_per_bin if _spikes(module) == "MaxSpike" else 0
        kind: Literal["subtract", "value"] = "subtract" if _subtracts(module) else "value"
        return Neuron(
            a_mem=a_mem,
            g_syn=gain,
            a_syn=0.0 if a_syn is None else number(a_syn, shape, "tau_syn"),
            syn_order="none" if a_syn is None else "add_decay",
            v_th=_less(number(module.spike_threshold, shape, "spike_threshold"), 0.0),
            v_init=-shift,
            bias=_times(a_mem, shift),
            cmp=">=",
            spike="single" if _spikes(module) == "SingleSpike" else "multi",
            max_spikes=limit or 0,
            reset=kind,
            reset_amount=module.reset_fn.subtract_value if kind == "subtract" else None,
            v_min=None if module.min_v_mem is None else _less(number(module.min_v_mem, shape, "min_v_mem"), shift),
            dt=dt,
        )

    def membrane_refusal(self, module: Any) -> Refusal | None:
        """Refuse to read a membrane that is more than the op's."""
        if _leaks(module) or not _shift(module):
            return None
        return "MembraneReset adds reset_value to potentials that it does not reset", "read the spikes"

    def recurs(self, module: Any) -> bool:
        """Say whether the class is LIFRecurrent or IAFRecurrent."""
        return hasattr(module, "rec_connect")

    def inner(self, module: Any, shape: Shape) -> Inner:
        """Give the recurrent connection, which gives nothing at the first step."""
        if not self.recurs(module):
            return Inner()
        return Inner(recurrent=chain_ops(module.rec_connect, shape, shape), at_once=False)

    def layer(self, module: Any, given: Shape, made: Shape) -> Op | None:
        """Give the op of SumPool2d."""
        made_op: SumPool = sum_pool(2, module.kernel_size, module.stride, module.ceil_mode)
        return made_op


def _leaks(module: Any) -> bool:
    return type(module).__name__.startswith("ExpLeak")


def _squeezes(module: Any) -> bool:
    return type(module).__name__.endswith("Squeeze")


def _spikes(module: Any) -> str:
    """Name the spike function: a class, or for MaxSpike an instance."""
    spike_fn = module.spike_fn
    return _own_name(spike_fn if isinstance(spike_fn, type) else type(spike_fn), "spike_generation")


def _own_name(kind: type, file: str) -> str:
    """Give the name of a class of sinabs's own, or an empty text."""
    return kind.__name__ if kind.__module__ == f"sinabs.activation.{file}" else ""


def _subtracts(module: Any) -> bool:
    return type(module.reset_fn).__name__ == "MembraneSubtract"


def _shift(module: Any) -> float:
    return 0.0 if _subtracts(module) else float(module.reset_fn.reset_value)


def _alpha_syn(module: Any) -> Any:
    """Give the decay of the synaptic current, None where there is none."""
    return None if _leaks(module) else module.alpha_syn_calculated


def _times(value: Number, factor: float) -> Number:
    return value * factor if factor else 0.0


def _less(value: Number, amount: float) -> Number:
    return np.asarray(value - amount) if np.ndim(value) else float(value) - amount
