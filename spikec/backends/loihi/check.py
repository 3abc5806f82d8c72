"""What Loihi 2 can hold and its neuron can say: one small rule for each limit, named like a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from spikec.backends.loihi.beyond import CUSTOM, Rule, allowed
from spikec.backends.loihi.lavaneuron import never_fires
from spikec.backends.loihi.partition import partition
from spikec.compiler.diagnostics import CompileError, Diagnostic, warning
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv1d, Conv2d, Delay, Flatten, Input, Linear, Output, Reshape
from spikec.compiler.target import Target, in_python
from spikec.compiler.verify import is_fixed, verify
from spikec.compiler.weights import Array, Fixed, unwrapped

PLACED = (Input, Output, Linear, Conv1d, Conv2d, Flatten, Reshape, Delay, FixedNeuron)
MESSAGE_BITS = 24
"""Widest graded message of Lava's models."""


def findings(graph: Graph, target: Target, *, allow_custom: bool) -> Iterator[Diagnostic]:
    """Yield every reason why the graph does not fit, or does not mean the same, on Loihi 2.

    What Loihi's own neuron cannot say, but a process of ours could, is an error, or with `allow_custom` a remark.
    """
    if not is_fixed(graph):
        message = "the network is in floating point; Loihi 2 computes with integers"
        yield Diagnostic("loihi/not-fixed", message, graph.name, "quantize it: spikec compile -t loihi2 does")
        return
    try:
        verify(graph)
    except CompileError as error:
        yield from error.diagnostics
        return
    found = [d for node in graph for rule in RULES for d in rule(graph, node, target)]
    yield from found
    customs = [d for node in graph for rule in CUSTOM for d in rule(graph, node, target)]
    yield from map(allowed, customs) if allow_custom else customs
    if found:
        return
    yield from _lava(graph, {d.where for d in customs}, allow_custom=allow_custom)
    try:
        partition(graph)
    except CompileError as error:
        yield from error.diagnostics


