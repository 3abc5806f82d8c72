"""Rockpool 3.1: LIFTorch, its bitshift and membrane-only forms and ExpSynTorch as the neuron op, and LinearTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikec.compiler.ir import Op, Shape
from spikec.compiler.neurons import LI, Neuron, Number
from spikec.compiler.ops import Dropout, Linear
from spikec.compiler.weights import Array, Dense
from spikec.frontends.torch.adapter import Adapter, Inner, Outputs, Refusal, number
from spikec.frontends.torch.layers import LAYERS, PER_STEP, array
from spikec.frontends.torch.values import Layout, Port

SPIKING = ("LIFTorch", "LIFBitshiftTorch", "LIFNeuronTorch")
NEURONS = (*SPIKING, "ExpSynTorch")
DROPOUTS = ("UnitDropout", "TimeStepDropout")
PATCHED = "TorchModulePatch"
"""What Rockpool makes of a module of torch that is put into its Sequential."""
SPIKES = ("StepPWL", "PeriodicExponential")
BUFFERS = ("vmem", "isyn", "spikes")
OTHER_BACKEND = "use LIFTorch, which computes the same on any device"
UNSUPPORTED = {
    "aLIFTorch": "use LIFTorch: it has no hyperpolarisation after a spike",
    "LIFBaseTorch": "use LIFTorch",
    "RateTorch": "use LIFTorch: it spikes",
    "LowPass": "use ExpSynTorch, which takes its place in Rockpool too",
    "UpDownTorch": "encode the input before the network is given it",
    "BooleanState": "read the spikes, and keep the last one outside",
    **dict.fromkeys(("LIFExodus", "LIFMembraneExodus", "ExpSynExodus", "LIFSinabs", "LIFSlayer"), OTHER_BACKEND),
    **dict.fromkeys(("TWrapper", "ActWrapper"), "give spikec the network as it was; it quantizes by itself"),
}


class Rockpool(Adapter):
    """The adapter for Rockpool's torch modules, which take (N, T, *shape) and give (output, state, record)."""

    package = "rockpool"
    neurons = NEURONS
    unsupported = UNSUPPORTED
    layers = ("LinearTorch", *DROPOUTS)
    transient = BUFFERS
    forgets = ("and Rockpool starts every sample from what the first one left", "give the module all steps in one call")

    def setting_refusal(self, module: Any) -> Refusal | None:
        """Refuse noise, spike functions other than Rockpool's own, and thresholds and limits that never spike."""
        if float(module.noise_std) != 0:
            return f"noise_std={float(module.noise_std):g} makes every run another", "set noise_std to 0"
        if type(module).__name__ == "ExpSynTorch":
            return None
        if not _own_spikes(module):
            return "spike_generation_fn is not one of Rockpool's own", f"use {' or '.join(SPIKES)}"
        if not bool((module.threshold > 0).all()):
            return "threshold is not above 0", "use thresholds above 0"
        limit = module.max_spikes_per_dt
        if limit.numel() != 1 or limit < 1 or limit != limit.round():
            return "max_spikes_per_dt is no whole number from 1 on", "use one whole number for all neurons"
        return None

    def is_layer(self, module: Any) -> bool:
        """Take a layer of torch that Rockpool patched for what it was."""
        return type(module).__name__ in self.layers or _patched(module) in LAYERS

    def layout(self, module: Any) -> Layout | None:
        """Every module takes (N, T, *shape); a patched layer does if time makes no difference to it."""
        patched = _patched(module)
        return None if patched and patched not in PER_STEP else Layout(1)

    def states(self, module: Any) -> Mapping[str, Port]:
        """Name no state that a call could be handed: it keeps those of the first sample alone."""
        return {"vmem": "membrane"}

    def outputs(self, module: Any, result: Any) -> Outputs:
        """Name the spikes, and the membrane where it is recorded; ExpSynTorch gives its current."""
        if type(module).__name__ == "ExpSynTorch":
            return Outputs({"membrane": result})
        recorded = module._record_dict.get("vmem")
        return Outputs({"spikes": result} if recorded is None else {"spikes": result, "membrane": recorded})

    def prepare(self, module: Any, samples: int) -> None:
        """Put the states to zero, as reset_state does."""
        import torch

        for name in BUFFERS if type(module).__name__ in NEURONS else ():
            if name in module._buffers:
                module._buffers[name] = torch.zeros_like(module._buffers[name])

    def neuron(self, module: Any, shape: Shape, v_init: Number | None, dt: float) -> Neuron:
        """Give the neuron op: i = beta (i + I), v = alpha v + i + bias; it subtracts the threshold for every spike."""
        kind = type(module).__name__
        if kind == "ExpSynTorch":
            beta = number((-module.dt / module.tau).exp(), shape, "tau")
            return LI(beta, g_in=beta, dt=float(module.dt))
        limit = int(module.max_spikes_per_dt)
        synapse = kind != "LIFNeuronTorch" and _betas(module) is not None
        alpha = (-module.dt / module.tau_mem).exp() if kind == "LIFNeuronTorch" else module.alpha
        return Neuron(
            a_mem=number(alpha, shape, "alpha"),
            a_syn=number(_betas(module), shape, "beta") if synapse else 0.0,
            syn_order="add_decay" if synapse else "none",
            bias=number(module.bias, shape, "bias"),
            v_th=number(module.threshold, shape, "threshold"),
            cmp=">=",
            spike="single" if limit == 1 else "multi",
            max_spikes=0 if limit == 1 else limit,
            dt=float(module.dt),
        )

    def recurs(self, module: Any) -> bool:
        """Say whether the module was built with has_rec."""
        return "w_rec" in module._parameters

    def inner(self, module: Any, shape: Shape) -> Inner:
        """Give what sums the synapses of a neuron, and the recurrent weights, stored (out, in).

        Synapses of one neuron that decay alike are one current. If they do not, each is a leaky integrator of its own.
        """
        if type(module).__name__ not in ("LIFTorch", "LIFBitshiftTorch"):
            return Inner()
        each = int(module.n_synapses)
        together = np.repeat(np.eye(shape[0], dtype=np.float32), each, axis=1)
        feed: tuple[Op, ...] = () if each == 1 else (Linear(Dense(together)),)
        if _betas(module) is None:
            beta = number(module.beta.expand(shape[0], each).reshape(-1), (shape[0] * each,), "beta")
            feed = (LI(beta, g_in=beta, dt=float(module.dt)), *feed)
        if not self.recurs(module):
            return Inner(feed)
        if _betas(module) is None:
            raise ValueError("recurrent weights onto synapses of several tau_syn; give each neuron one")
        weights: Array = array(module.w_rec).T
        return Inner(feed, (Linear(Dense(weights.reshape(shape[0], each, -1).sum(axis=1))),))

    def layer(self, module: Any, given: Shape, made: Shape) -> Op | tuple[Op, ...] | None:
        """Give the op of LinearTorch, whose weights are stored (in, out), of a dropout, or of a patched layer."""
        kind = type(module).__name__
        if kind in DROPOUTS:
            return Dropout(float(module.p))
        if kind != "LinearTorch":
            return LAYERS[_patched(module)](module, given, made)
        weights = array(module.weight).T
        if given[-1:] != weights.shape[1:]:
            raise ValueError(f"{list(given)} is repeated to {weights.shape[1]} inputs; repeat it in the data")
        return Linear(Dense(weights.copy()), None if module.bias is None else np.broadcast_to(array(module.bias), made))


def _patched(module: Any) -> str:
    """Give the name of the torch class that Rockpool patched, or an empty text."""
    kind = type(module)
    if kind.__name__ != PATCHED:
        return ""
    inside = kind.__mro__[1]
    return inside.__name__ if inside.__module__.partition(".")[0] == "torch" else ""


def _own_spikes(module: Any) -> bool:
    kind = getattr(module.spike_generation_fn, "__self__", None)
    return isinstance(kind, type) and kind.__name__ in SPIKES and kind.__module__.startswith("rockpool.")


def _betas(module: Any) -> Any:
    """Give the decay of a neuron's synaptic current; None if its synapses decay differently."""
    beta = module.beta
    if beta.dim() < 2:
        return beta
    return beta[:, 0] if bool((beta == beta[:, :1]).all()) else None
