"""What the options of the passes name: layers by name or pattern, a layer's own sparsity, memory and threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from spikec.compiler.diagnostics import Diagnostic, Sink
from spikec.passes.sbc.layers import Layer

MIB = 1 << 20

LEAST = {"memory": 1}
"""The least values of the options that count something; 0 where nothing is said."""


def refuse_values(damping: float, **counts: int) -> None:
    """Refuse values of the options that the one-shot passes share.

    Raises:
        ValueError: the damping is negative or no number, or a count is below its least value.
    """
    if not 0 <= damping < float("inf"):
        raise ValueError(f"damping must be 0 or more, not {damping:g}")
    for name, value in counts.items():
        least = LEAST.get(name, 0)
        if value < least:
            raise ValueError(f"{name} must be {least} or more, not {value}")


def pairs(given: Mapping[str, float] | Iterable[str]) -> tuple[str, ...]:
    """Write sparsities by layer as text: `fc1:0.5`, one entry a layer (a mapping is what Python gives).

    Raises:
        ValueError: an entry is not NAME:SPARSITY, or its sparsity lies outside [0, 1).
    """
    texts = tuple(f"{name}:{value}" for name, value in given.items()) if isinstance(given, Mapping) else tuple(given)
    for text in texts:
        own_sparsity(text)
    return texts


def own_sparsity(text: str) -> tuple[str, float]:
    """Read NAME:SPARSITY."""
    name, colon, value = text.rpartition(":")
    try:
        sparsity = float(value) if colon and name else None
    except ValueError:
        sparsity = None
    if sparsity is None:
        raise ValueError(f"'{text}' is not LAYER:SPARSITY, such as fc1:0.5")
    if not 0 <= sparsity < 1:
        raise ValueError(f"the sparsity of '{name}' must lie in [0, 1), not {sparsity:g}")
    return name, sparsity


def skipped(layers: Sequence[Layer], patterns: Iterable[str], sink: Sink) -> frozenset[str]:
    """Give the names of the layers that patterns leave out: `first`, `last`, a name, or a pattern such as `conv*`."""
    found: set[str] = set()
    for pattern in patterns:
        if pattern in ("first", "last") and layers and pattern not in {layer.name for layer in layers}:
            found.add(layers[0 if pattern == "first" else -1].name)
        else:
            found.update(_matching(layers, pattern, sink))
    return frozenset(found)


def given_sparsities(layers: Sequence[Layer], texts: Iterable[str], sink: Sink) -> dict[str, float]:
    """Give the sparsity of each layer that has its own; of two patterns that name a layer the later counts."""
    return {name: value for text in texts for pattern, value in [own_sparsity(text)]
            for name in _matching(layers, pattern, sink)}  # fmt: skip


def _matching(layers: Sequence[Layer], pattern: str, sink: Sink) -> list[str]:
    """Give the layers whose node's name, or place in the user's network, fits a pattern; say so where none does."""
    found = [layer.name for layer in layers if any(_fits(pattern, name) for name in _names(layer))]
    if not found:
        known = ", ".join(layer.name for layer in layers)
        sink(Diagnostic("sbc/unknown-layer", f"no layer is named '{pattern}'", help=f"layers with weights: {known}"))
    return found


def _fits(pattern: str, name: str) -> bool:
    return pattern == name or fnmatchcase(name, pattern)


def _names(layer: Layer) -> list[str]:
    return [name for node in layer.nodes for name in (node.name, node.origin.path) if name]
