"""Merging sum pools into the connections beside them: one kernel that does both, where that is the same function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from spikec.compiler.ir import Graph, Node, Shape
from spikec.compiler.ops import Conv1d, Conv2d, Flatten, Linear, SumPool
from spikec.compiler.weights import Array, Dense, Sparse, Weight
from spikec.compiler.weights_grid import grid_of, with_codes
from spikec.passes.surgery import edit, only_input, read_by_one

Convolution = Conv1d | Conv2d


def rewritten(weight: Weight, change: Callable[[Array], Array]) -> Weight:
    """Move and add up the entries of each row of weights; a Grid keeps its scale while 8 bits hold the new codes."""
    grid = grid_of(weight)
    made = None if grid is None else with_codes(grid, change(grid.codes))
    new = Dense(change(np.asarray(weight.decode()))) if made is None else made
    return Sparse(new) if isinstance(weight, Sparse) else new


def into_conv(graph: Graph, pool: Node) -> Graph | str:
    """Merge a sum pool into every convolution that reads it; or say why that is not the same function.

    With pool kernel k, stride p, padding a and conv kernel K, stride S, padding P, dilation D:
    conv(pool(x))[y] = sum_i W[i] sum_j x[(y S + i D - P) p + j - a], so the kernel W'[i D p + j] += W[i], of
    stride S p and padding a + P p. Where P > 0 the pool's own windows beyond its edge must see zeros alone.
    """
    assert isinstance(pool.op, SumPool)
    space = graph.shapes[pool.inputs[0]][1:]
    changes: dict[str, Node] = {}
    if not graph.consumers[pool.name]:
        return "nothing reads it"
    for name in graph.consumers[pool.name]:
        reader = graph[name]
        if not isinstance(reader.op, Conv1d | Conv2d):
            return f"'{name}', which reads it, is not a convolution"
        if reader.inputs != (pool.name,):
            return f"'{name}' reads other nodes beside it"
        if graph.is_recurrent(pool.inputs[0], name) != graph.is_recurrent(pool.inputs[0], pool.name):
            return f"'{name}' would read another step"
        reason = _edge(pool.op, reader.op, space, graph.shapes[pool.name][1:])
        if reason:
            return reason
        changes[name] = replace(
            reader, op=_merged(pool.op, reader.op, space, graph.shapes[name][1:]), inputs=pool.inputs
        )
    kept = tuple(changes.get(node.name, node) for node in graph if node.name != pool.name)
    return replace(graph, nodes=kept)


def _edge(pool: SumPool, conv: Convolution, space: Shape, pooled: Shape) -> str:
    """Say what stands against merging at the edges, or nothing."""
    for axis, (before, after) in enumerate(conv.padding):
        k, p, (a, _) = pool.kernel[axis], pool.stride[axis], pool.padding[axis]
        if (before and k > p + a) or (after and pooled[axis] * p - a < space[axis]):
            return "the convolution's zero padding would stand where the pool sees input"
    return ""


def _merged(pool: SumPool, conv: Convolution, space: Shape, out: Shape) -> Any:
    rank = conv.rank
    kernel = tuple((conv.kernel[x] - 1) * conv.dilation[x] * pool.stride[x] + pool.kernel[x] for x in range(rank))

    def widened(weight: Array) -> Array:
        merged = np.zeros((*weight.shape[:2], *kernel), weight.dtype)
        for tap in np.ndindex(*conv.kernel):
            begin = tuple(tap[x] * conv.dilation[x] * pool.stride[x] for x in range(rank))
            area = tuple(slice(b, b + k) for b, k in zip(begin, pool.kernel, strict=True))
            taken = weight[(slice(None), slice(None), *tap)]
            merged[(slice(None), slice(None), *area)] += taken[(..., *(None,) * rank)]
        return merged

    stride = tuple(s * p for s, p in zip(conv.stride, pool.stride, strict=True))
    front = tuple(pool.padding[x][0] + conv.padding[x][0] * pool.stride[x] for x in range(rank))
    padding = tuple((front[x], max(0, (out[x] - 1) * stride[x] + kernel[x] - space[x] - front[x])) for x in range(rank))
    weight = rewritten(conv.weight, widened)
    return edit(conv, weight=weight, stride=stride, padding=padding, dilation=(1,) * rank)


def into_linear(graph: Graph, pool: Node) -> Graph | str:
    """Merge a sum pool and the flatten behind it into the Linear that reads them: W' = W times the pool's matrix."""
    flat = read_by_one(graph, pool.name)
    if flat is None or not isinstance(flat.op, Flatten) or flat.inputs != (pool.name,):
        return "no single flatten reads it"
    if len(graph.shapes[flat.name]) != 1:
        return "the flatten behind it keeps some axes"
    linear = read_by_one(graph, flat.name)
    if linear is None or not isinstance(linear.op, Linear) or linear.inputs != (flat.name,):
        return "no single Linear reads it"
    if linear.op.delays is not None:
        return "the Linear behind it has synapse delays"
    if graph.is_recurrent(pool.inputs[0], pool.name):
        return "it reads the previous step"
    sums = pool.op
    assert isinstance(sums, SumPool)
    given, pooled = graph.shapes[pool.inputs[0]], graph.shapes[pool.name]
    weight = rewritten(linear.op.weight, lambda values: spread(values, sums, given, pooled))
    merged = replace(linear, op=edit(linear.op, weight=weight))
    flat = replace(flat, inputs=pool.inputs)
    kept = tuple({linear.name: merged, flat.name: flat}.get(n.name, n) for n in graph if n.name != pool.name)
    return replace(graph, nodes=kept)


def spread(weight: Array, pool: SumPool, given: Shape, pooled: Shape) -> Array:
    """Give the weights (out, prod(given)) that act on a pool's input as `weight` (out, prod(pooled)) on its output."""
    rank = len(pool.kernel)
    room = tuple(n + before + after for n, (before, after) in zip(given[1:], pool.padding, strict=True))
    grid = weight.reshape(weight.shape[0], *pooled)
    wide = np.zeros((weight.shape[0], given[0], *room), weight.dtype)
    for tap in np.ndindex(*pool.kernel):
        taken = tuple(
            slice(tap[x], tap[x] + (pooled[1 + x] - 1) * pool.stride[x] + 1, pool.stride[x]) for x in range(rank)
        )
        wide[(slice(None), slice(None), *taken)] += grid
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(given[1:], pool.padding, strict=True))
    cut: Array = wide[(slice(None), slice(None), *inside)]
    return cut.reshape(weight.shape[0], prod(given))


