"""What may help a user whose network cannot be traced: texts that name options as the command line and Python do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

NO_TIME = (
    "loop over time in forward; if forward does one step a call: --time-axis none (in Python: time_axis=None); "
    "if it repeats a static input: --time-axis none --steps T (time_axis=None, steps=T), data without an axis of time"
)
STATIC = (
    "a static input, which forward repeats over time, is told by --time-axis none --steps T "
    "(in Python: time_axis=None, steps=T)"
)
SHAPE = (
    "check the shape of the example, which forward is given as it is, and its axis of time: "
    "--time-axis 0, 1 or none (in Python: time_axis=0, 1 or None)"
)


def of_failed_forward(module: Any, feed: Any, error: BaseException, hints: Iterable[str]) -> str:
    """Say what may help where forward raised an error: the type of numbers, what is known of a module, the shape."""
    kinds = {p.dtype for _, p in module.named_parameters() if p.is_floating_point()} - {feed.dtype}
    if kinds and "type" in str(error):
        own = ", ".join(sorted(_spoken(kind) for kind in kinds))
        return (
            f"the network computes in {own} and the example is {_spoken(feed.dtype)}: "
            "call .float() on the network before it is given to spikec"
        )
    return next((hint for hint in hints if hint), SHAPE)


def _spoken(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def of_unknown_module(kind: str) -> str:
    """Say what to use in place of a module that has no op."""
    if kind in ("ReLU", "ReLU6", "LeakyReLU", "GELU", "SiLU", "ELU"):
        return "use spiking neurons instead; an ANN must be converted to a spiking network first"
    return "use layers of torch.nn that spikec knows (Linear, Conv, BatchNorm, AvgPool, MaxPool, Flatten, Dropout)"
