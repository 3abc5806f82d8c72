"""The ladder of `spikec verify`: one network on every rung, run on the same input and compared cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from spikec.compiler.context import Progress
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.runner import Result
from spikec.compiler.weights import Array
from spikec.runtime.compare import Agreement, compare


@dataclass(frozen=True, eq=False)
class Rung:
    """One way to run the network.

    `run` takes inputs (N, T, *shape) and gives outputs and traces with the known latency removed, all of T steps.
    `against` names the rung below that it is compared with; `exact` says that a single differing cell is a fault;
    `keys` are the traces to compare (`s/NODE`, `u/NODE`, `v/NODE`), in the order of layers; None: all
    outputs `s/NODE` that both have (states in other units cannot be compared).
    `skipped` says why the rung cannot run here, if it cannot.
    """

    name: str
    run: Callable[[Array], Result]
    against: str = ""
    exact: bool = False
    keys: tuple[str, ...] | None = None
    skipped: str = ""


@dataclass(frozen=True)
class RungReport:
    """What a rung showed: its agreement with the one below, and how many samples it got right (None: no labels)."""

    name: str
    against: str = ""
    exact: bool = False
    agreement: Agreement = field(default_factory=Agreement)
    correct: int | None = None
    samples: int = 0
    seconds: float = 0.0
    skipped: str = ""
    error: str = ""

    @property
    def failed(self) -> bool:
        """Say whether this is an exact rung that differs."""
        return self.exact and self.agreement.differing > 0


def climb(
    rungs: Sequence[Rung], inputs: Array, labels: Array | None, progress: Progress, *, batch: int = 25
) -> tuple[RungReport, ...]:
    """Run every rung on the same samples, a batch at a time so that traces of all samples need never be held.

    A rung that ends with a diagnostic reports it in `error` and is not run again.
    """
    reports = {
        rung.name: RungReport(
            rung.name, rung.against, rung.exact, correct=None if labels is None else 0, skipped=rung.skipped
        )
        for rung in rungs
    }
    starts = range(0, len(inputs), batch)
    for start in progress.track(starts, "verifying", len(starts)):
        part = inputs[start : start + batch]
        results: dict[str, Result] = {}
        for rung in rungs:
            report = reports[rung.name]
            if report.skipped or report.error:
                continue
            began = perf_counter()
            try:
                results[rung.name] = rung.run(part)
            except CompileError as error:
                reports[rung.name] = replace(report, error=str(error.diagnostics[0]))
                continue
            report = replace(
                report, samples=report.samples + len(part), seconds=report.seconds + perf_counter() - began
            )
            reports[rung.name] = _judge(
                rung, report, results, None if labels is None else labels[start : start + batch], start
            )
    return tuple(reports[rung.name] for rung in rungs)


def _judge(
    rung: Rung, report: RungReport, results: Mapping[str, Result], labels: Array | None, start: int
) -> RungReport:
    result = results[rung.name]
    if rung.against in results:
        below = results[rung.against]
        keys = (
            rung.keys
            if rung.keys is not None
            else [key for key in below.traces if key in result.traces and key.startswith("s/")]
        )
        agreement = compare(below.traces, result.traces, keys, first_sample=start)
        report = replace(report, agreement=report.agreement + agreement)
    if labels is not None and report.correct is not None:
        right = int(np.count_nonzero(classify(result) == labels))
        report = replace(report, correct=report.correct + right)
    return report


def classify(result: Result) -> Array:
    """Give the class of each sample by the first output; see `winners`."""
    return winners(result.spikes)


def winners(outputs: Array) -> Array:
    """Give the winning output of each sample (N,): most spikes, or the largest summed membrane potential.

    `outputs` is (N, T, *shape); the shape is flattened, and ties go to the lowest index.
    """
    totals = outputs.astype(np.float64).sum(axis=1)
    return np.asarray(totals.reshape(len(totals), -1).argmax(axis=1))


def accuracy(report: RungReport) -> float | None:
    """Share of samples that a rung got right, or None without labels."""
    return None if report.correct is None or not report.samples else report.correct / report.samples
