"""The compiled core of spikec."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__version__: str

Axis = tuple[int, int, int, int, int, int]
"""A window over one spatial axis: size of the input, kernel, stride, zeros before, zeros after, dilation."""

class Stage:
    """What one node of a plan computes; made by the functions below, which raise ValueError on a bad description."""

def identity(size: int) -> Stage: ...
def linear(
    *,
    rows: int,
    columns: int,
    out: int,
    weights: NDArray[np.int32],
    delays: NDArray[np.int32],
    latency: int,
    exponent: NDArray[np.int32],
    graded: bool,
    width: int,
) -> Stage: ...
def convolution(
    *,
    in_channels: int,
    out_channels: int,
    groups: int,
    axes: Sequence[Axis],
    weights: NDArray[np.int32],
    latency: int,
    exponent: NDArray[np.int32],
    graded: bool,
    width: int,
) -> Stage: ...
def pool(*, channels: int, axes: Sequence[Axis], largest: bool) -> Stage: ...
def delay(*, size: int, steps: NDArray[np.int32]) -> Stage: ...
def neuron(
    *,
    size: int,
    threshold: NDArray[np.int64],
    amount: NDArray[np.int64],
    bias: NDArray[np.int64],
    v_decay: NDArray[np.int64],
    u_decay: NDArray[np.int64],
    v_reset: NDArray[np.int64],
    v_min: NDArray[np.int64],
    u_init: NDArray[np.int64],
    v_init: NDArray[np.int64],
    shift_decay: bool,
    decay_bits: int,
    input_exp: int,
    u_bits: int,
    u_saturates: bool,
    v_bits: int,
    v_saturates: bool,
    symmetric: bool,
    at_threshold: bool,
    reset: Literal["value", "subtract", "none"],
    membrane: bool,
    start: int,
    reset_interval: int,
    reset_offset: int,
) -> Stage: ...

class Plan:
    """The stages of one graph in execution order, and what each of them reads."""

    def __init__(self, stages: Sequence[Stage], sources: Sequence[Sequence[int]], input: int) -> None: ...
    def run(
        self,
        inputs: NDArray[np.int32],
        records: Sequence[tuple[int, Literal["s", "u", "v"], NDArray[np.int32]]],
        threads: int,
    ) -> None:
        """Run (samples, steps, entries); write each record, (samples, steps, entries of its node), in place."""
