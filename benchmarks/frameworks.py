"""How many cells differ from the framework itself, for every neuron class; writes build/bench/frameworks.json.

Run by `make bench-frameworks`; QUICK=1 for a short form. Each class and set of options runs on random and on tie-prone
input with decays that floats hold exactly, and behind random float32 weights with ordinary decays. Frameworks with an
environment of their own (`.venv/frameworks/NAME`) run in a process of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the cells are the tests' own

from tests.frontends.cells import CELLS, Cell, count, installed  # noqa: E402 - it stands beside this folder

QUICK = os.environ.get("QUICK", "") not in ("", "0")
SAMPLES = 4 if QUICK else 64  # of 60 steps of 32 neurons: 122,880 cells
KINDS = ("random", "ties", "ordinary")


def main() -> None:
    """Measure here and in the other environments, print the table, write the figures."""
    if len(sys.argv) > 1:
        print(json.dumps(rows(sys.argv[1:])))
        return
    made = rows(installed())
    for place in sorted((ROOT / ".venv" / "frameworks").glob("*/.stamp")):
        made += _elsewhere(place.parent)
    show(made)
    out = Path("build/bench/frameworks.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = {"exact": "decays that floats hold", "ordinary": "float32 as trained", "rows": made}
    out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def rows(frameworks: list[str]) -> list[dict[str, Any]]:
    """Measure every cell of some frameworks."""
    return [row(cell) for name in frameworks for cell in CELLS[name]()]


def row(cell: Cell) -> dict[str, Any]:
    """Measure one class with one set of options: (cells, not zero, differing) for each kind of input."""
    found = {kind: count(cell, kind, SAMPLES) for kind in KINDS}
    return {
        "framework": f"{cell.framework} {version(cell.framework)}",
        "class": cell.name,
        "options": cell.options,
        "readout": cell.readout,
        **{kind: [c.cells, c.active, c.differing] for kind, c in found.items()},
    }


def show(made: list[dict[str, Any]]) -> None:
    """Print the table; of a readout, cells count that differ by more than 1e-4."""
    print(f"{'framework':26} {'class':18} {'options':26} {'cells':>8} {'random':>7} {'ties':>7} {'ordinary':>9}")
    for r in made:
        kind = " (readout)" if r["readout"] else ""
        print(
            f"{r['framework']:26} {r['class']:18} {r['options'] + kind:26} {r['random'][0] + r['ties'][0]:8}"
            f" {r['random'][2]:7} {r['ties'][2]:7} {r['ordinary'][2] / r['ordinary'][0]:9.1e}"
        )
    exact = sum(r["random"][2] + r["ties"][2] for r in made)
    print(f"{len(made)} classes and options; exact decays: {exact} cells differ")


def _elsewhere(place: Path) -> list[dict[str, Any]]:
    """Measure the frameworks of an environment of its own: those that are installed in it."""
    names = [name for name in CELLS if (place / name).is_dir()]
    if not names:
        return []
    env = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run([sys.executable, __file__, *names], env=env, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
