"""The report of the compression passes on the console: one table a pass, one row a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spikec.cli.show import Shown

Row = Mapping[str, Any]
Cell = Callable[[Row], str]


def show_compression(shown: Shown, reports: Sequence[Row]) -> None:
    """Show what each pass reported."""
    for report in reports:
        rows = [*report["layers"], {"layer": "all", **report["total"]}]
        used = [(title, cell) for title, cell in COLUMNS if any(cell(row) for row in rows)]
        columns = [title if title == "layer" else f">{title}" for title, _ in used]
        shown.table(_title(report), columns, [tuple(cell(row) for _, cell in used) for row in rows])


def _title(report: Row) -> str:
    parts = [f"{report['pass']}, method {report['method']}"]
    if report["calibration"]:
        parts.append(f"calibrated on {report['calibration']} samples")
    if report["measured"]:
        parts.append(f"measured on {report['measured']}")
    return "; ".join(parts)


def _plain(name: str) -> Cell:
    return lambda row: str(row.get(name, ""))


def _loss(name: str) -> Cell:
    return lambda row: f"{100 * row['loss'][name]:.3g} %" if name in row.get("loss", {}) else ""


def _zeros(row: Row) -> str:
    return f"{100 * row['zeros'] / max(1, row['weights']):.2f} %"


def _bits(row: Row) -> str:
    return f"{row['bits_before']} -> {row['bits']}"


def _differing(row: Row) -> str:
    return f"{row['spikes_differing']} of {row['spikes_before']}" if "spikes_differing" in row else ""


def _change(name: str) -> Cell:
    def cell(row: Row) -> str:
        return f"{row[f'{name}_before']} -> {row[name]}" if row.get(f"{name}_before") else ""

    return cell


def _membrane(row: Row) -> str:
    return f"{100 * row['membrane_error']:.3g} %" if "membrane_error" in row else ""


COLUMNS: tuple[tuple[str, Cell], ...] = (
    ("layer", _plain("layer")),
    ("weights", _plain("weights")),
    ("zero", _zeros),
    ("bits", _bits),
    ("loss", _loss("result")),
    ("mask alone", _loss("mask alone")),
    ("magnitude", _loss("magnitude")),
    ("magnitude refit", _loss("magnitude refit")),
    ("nearest level", _loss("nearest level")),
    ("spikes differ", _differing),
    ("membrane error", _membrane),
    ("synaptic operations", _change("sops")),
    ("multiply-adds", _change("macs")),
)
"""What is shown of a layer, by title; a column that is empty throughout is left out."""
