"""What an ONNX file leaves open: how an ordinary network becomes a spiking one, and which tensors are states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from spikec.compiler.diagnostics import fail

Balance = Literal["layer", "channel"]
Form = Literal["auto", "ann", "step"]
Pooling = Literal["error", "spikes"]
Kind = Literal["auto", "spikes", "analog"]


@dataclass(frozen=True)
class OnnxOptions:
    """How to read an ONNX file.

    form: `ann` (ReLU becomes integrate-and-fire), `step` (a step with its states), or `auto`: what the file looks like.
    states: pairs `in:out` of the tensors that carry a state from step to step; empty: by names, data flow and order.
    input: what the network is given: `spikes`, `analog`, or `auto` (analog where ReLU is converted, else spikes).
    output: the result that is the network's output (empty: the first that is no state).
    percentile: of the activations of a layer on the calibration data, which becomes its threshold (99.9).
    balance: one threshold a `layer`, or one a `channel`.
    initial: membranes of a converted network start at this share of the threshold (0.5).
    reset: of a converted network: `subtract`, or `value` (to 0).
    maxpool: max pooling in a converted network: `error`, or `spikes`: each window sends a spike if any of it does.
    calibrate: samples (N, *shape) or (N, T, *shape) for the thresholds, an array or the path of an .npz or .npy file;
        the calibration data of a compilation serves where none are given.
    max_bytes: largest file that is read, external data counted.

    Raises:
        CompileError: a value that is not one of these.
    """

    form: Form = "auto"
    states: tuple[str, ...] | str = ()
    input: Kind = "auto"
    output: str = ""
    percentile: float = 99.9
    balance: Balance = "layer"
    initial: float = 0.5
    reset: Literal["subtract", "value"] = "subtract"
    maxpool: Pooling = "error"
    calibrate: Any = None
    max_bytes: int = 2_000_000_000

    def __post_init__(self) -> None:
        """Refuse what is not an option."""
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                message = f"{name} cannot be {getattr(self, name)!r}"
                raise fail("onnx/bad-option", message, "OnnxOptions", f"choose one of {', '.join(known)}")
        if not 0 < self.percentile <= 100 or not 0 <= self.initial < 1:
            message = f"percentile {self.percentile} or initial {self.initial} is out of range"
            raise fail("onnx/bad-option", message, "OnnxOptions", "percentile lies in (0, 100], initial in [0, 1)")
        for pair in self.pairs_given:
            if not all(pair):
                help = "write states=mem_in:mem_out,syn_in:syn_out"
                raise fail("onnx/bad-option", f"states cannot be {self.states!r}", "OnnxOptions", help)

    @property
    def pairs_given(self) -> tuple[tuple[str, str], ...]:
        """The pairs of `states`: (input, output)."""
        texts = (self.states,) if isinstance(self.states, str) else self.states
        parted = [text.partition(":") for text in texts if text]
        return tuple((before, after) for before, _, after in parted)


CHOICES = {
    "form": get_args(Form),
    "input": get_args(Kind),
    "balance": get_args(Balance),
    "reset": ("subtract", "value"),
    "maxpool": get_args(Pooling),
}
"""The options that are one of several words."""
