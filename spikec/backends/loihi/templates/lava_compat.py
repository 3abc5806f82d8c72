"""Lets lava-nc 0.10.0 be imported on Python 3.11 and later; import this before Lava. On Python 3.10 it does nothing.

Needs nothing but the standard library: artifacts carry this file, and spikec's own worker runs it before Lava too.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any


def mend_dataclasses() -> None:
    """Import lava.magma.compiler.var_model with dataclasses as it expects them.

    Three of its dataclasses have an instance of a dataclass, ByteEncoder, as a default. Python 3.11 refuses defaults
    that cannot be hashed; the encoder is never changed, so that giving it a hash is enough.
    """
    original: Any = dataclasses.dataclass

    def hashable(cls: Any = None, **options: Any) -> Any:
        def decorate(target: Any) -> Any:
            extra = {"unsafe_hash": True} if target.__name__ == "ByteEncoder" else {}
            return original(target, **{**options, **extra})

        return decorate if cls is None else decorate(cls)

    dataclasses.dataclass = hashable
    try:
        import lava.magma.compiler.var_model  # noqa: F401
    finally:
        dataclasses.dataclass = original


if sys.version_info >= (3, 11):
    mend_dataclasses()
