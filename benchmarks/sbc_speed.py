"""How fast SBC prunes, next to the published algorithm and ExactOBS; writes build/bench/sbc_speed.json.

Run by `make bench-sbc_speed`; QUICK=1 for a short form of it. Synthetic spikes (4 to 6 %, 100 steps, a membrane of
tau = 2), 75 % sparsity, equal thread counts, one round after another of every algorithm; medians. All are
timed on a sample of rows and scaled to the layer, as rows are independent of each other; ExactOBS also on a sample of
its steps, which all cost the same. Orderings and weights are both in the times of pruning, the filters of the spikes
in those of the Hessians.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spikec.passes.sbc import kernels
from spikec.passes.sbc.prune import Factor, compensate, default_block, factor, order_rows
from spikec.passes.sbc.response import Response

QUICK = os.environ.get("QUICK", "") not in ("", "0")
THREADS = int(os.environ.get("THREADS", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "3" if QUICK else "5"))
SPARSITY = 0.75
MEMBRANE = Response(a_mem=0.5)

Floats = NDArray[Any]


@dataclass(frozen=True)
class Size:
    """A layer (rows, columns), the recordings of its Hessian, and how many of its rows are timed."""

    rows: int
    columns: int
    samples: int
    timed: int


SIZES = (Size(512, 784, 96, 32), Size(1024, 2312, 64, 4), Size(256, 2304, 64, 4), Size(4096, 4096, 64, 1))
QUICK_SIZES = (Size(512, 784, 96, 8), Size(256, 2304, 64, 2), Size(4096, 4096, 64, 1))
OBS_STEPS = 12 if QUICK else 24


@dataclass
class Case:
    """What was measured on one layer: seconds for the whole layer in each round, and errors."""

    size: Size
    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    tied: int = 0

    def median(self, name: str) -> float:
        """Give the median seconds of an algorithm."""
        return float(np.median(self.seconds[name]))

    def ratio(self, slow: str, quick: str) -> tuple[float, float, float]:
        """Give how many times quicker, round by round: median, least and most."""
        ratios = np.array(self.seconds[slow]) / np.array(self.seconds[quick])
        return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def main() -> None:
    """Check, measure, print the tables, write the figures."""
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    check()
    print(f"{THREADS} thread(s), {ROUNDS} rounds in turn, medians; seconds for the whole layer", flush=True)
    cases = []
    for size in QUICK_SIZES if QUICK else SIZES:
        cases.append(measure(size))
        show(cases[-1])
    figures = {
        "machine": platform.machine(),
        "threads": THREADS,
        "rounds": ROUNDS,
        "sparsity": SPARSITY,
        "layers": [asdict(case) for case in cases],
    }
    out = Path("build/bench/sbc_speed.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- the baselines, plainly, with torch's products


def published(inverse: Floats, rows: Floats, block: int, most: int = 1 << 30) -> tuple[Floats, float]:
    """Order by block elimination of a copy of the inverse for each row (methods.md 1.6); losses, and the part done."""
    count, d = rows.shape
    g = torch.from_numpy(inverse).repeat(count, 1, 1)
    w = torch.from_numpy(rows.astype(np.float32))
    losses = torch.zeros_like(w)
    gone = torch.zeros(w.shape, dtype=torch.bool)
    each = torch.arange(count)[:, None]
    steps = -(-d // block)
    for step in range(min(steps, most)):
        score = (w * w / torch.diagonal(g, dim1=1, dim2=2)).masked_fill(gone, float("inf"))
        values, chosen = torch.topk(score, min(block, d - step * block), dim=1, largest=False)
        losses.scatter_(1, chosen, values)
        gone.scatter_(1, chosen, True)
        eliminate(g, w, each, chosen)
        w.masked_fill_(gone, 0)
    return losses.numpy(), min(steps, most) / steps


def eliminate(g: torch.Tensor, w: torch.Tensor, each: torch.Tensor, chosen: torch.Tensor) -> None:
    """Take columns out of every row's inverse and weights, in place."""
    across, down = g[each, :, chosen].transpose(1, 2), g[each, chosen, :]
    inner = torch.linalg.inv(torch.gather(down, 2, chosen[:, None, :].expand(-1, chosen.shape[1], -1)))
    left = torch.bmm(across, inner)
    w -= torch.bmm(left, w.gather(1, chosen)[:, :, None])[:, :, 0]
    torch.baddbmm(g, left, down, alpha=-1, out=g)


