"""The targets by name, and the passes that every network takes on its way there."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import get_args

from spikec.compiler import artifact as artifacts
from spikec.compiler.artifact import Artifact
from spikec.compiler.backend import Backend
from spikec.compiler.cores import Design, Memories
from spikec.compiler.diagnostics import fail
from spikec.compiler.pipeline import Pass
from spikec.compiler.target import Choices, Target


@dataclass(frozen=True, eq=False)
class Route:
    """How a float graph becomes something that a backend takes: passes before and after the user's own.

    `description` is for fixed-point targets: what the passes need to know of the chip; None where the target takes
    the float graph.
    """

    backend: Backend
    before: tuple[Pass, ...]
    after: tuple[Pass, ...]
    description: Target | None = None


BOARDS = ("ulx3s-85f", "colorlight-i5", "orangecrab", "tang-nano-20k", "icebreaker", "arty-a7")
NAMES = ("loihi2", "loihi2:netx", "nir", "onnx", *(f"fpga:{board}" for board in BOARDS))
NETX_WORDS = (
    "Intel Loihi 2 in the integers that lava-dl's netx can say: coarser exponents and biases, always a .net file"
)


def route(
    target: str,
    choices: Choices,
    memories: Memories | None = None,
    like: Artifact | str | Path | None = None,
    *,
    counts: bool = False,
) -> Route:
    """Give the route to a target.

    Args:
        target: its name.
        choices: what may be given up where the target cannot say it.
        memories: how an FPGA's are filled (None: baked, or as `like` has it).
        like: an overlay artifact, or its folder: the network takes its geometry, and so its RTL.
        counts: an FPGA sends the spikes of each output over a sample, not those of every step.

    Raises:
        CompileError: there is no such target, or it has no such choice.
    """
    from spikec.passes import ALL

    _check_memories(target, memories, like is not None)
    if counts and target in NAMES and not target.startswith("fpga:"):
        help = "leave it out (`run` counts on the host), or compile for a board: -t fpga:ulx3s-85f"
        raise fail("target/counts", f"'{target}' does not count its output's spikes; an FPGA does", help=help)
    if target in ("loihi2", "loihi2:netx"):
        from spikec.backends.loihi.backend import NETX_TARGET, TARGET, LoihiBackend

        custom = "exact" in astuple(choices)
        backend = LoihiBackend(allow_custom=custom)
        if target == "loihi2:netx":
            backend = LoihiBackend(allow_custom=custom, require_net=True, name=target, description=NETX_WORDS)
        description = replace(NETX_TARGET if target == "loihi2:netx" else TARGET, choices=choices)
        return Route(backend, (ALL["fold"](),), (ALL["quantize"](), ALL["balance-delays"]()), description)
    if target == "nir":
        from spikec.backends.nir import NirBackend

        return Route(NirBackend(), (ALL["fold"](pools=False),), ())  # NIR has pools of its own
    if target == "onnx":
        from spikec.backends.onnx import OnnxBackend

        return Route(OnnxBackend(), (), ())
    if target in NAMES:
        from spikec.backends.fpga.backend import FpgaBackend
        from spikec.backends.fpga.boards import BOARDS as KNOWN

        base = None if like is None else _overlay(like)
        filled: Memories = memories or ("baked" if base is None else "overlay")
        board = FpgaBackend(KNOWN[target.partition(":")[2]], memories=filled, like=base, counts=counts)
        return Route(board, (ALL["fold"](),), (ALL["quantize"](),), replace(board.target, choices=choices))
    help = f"known: {', '.join(NAMES)}; `spikec targets` describes them"
    raise fail("target/unknown", f"there is no target '{target}'", help=help)


def _check_memories(target: str, memories: str | None, like: bool) -> None:
    """Refuse a way to fill memories that is not known, or for a target that has none to fill."""
    if memories is not None and memories not in get_args(Memories):
        help = f"known: {', '.join(get_args(Memories))}"
        raise fail("target/unknown-memories", f"memories cannot be '{memories}'", help=help)
    if like and memories == "baked":
        raise fail("target/like", "only an overlay keeps the geometry of another; baked memories were asked for")
    if (memories or like) and target in NAMES and not target.startswith("fpga:"):
        message = f"'{memories or 'like'}' is a choice for the memories of an FPGA; '{target}' has none to fill"
        raise fail("target/memories", message, help="leave it out, or compile for a board: -t fpga:ulx3s-85f")


def _overlay(like: Artifact | str | Path) -> Design:
    """Give the design of an overlay artifact."""
    from spikec.backends.fpga.backend import design_of

    artifact = like if isinstance(like, Artifact) else artifacts.read(like)
    design = design_of(artifact)
    if design.memories != "overlay":
        message = "its memories are baked: other weights need another bitstream, and may need wider sums"
        raise fail("target/like", message, artifact.target, "compile the first network with --memories overlay")
    return design
