"""What watches a forward pass beside the network's own modules: torch's functions, and modules that are not its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def copies_watched() -> Iterator[None]:
    """Let copy.copy of a tensor be a torch function for the block: otherwise it takes the tensor apart."""
    import torch

    kind: Any = torch.Tensor
    if hasattr(kind, "__copy__"):
        yield
        return
    kind.__copy__ = kind.detach
    try:
        yield
    finally:
        del kind.__copy__


def watch_strangers(tracer: Tracer, registered: set[int]) -> list[Any]:
    """Refuse modules that are called but are no part of the network (held in a plain list, made in forward)."""
    from torch.nn.modules import module as hooks

    under_way: list[int] = []

    def before(module: Any, args: Any) -> None:
        if id(module) not in registered and not tracer.inside:
            under_way.append(id(module))
            tracer.inside += 1

    def after(module: Any, args: Any, result: Any) -> None:
        if under_way and under_way[-1] == id(module):
            under_way.pop()
            tracer.inside -= 1
            help = "hold it in an attribute, a ModuleList or a ModuleDict, not in a plain list"
            tracer.unknown(tracer.scope, module, ("it is not registered in the network", help), result)

    return [hooks.register_module_forward_pre_hook(before), hooks.register_module_forward_hook(after)]
