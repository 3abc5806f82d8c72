"""SBC on real recordings: accuracy by sparsity, bits and calibration, against ExactOBS, magnitude and rounding.

Run by `make bench-sbc`; it needs the data of $SPIKEC_DATA (default ../shared/data). QUICK=1 for a short form. Every
figure is kept in build/bench/sbc.json as it is found, and a run goes on from what is there (RESTART=1: from nothing).

Networks: SLAYER's 2312-512-10 in Loihi's integers, and the convolutional network of the NIR paper, in floats. All are
calibrated on training recordings alone (a draw takes the same number of each class). Accuracy is counted on the 100
test recordings; for SLAYER's also on the training recordings outside the draw, which the network has seen in training.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from _recordings import DATA, Case, check_against_reference, right, sinabs, slayer

from spikec.compiler.context import Calibration, Context
from spikec.compiler.ir import Graph
from spikec.driver.measure import runner
from spikec.passes.sbc import SBC, SBCQuantize

QUICK = os.environ.get("QUICK", "") not in ("", "0")
OUT = Path("build/bench/sbc.json")
KEPT = Path("build/bench/sbc-work")
DRAWS = (0,) if QUICK else (0, 1, 2)
EACH = {"slayer": 5 if QUICK else 20, "sinabs": 2 if QUICK else 5}
PRUNING, ROUNDING = ("sbc", "obs", "magnitude"), ("sbc", "obs", "rtn")


@dataclass(frozen=True)
class Job:
    """One cell of a table: what is done to a network, on which draw of how many recordings of each class."""

    network: str
    what: str  # "sparsity" or "bits"
    amount: float
    method: str
    each: int
    draw: int

    @property
    def key(self) -> str:
        """Its name in the file of figures."""
        return f"{self.network}/{self.what}={self.amount:g}/{self.method}/{self.each}x10/draw {self.draw}"


def jobs() -> Iterator[Job]:
    """Give every cell; magnitude without compensation and rounding to nearest need no data, and so one draw."""
    levels = {
        "slayer": (0.97,) if QUICK else (0.9, 0.95, 0.97, 0.98),
        "sinabs": (0.7,) if QUICK else (0.5, 0.7, 0.8, 0.9),
    }
    widths = (2.0,) if QUICK else (8.0, 4.0, 3.0, 2.0)
    for network, what in product(levels, ("sparsity", "bits")):
        amounts, methods = (levels[network], PRUNING) if what == "sparsity" else (widths, ROUNDING)
        for amount, method, draw in product(amounts, methods, DRAWS):
            if draw == 0 or method not in ("magnitude", "rtn"):
                yield Job(network, what, amount, method, EACH[network], draw)
    for each, method, draw in product((1, 2, 10), ("sbc", "obs"), DRAWS):
        if not QUICK:
            yield Job("slayer", "sparsity", 0.97, method, each, draw)


def main() -> int:
    """Do what is not done yet, print the tables."""
    if not DATA.is_dir():
        print(f"skipped: the recordings are not in {DATA}")
        return 0
    OUT.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = {}
    if OUT.is_file() and os.environ.get("RESTART", "") in ("", "0"):
        done = json.loads(OUT.read_text(encoding="utf-8"))
    done["machine"] = {"processor": platform.machine(), "cores": os.cpu_count(), "quick": QUICK}
    for network, load in (("slayer", slayer), ("sinabs", sinabs)):
        todo = [job for job in jobs() if job.network == network and job.key not in done]
        if todo or f"{network}/dense" not in done:
            _network(load(200 if QUICK else None), network, todo, done)
    for network in ("slayer", "sinabs"):
        _tables(network, done)
    return 0


def _network(case: Case, network: str, todo: list[Job], done: dict[str, Any]) -> None:
    if f"{network}/dense" not in done:
        found: dict[str, Any] = {"test": right(case.graph, case.test)}
        if network == "sinabs":
            found["differing counts"] = check_against_reference(case)
        if network == "slayer":
            found |= {"train": right(case.graph, case.train), "of": len(case.train[1])}
        _keep(done, f"{network}/dense", found)
    for job in todo:
        _keep(done, job.key, _measure(job, case))


def _keep(done: dict[str, Any], key: str, found: Mapping[str, Any]) -> None:
    done[key] = dict(found)
    whole = OUT.with_suffix(".part")
    whole.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    whole.replace(OUT)
    print(key, {name: value for name, value in found.items() if name != "layers"}, flush=True)


def _measure(job: Job, case: Case) -> dict[str, Any]:
    """Compress on a draw of training recordings, count what is still right."""
    chosen = draw(case.train[1], job.each, job.draw)
    told: list[Mapping[str, Any]] = []
    kind = np.int32 if job.network == "slayer" else np.float32
    context = Context(calibration=Calibration(case.train[0][chosen].astype(kind)), runner=runner(), fact=told.append)
    began = time.perf_counter()
    made = _pass(job).run(case.graph, context)
    found: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 1), "test": right(made, case.test)}
    if job.network == "slayer":
        rest = np.setdiff1d(np.arange(len(case.train[1])), chosen)
        found |= {"train": right(made, (case.train[0][rest], case.train[1][rest])), "of": len(rest)}
    return found | {"zeros": _zeros(made), "layers": [row | {} for row in told[0]["layers"]]}


def _pass(job: Job) -> Any:
    if job.what == "sparsity":
        baselines = job.method == "sbc" and job.draw == 0 and job.each == EACH[job.network]
        return SBC(job.amount, method=job.method, baselines=baselines, measure=0, resume=str(KEPT))  # type: ignore[arg-type]
    return SBCQuantize(bits=int(job.amount), method=job.method, measure=0, resume=str(KEPT))  # type: ignore[arg-type]


def draw(labels: np.ndarray[Any, Any], each: int, seed: int) -> np.ndarray[Any, Any]:
    """Draw as many recordings of every class, in ascending order."""
    rng = np.random.default_rng(seed)
    picked = [rng.choice(np.flatnonzero(labels == c), each, replace=False) for c in range(10)]
    return np.sort(np.concatenate(picked))


def _zeros(graph: Graph) -> float:
    weights = [np.asarray(node.op.weight.decode()) for node in graph if hasattr(node.op, "weight")]
    return round(sum(int(np.count_nonzero(w == 0)) for w in weights) / sum(w.size for w in weights), 4)


def _tables(network: str, done: Mapping[str, Any]) -> None:
    dense = done[f"{network}/dense"]
    print(f"\n{network}: dense {dense['test']} of 100 test recordings right" + _of_training(dense))
    groups: dict[tuple[str, float, int], dict[str, list[Any]]] = {}
    for job in jobs():
        if job.network == network:
            row = groups.setdefault((job.what, job.amount, job.each), {})
            row.setdefault(job.method, []).append(done[job.key])
    print(f"{'what':16} {'calibration':>12}  mean of {len(DRAWS)} draws (each draw)")
    for (what, amount, each), row in groups.items():
        name = f"{100 * amount:g} % zeros" if what == "sparsity" else f"{amount:g} bits"
        cells = [f"{method} {_cell(found)}" for method, found in row.items()]
        print(f"{name:16} {10 * each:>12}  {'; '.join(cells)}")


def _cell(found: list[Any]) -> str:
    tests = [one["test"] for one in found]
    return f"{mean(tests):.1f} ({', '.join(map(str, tests))}){_of_training(found[0])}"


def _of_training(found: Mapping[str, Any]) -> str:
    return f" [training recordings: {100 * found['train'] / found['of']:.1f} %]" if "train" in found else ""


if __name__ == "__main__":
    sys.exit(main())
