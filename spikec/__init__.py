"""spikec compiles trained spiking networks for neuromorphic hardware."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikec.compiler.artifact import Artifact as Artifact
    from spikec.compiler.artifact import read as read
    from spikec.compiler.diagnostics import CompileError as CompileError
    from spikec.compiler.diagnostics import Diagnostic as Diagnostic
    from spikec.compiler.ir import Graph as Graph
    from spikec.compiler.serialize import save as save
    from spikec.compiler.target import Choices as Choices
    from spikec.driver.api import compile as compile
    from spikec.driver.api import load as load
    from spikec.driver.api import run as run
    from spikec.driver.api import verify as verify
    from spikec.passes.sbc import SBC as SBC
    from spikec.passes.sbc import SBCQuantize as SBCQuantize
    from spikec.passes.spike_nm import SpikeNM as SpikeNM
    from spikec.runtime.events import bin_events as bin_events

__version__ = "0.1.0"

_WHERE = {
    "SBC": "spikec.passes.sbc",
    "SBCQuantize": "spikec.passes.sbc",
    "SpikeNM": "spikec.passes.spike_nm",
    "Artifact": "spikec.compiler.artifact",
    "read": "spikec.compiler.artifact",
    "CompileError": "spikec.compiler.diagnostics",
    "Diagnostic": "spikec.compiler.diagnostics",
    "Graph": "spikec.compiler.ir",
    "save": "spikec.compiler.serialize",
    "Choices": "spikec.compiler.target",
    "compile": "spikec.driver.api",
    "load": "spikec.driver.api",
    "run": "spikec.driver.api",
    "verify": "spikec.driver.api",
    "bin_events": "spikec.runtime.events",
}
__all__ = [
    "SBC",
    "Artifact",
    "Choices",
    "CompileError",
    "Diagnostic",
    "Graph",
    "SBCQuantize",
    "SpikeNM",
    "__version__",
    "bin_events",
    "compile",
    "load",
    "read",
    "run",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing spikec costs nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'spikec' has no attribute '{name}'")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
