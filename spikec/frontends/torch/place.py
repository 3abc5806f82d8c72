"""Finds the user's own line: which file and line of the network's code a call or an error comes from."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import FrameType

from spikec.frontends.torch.registry import ADAPTERS

OTHERS = frozenset({"torch", "spikec", "importlib", "contextlib", "functools", *ADAPTERS})
"""Packages whose lines are not the user's."""
RECORDER = ("spikec.frontends.torch.tracer", "record")
"""The function that calls the user's network: what called it is no part of the network."""


def line_of_call() -> str:
    """Give `FILE:LINE` of the innermost of the network's own lines that are under way, or an empty text."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (frame.f_globals.get("__name__", ""), frame.f_code.co_name) != RECORDER:
        if _is_own(frame):
            return _text(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""


def line_of_error(error: BaseException) -> str:
    """Give `FILE:LINE` of the innermost of the user's own lines that an error passed, or an empty text."""
    if isinstance(error, SyntaxError) and error.filename is not None and error.lineno is not None:
        return _text(error.filename, error.lineno)
    found, trace = "", error.__traceback__
    while trace is not None:
        if _is_own(trace.tb_frame):
            found = _text(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _is_own(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package not in OTHERS and not frame.f_code.co_filename.startswith("<")


def _text(file: str, line: int) -> str:
    """Name a file as seen from the working directory where it lies below it."""
    path = Path(file)
    with contextlib.suppress(ValueError, OSError):
        path = path.resolve().relative_to(Path.cwd())
    return f"{path}:{line}"