def behind_conv(graph: Graph, pool: Node) -> Graph | str:
    """Merge a sum pool into the convolution that it reads: one wider kernel of stride s p."""
    conv = only_input(graph, pool.name)
    assert isinstance(pool.op, SumPool)
    if conv is None or not isinstance(conv.op, Conv1d | Conv2d):
        return "it does not read one convolution"
    if read_by_one(graph, conv.name) is None:
        return f"'{conv.name}' is read by others too"
    if any(before or after for before, after in pool.op.padding):
        return "its padding would stand where the convolution has values"
    old, sums, rank = conv.op, pool.op, conv.op.rank
    kernel = tuple(
        (pool.op.kernel[x] - 1) * old.stride[x] + (old.kernel[x] - 1) * old.dilation[x] + 1 for x in range(rank)
    )

    def widened(weight: Array) -> Array:
        merged = np.zeros((*weight.shape[:2], *kernel), weight.dtype)
        for shift in np.ndindex(*sums.kernel):
            begin = tuple(shift[x] * old.stride[x] for x in range(rank))
            reach = tuple((old.kernel[x] - 1) * old.dilation[x] + 1 for x in range(rank))
            taps = tuple(slice(b, b + r, d) for b, r, d in zip(begin, reach, old.dilation, strict=True))
            merged[(slice(None), slice(None), *taps)] += weight
        return merged

    stride = tuple(s * p for s, p in zip(old.stride, pool.op.stride, strict=True))
    bias = None if old.bias is None else np.asarray(old.bias) * prod(pool.op.kernel)
    op = edit(old, weight=rewritten(old.weight, widened), bias=bias, stride=stride, dilation=(1,) * rank)
    # Stands where the convolution stood; what read the pool reads it now.
    new = replace(conv, op=op)
    nodes = tuple(
        new if n.name == conv.name else replace(n, inputs=tuple(conv.name if i == pool.name else i for i in n.inputs))
        for n in graph
        if n.name != pool.name
    )
    return replace(graph, nodes=nodes)
