"""Leaves a user's module as it was found: mode, buffers, attributes and the random generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def untouched(module: Any) -> Iterator[None]:
    """Put everything that a forward pass may change in a module back at the end of the block."""
    import torch

    saved = [(part, _attributes(part), dict(part._buffers), _contents(part)) for _, part in module.named_modules()]
    generator = torch.get_rng_state()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, attributes, buffers, contents in saved:
            _restore(part, attributes, buffers, contents)
        torch.set_rng_state(generator)


def _attributes(part: Any) -> dict[str, Any]:
    """Give the attributes; the members of lists and dictionaries are remembered too."""
    return {
        name: (value, value.copy() if isinstance(value, list | dict | set) and _is_own(name) else None)
        for name, value in part.__dict__.items()
    }


def _is_own(name: str) -> bool:
    """Say whether an attribute is the framework's or the user's, not torch's: `_memories` holds states."""
    import torch

    return name not in vars(torch.nn.Module())


def _contents(part: Any) -> dict[str, Any]:
    return {name: buffer.clone() for name, buffer in part._buffers.items() if buffer is not None}


def _restore(part: Any, attributes: dict[str, Any], buffers: dict[str, Any], contents: dict[str, Any]) -> None:
    import torch

    for name in [name for name in part.__dict__ if name not in attributes]:
        del part.__dict__[name]
    for name, (value, members) in attributes.items():
        part.__dict__[name] = value
        if members is None:
            continue
        if isinstance(value, list):
            value[:] = members
        elif isinstance(value, dict | set):
            value.clear()
            value.update(members)
    part._buffers.clear()
    part._buffers.update(buffers)
    for name, content in contents.items():
        if not torch.equal(buffers[name], content):
            buffers[name].copy_(content)
