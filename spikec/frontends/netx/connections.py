"""Weighted connections of a `.net` layer: dense with delays, recurrent, convolution; integers as Lava holds them."""

from __future__ import annotations

import numpy as np

from spikec.compiler.diagnostics import Sink, fail, remark, warning
from spikec.compiler.ir import Shape
from spikec.compiler.netx import Loaded, load, load_together, sign_of
from spikec.compiler.ops import Conv2d, FixedSum, Linear, Pair
from spikec.compiler.weights import Array, Fixed
from spikec.frontends.netx.file import HELP, Entry

MAX_DELAY = 62
CONV_WIDTH = 24
"""Lava's convolution brings its sums back into 24 bits."""

KNOWN = {
    *("type", "shape", "weight", "weight_rec", "bias", "delay", "neuron", "stride", "padding", "dilation", "groups"),
    *("inFeatures", "outFeatures", "inChannels", "outChannels", "kernelSize"),
}


def dense(layer: Entry, outputs: int, message_bits: int, note: Sink) -> Linear:
    """Read a dense connection."""
    matrix = _matrix(layer, "weight", outputs, note)
    _remark_unread(layer, note, also=frozenset({"weight_rec"}))
    delays = _delays(layer, (outputs, matrix.shape[1]), note) if "delay" in layer else None
    weight = _loaded(layer, load(matrix), note).fixed
    return Linear(weight, None, 1, delays, FixedSum(message_bits))


def recurrent(layer: Entry, outputs: int, message_bits: int, note: Sink) -> tuple[Linear, Linear]:
    """Read a dense connection and the one from its neurons to themselves, which share width and exponent."""
    if "delay" in layer:
        raise fail("netx/recurrent-delay", "a recurrent layer with delays does not run in netx", layer.where)
    forward, back = _matrix(layer, "weight", outputs, note), _matrix(layer, "weight_rec", outputs, note)
    _remark_unread(layer, note)
    if back.shape != (outputs, outputs):
        raise fail("netx/shape", f"weight_rec has shape {list(back.shape)} beside {outputs} neurons", layer.where, HELP)
    weights = [_loaded(layer, part, note, alone=False).fixed for part in load_together([forward, back])]
    sums = FixedSum(message_bits)
    return Linear(weights[0], None, 1, None, sums), Linear(weights[1], None, 0, None, sums)


def _holds(values: Array, limits: Pair) -> bool:
    return bool(values.min() >= limits[0] and values.max() <= limits[1])


def conv(layer: Entry, message_bits: int, note: Sink) -> Conv2d:
    """Read a convolution: file and IR both have (out, in / groups, height, width), cross-correlation.

    netx and Lava leave these integers as they are: no clipping, no exponent.
    """
    given = layer.array("weight")
    if given.ndim not in (4, 5) or given.shape[4:] not in ((), (1,)):
        raise fail("netx/shape", f"a convolution's weight has shape {list(given.shape)}", layer.where, HELP)
    kernel = _whole_weights(layer, "weight", given.reshape(given.shape[:4]), note)
    if "delay" in layer:
        message = "netx does not read the delays of a convolution; nor are they read here"
        note(warning("netx/ignored", message, layer.where, "train without delays in convolutions"))
    _remark_unread(layer, note)
    padding = _pair(layer, "padding")
    return Conv2d(
        grid(kernel),
        None,
        _pair(layer, "stride"),
        ((padding[0], padding[0]), (padding[1], padding[1])),
        _pair(layer, "dilation"),
        layer.number("groups"),
        1,
        FixedSum(message_bits, CONV_WIDTH),
    )


def grid(kernel: Array) -> Fixed:
    """Hold a kernel on Loihi's 8-bit grid where it lies on it, else in as many bits as it needs."""
    sign = sign_of(kernel)
    step = 2 if sign == "mixed" and not np.any(kernel % 2) else 1
    width = next(w for w in range(8, 33) if _holds(kernel, Fixed.limits(w, sign, step)))
    return Fixed(kernel, 0, width, sign, step)


def check_shape(layer: Entry, op: Linear | Conv2d, given: Shape | None, expected: Shape) -> None:
    """Compare the shape that the connection makes with the one that the file says."""
    assert given is not None
    try:
        made = op.shape(given)
    except ValueError as error:
        raise fail("netx/shape", f"{error}", layer.where, "check the layers before it") from error
    if made != expected:
        message = f"the layer makes {list(made)}, and the file says {list(expected)}"
        raise fail("netx/shape", message, layer.where, HELP)


