"""The operations a graph is made of, other than the neuron: inputs, weighted connections, pools, reshapes, delays."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import numpy as np

from spikec.compiler.fields import broadcasts, freeze_arrays
from spikec.compiler.ir import Op, Shape
from spikec.compiler.weights import Array, Weight

Pair = tuple[int, int]
Padding = tuple[Pair, ...]
"""Zeros put before and after each spatial axis: ((top, bottom), (left, right)) for an image."""


@dataclass(frozen=True)
class FixedSum:
    """The integer arithmetic of a weighted connection in a fixed graph.

    A message x counts as 1 if it is not 0 when `message_bits` is 0 (a spike), else as the integer that it is (a graded
    message). acc = sum_j w_j x_j; the weight's exponent shifts the whole sum (e > 0: acc << e, else acc >> -e,
    arithmetic, so a floor); the result is wrapped to `width` bits. Delays of single synapses (`Linear.delays`) make
    one such sum for each delay, each shifted on its own.
    """

    message_bits: int = 0
    width: int = 32


@dataclass(frozen=True, eq=False)
class Input(Op):
    """What the network is given at every step: (N, T, *size).

    `kind` is `spikes` (0 or 1, or small counts), or `analog` (real numbers; an array without a time axis is repeated
    every step: direct coding). In a fixed graph an analog input is sent as graded messages: the integer
    round(x / scale), clipped to `message_bits` bits and sign (`message_bits` 0: spikes as they are).
    """

    size: Shape
    kind: Literal["spikes", "analog"] = "spikes"
    scale: float = 1.0
    message_bits: int = 0
    mnemonic: ClassVar[str] = "input"

    def shape(self, given: Shape) -> Shape:
        """Give `size`."""
        return self.size


@dataclass(frozen=True, eq=False)
class Output(Op):
    """A result of the network: passes its input through."""

    mnemonic: ClassVar[str] = "output"

    def shape(self, given: Shape) -> Shape:
        """Keep the shape."""
        return given


@dataclass(frozen=True, eq=False)
class Linear(Op):
    """out = W x + b, over the last axis of the input; W (out, in), b (out,).

    `latency` is the number of steps the connection takes (0 as trained, 1 on Loihi). `delays`, integers (out, in),
    are what single synapses add to it: out_i[t] = sum_j w_ij x_j[t - latency - delays_ij], zero before.
    `sum` is the integer arithmetic of a fixed graph, None in a float graph.
    """

    weight: Weight
    bias: Array | None = None
    latency: int = 0
    delays: Array | None = None
    sum: FixedSum | None = None
    mnemonic: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        freeze_arrays(self, "bias", "delays")

    def shape(self, given: Shape) -> Shape:
        """Replace the last axis: (..., in) to (..., out)."""
        out, columns = self.weight.shape
        if not given or given[-1] != columns:
            raise ValueError(f"linear of {columns} inputs is given shape {list(given)}")
        return (*given[:-1], out)


@dataclass(frozen=True, eq=False)
class _Conv(Op):
    """Cross-correlation as in torch: W (out, in / groups, *kernel), b (out,), input (in, *space)."""

    weight: Weight
    bias: Array | None = None
    stride: tuple[int, ...] = ()
    padding: Padding = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    latency: int = 0
    sum: FixedSum | None = None
    rank: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """Fill in the defaults: stride 1, no padding, dilation 1."""
        freeze_arrays(self, "bias")
        for name, default in (("stride", 1), ("dilation", 1), ("padding", (0, 0))):
            if not getattr(self, name):
                object.__setattr__(self, name, (default,) * self.rank)

    @property
    def kernel(self) -> tuple[int, ...]:
        """Size of the kernel on each spatial axis."""
        return self.weight.shape[2:]

    def shape(self, given: Shape) -> Shape:
        """Give (out, *space)."""
        out, fan = self.weight.shape[:2]
        if len(given) != self.rank + 1 or given[0] != fan * self.groups:
            raise ValueError(f"{self.mnemonic} of {fan * self.groups} input channels is given shape {list(given)}")
        if out % self.groups:
            raise ValueError(f"{self.mnemonic} has {out} output channels, which {self.groups} groups do not divide")
        reach = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return (out, *windows(given[1:], reach, self.stride, self.padding, self.mnemonic))


@dataclass(frozen=True, eq=False)
class Conv1d(_Conv):
    """out[o, x] = b[o] + sum_{c,k} W[o, c, k] in[c, x * stride + k * dilation - padding]."""

    mnemonic: ClassVar[str] = "conv1d"
    rank: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class Conv2d(_Conv):
    """out[o, y, x] = b[o] + sum_{c,i,j} W[o, c, i, j] in[c, y * stride + i * dilation - padding, ...]."""

    mnemonic: ClassVar[str] = "conv2d"
    rank: ClassVar[int] = 2


@dataclass(frozen=True, eq=False)
class _Pool(Op):
    """A window over the spatial axes of an input (channels, *space); `kernel` has one entry a spatial axis (1 or 2)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: Padding = ()

    def __post_init__(self) -> None:
        """Fill in the defaults: stride = kernel, no padding."""
        if not self.stride:
            object.__setattr__(self, "stride", tuple(self.kernel))
        if not self.padding:
            object.__setattr__(self, "padding", ((0, 0),) * len(self.kernel))

    def shape(self, given: Shape) -> Shape:
        """Give (channels, *space)."""
        if len(given) != len(self.kernel) + 1:
            raise ValueError(f"{self.mnemonic} over {len(self.kernel)} spatial axes is given shape {list(given)}")
        return (given[0], *windows(given[1:], self.kernel, self.stride, self.padding, self.mnemonic))


