"""Carries pruned weights back through folding: from the graph's scale to that of the module it was traced from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikec.compiler.context import Context
from spikec.compiler.diagnostics import Findings, fail
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Connection
from spikec.compiler.verify import is_fixed
from spikec.compiler.weights import Array, Dense, Weight, unwrapped
from spikec.passes.fold import Fold

SAME = "give the graph that the module was read as (spikec.load), and what the pass made of it after `fold`"


@dataclass(frozen=True, eq=False)
class Masked:
    """The weights of one layer in the scale of its module, of the module's shape; 0 exactly where `keep` is False."""

    weight: Array
    keep: Array


def carry(trained: Graph, pruned: Graph) -> Mapping[str, Masked]:
    """Give the weights and masks of a pruned graph as the module has to hold them, by the path of the layer.

    Folding multiplies every weight by a factor that does not depend on it (of batch normalisation, a pool's mean, a
    neuron's gain, a spike's value), so folding a network of ones gives the factors, by which the pruned weights are
    divided. Where the factor is 0 (a dead row: a gain of 0) the weight is 0 in the graph whatever the module holds; it
    is masked. A layer is given if its weights have zeros or differ from the trained ones.

    Args:
        trained: the float graph that the module was read as, before any pass.
        pruned: what a pruning pass made of it, folded by `fold{pools=false}` or not at all.

    Raises:
        CompileError: `finetune/...`: the graphs are not of one network, a weight has no counterpart in the module, or
            it lies on a grid already; all that is found.
    """
    if is_fixed(trained) or is_fixed(pruned):
        help = "fine-tune first and quantize what comes out"
        raise fail("finetune/fixed", "a graph in integers cannot be fine-tuned", pruned.name, help)
    dense, factors = _counterpart(trained, pruned)
    found = Findings()
    made: dict[str, Masked] = {}
    for node, old in _connections(pruned, dense):
        with found.catching():
            layer = _layer(node, old, trained[node.name], factors[node.name])
            if layer is None:
                continue
            path = node.origin.path
            if not path:
                raise fail("finetune/no-path", "nothing says which layer of a module this is", node.where, SAME)
            if path in made and not _equal(made[path], layer):
                message = "this layer is used in two places, and was pruned differently in them"
                raise fail("finetune/shared", message, node.where, "leave it out of pruning")
            made[path] = layer
    found.raise_errors()
    return made


def _counterpart(trained: Graph, pruned: Graph) -> tuple[Graph, Graph]:
    """Give the dense graph of the pruned one's structure, and that graph with factors in place of weights."""
    ones = trained.map(_of_ones)
    for fold in (None, Fold(pools=False), Fold()):
        dense = trained if fold is None else fold.run(trained, Context())
        if _same_structure(dense, pruned):
            return dense, ones if fold is None else fold.run(ones, Context())
    message = "the pruned graph is not one that folding and pruning make of the trained one"
    raise fail("finetune/other-graph", message, pruned.name, SAME)


def _same_structure(left: Graph, right: Graph) -> bool:
    def outline(graph: Graph) -> list[tuple[object, ...]]:
        return [
            (n.name, type(n.op), n.inputs, n.op.weight.shape if isinstance(n.op, Connection) else ()) for n in graph
        ]

    return outline(left) == outline(right)


def _of_ones(node: Node) -> Node | None:
    if not isinstance(node.op, Connection):
        return None
    return replace(node, op=replace(node.op, weight=Dense(np.ones(node.op.weight.shape))))


def _connections(pruned: Graph, dense: Graph) -> Iterator[tuple[Node, Node]]:
    return ((node, dense[node.name]) for node in pruned if isinstance(node.op, Connection))


def _layer(node: Node, dense: Node, trained: Node, factors: Node) -> Masked | None:
    """Divide one layer's weights by their factors; None if nothing was done to it and it has no zeros."""
    values = _floats(_connection(node).weight, node)
    if values.all() and np.array_equal(values, _connection(dense).weight.decode()):
        return None
    origin = _connection(trained).weight
    if origin.shape != values.shape:
        message = f"its weights {list(values.shape)} hold a pool beside it; the module's are {list(origin.shape)}"
        raise fail("finetune/merged", message, node.where, "prune after fold{pools=false}")
    if not _same_bias(_connection(node).bias, _connection(dense).bias):
        message = "its bias was changed, and fine-tuning begins from the module's"
        raise fail("finetune/bias", message, node.where, SAME)
    factor = np.asarray(_connection(factors).weight.decode(), np.float64)
    if np.any((factor == 0) & (values != 0)):
        message = "it has weights where folding leaves none, whatever the module holds"
        raise fail("finetune/dead-row", message, node.where, SAME)
    alive = factor != 0
    weight = np.divide(values, factor, out=np.zeros(values.shape), where=alive).astype(origin.decode().dtype)
    if not np.isfinite(weight).all():
        message = "its weights are beyond the range of numbers in the module's scale"
        raise fail("finetune/range", message, node.where, "look for a batch normalisation with a gain of nearly 0")
    return Masked(weight, weight != 0)


def _connection(node: Node) -> Connection:
    assert isinstance(node.op, Connection)
    return node.op


def _floats(weight: Weight, node: Node) -> Array:
    if not isinstance(unwrapped(weight), Dense):
        message = f"its weights are encoded as {weight.encoding}, and training would move them off their values"
        raise fail("finetune/encoded", message, node.where, "fine-tune first, and quantize what comes out")
    return np.asarray(weight.decode(), np.float64)


def _same_bias(left: Array | None, right: Array | None) -> bool:
    if left is None or right is None:
        return left is right
    return np.array_equal(left, right)


def _equal(left: Masked, right: Masked) -> bool:
    return np.array_equal(left.weight, right.weight)
