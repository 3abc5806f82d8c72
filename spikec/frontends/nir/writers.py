"""The frameworks whose NIR exports spikec knows: what each gets wrong, what is put right, and what is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from spikec.compiler.diagnostics import Findings, Sink, fail, remark
from spikec.compiler.ir import Node
from spikec.compiler.neurons import Neuron
from spikec.frontends.nir import corrections
from spikec.frontends.nir.corrections import Correction, rockpool_step
from spikec.frontends.nir.flat import Flat
from spikec.frontends.nir.neurons import NEURONS, SPIKING
from spikec.frontends.nir.options import NirOptions
from spikec.frontends.nir.raw import RawNode


@dataclass(frozen=True)
class Writer:
    """A framework that exports NIR.

    dt: seconds a step where the user says nothing. assumed: what its neurons do, unless the user says otherwise.
    corrected, lost: in the user's words, what is read otherwise than the file says, and what the file does not hold.
    """

    title: str
    dt: float
    assumed: Mapping[str, Any]
    correct: Correction
    corrected: str
    lost: str
    batch_axis: bool = field(default=False)


WRITERS: Mapping[str, Writer] = {
    "snntorch": Writer(
        "snnTorch",
        1e-4,
        {"reset": "subtract", "reset_delay": True},
        corrections.snntorch,
        "it writes v_reset = 0 whatever the reset; read as its default, the threshold subtracted one step later",
        "the reset mechanism and its delay (set reset=value, reset_delay=false), reset 'none', graded spikes",
    ),
    "norse": Writer(
        "Norse",
        1e-3,
        {"v_init": "leak", "syn_order": "add_use_decay"},
        corrections.norse,
        "it writes tau times dt, and no input gain of a LIFCell; both are put right",
        "v_reset, reset_subtract (set reset=subtract), pools, Flatten, recurrent cells",
        batch_axis=True,
    ),
    "sinabs": Writer(
        "sinabs",
        1e-3,
        {"reset": "subtract", "spike": "multi", "cmp": ">="},
        corrections.sinabs,
        "it writes tau in steps, for a = exp(-1/tau), and no reset; read as its defaults: multi-spike, subtract, "
        "norm_input",
        "tau_syn, norm_input=False (norm_input=false), SingleSpike (spike=single), MembraneReset (reset=value), "
        "min_v_mem (v_min)",
        batch_axis=True,
    ),
    "rockpool": Writer(
        "Rockpool",
        1e-3,
        {"reset": "subtract", "spike": "multi", "cmp": ">=", "syn_order": "add_decay"},
        corrections.rockpool,
        "it writes r = tau exp(-dt/tau) / dt; read as a = exp(-dt/tau) with gain 1, subtract, multi-spike",
        "bias of the neurons, w_rec, max_spikes_per_dt (max_spikes; 65,536 by default)",
        batch_axis=True,
    ),
    "spikingjelly": Writer(
        "SpikingJelly",
        1e-4,
        {"integrator": "dt", "cmp": ">=", "v_init": "reset"},
        corrections.untouched,
        "an IF has r = 1/dt, spikes are at >= the threshold, and membranes start at v_reset",
        "nothing: it refuses to write what NIR cannot say",
    ),
}
"""By the name that `from` takes."""


def assume(options: NirOptions, flat: Flat) -> NirOptions:
    """Fill in what a network of this framework does where the user said nothing.

    Raises:
        CompileError: the user set what the framework fixes.
    """
    if options.writer is None:
        return options
    writer = WRITERS[options.writer]
    fixed = [name for name in ("method", "integrator", "syn_order") if getattr(options, name) is not None]
    if fixed:
        message = f"from={options.writer} fixes {', '.join(fixed)}"
        raise fail("nir/bad-option", message, "NirOptions", "leave it out, or leave from out")
    given: dict[str, Any] = {"method": "euler", "integrator": "step"}
    given |= {name: value for name, value in writer.assumed.items() if getattr(options, name) is None}
    if options.dt is None:
        given["dt"] = _rockpool_dt(flat) if options.writer == "rockpool" else writer.dt
    return replace(options, **given)


def corrected(flat: Flat, options: NirOptions, tell: Sink) -> Flat:
    """Put right what the framework is known to write wrongly, and say so; every fault at once."""
    if options.writer is None:
        return flat
    writer = WRITERS[options.writer]
    dt = options.dt or writer.dt
    found, nodes = Findings(), dict(flat.nodes)
    neurons = [name for name, node in nodes.items() if node.type in NEURONS]
    for name in neurons:
        with found.catching():
            nodes[name] = writer.correct(nodes[name], dt, options.norm_input is not False)
    found.raise_errors()
    for name, node in nodes.items():
        if writer.batch_axis and node.type == "Input":
            nodes[name] = _without_batch(node, (nodes[b] for a, b in flat.edges if a == name and b in nodes))
    message = (
        f"read as {writer.title}'s export at {dt:.6g} s a step: {writer.corrected}. Not in the file: {writer.lost}"
    )
    tell(remark("nir/from", message, ", ".join(neurons), "capture the torch module itself to be sure of all of it"))
    return Flat(nodes, flat.edges)


def as_trained(node: Node, flat: Flat, options: NirOptions) -> Node:
    """Give a snnTorch neuron its delayed reset; all but Leaky lose a step's input with the reset to zero."""
    op = node.op
    if options.reset_delay is None or not isinstance(op, Neuron) or flat.nodes[node.name].type not in SPIKING:
        return node
    recurrent = any((b, a) in flat.edges for a, b in flat.edges if a == node.name)
    cuba = flat.nodes[node.name].type == "CubaLIF"
    late = options.reset_delay or (cuba and recurrent)  # RSynaptic delays in any case
    drops = op.reset == "value" and (cuba or recurrent)
    return replace(node, op=replace(op, reset_when="next" if late else "next_post", drop_input=drops))


def _rockpool_dt(flat: Flat) -> float:
    steps = {rockpool_step(node) for node in flat.nodes.values() if node.type in ("LIF", "CubaLIF", "LI")}
    found = steps.pop() if len(steps) == 1 else None
    if found is None:
        message = "the neurons do not agree on a time step, as those of a Rockpool export do"
        raise fail("nir/from", message, "NIRGraph", "give dt, or leave from=rockpool out")
    return found


def _without_batch(node: RawNode, readers: Iterable[RawNode]) -> RawNode:
    """Take away the axis of the batch that nirtorch leaves in the shape of the Input."""
    axes = {"Linear": 1, "Affine": 1, "Conv1d": 2, "Conv2d": 3}
    wanted = [axes[reader.type] for reader in readers if reader.type in axes]
    shape = node.fields.get("shape")
    if shape is None or not wanted or len(shape) != wanted[0] + 1:
        return node
    return replace(node, fields={**node.fields, "shape": shape[1:]})
