"""Norse 1.1: the cells LIFBox, LIF, IAF and LI, recurrent ones, and their modules over time, as the one neuron op."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikec.compiler.ir import Shape
from spikec.compiler.neurons import IF, LI, LIF, CubaLIF, Neuron, Number
from spikec.compiler.ops import Linear
from spikec.compiler.weights import Dense
from spikec.frontends.torch.adapter import Adapter, Inner, Outputs, Refusal, number
from spikec.frontends.torch.layers import array
from spikec.frontends.torch.values import Layout, Port

CELLS = {
    "LIFBoxCell": "lif_box_feed_forward_step",
    "LIFCell": "lif_feed_forward_step",
    "LIFRecurrentCell": "lif_step",
    "IAFCell": "iaf_feed_forward_step",
    "LICell": "li_feed_forward_step",
    "LIBoxCell": "li_box_feed_forward_step",
    "LILinearCell": "",
}
"""Modules that do one step, and the function that does it."""
SEQUENCES = {
    "LIF": "lif_feed_forward_step",
    "LIFRecurrent": "lif_step",
    "IAF": "iaf_feed_forward_step",
    "LI": "li_feed_forward_step",
}
"""Modules that take (T, N, *shape)."""
STEPS = CELLS | SEQUENCES
NO_CURRENT = ("LIFBoxCell", "IAFCell", "IAF", "LIBoxCell")
LEAKS = ("LICell", "LI", "LIBoxCell", "LILinearCell")
METHODS = ("super", "heaviside", "triangle", "tanh", "circ", "heavi_erfc")
"""Surrogates whose forward is a step above 0."""

PLAIN_CELL, PLAIN_RECURRENT, PLAIN = "use LIFCell", "use LIFRecurrentCell", "use LIF"
IN_DATA = "encode the input before the network is given it"
FIELD = "give its kernels to a Conv2d as weights"
UNSUPPORTED = {
    **dict.fromkeys(
        ("SNNCell", "SNN"), "use LIFCell, LIF or another class of Norse: its activation may be any function"
    ),
    **dict.fromkeys(
        ("SNNRecurrentCell", "SNNRecurrent"), "use LIFRecurrentCell or LIFRecurrent: its activation may be any function"
    ),
    **dict.fromkeys(("LIFAdExCell", "LIFExCell", "LIFAdExRefracCell"), f"{PLAIN_CELL}: its leak is linear"),
    **dict.fromkeys(("LIFAdEx", "LIFEx"), f"{PLAIN}: its leak is linear"),
    **dict.fromkeys(
        ("LIFAdExRecurrentCell", "LIFExRecurrentCell", "LIFAdExRefracRecurrentCell"),
        f"{PLAIN_RECURRENT}: its leak is linear",
    ),
    **dict.fromkeys(
        ("LIFAdExRecurrent", "LIFExRecurrent", "LIFAdExRefracRecurrent"), "use LIFRecurrent: its leak is linear"
    ),
    "LIFRefracCell": f"{PLAIN_CELL}: it has no refractory time",
    "LIFRefracRecurrentCell": f"{PLAIN_RECURRENT}: it has no refractory time",
    "LIFRefracRecurrent": "use LIFRecurrent: it has no refractory time",
    **dict.fromkeys(
        ("LIFMCRecurrentCell", "LIFMCRefracRecurrentCell"), f"{PLAIN_RECURRENT}: it has one compartment a neuron"
    ),
    "LIFCorrelation": f"{PLAIN_RECURRENT}: it learns nothing while it runs",
    "CobaLIFCell": f"{PLAIN_CELL}: its synapses are currents, not conductances",
    "LSNNCell": f"{PLAIN_CELL}: its threshold does not adapt",
    "LSNN": f"{PLAIN}: its threshold does not adapt",
    "LSNNRecurrentCell": f"{PLAIN_RECURRENT}: its threshold does not adapt",
    "LSNNRecurrent": "use LIFRecurrent: its threshold does not adapt",
    **dict.fromkeys(("IzhikevichCell", "Izhikevich"), f"{PLAIN_CELL}: its membrane follows a linear equation"),
    **dict.fromkeys(
        ("IzhikevichRecurrentCell", "IzhikevichRecurrent"), f"{PLAIN_RECURRENT}: its membrane follows a linear equation"
    ),
    "RecurrentSequential": "write the loop over time in forward: x + the output of the step before",
    "RegularizationCell": "leave it out after training: it passes spikes on and counts them",
    "LConv2d": "use Lift(torch.nn.Conv2d(...))",
    "ExpFilter": "use LIBoxCell",
    "SpikesToTimesDecoder": "return the spikes, and decode what spikec returns",
    **dict.fromkeys(
        (
            "ConstantCurrentLIFEncoder",
            "PoissonEncoder",
            "PoissonEncoderStep",
            "PopulationEncoder",
            "SignedPoissonEncoder",
            "SignedPoissonEncoderStep",
            "SpikeLatencyEncoder",
            "SpikeLatencyLIFEncoder",
        ),
        IN_DATA,
    ),
    **dict.fromkeys(
        ("SpatialReceptiveField2d", "SampledSpatialReceptiveField2d", "ParameterizedSpatialReceptiveField2d"), FIELD
    ),
    "TemporalReceptiveField": "use LIBoxCell with a time constant a channel",
}


class Norse(Adapter):
    """The adapter for Norse."""

    package = "norse"
    neurons = STEPS
    unsupported = UNSUPPORTED

    def setting_refusal(self, module: Any) -> Refusal | None:
        """Refuse another activation, surrogates that are no step or are random, and other ways of reset."""
        name, p = type(module).__name__, module.p
        activation = getattr(module, "activation", None)
        if activation is not None and not _is_own(activation, STEPS[name]):
            return "its activation was replaced", f"use {name} as Norse makes it"
        if name not in LEAKS and p.method not in METHODS:
            return f"method='{p.method}' is not a step at the threshold", f"use one of {', '.join(METHODS)}"
        if name == "LIFBoxCell" and not any(
            _is_own(p.reset_method, known) for known in ("reset_value", "reset_subtract")
        ):
            return "reset_method is not one of Norse's own", "use reset_value or reset_subtract"
        return None

    def layout(self, module: Any) -> Layout | None:
        """Cells take one step, modules over time (T, N, *shape)."""
        return Layout(0) if type(module).__name__ in SEQUENCES else None

    def states(self, module: Any) -> Mapping[str, Port]:
        """Give the fields of the state's tuple."""
        name = type(module).__name__
        states: dict[str, Port] = {"z": "spikes"} if self.recurs(module) else {}
        states["v"] = "membrane"
        if name not in NO_CURRENT:
            states["i"] = "synapse"
        return states

    def given(self, module: Any, args: Any, kwargs: Any) -> Mapping[str, Any]:
        """Give the fields of the state that a call was handed."""
        state = args[1] if len(args) > 1 else kwargs.get("state")
        return {} if state is None else {name: getattr(state, name) for name in self.states(module)}

    def outputs(self, module: Any, result: Any) -> Outputs:
        """Name the spikes or the membrane, and the fields of the new state: of every step if they are recorded."""
        first, state = result
        made: dict[Port, Any] = {port: getattr(state, name) for name, port in self.states(module).items()}
        made["membrane" if type(module).__name__ in LEAKS else "spikes"] = first
        if type(module).__name__ in CELLS or module.record_states:
            return Outputs(made)
        return Outputs(
            {port: t for port, t in made.items() if t is first}, {p: t for p, t in made.items() if t is not first}
        )

    def prepare(self, module: Any, samples: int) -> None:
        """Do nothing: Norse keeps no state in its modules."""

    def neuron(self, module: Any, shape: Shape, v_init: Number | None, dt: float) -> Neuron:
        """Give the neuron op of an Euler step of the module's own dt.

        LIF, LI: j = i + I; v = v + dt / tau_mem (v_leak - v + j); i = j - dt / tau_syn j. Boxes: v_leak - v + I
        instead. IAF: v = v + I.
        """
        import torch

        name, p = type(module).__name__, module.p
        leaks, boxed = name in LEAKS, name in NO_CURRENT
        fields: dict[str, Any] = {"dt": dt}
        if not leaks:
            fields |= {"v_th": number(torch.as_tensor(p.v_th), shape, "v_th"), "cmp": ">", **_reset(p, shape)}
        if name in ("IAFCell", "IAF"):
            return IF(**fields, v_init=fields["v_reset"] if v_init is None else v_init)
        v_leak = number(torch.as_tensor(p.v_leak), shape, "v_leak")
        rate = module.dt * torch.as_tensor(p.tau_mem_inv)
        fields |= {"v_leak": v_leak, "v_init": v_leak if v_init is None else v_init}
        a_mem, fields["g_syn"] = number(1 - rate, shape, "tau_mem_inv"), number(rate, shape, "tau_mem_inv")
        if boxed:
            return LI(a_mem, **fields) if leaks else LIF(a_mem, **fields)
        a_syn = number(1 - module.dt * torch.as_tensor(p.tau_syn_inv), shape, "tau_syn_inv")
        if leaks:
            return LI(a_mem, a_syn=a_syn, syn_order="add_use_decay", **fields)
        return CubaLIF(a_syn, a_mem, syn_order="add_use_decay", **fields)

    def recurs(self, module: Any) -> bool:
        """Say whether the class has recurrent weights."""
        return hasattr(module, "recurrent_weights")

    def inner(self, module: Any, shape: Shape) -> Inner:
        """Give the input and recurrent weights of the modules that have them inside."""
        if not hasattr(module, "input_weights"):
            return Inner()
        back = (_dense(module.recurrent_weights),) if self.recurs(module) else ()
        return Inner((_dense(module.input_weights),), back)


def _reset(p: Any, shape: Shape) -> dict[str, Any]:
    import torch

    v_reset = number(torch.as_tensor(p.v_reset), shape, "v_reset")
    subtracts = _is_own(getattr(p, "reset_method", None), "reset_subtract")
    return {"reset": "subtract" if subtracts else "value", "v_reset": v_reset}


def _is_own(function: Any, name: str) -> bool:
    """Say whether a function is Norse's own of that name."""
    own = getattr(function, "__module__", "").partition(".")[0] == "norse"
    return own and getattr(function, "__name__", "") == name


def _dense(weights: Any) -> Linear:
    return Linear(Dense(array(weights)))