def every_op_has_a_place(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Pools and scales must have become connections."""
    if not isinstance(node.op, PLACED):
        choice = in_python(maxpool="spikes")
        help_ = f"lower the graph for loihi2: pools become connections, MaxPool needs --maxpool=spikes ({choice})"
        yield Diagnostic("loihi/no-lava-form", f"Loihi 2 has no {node.op.mnemonic}", node.where, help_)


def weights_lie_on_the_8_bit_grid(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Mixed weights are the even numbers of [-256, 254], those of one sign 0..255; a power of two may move aside."""
    weight = _weight(node)
    if weight is None or not weight.values.any():
        return
    values = np.asarray(weight.values, np.int64)
    if isinstance(node.op, Linear):
        values = values >> _zeros(values)  # the exponent can take the common power of two
        low, high = (-128, 127) if _mixed(values) else (-255, 255)
        grid = "" if _mixed(values) else " of one sign"
    else:
        low, high = (-256, 254) if _mixed(values) else (-255, 255)
        grid = ", even, without an exponent" if _mixed(values) else " of one sign"
        if _mixed(values) and np.any(values % 2):
            low, high = 0, -1
    if values.min() < low or values.max() > high:
        message = f"weights span [{weight.values.min()}, {weight.values.max()}] and do not fit into 8 bits{grid}"
        yield Diagnostic("loihi/weight-range", message, node.where, "quantize to 8 bits: quantize{bits=8}")


def a_connection_has_one_exponent(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """A channel's scale goes through the thresholds of its neurons."""
    weight = _weight(node)
    if weight is not None and np.unique(np.asarray(weight.exponent)).size > 1:
        count = np.unique(np.asarray(weight.exponent)).size
        message = f"the channels have {count} different weight exponents; a Loihi connection has one"
        help_ = "quantize with one exponent a connection; a channel's scale goes into the thresholds of its neurons"
        yield Diagnostic("loihi/channel-exponent", message, node.where, help_)


def a_convolution_has_no_exponent(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Loihi's convolutions are not shifted."""
    weight = _weight(node)
    if weight is not None and isinstance(node.op, Conv1d | Conv2d) and np.any(np.asarray(weight.exponent) != 0):
        exponent = int(np.asarray(weight.exponent).reshape(-1)[0])
        message = f"a convolution has the weight exponent {exponent}; on Loihi 2 it has none"
        help_ = "quantize the kernel with exponent 0 and scale its neurons"
        yield Diagnostic("loihi/conv-exponent", message, node.where, help_)


def exponents_lie_in_range(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Four bits with sign, after the mantissas have taken what they can."""
    weight = _weight(node)
    if weight is None or not isinstance(node.op, Linear) or not weight.values.any():
        return
    if np.unique(np.asarray(weight.exponent)).size > 1:
        return
    values = np.asarray(weight.values, np.int64)
    least, most = target.exponents
    exponent = int(np.asarray(weight.exponent).reshape(-1)[0])
    core = values >> _zeros(values)
    highest = exponent + _zeros(values) - int(_mixed(values))
    room = 0
    while np.abs(core).max() << (room + 1) <= (127 if _mixed(values) else 255):
        room += 1
    if highest < least or highest - room > most:
        message = f"the weight exponent {exponent} lies outside {least}..{most}"
        yield Diagnostic("loihi/exponent-range", message, node.where, "scale the layer, or its neurons' thresholds")


def connections_take_one_step(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Every connection takes one step; one that reads the previous step has it already."""
    if not isinstance(node.op, Linear | Conv1d | Conv2d):
        return
    late = [name for name in node.inputs if graph.is_recurrent(name, node.name)]
    wanted = 0 if late and len(late) == len(node.inputs) else target.latency
    if node.op.latency < wanted or (not late and node.op.latency != wanted):
        message = (
            f"the connection has latency {node.op.latency}; on Loihi 2 every connection takes {target.latency} step"
        )
        yield Diagnostic("loihi/no-step", message, node.where, "run balance-delays for loihi2")


def delays_lie_in_range(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """A synapse adds at most 62 steps."""
    delays = node.op.steps if isinstance(node.op, Delay) else getattr(node.op, "delays", None)
    if delays is not None and np.max(delays, initial=0) > target.max_delay:
        message = f"a delay of {int(np.max(delays))} steps; Loihi 2 has at most {target.max_delay}"
        help_ = "train with shorter delays, or with a larger time step"
        yield Diagnostic("loihi/delay-range", message, node.where, help_)


def messages_have_a_width(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Spikes, or graded messages of at most 24 bits."""
    bits = getattr(node.op if isinstance(node.op, Input) else getattr(node.op, "sum", None), "message_bits", 0)
    if not 0 <= bits <= MESSAGE_BITS:
        message = f"messages of {bits} bits; Loihi 2 sends at most {MESSAGE_BITS}"
        yield Diagnostic("loihi/message-bits", message, node.where, "quantize the input to fewer bits")


def spikes_do_not_carry_grades(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """An analog input would be cut to 0 or 1 by a connection that takes spikes."""
    total = getattr(node.op, "sum", None)
    if total is None or total.message_bits:
        return
    for name in node.inputs:
        source = graph[name].op
        if isinstance(source, Input) and source.message_bits:
            message = f"the input sends messages of {source.message_bits} bits, and the connection takes spikes alone"
            yield Diagnostic("loihi/message-bits", message, node.where, "give the connection the input's message bits")


def thresholds_have_17_bits(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """A mantissa of 17 bits; a membrane that is read out and never fires needs none."""
    op = node.op
    if not isinstance(op, FixedNeuron) or (op.readout == "membrane" and never_fires(op)):
        return
    low, high = int(np.min(op.threshold)), int(np.max(op.threshold))
    if low < 0 or high > target.threshold_max:
        message = f"threshold mantissas span [{low}, {high}], outside 0..{target.threshold_max}"
        help_ = "scale weights and threshold down together; above the range a neuron never fires"
        yield Diagnostic("loihi/threshold-range", message, node.where, help_)


def biases_have_13_bits(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """A mantissa of 12 bits and sign, shifted left by 0..7."""
    if not isinstance(node.op, FixedNeuron):
        return
    low, high, top = int(np.min(node.op.bias)), int(np.max(node.op.bias)), target.bias_max
    if low < -top - 1 or high > top:
        message = f"bias mantissas span [{low}, {high}], outside {-top - 1}..{top}"
        yield Diagnostic("loihi/bias-range", message, node.where, "use a larger bias exponent, or scale the layer down")
    least, most = target.bias_exponents
    if not least <= node.op.bias_exp <= most:
        message = f"the bias exponent {node.op.bias_exp} lies outside {least}..{most}"
        yield Diagnostic("loihi/bias-exponent", message, node.where, "scale the layer")


def decays_have_12_bits(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Decay constants lie in 0..4096."""
    if not isinstance(node.op, FixedNeuron):
        return
    for name in ("u_decay", "v_decay"):
        value = getattr(node.op, name)
        if value is not None and (np.min(value) < 0 or np.max(value) > 4096):
            message = f"{name} spans [{np.min(value)}, {np.max(value)}], outside 0..4096"
            yield Diagnostic("loihi/decay-range", message, node.where, "a decay keeps (4096 - d) / 4096 of the state")


def the_arithmetic_is_loihis(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """Widths, decay and overflow are those of the chip."""
    if isinstance(node.op, FixedNeuron) and node.op.arithmetic != target.arithmetic:
        message = f"the neuron computes as '{node.op.arithmetic.name}', the chip as '{target.arithmetic.name}'"
        yield Diagnostic("loihi/arithmetic", message, node.where, "quantize for loihi2")


def resets_have_a_power_of_two(graph: Graph, node: Node, target: Target) -> Iterator[Diagnostic]:
    """On the chip a reset interval is a power of two; Lava runs any."""
    if isinstance(node.op, FixedNeuron) and node.op.reset_interval & (node.op.reset_interval - 1):
        message = f"a reset interval of {node.op.reset_interval} steps runs on Lava; the chip needs a power of two"
        yield warning("loihi/reset-interval", message, node.where, "pad the samples to a power of two steps")


RULES: tuple[Rule, ...] = (
    every_op_has_a_place,
    weights_lie_on_the_8_bit_grid,
    a_connection_has_one_exponent,
    a_convolution_has_no_exponent,
    exponents_lie_in_range,
    connections_take_one_step,
    delays_lie_in_range,
    messages_have_a_width,
    spikes_do_not_carry_grades,
    thresholds_have_17_bits,
    biases_have_13_bits,
    decays_have_12_bits,
    the_arithmetic_is_loihis,
    resets_have_a_power_of_two,
)


def _lava(graph: Graph, told: set[str], *, allow_custom: bool) -> Iterator[Diagnostic]:
    """Yield what stands against the Lava network, and the processes of our own that no rule has named yet."""
    from spikec.backends.loihi.lavanet import custom_nodes

    try:
        customs: Mapping[str, tuple[str, ...]] = custom_nodes(graph)
    except CompileError as error:
        yield from error.diagnostics
        return
    for name, reasons in customs.items():
        if graph[name].where not in told:
            choice = in_python(reset="exact")
            help_ = f"allow a process of our own (--reset=exact, {choice}); a real chip needs microcode for it"
            found = Diagnostic("loihi/custom", "; ".join(reasons), graph[name].where, help_)
            yield allowed(found) if allow_custom else found


def _weight(node: Node) -> Fixed | None:
    if not isinstance(node.op, Linear | Conv1d | Conv2d):
        return None
    weight = unwrapped(node.op.weight)
    return weight if isinstance(weight, Fixed) else None


def _mixed(values: Array) -> bool:
    return bool(values.min() < 0 < values.max())


def _zeros(values: Array) -> int:
    """Count the low bits that are zero in every value."""
    union = int(np.bitwise_or.reduce(np.abs(values).reshape(-1)))
    return (union & -union).bit_length() - 1
