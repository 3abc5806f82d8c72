"""Second-order N:M masks: exact greedy OBS under the constraint of the blocks, as tasks over blocks of rows.

Along the inputs a row's blocks are its own, so rows are ordered one by one. Along the outputs a block is M rows of one
column: the loss of a layer is still the sum of its rows' losses, coupled only by how many of a column may go. So the M
rows of a block are gone through together: always the weight of the least w_p^2 / G_pp of all of them goes, and its row
makes up for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array
from spikec.passes.sbc.collect import Part
from spikec.passes.sbc.kernels import order_across, order_blocks, order_bytes
from spikec.passes.sbc.layers import Layer
from spikec.passes.sbc.prune import Factor
from spikec.passes.sbc.pruning import Job
from spikec.passes.sbc.tasks import ROWS, Work, blocks, staged
from spikec.passes.spike_nm.structure import Structure
from spikec.passes.work import Arrays, Task


def second_order(jobs: Sequence[Job], structure: Structure, work: Work) -> list[Array]:
    """Choose what every layer keeps, bool (rows, columns)."""
    keep = [np.zeros(job.layer.stored.shape, bool) for job in jobs]
    if structure.axis == "in":
        parts = [(i, p, one) for i, job in enumerate(jobs) for p, one in zip(job.parts, job.made, strict=True)]
        found = staged(work, "ordering", [
            partial(_inward, jobs[i].layer, part, one, structure) for i, part, one in parts
        ], "keep")  # fmt: skip
        for (i, part, _), chosen in zip(parts, found, strict=True):
            keep[i][part.rows] = chosen
    else:
        keep = staged(work, "ordering", [partial(_outward, job, structure) for job in jobs], "keep")
    return [
        structure.finished(chosen, _alike(job, structure), _dead(job), job.layer.op.weight.shape)
        for job, chosen in zip(jobs, keep, strict=True)
    ]


def needed(layer: Layer, structure: Structure) -> int:
    """Give the bytes that ordering a layer takes beside its Hessians and their factors."""
    if structure.axis == "in":
        return order_bytes(len(columns_of(layer.op.weight.shape, structure.m)), 1)
    size = layer.columns
    return structure.m * (order_bytes(size, 1) - 4 * size**2)


def columns_of(shape: Shape, m: int) -> Array:
    """Order the columns of a tensor (C_out, C_in, *kernel) into whole blocks: (kh, kw, C_in), -1 past the channels."""
    places = np.moveaxis(np.arange(int(np.prod(shape[1:]))).reshape(shape[1:]), 0, -1).reshape(-1, shape[1])
    return np.pad(places, ((0, 0), (0, -shape[1] % m)), constant_values=-1).reshape(-1)


def inward_block(inverse: Array, rows: Array, alive: Array, columns: Array, *, n: int, m: int, threads: int) -> Arrays:
    """Give what rows `keep` of blocks along the inputs; `columns` (d',) are whole blocks, -1 where nothing is."""
    there = columns >= 0
    at = np.where(there, columns, 0)
    if np.array_equal(columns, np.arange(len(inverse))):
        return {"keep": order_blocks(inverse, rows, n, m, threads, alive)}
    wide = np.where(there[:, None] & there[None, :], inverse[np.ix_(at, at)], np.eye(len(at), dtype=inverse.dtype))
    chosen = order_blocks(wide, np.where(there, rows[:, at], 0), n, m, threads, alive[at] & there)
    keep = np.zeros(rows.shape, bool)
    keep[:, columns[there]] = chosen[:, there]
    return {"keep": keep}


def outward_block(
    inverses: Array, which: Array, rows: Array, scales: Array, alive: Array, *, n: int, m: int, threads: int
) -> Arrays:
    """Give what rows `keep` of blocks along the outputs."""
    return {"keep": order_across(inverses, which, rows, n, m, scales, alive, threads)}


def _inward(layer: Layer, part: Part, made: Factor, structure: Structure) -> Iterator[Task]:
    rows, columns = layer.stored[part.rows], columns_of(layer.op.weight.shape, structure.m)
    for cut in blocks(len(rows)):
        arrays = {"inverse": made.inverse, "rows": rows[cut], "alive": made.alive, "columns": columns}
        yield _task(layer, inward_block, cut, arrays, structure)


def _outward(job: Job, structure: Structure) -> Iterator[Task]:
    layer, step = job.layer, -(-ROWS // structure.m) * structure.m
    kind = _kinds(job)
    weigh = (layer.scales * layer.unit) ** 2
    stacks: dict[bytes, tuple[Array, Array]] = {}
    for start in range(0, len(kind), step):
        cut = slice(start, min(start + step, len(kind)))
        there, which = np.unique(kind[cut], return_inverse=True)
        if there.tobytes() not in stacks:  # one for all tasks that share it: it is sent once
            made = [job.made[k] for k in there]
            inverses = made[0].inverse[None] if len(made) == 1 else np.stack([one.inverse for one in made])
            stacks[there.tobytes()] = inverses, np.stack([one.alive for one in made])
        inverses, alive = stacks[there.tobytes()]
        arrays = {
            "inverses": inverses, "which": which.reshape(-1), "rows": layer.stored[cut], "scales": weigh[cut],
            "alive": alive,
        }  # fmt: skip
        yield _task(layer, outward_block, cut, arrays, structure)


def _task(
    layer: Layer, function: Callable[..., Arrays], cut: slice, arrays: dict[str, Array], structure: Structure
) -> Task:
    cost = (cut.stop - cut.start) * layer.columns**3 / 6
    return Task(f"{layer.name} rows {cut.start}..", function, arrays, {"n": structure.n, "m": structure.m}, cost)


def _kinds(job: Job) -> Array:
    """Give each row's part."""
    kind = np.zeros(len(job.layer.stored), np.int64)
    for index, part in enumerate(job.parts):
        kind[part.rows] = index
    return kind


def _dead(job: Job) -> Array:
    """Give the weights whose input never came, bool (rows, columns)."""
    return ~np.stack([one.alive for one in job.made])[_kinds(job)]


def _alike(job: Job, structure: Structure) -> Array:
    """Give weights that can be compared within a block: along the outputs in the units of their neurons."""
    return job.layer.weights * job.layer.scales[:, None] if structure.axis == "out" else job.layer.stored
