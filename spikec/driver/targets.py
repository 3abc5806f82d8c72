"""The targets by name, and the passes that every network takes on its way there."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

from spikec.compiler.backend import Backend
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


NAMES = ("loihi2", "nir")


def route(target: str, choices: Choices) -> Route:
    """Give the route to a target.

    Raises:
        CompileError: there is no such target.
    """
    from spikec.passes import ALL

    if target == "loihi2":
        from spikec.backends.loihi.backend import TARGET, LoihiBackend

        description = replace(TARGET, choices=choices)
        return Route(
            LoihiBackend(allow_custom="exact" in astuple(choices)),
            (ALL["fold"](),),
            (ALL["quantize"](), ALL["balance-delays"]()),
            description,
        )
    if target == "nir":
        from spikec.backends.nir import NirBackend

        return Route(NirBackend(), (ALL["fold"](),), ())
    raise fail(
        "target/unknown",
        f"there is no target '{target}'",
        help=f"known: {', '.join(NAMES)}; `spikec targets` describes them",
    )
