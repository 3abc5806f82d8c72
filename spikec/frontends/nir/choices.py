"""The choices that a NIR file left open and that mattered: said to the user, each with the way to set it."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace
from typing import Any

import numpy as np

from spikec.compiler.diagnostics import Sink, remark
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import Neuron
from spikec.compiler.ops import Delay
from spikec.frontends.nir.flat import Flat
from spikec.frontends.nir.neurons import LEAKY, SPIKING, Reading
from spikec.frontends.nir.options import NirOptions


def overridden(node: Node, options: NirOptions) -> Node:
    """Apply what the user set by hand to a neuron that spikec's note restored."""
    if not isinstance(node.op, Neuron) or node.op.reset == "none":
        return node
    given: dict[str, Any] = {
        name: value for name in ("reset", "spike", "cmp", "v_min") if (value := getattr(options, name)) is not None
    }
    if options.max_spikes:
        given["max_spikes"] = options.max_spikes
    if options.v_init is not None:
        given["v_init"] = {"zero": 0.0, "leak": node.op.v_leak, "reset": node.op.v_reset}[options.v_init]
    return replace(node, op=replace(node.op, **given)) if given else node


def remark_choices(
    graph: Graph, flat: Flat, options: NirOptions, how: Reading, late: tuple[Node, ...], known: Set[str], tell: Sink
) -> None:
    """Remark every default that was taken and mattered; `known` are the nodes that spikec's note describes."""
    open_ = [node for node in graph if node.name in flat.nodes and node.name not in known]
    kinds = {node.name: flat.nodes[node.name].type for node in open_}
    leaky = [name for name, kind in kinds.items() if kind in LEAKY]
    timeless = [name for name, kind in kinds.items() if kind in ("I", "IF")]
    spiking = [name for name, kind in kinds.items() if kind in SPIKING]
    timed = leaky + [node.name for node in open_ if isinstance(node.op, Delay)]

    def say(code: str, message: str, names: Iterable[str], option: str) -> None:
        tell(remark(f"nir/{code}", message, ", ".join(names), f"set it with NirOptions({option})"))

    if timed and options.dt is None:
        say("dt", f"NIR has no time step; {how.dt:.6g} s a step is taken", timed, "dt=...")
    if leaky and options.method is None:
        message = "NIR's neurons are continuous; read by forward Euler, a = 1 - dt/tau"
        say("method", message, leaky, "method='exponential'")
    if timeless and options.integrator is None:
        message = "a neuron without a time constant adds r times its input each step, not dt r times"
        say("integrator", message, timeless, "integrator='dt'")
    if spiking and options.reset is None:
        message = "after a spike the membrane is set to v_reset, as NIR says; many networks were trained to subtract"
        say("reset", message, spiking, "reset='subtract'")
    if spiking and (options.spike is None or options.v_min is None):
        message = "at most one spike a step, and no lower bound of the membrane: NIR can say neither"
        say("spike", message, spiking, "spike='multi', v_min=-1.0")
    if late and options.recurrent_bias is None:
        message = "the bias of a recurrent connection acts from step 0; some frameworks start it at step 1"
        say("recurrent-bias", message, [node.name for node in late], "recurrent_bias=1")
    resting = [node.name for node in open_ if isinstance(node.op, Neuron) and _rests_elsewhere(node.op)]
    if resting and options.v_init is None:
        say("initial", "NIR has no initial state; membranes start at 0", resting, "v_init='leak'")


def _rests_elsewhere(op: Neuron) -> bool:
    return bool(np.any(op.v_leak) or np.any(op.v_reset))