def _matrix(layer: Entry, name: str, outputs: int, note: Sink) -> Array:
    if f"{name}/imag" in layer or f"{name}/real" in layer:
        raise fail("netx/complex", "complex weights belong to resonators, which are not supported", layer.where)
    given = layer.array(name)
    if given.size == 0 or given.ndim not in (1, 2) or given.size % outputs:
        message = f"'{name}' of shape {list(given.shape)} does not make {outputs} outputs"
        raise fail("netx/shape", message, layer.where, HELP)
    matrix = given.reshape(outputs, -1) if given.ndim == 1 else given
    if matrix.shape[0] != outputs:
        message = f"'{name}' of shape {list(given.shape)} does not make {outputs} outputs"
        raise fail("netx/shape", message, layer.where, HELP)
    return _whole_weights(layer, name, matrix, note)


def _whole_weights(layer: Entry, name: str, given: Array, note: Sink) -> Array:
    whole = given.astype(np.int64)
    cut = int(np.count_nonzero(whole != given))
    if cut:
        message = f"{cut} entries of '{name}' have fractions, which netx cuts off"
        note(warning("netx/weights-altered", message, layer.where, "quantize before the export"))
    return whole


def _loaded(layer: Entry, loaded: Loaded, note: Sink, *, alone: bool = True) -> Loaded:
    if not loaded.altered and not alone and not loaded.values.any():
        return loaded  # a part of zeros beside another
    if loaded.fault == "all-zero":
        message = "every weight is 0; netx stops at such a layer (OverflowError), here it is read as it is"
        note(warning("netx/all-zero", message, layer.where))
    elif loaded.fault:
        message = "the weights do not fit 8 bits, and netx would turn every one of them into 0"
        raise fail("netx/weight-range", message, layer.where, "keep weights of one sign within 255, mixed in -256..254")
    elif loaded.altered:
        message = f"{loaded.altered} weights do not fit 8 bits: netx and Lava change them, and so they are read"
        note(warning("netx/weights-altered", message, layer.where, "keep mixed weights even, in -256..254"))
    return loaded


def _delays(layer: Entry, shape: Pair, note: Sink) -> Array | None:
    given = layer.array("delay")
    whole = given.astype(np.int64)
    if np.any(whole != given):
        note(warning("netx/delay-altered", "delays have fractions, which netx cuts off", layer.where))
    if whole.max(initial=0) > MAX_DELAY or whole.min(initial=0) < 0:
        low, high = int(whole.min()), int(whole.max())
        message = f"delays lie in [{low}, {high}]; Loihi holds 0..{MAX_DELAY}, and netx would cut longer ones"
        raise fail("netx/delay-limit", message, layer.where, f"train with delays of at most {MAX_DELAY} steps")
    if whole.ndim == 0:
        full = np.broadcast_to(whole, shape)
    elif whole.ndim == 1 and whole.size == shape[0]:
        full = np.broadcast_to(whole.reshape(-1, 1), shape)
    elif whole.ndim == 1 and whole.size == shape[1]:
        full = np.broadcast_to(whole.reshape(1, -1), shape)
    elif whole.shape == shape:
        full = whole
    else:
        message = f"delays of shape {list(whole.shape)} beside weights of {list(shape)}"
        raise fail("netx/shape", message, layer.where, HELP)
    if whole.ndim == 1 and shape[0] == shape[1]:
        note(
            remark("netx/delay-rows", "delays of a square layer are read by netx as those of its outputs", layer.where)
        )
    return np.array(full) if full.any() else None


def _pair(layer: Entry, name: str) -> Pair:
    value = layer.whole(name)
    if isinstance(value, int):
        return (value, value)
    if value.shape != (2,):
        raise fail("netx/shape", f"'{name}' has shape {list(value.shape)}; one or two numbers are needed", layer.where)
    return (int(value[0]), int(value[1]))


def _remark_unread(layer: Entry, note: Sink, also: frozenset[str] = frozenset()) -> None:
    names = {key.split("/")[0] for key in layer.values}
    unread = sorted((names - KNOWN) | (names & also))
    if unread:
        note(remark("netx/ignored", f"netx does not read {', '.join(unread)}; nor is it read here", layer.where))