def published_weights(inverse: Floats, rows: Floats, losses: Floats, block: int) -> Floats:
    """Take out each row's weights of the smallest losses by the same elimination (methods.md 1.7)."""
    count, d = rows.shape
    number = int(d * SPARSITY)
    order = torch.from_numpy(np.argsort(losses, axis=1, kind="stable")[:, :number].copy())
    g = torch.from_numpy(inverse).repeat(count, 1, 1)
    w = torch.from_numpy(rows.astype(np.float32))
    each = torch.arange(count)[:, None]
    for step in range(-(-number // block)):
        chosen = order[:, step * block : (step + 1) * block]
        eliminate(g, w, each, chosen)
        w.scatter_(1, chosen, 0)
    w.scatter_(1, order, 0)  # exactly: later steps leave rounding in them
    return w.numpy().astype(np.float64)


def exact_obs(inverse: Floats, rows: Floats, most: int) -> tuple[Floats, float]:
    """Prune one weight at a time and keep the weights after every step (the trace), in the form of OBC's repository.

    Rows in one batch, the inverse rewritten as a whole in each step: G - G_:p G_p: / G_pp.
    """
    count, d = rows.shape
    g = torch.from_numpy(inverse).repeat(count, 1, 1)
    w = torch.from_numpy(rows.astype(np.float32))
    trace = torch.zeros(d + 1, count, d)
    losses = torch.zeros(count, d)
    gone = torch.zeros(w.shape, dtype=torch.bool)
    each = torch.arange(count)
    trace[0] = w
    for step in range(min(d, most)):
        diagonal = torch.diagonal(g, dim1=1, dim2=2)
        score = (w**2 / diagonal).masked_fill(gone, float("inf"))
        p = torch.argmin(score, 1)
        losses[each, p] = score[each, p]
        row = g[each, p, :]
        pivot = diagonal[each, p]
        gone[each, p] = True
        w = w - row * (w[each, p] / pivot)[:, None]
        w[gone] = 0
        trace[step + 1] = w
        row = row / torch.sqrt(pivot)[:, None]
        g = g - torch.bmm(row[:, :, None], row[:, None, :])
    return losses.numpy(), min(d, most) / d


def exact_in_place(inverse: Floats, rows: Floats, most: int) -> tuple[Floats, float]:
    """Order by exact greedy elimination with no trace and no new arrays: the same as `published` with one column."""
    return published(inverse, rows, 1, most)


# ---------------------------------------------------------------- what is measured


def spikes(size: Size) -> NDArray[np.uint8]:
    """Give random spikes (samples, steps, columns) at 4 to 6 %."""
    rng = np.random.default_rng(size.columns)
    rates = rng.uniform(0.04, 0.06, size.columns).astype(np.float32)
    return (rng.random((size.samples, 100, size.columns), np.float32) < rates).astype(np.uint8)


def sparse(x: NDArray[np.uint8], into: Floats | None = None) -> Floats:
    """Give X^T (M^T M X) by adding rows at spikes; the filter, forward and backward, is in it."""
    if into is None:
        into = np.empty((x.shape[2], x.shape[2]))
    into.fill(0)
    kernels.response_hessian(x, MEMBRANE.a_mem, MEMBRANE.a_syn, into, threads=THREADS)
    kernels.mirror(into, THREADS)
    return into


def filtered(x: NDArray[np.uint8]) -> torch.Tensor:
    """Give MX, (samples * steps, columns) in float32."""
    return torch.from_numpy(MEMBRANE.filtered(x, dtype=np.float32).reshape(-1, x.shape[2]))


def measure(size: Size) -> Case:
    """Time everything on one layer, in turns."""
    case = Case(size)
    x = spikes(size)
    hessian = sparse(x) * 2 / size.samples
    exact = MEMBRANE.filtered(x[:8]).reshape(-1, size.columns)
    case.errors["sparse Hessian"] = float((np.abs(sparse(x[:8]) - exact.T @ exact) / (exact.T @ exact)).max())
    z = filtered(x)
    made = factor(hessian)
    rows = np.random.default_rng(1).normal(size=(size.timed, size.columns))
    block = default_block(size.columns)
    into, out = np.empty((size.columns, size.columns)), torch.empty(size.columns, size.columns)
    sparse(x, into), product(z, out)  # memory that is touched for the first time would be timed as well
    for _ in range(ROUNDS):
        clock(case, "sparse Hessian", lambda: sparse(x, into))
        clock(case, "dense product alone", lambda: product(z, out))
        clock(case, "dense Hessian", lambda: product(filtered(x), out))
        mine = ours(case, made, rows, hessian, block, "greedy in groups")
        ours(case, made, rows, hessian, 1, "exact greedy")
        theirs(case, made, rows, hessian, block, mine)
    for _ in range(ROUNDS):
        ours(case, made, rows, hessian, 1, "exact greedy again")
        scaled(case, "ExactOBS, in place", lambda: exact_in_place(made.inverse, rows, OBS_STEPS)[1])
        scaled(case, "ExactOBS, its repository", lambda: exact_obs(made.inverse, rows, OBS_STEPS)[1])
    return case


def product(z: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Give Z^T Z by one product in float32."""
    return torch.mm(z.T, z, out=out)


def ours(case: Case, made: Factor, rows: Floats, hessian: Floats, block: int, name: str) -> Floats:
    """Order and compensate by the kernels; both steps are in the time."""
    new = np.zeros_like(rows)

    def run() -> float:
        new[...] = compensate(made, rows, smallest(order_rows(made, rows, block=block, threads=THREADS)), THREADS)
        return 1.0

    scaled(case, name, run)
    case.errors[name] = error(hessian, rows, new)
    return new


def theirs(case: Case, made: Factor, rows: Floats, hessian: Floats, block: int, mine: Floats) -> None:
    """Order and compensate as published; both steps are in the time."""
    found = [mine]

    def ordering() -> float:
        found[1:] = [published(made.inverse, rows, block)[0]]
        return 1.0

    def weights() -> float:
        found[1:] = [published_weights(made.inverse, rows, found[1], block)]
        return 1.0

    scaled(case, "published, ordering", ordering)
    scaled(case, "published, weights", weights)
    both = case.seconds["published, ordering"][-1] + case.seconds["published, weights"][-1]
    case.seconds.setdefault("published", []).append(both)
    case.errors["published"] = error(hessian, rows, found[1])
    alike(case, hessian, rows, found)


def alike(case: Case, hessian: Floats, rows: Floats, found: list[Floats]) -> None:
    """Stop unless rows that keep the same weights have the same error; count the others, where float32 met a tie."""
    mine, published_rows = found
    same = np.array([np.array_equal(a != 0, b != 0) for a, b in zip(mine, published_rows, strict=True)])
    case.tied = int(np.count_nonzero(~same))
    errors = [error(hessian, rows[same], new[same]) for new in found]
    if abs(errors[0] - errors[1]) > 1e-5 * errors[1]:
        raise SystemExit(f"rows that keep the same weights have other errors: {errors}")


def smallest(losses: Floats) -> NDArray[np.bool_]:
    """Give what each row keeps at the sparsity."""
    keep = np.ones(losses.shape, bool)
    gone = np.argsort(losses, axis=1, kind="stable")[:, : int(losses.shape[1] * SPARSITY)]
    np.put_along_axis(keep, gone, False, axis=1)
    return keep


def error(hessian: Floats, old: Floats, new: Floats) -> float:
    """Give tr((W - W') H (W - W')^T)."""
    return float(np.einsum("ri,ij,rj->", old - new, hessian, old - new, optimize=True))


def clock(case: Case, name: str, call: Callable[[], object]) -> None:
    """Add the seconds of one call: of the processor, which is less troubled by others on the machine, if one thread."""
    now = time.process_time if THREADS == 1 else time.perf_counter
    start = now()
    call()
    case.seconds.setdefault(name, []).append(now() - start)


def scaled(case: Case, name: str, call: Callable[[], float]) -> None:
    """Add seconds scaled to the whole layer, where `call` does some of its rows and gives which part of them it did."""
    part = 1.0

    def run() -> None:
        nonlocal part
        part = call()

    clock(case, name, run)
    case.seconds[name][-1] *= case.size.rows / case.size.timed / part


def check() -> None:
    """See that the kernels and the baselines agree before anything is timed."""
    size = Size(6, 200, 20, 6)
    x = spikes(size)
    hessian = sparse(x) * 2 / size.samples
    z = MEMBRANE.filtered(x).reshape(-1, size.columns)
    if not np.allclose(hessian, 2 * z.T @ z / size.samples, rtol=1e-5):
        raise SystemExit("the sparse Hessian is not the dense one")
    made = factor(hessian)
    rows = np.random.default_rng(1).normal(size=(size.rows, size.columns))
    for block in (1, 4):
        losses = order_rows(made, rows, block=block, threads=THREADS)
        expected = published(made.inverse, rows, block)[0]
        keep = smallest(losses)
        weights = published_weights(made.inverse, rows, expected, block)
        if not np.array_equal(keep, smallest(expected)):
            raise SystemExit("the kernels and the published algorithm keep different weights")
        if not np.allclose(weights, compensate(made, rows, keep), atol=1e-3):
            raise SystemExit("the kernels and the published algorithm give different weights")
    if not np.allclose(exact_obs(made.inverse, rows, 10**6)[0], order_rows(made, rows, block=1), rtol=1e-2, atol=1e-5):
        raise SystemExit("the kernels and ExactOBS give different losses")


def show(case: Case) -> None:
    """Print one layer."""
    size = case.size
    print(f"\n{size.rows} x {size.columns}: {size.timed} rows timed, ExactOBS for {OBS_STEPS} of {size.columns} steps")
    print(f"  {'':26} {'seconds':>10} {'error':>14}")
    for name, seconds in case.seconds.items():
        shown = f"{case.errors[name]:14.7g}" if name in case.errors else ""
        print(f"  {name:26} {np.median(seconds):10.3f} {shown}")
    print(f"  {case.tied} of {size.timed} rows keep other weights than as published")
    pairs = (
        ("published", "greedy in groups"),
        ("published", "exact greedy"),
        ("ExactOBS, its repository", "exact greedy again"),
        ("ExactOBS, in place", "exact greedy again"),
        ("dense Hessian", "sparse Hessian"),
        ("dense product alone", "sparse Hessian"),
    )
    for slow, quick in pairs:
        middle, least, most = case.ratio(slow, quick)
        print(f"  {quick}: {middle:.1f} times as fast as {slow} (rounds {least:.1f} to {most:.1f})", flush=True)


if __name__ == "__main__":
    main()
