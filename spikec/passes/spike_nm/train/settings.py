"""What the user chooses: the pattern, how masks are found, and what is scheduled over a training."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite
from typing import Literal

from spikec.compiler.weights_nm import LARGEST, Axis

Method = Literal["basis", "sr-ste", "random"]
"""How masks are found: learned basis logits, the largest weights of each step (SR-STE), or drawn once and kept."""

Credit = Literal["gradient", "gradient-weight", "gain", "activity", "activity-weight", "eligibility"]
"""What EID takes for the worth of a position (methods.md 2.2, 2.3)."""

METHODS: tuple[Method, ...] = ("basis", "sr-ste", "random")
CREDITS: tuple[Credit, ...] = ("gradient", "gradient-weight", "gain", "activity", "activity-weight", "eligibility")


@dataclass(frozen=True)
class Pattern:
    """N non-zeros at most in M consecutive weights along an axis, as in `spikec.compiler.weights_nm.NM`."""

    n: int
    m: int
    axis: Axis = "in"

    def __post_init__(self) -> None:
        """Refuse what NM cannot hold."""
        if not 0 < self.n < self.m <= LARGEST:
            raise ValueError(f"N:M needs 0 < N < M <= {LARGEST}, not {self.n}:{self.m}")
        if self.axis not in ("in", "out"):
            raise ValueError(f"the axis of N:M is in or out, not {self.axis}")


@dataclass(frozen=True)
class Schedule:
    """What changes from the start (progress 0) to the end (1) of a training (methods.md 2.2).

    `kappa` multiplies logits, `temperature` divides them in the relaxation, both linearly from the first value to the
    second. Up to the share `dense` of all steps nothing is pruned; from there the number of weights kept in a block
    falls from M to N by a cubic law until the share `sparse`. `dense=sparse=0` is N of M from the first step on.
    """

    kappa: tuple[float, float] = (1.0, 10.0)
    temperature: tuple[float, float] = (4.0, 0.05)
    dense: float = 0.0
    sparse: float = 0.3

    def __post_init__(self) -> None:
        """Refuse schedules that cannot be."""
        if not all(isfinite(value) and value > 0 for value in (*self.kappa, *self.temperature)):
            raise ValueError("kappa and temperature must be above 0")
        if not 0 <= self.dense <= self.sparse <= 1:
            raise ValueError("0 <= dense <= sparse <= 1 must hold")

    def at(self, progress: float) -> tuple[float, float]:
        """Give (kappa, temperature)."""
        pairs = (self.kappa, self.temperature)
        first, second = (start + (end - start) * progress for start, end in pairs)
        return first, second

    def kept(self, progress: float, n: int, m: int) -> int:
        """Give how many weights of a block are kept."""
        if progress >= self.sparse:
            return n
        if progress < self.dense:
            return m
        left = 1 - (progress - self.dense) / (self.sparse - self.dense)
        return ceil(n + (m - n) * left**3)


@dataclass(frozen=True)
class Distillation:
    """Eligibility-inspired distillation, EXPERIMENTAL: a reconstruction, no help in any run so far (methods.md 2.3).

    Adds beta * mean over blocks of KL(q || softmax(kappa * pi)), q = softmax(C / (max C * sharpness)) in each block,
    where C is the credit's moving average over steps. `tau` (steps) and `time_axis` are of the credit `eligibility`:
    the axis of time of a layer's input; None where each call of a layer is a step.
    """

    credit: Credit = "gradient"
    beta: float = 1e-3
    sharpness: float = 0.5
    average: float = 0.9
    tau: float = 2.0
    time_axis: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if self.credit not in CREDITS:
            raise ValueError(f"the credit is one of {', '.join(CREDITS)}, not {self.credit}")
        if not (isfinite(self.beta) and self.beta >= 0):
            raise ValueError("beta must be 0 or more")
        if not (isfinite(self.sharpness) and self.sharpness > 0):
            raise ValueError("sharpness must be above 0")
        if not 0 <= self.average < 1:
            raise ValueError("average must lie in [0, 1)")
        if not (isfinite(self.tau) and self.tau >= 1):
            raise ValueError("tau must be 1 step or more")


@dataclass(frozen=True)
class Learning:
    """How masks are found and weights are trained under them.

    `decay` is what SR-STE adds to the gradient of a masked weight, times the weight. `dense_gradient`: masked weights
    are given the gradient as if they were not masked, and that decay, with basis logits too (SR-STE always does so).
    `prior` is added to the logits of the N largest weights of each block: 0 from scratch, some 3 for a trained network.
    `spread` is the deviation of the logits at the start. `seed` is that of the logits, or of a random mask.
    """

    method: Method = "basis"
    decay: float = 2e-4
    dense_gradient: bool = False
    prior: float = 0.0
    spread: float = 0.01
    seed: int = 0
    distillation: Distillation | None = None

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if self.method not in METHODS:
            raise ValueError(f"the method is one of {', '.join(METHODS)}, not {self.method}")
        if not all(isfinite(value) and value >= 0 for value in (self.decay, self.prior, self.spread)):
            raise ValueError("decay, prior and spread must be 0 or more")
        if self.distillation is not None and self.method != "basis":
            raise ValueError("there are logits to distil into with the method basis alone")
