"""What a training asks of its loader, and leaves as it was: tensors where it fails, modes and generators always."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any

from spikec.compiler.diagnostics import fail


def batches_of(loader: Any, code: str) -> int:
    """Give how many batches a loader has.

    Raises:
        CompileError: `code`: it does not say, or there are none.
    """
    help = "give a DataLoader, or a list of batches (inputs, targets)"
    if not isinstance(loader, Sized):
        raise fail(code, f"a {type(loader).__name__} does not say how many batches it has", help=help)
    if not len(loader):
        raise fail(code, "there are no batches to train on", help=help)
    return len(loader)


@contextmanager
def put_back_on_failure(module: Any) -> Iterator[None]:
    """Give the module its parameters and buffers back if the block does not end well."""
    import torch

    saved = [(tensor, tensor.detach().clone()) for tensor in (*module.parameters(), *module.buffers())]
    buffers = [(part, dict(part._buffers)) for part in module.modules()]  # forward may put other tensors in their place
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for tensor, before in saved:
                tensor.copy_(before)
        for part, own in buffers:
            part._buffers.clear()
            part._buffers.update(own)
        module.zero_grad(set_to_none=True)
        raise


@contextmanager
def modes_and_seeds(module: Any) -> Iterator[None]:
    """Leave which parts are in training mode, and torch's generators, as they were."""
    import torch

    modes = [(part, part.training) for part in module.modules()]
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