@dataclass(frozen=True, eq=False)
class SumPool(_Pool):
    """Sum of each window; padding adds zeros."""

    mnemonic: ClassVar[str] = "sumpool"


@dataclass(frozen=True, eq=False)
class AvgPool(_Pool):
    """Mean of each window: the sum over the kernel's size, padding counted. Not in fixed graphs."""

    mnemonic: ClassVar[str] = "avgpool"


@dataclass(frozen=True, eq=False)
class MaxPool(_Pool):
    """Largest value of each window; padding never wins."""

    mnemonic: ClassVar[str] = "maxpool"


@dataclass(frozen=True, eq=False)
class Flatten(Op):
    """Joins the axes `start` to `end` (inclusive, batch and time not counted) into one, in C order."""

    start: int = 0
    end: int = -1
    mnemonic: ClassVar[str] = "flatten"

    def shape(self, given: Shape) -> Shape:
        """Join the axes."""
        end = self.end % len(given) if given else 0
        if not given or self.start > end or self.start < 0:
            raise ValueError(f"cannot flatten axes {self.start}..{self.end} of shape {list(given)}")
        return (*given[: self.start], prod(given[self.start : end + 1]), *given[end + 1 :])


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """Gives the input another shape of as many entries, in C order."""

    size: Shape
    mnemonic: ClassVar[str] = "reshape"

    def shape(self, given: Shape) -> Shape:
        """Give `size`."""
        if prod(given) != prod(self.size):
            raise ValueError(f"cannot reshape {list(given)} to {list(self.size)}")
        return self.size


@dataclass(frozen=True, eq=False)
class Scale(Op):
    """out = factor * x + offset; both scalars, or arrays that broadcast against the input (a channel: (C, 1, 1)).

    Not in fixed graphs.
    """

    factor: float | Array
    offset: float | Array = 0.0
    mnemonic: ClassVar[str] = "scale"

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        freeze_arrays(self, "factor", "offset")

    def shape(self, given: Shape) -> Shape:
        """Keep the shape."""
        for value in (self.factor, self.offset):
            if not broadcasts(value, given):
                raise ValueError(f"scale of shape {list(np.shape(value))} is given shape {list(given)}")
        return given


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """Inference-time batch normalisation over axis 0: out = gain (x - mean) / sqrt(var + eps) + shift, each (C,)."""

    mean: Array
    var: Array
    gain: Array
    shift: Array
    eps: float = 1e-5
    mnemonic: ClassVar[str] = "batchnorm"

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        freeze_arrays(self, "mean", "var", "gain", "shift")

    def shape(self, given: Shape) -> Shape:
        """Keep the shape."""
        if not given or given[0] != len(self.mean):
            raise ValueError(f"batchnorm of {len(self.mean)} channels is given shape {list(given)}")
        return given


@dataclass(frozen=True, eq=False)
class Dropout(Op):
    """Does nothing at inference; kept so that nothing of the user's network vanishes unseen before folding."""

    p: float = 0.5
    mnemonic: ClassVar[str] = "dropout"

    def shape(self, given: Shape) -> Shape:
        """Keep the shape."""
        return given


@dataclass(frozen=True, eq=False)
class Delay(Op):
    """out[t] = in[t - steps], zero before; a scalar, or integers that broadcast against the input.

    Reading a node that stands later in the order adds one more. `balance` marks a delay that only makes up for the
    latency of a parallel path: it counts as latency, not as a delay of the network. `absorbed` is the reverse, in a
    loop: by how many steps `steps` is shorter than as trained, because connections of the loop take that time.
    """

    steps: int | Array = 1
    balance: bool = False
    absorbed: int = 0
    mnemonic: ClassVar[str] = "delay"
    stateful: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Freeze the array."""
        freeze_arrays(self, "steps")

    def shape(self, given: Shape) -> Shape:
        """Keep the shape."""
        if not broadcasts(self.steps, given):
            raise ValueError(f"delays of shape {list(np.shape(self.steps))} are given shape {list(given)}")
        return given


def windows(space: Shape, reach: Shape, stride: Shape, padding: Padding, what: str) -> Shape:
    """Give how many windows fit on each spatial axis."""
    out = tuple(
        (n + before + after - r) // s + 1
        for n, r, s, (before, after) in zip(space, reach, stride, padding, strict=True)
    )
    if min(out, default=1) < 1:
        raise ValueError(
            f"{what} of window {list(reach)} is given a map of {list(space)} with padding {[list(p) for p in padding]}"
        )
    return out


Connection = Linear | Conv1d | Conv2d
Pool = SumPool | AvgPool | MaxPool
