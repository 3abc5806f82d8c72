"""The compiled core of spikec."""

from collections.abc import Sequence
from typing import Any, Literal

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

class CycleCore:
    """A spike core of the cycle simulator."""

def cycle_core(
    *,
    rows: int,
    in_lanes: int,
    lanes: int,
    groups: int,
    row_words: int,
    walk: int,
    fire: int,
    state_bits: int,
    shift: bool,
    decay: int,
    at_threshold: bool,
    reset: str,
    membrane: bool,
    weights: NDArray[np.int8],
    threshold: NDArray[np.int32],
    bias: NDArray[np.int32],
    amount: NDArray[np.int32],
    initial: NDArray[np.int32],
    row_synapses: NDArray[np.uint32],
) -> CycleCore:
    """Make a core; neurons are physical, weights (rows, groups * lanes)."""

class CycleNetwork:
    """Cores and the links between them."""

    def run(
        self, given: NDArray[np.uint8], batch: int, gap: int, period: int, traced: bool, threads: int
    ) -> list[dict[str, Any]]:
        """Run (samples, steps, lanes of the input): for each stream of `batch` samples its outputs and counts."""

def cycle_network(
    *,
    cores: Sequence[CycleCore],
    links: Sequence[tuple[Sequence[int], Sequence[int], int, int, int]],
    in_lanes: int,
    in_groups: int,
    out_lanes: int,
    out_groups: int,
    count_bits: int,
    record_words: int,
) -> CycleNetwork:
    """Join cores: sources, targets, depth, bits of group and payload of each link."""

def sbc_versions() -> int:
    """Count the versions of the inner loops that this processor runs: plain, AVX2 with FMA, AVX-512."""

def sbc_use_version(most: int) -> None:
    """Use no version above this from now on (1: plain; 3: all that the processor runs); for tests."""

def sbc_order(
    *,
    inverse: NDArray[np.float32],
    rows: NDArray[np.float32],
    alive: NDArray[np.uint8],
    block: int,
    losses: NDArray[np.float32],
    threads: int,
) -> None:
    """Write the ordering losses (r, d) of rows under one inverse (d, d)."""

def sbc_order_blocks(
    *,
    inverse: NDArray[np.float32],
    rows: NDArray[np.float32],
    alive: NDArray[np.uint8],
    n: int,
    m: int,
    losses: NDArray[np.float32],
    keep: NDArray[np.uint8],
    threads: int,
) -> None:
    """Write the losses (r, d) of what goes, and what is kept: n of every m columns."""

def sbc_order_across(
    *,
    inverses: NDArray[np.float32],
    alive: NDArray[np.uint8],
    which: NDArray[np.int64],
    scales: NDArray[np.float32],
    rows: NDArray[np.float32],
    n: int,
    m: int,
    keep: NDArray[np.uint8],
    threads: int,
) -> None:
    """Write what is kept: n of every m neighbouring rows in each column."""

def sbc_order_thread_bytes(size: int, block: int) -> int:
    """Bytes that a thread of sbc_order holds besides the shared inverse."""

def sbc_keep_solve(
    *,
    damped: NDArray[np.float64],
    inverse: NDArray[np.float64] | None,
    rows: NDArray[np.float64],
    keep: NDArray[np.uint8],
    out: NDArray[np.float64],
    threads: int,
) -> None:
    """Write the best rows (r, d) for a mask."""

def sbc_solves_pruned(kept: int, pruned: int) -> bool:
    """Say whether a row is solved over what it loses, given the inverse."""

def sbc_response_hessian(
    *,
    given: NDArray[np.uint8] | NDArray[np.float32],
    a_mem: float,
    a_syn: float,
    gain: float,
    into: NDArray[np.float64],
    threads: int,
) -> None:
    """Add the upper triangle of (MX)^T (MX)."""

def sbc_spike_hessian(
    *,
    given: NDArray[np.uint8] | NDArray[np.float32],
    z: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    into: NDArray[np.float64],
    threads: int,
) -> None:
    """Add the upper triangle of X^T Z."""

def sbc_mirror(*, into: NDArray[np.float64], threads: int) -> None:
    """Copy the upper triangle to the lower one."""
