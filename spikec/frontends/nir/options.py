"""What NIR is silent about: the reader's choices, each with a default, each settable."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from spikec.compiler.diagnostics import fail
from spikec.compiler.neurons import SynapseOrder

Method = Literal["euler", "exponential"]
Integrator = Literal["step", "dt"]
Reset = Literal["value", "subtract"]
Spike = Literal["single", "multi"]
Compare = Literal[">", ">="]
Framework = Literal["snntorch", "norse", "sinabs", "rockpool", "spikingjelly"]
Initial = Literal["zero", "leak", "reset"]

DEFAULT_DT = 1e-4
"""Seconds a step where nothing says otherwise: what snnTorch's importer and the networks of the NIR paper use."""


@dataclass(frozen=True)
class NirOptions:
    """How to read what NIR does not say. None takes what spikec's own metadata in the file says, else the default.

    dt: seconds a step (1e-4).
    method: `euler`, a = 1 - dt/tau with gain r dt/tau (default); or `exponential`, a = exp(-dt/tau), gain r (1 - a).
    integrator: what IF and I, which have no time constant, add each step: `step`, r times the input (default, what
        every importer does), or `dt`, dt r times the input (the equation to the letter).
    reset: `value`, to v_reset, as NIR says (default); `subtract`, the threshold is taken away.
    spike: `single` (default), or `multi`, trunc(v / v_threshold) spikes a step, at most `max_spikes` (0: no limit).
    cmp: `>`, as NIR says (default), or `>=`.
    v_min: a lower bound of the membrane (default: none).
    v_init: a membrane starts at `zero` (default), at v_leak (`leak`), or at v_reset (`reset`).
    syn_order: how a synaptic current decays (`decay_add`; see `spikec.compiler.neurons.Neuron`).
    recurrent_bias: the step from which the bias of a recurrent connection acts, 0 (default) or 1.
    writer: the framework whose export this is (`from` on the command line and in `nir={"from": ...}`): its known
        defects are put right and named, and its own defaults are taken (`spikec.frontends.nir.writers`).
    reset_delay: snnTorch's, known to `from=snntorch` alone (true, its default).
    norm_input: sinabs's, known to `from=sinabs` alone (true, its default).
    metadata: whether to believe what spikec itself wrote beside the plain nodes.

    Raises:
        CompileError: a value that is not one of these.
    """

    dt: float | None = None
    method: Method | None = None
    integrator: Integrator | None = None
    reset: Reset | None = None
    spike: Spike | None = None
    max_spikes: int = 0
    cmp: Compare | None = None
    v_min: float | None = None
    v_init: Initial | None = None
    syn_order: SynapseOrder | None = None
    recurrent_bias: Literal[0, 1] | None = None
    writer: Framework | None = None
    reset_delay: bool | None = None
    norm_input: bool | None = None
    metadata: bool = True

    def __post_init__(self) -> None:
        """Refuse what is not an option."""
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in known:
                listed = ", ".join(str(k) for k in known)
                raise fail("nir/bad-option", f"{name} cannot be {value!r}", "NirOptions", f"choose one of {listed}")
        for name, owner in (("reset_delay", "snntorch"), ("norm_input", "sinabs")):
            if getattr(self, name) is not None and self.writer != owner:
                raise fail("nir/bad-option", f"{name} belongs to from={owner}", "NirOptions", f"add from={owner}")
        if self.dt is not None and not (isfinite(self.dt) and self.dt > 0):
            raise fail("nir/bad-option", f"dt cannot be {self.dt!r}", "NirOptions", "give seconds a step, above 0")
        if self.max_spikes < 0 or (self.v_min is not None and not isfinite(self.v_min)):
            message = f"max_spikes {self.max_spikes} or v_min {self.v_min} is out of range"
            raise fail("nir/bad-option", message, "NirOptions", "max_spikes is 0 or more, v_min a finite number")

    @property
    def rereads_time(self) -> bool:
        """Say whether the user asked for a reading of the time constants other than the file's own."""
        return any(getattr(self, name) is not None for name in ("dt", "method", "integrator", "syn_order"))


CHOICES = {
    "method": get_args(Method),
    "integrator": get_args(Integrator),
    "reset": get_args(Reset),
    "spike": get_args(Spike),
    "cmp": get_args(Compare),
    "v_init": get_args(Initial),
    "syn_order": ("decay_add", "add_decay", "add_use_decay"),
    "recurrent_bias": (0, 1),
    "writer": get_args(Framework),
    "reset_delay": (True, False),
    "norm_input": (True, False),
}
"""The options that are one of several words."""
