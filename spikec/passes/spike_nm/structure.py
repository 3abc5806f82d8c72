"""N:M structures of a layer's weights: which layers can have one, and which weights it keeps, given an order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spikec.compiler.diagnostics import Diagnostic, Sink, remark
from spikec.compiler.ir import Shape
from spikec.compiler.weights import Array
from spikec.compiler.weights_nm import LARGEST, Axis, blocks_of, of_blocks
from spikec.passes.sbc.layers import Layer


@dataclass(frozen=True)
class Structure:
    """At most `n` of `m` consecutive weights along `axis` are not zero."""

    n: int
    m: int
    axis: Axis

    def __post_init__(self) -> None:
        """Refuse what is no such structure."""
        if not 0 < self.n < self.m <= LARGEST:
            raise ValueError(f"N:M needs 0 < N < M <= {LARGEST}, not {self.n}:{self.m}; N counts what is kept")

    def __str__(self) -> str:
        """Say it as it is spoken: 2:8 out."""
        return f"{self.n}:{self.m} {self.axis}"

    def blocks(self, values: Array, shape: Shape) -> Array:
        """Cut (rows, columns) of a tensor's shape into blocks: (lines, blocks, m), zeros past the end."""
        return blocks_of(np.asarray(values).reshape(shape), self.m, self.axis)

    def matrix(self, blocks: Array, shape: Shape) -> Array:
        """Put blocks back: (rows, columns)."""
        return of_blocks(blocks, shape, self.axis).reshape(shape[0], -1)

    def holds(self, values: Array, shape: Shape) -> bool:
        """Say whether weights have the structure already."""
        return int(np.count_nonzero(self.blocks(values, shape), axis=-1).max(initial=0)) <= self.n

    def largest(self, values: Array, shape: Shape) -> Array:
        """Choose the n largest magnitudes of every block, of equals the first: bool (rows, columns)."""
        return self.finished(np.zeros(np.shape(values), bool), values, np.ones(np.shape(values), bool), shape)

    def finished(self, keep: Array, values: Array, dead: Array, shape: Shape) -> Array:
        """Give a choice its last form.

        What is 0 is not kept. Of weights whose input never came, which lose nothing and so tell nothing, the largest
        of a block stay, in as many places as the others leave. A block that has the structure already keeps what it
        has.

        Args:
            keep: what was chosen, bool (rows, columns), at most n of each block.
            values: the weights (rows, columns), alike in unit within a block.
            dead: the weights whose input never came.
            shape: of the tensor.
        """
        cut, size = self.blocks(keep, shape), self.blocks(np.abs(values), shape)
        free = self.blocks(dead, shape)
        alive = cut & ~free & (size > 0)
        rank = np.argsort(np.argsort(np.where(free, -size, np.inf), axis=-1, kind="stable"), axis=-1)
        cut = alive | (free & (rank < self.n - alive.sum(axis=-1, keepdims=True)))
        few = np.count_nonzero(size, axis=-1, keepdims=True) <= self.n
        return self.matrix((cut | few) & (size > 0), shape)


def refuse(layers: Iterable[Layer], structure: Structure, sink: Sink, told: Sink, *, padding: bool, name: str) -> None:
    """Name every layer that cannot have a structure, and remark on those whose last block is shorter."""
    for layer in layers:
        where, skip = layer.nodes[0].where, f"leave it out: skip={layer.name}"
        along, length = _length(layer, structure)
        blocks = f"blocks of {structure}"
        if length < structure.m:
            message = f"its {length} {along} are fewer than M = {structure.m}"
            sink(Diagnostic(f"{name}/too-few", message, where, f"a smaller M, the other axis, or {skip}"))
        elif structure.axis == "out" and layer.groups > 1 and length // layer.groups % structure.m:
            message = f"{blocks} would hold outputs of several of its {layer.groups} groups, which share no input"
            sink(Diagnostic(f"{name}/groups", message, where, skip))
        elif length % structure.m and not padding:
            message = f"its {length} {along} are not a multiple of M = {structure.m}, and padding is refused"
            sink(Diagnostic(f"{name}/padding", message, where, f"padding=true, or {skip}"))
        elif length % structure.m:
            rest = length % structure.m
            text = f"the last of its {blocks} holds {rest} of {length} {along}, of which {min(structure.n, rest)} stay"
            told(remark(f"{name}/padded", text, where))


def _length(layer: Layer, structure: Structure) -> tuple[str, int]:
    shape = layer.op.weight.shape
    if structure.axis == "out":
        return "outputs", shape[0]
    return ("inputs" if len(shape) == 2 else "input channels"), shape[1]
