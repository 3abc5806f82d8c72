"""Neuron parameters of a `.net` layer: CUBA and LOIHI, with the fields that netx leaves out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikec.compiler.diagnostics import Sink, fail, remark, warning
from spikec.compiler.fixed import LOIHI2_ARITHMETIC, FixedNeuron, Whole
from spikec.compiler.netx import NEVER
from spikec.compiler.weights import Array
from spikec.frontends.netx.file import HELP, Entry

TYPES = ("CUBA", "LOIHI")
USED = {"type", "iDecay", "vDecay", "vThMant", "messageBits"}
NEUTRAL = {"refDelay": 1, "gradedSpike": 0, "wgtExp": 0}
"""What netx does not read, and the value at which it would do nothing."""

NUMERIC_LIMIT = 1 << 15
"""Lava keeps a bias mantissa in 16 bits."""


@dataclass(frozen=True)
class Reset:
    """netx's reset_interval (0: none) and reset_offset."""

    interval: int = 0
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Parameters:
    """The numbers of one population, and the message bits of the layer that reads it."""

    u_decay: Whole
    v_decay: Whole
    threshold: Whole
    message_bits: int = 0

    def neuron(self, bias: Whole, reset: Reset, position: int, channels: bool) -> FixedNeuron:
        """Make the neuron of the layer that is `position`-th among those with neurons.

        Arrays of parameters lie along the channels where `channels` (C, 1, 1), else along the outputs.
        """
        shaped = [_along(value, channels) for value in (self.threshold, self.v_decay, self.u_decay)]
        return FixedNeuron(
            threshold=shaped[0],
            v_decay=shaped[1],
            u_decay=shaped[2],
            bias=bias,
            bias_exp=6,
            reset_interval=reset.interval,
            reset_offset=(reset.offset + position) % reset.interval if reset.interval else 0,
            arithmetic=LOIHI2_ARITHMETIC,
        )


def parameters(layer: Entry, note: Sink, *, required: bool) -> Parameters:
    """Read a layer's neuron; where a dense layer has none, netx takes an integrator that never fires.

    Raises:
        CompileError: the neuron's type is not one that netx runs as CUBA, or a parameter is missing.
    """
    if "neuron" not in layer:
        if required:
            raise fail("netx/missing", "the layer has no 'neuron'", layer.where, HELP)
        message = "no neuron parameters: as in netx, the current adds up, nothing else is kept, and it never fires"
        note(remark("netx/no-neuron", message, layer.where))
        return Parameters(u_decay=0, v_decay=4096, threshold=NEVER)
    neuron = layer.group("neuron")
    kind = neuron.text("type")
    if kind not in TYPES:
        message = f"neurons of type '{kind}' are not supported"
        raise fail("netx/unknown-neuron", message, layer.where, f"supported are {' and '.join(TYPES)}")
    _remark_ignored(neuron, note)
    if "messageBits" in neuron:
        message = "netx 0.6.0 stops at 'messageBits'; neurons of this type send 0 or 1, so it changes nothing here"
        note(remark("netx/message-bits", message, layer.where))
    found = Parameters(
        neuron.whole("iDecay"),
        neuron.whole("vDecay"),
        neuron.whole("vThMant"),
        neuron.number("messageBits") if "messageBits" in neuron else 0,
    )
    if np.any(np.asarray(found.threshold) >= NEVER):
        note(remark("netx/never-fires", "the threshold lies above all that v can reach", layer.where))
    return found


def biases(layer: Entry, shape: tuple[int, ...], note: Sink) -> Whole:
    """Give the bias mantissas, shaped to broadcast against (N,) or (C, H, W).

    netx cuts fractions off; Lava keeps 16 bits of what is left, and so does this.
    """
    if "bias" not in layer:
        return 0
    given = layer.array("bias")
    whole = given.astype(np.int64)
    if np.any(whole != given):
        count = int(np.count_nonzero(whole != given))
        note(warning("netx/bias-altered", f"{count} biases have fractions, which netx cuts off", layer.where))
    kept = (whole + NUMERIC_LIMIT) % (2 * NUMERIC_LIMIT) - NUMERIC_LIMIT
    if np.any(kept != whole):
        count = int(np.count_nonzero(kept != whole))
        note(warning("netx/bias-altered", f"{count} biases do not fit 16 bits and wrap in Lava", layer.where))
    return _bias_shape(kept, shape, layer.where)


def _bias_shape(kept: Array, shape: tuple[int, ...], where: str) -> Whole:
    if kept.size == 1:
        return int(kept.reshape(-1)[0])
    if len(shape) == 1 and kept.shape == shape:
        return kept
    if len(shape) == 3 and kept.shape == shape[::-1]:  # one bias a neuron, in netx's order (W, H, C)
        return kept.transpose(2, 1, 0)
    if len(shape) == 3 and kept.shape == shape[:1]:
        return kept.reshape(-1, 1, 1)
    raise fail("netx/shape", f"bias of shape {list(kept.shape)} beside neurons of {list(shape)}", where, HELP)


def _along(value: Whole, channels: bool) -> Whole:
    return value.reshape(-1, 1, 1) if isinstance(value, np.ndarray) and channels else value


def _remark_ignored(neuron: Entry, note: Sink) -> None:
    ignored = [
        f"{name} = {_show(value)}"
        for name, value in neuron.values.items()
        if name not in USED and not (name in NEUTRAL and np.all(value == NEUTRAL[name]))
    ]
    if ignored:
        note(remark("netx/ignored", f"netx does not read {', '.join(ignored)}; nor is it read here", neuron.where))


def _show(value: Array) -> str:
    return str(value.reshape(-1)[0]) if value.size == 1 else f"array{list(value.shape)}"
