"""Which framework probably wrote a NIR file, by the marks that its exporter leaves: a remark, never a decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikec.compiler.diagnostics import Sink, remark
from spikec.frontends.nir.corrections import SNNTORCH_DT, rockpool_step
from spikec.frontends.nir.flat import Flat
from spikec.frontends.nir.raw import RawNode
from spikec.frontends.nir.writers import WRITERS

ROUND = 1e-6
"""How near a value must be to one of a few digits to count as chosen by a person."""


def guess(flat: Flat) -> tuple[str, str, str] | None:
    """Give the name that `from` takes, the node and the mark that was found on it, or None."""
    for name, mark in MARKS:
        for node in flat.nodes.values():
            try:
                found = mark(node, flat)
            except (TypeError, ValueError):  # fields that are no numbers are told of later
                found = ""
            if found:
                return name, node.where, found
    return None


def remark_guess(flat: Flat, tell: Sink) -> None:
    """Say whose export this looks like."""
    found = guess(flat)
    if found is not None:
        name, where, mark = found
        writer = WRITERS[name]
        message = f"this looks like {writer.title}'s export ({mark}), of which is known: {writer.corrected}"
        help = f"if it is, read it with from={name}: --from {name}, or nir={{'from': '{name}'}}"
        tell(remark("nir/writer", message, where, help))


def _values(node: RawNode, *names: str) -> Iterator[NDArray[Any]]:
    return (np.asarray(node.fields[name]) for name in names if name in node.fields)


def _all(node: RawNode, name: str, value: float) -> bool:
    return name in node.fields and bool(np.all(np.asarray(node.fields[name]) == value))


def _sinabs(node: RawNode, flat: Flat) -> str:
    if node.type in ("LIF", "LI") and _all(node, "r", 1) and _all(node, "v_leak", 0):
        (tau,) = _values(node, "tau")
        return "a tau of whole steps, not seconds" if np.all(tau >= 1) and np.all(np.isfinite(tau)) else ""
    if node.type == "IF" and _all(node, "r", 1):
        (r,) = _values(node, "r")
        return "an IF of r = 1 in float32 for every neuron" if r.size > 1 and r.dtype == np.float32 else ""
    return ""


def _norse(node: RawNode, flat: Flat) -> str:
    if node.type not in ("LIF", "CubaLIF", "LI") or not _all(node, "r", 1):
        return ""
    tau = next(_values(node, "tau", "tau_mem"))
    return "r = 1 with a tau below 0.1 ms" if np.all(tau < SNNTORCH_DT) and tau.dtype == np.float32 else ""


def _rockpool(node: RawNode, flat: Flat) -> str:
    step = rockpool_step(node) if node.type in ("LIF", "CubaLIF", "LI") else None
    if step is None or _all(node, "r", 1) or abs(step - float(f"{step:.2g}")) > ROUND * step:
        return ""
    if node.type == "CubaLIF" and not _all(node, "w_in", 1):
        return ""
    return f"r = tau exp(-dt/tau) / dt with dt = {step:.6g} s"


def _snntorch(node: RawNode, flat: Flat) -> str:
    if node.type not in ("LIF", "CubaLIF") or not _all(node, "v_reset", 0):
        return ""
    tau = next(_values(node, "tau", "tau_mem"))
    (r,) = _values(node, "r")
    recurrent = any(name.endswith(".w_rec") for name in flat.nodes)
    if tau.size and (recurrent or tau.dtype == np.float32) and np.allclose(r * SNNTORCH_DT, tau, rtol=1e-6, atol=0):
        return "r = tau / 0.1 ms, v_reset = 0"
    return ""


def _spikingjelly(node: RawNode, flat: Flat) -> str:
    if node.type != "IF" or "v_reset" not in node.fields:
        return ""
    (r,) = _values(node, "r")
    return "an IF of r = 1/dt" if r.size and np.all(r >= 100) and np.all(r == r.reshape(-1)[0]) else ""


MARKS: tuple[tuple[str, Callable[[RawNode, Flat], str]], ...] = (
    ("spikingjelly", _spikingjelly),
    ("sinabs", _sinabs),
    ("norse", _norse),
    ("snntorch", _snntorch),
    ("rockpool", _rockpool),
)
"""The marks in the order in which they are looked for."""
