"""The torch function mode that hands every torch function of a forward pass to the tracer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikec.frontends.torch.tracer import Tracer


def mode_for(tracer: Tracer) -> Any:
    """Give a context manager under which `tracer.function` is asked to run every torch function."""
    from torch.overrides import TorchFunctionMode

    class Watch(TorchFunctionMode):
        """Calls the tracer; within that call the mode is off, so that what a function does inside is its own."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return tracer.function(func, args, kwargs or {})

    return Watch()
