"""The table of `spikec verify`: one line a rung, then what differs first and what was skipped and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spikec.cli.show import Shown

if TYPE_CHECKING:
    from spikec.runtime.ladder import RungReport

COLUMNS = ["rung", "compared with", "verdict", ">differing of active spikes", ">accuracy", ">time"]


def show_ladder(shown: Shown, reports: Sequence[RungReport]) -> None:
    """Print the table."""
    shown.table("the ladder", COLUMNS, [row(report) for report in reports])
    for report in reports:
        if report.skipped:
            shown.out.print(f"{report.name}: skipped: {report.skipped}", markup=False)
        elif report.error:
            shown.out.print(f"{report.name}: {report.error}", markup=False)
        elif report.agreement.first is not None:
            shown.out.print(f"{report.name}: first difference: {report.agreement.first}", markup=False)


def row(report: RungReport) -> tuple[str, ...]:
    """Give one line of the table."""
    agreement = report.agreement
    compared = report.against if agreement.cells else "-"
    spikes = f"{agreement.spikes_differing} of {agreement.spikes_active}" if agreement.cells else "-"
    right = "-"
    if report.correct is not None and report.samples:
        right = f"{100 * report.correct / report.samples:.2f} %"
    return report.name, compared, verdict(report), spikes, right, f"{report.seconds:.2f} s"


def verdict(report: RungReport) -> str:
    """Say in a word what a rung showed: exact, equal (not promised, yet so), measured, DIFFERS, skipped, FAILED."""
    if report.skipped:
        return "skipped"
    if report.error:
        return "FAILED"
    if not report.agreement.cells:
        return "-"
    if report.agreement.differing == 0:
        return "exact" if report.exact else "equal"
    return "DIFFERS" if report.exact else "measured"
