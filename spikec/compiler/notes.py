"""Notes: what spikec writes into a foreign format's metadata, because the format itself cannot say it.

A note is JSON data in which numbers are exact and arrays stand apart: `{"array": 3}` is the array of key "3". A
backend writes it and a frontend reads it; neither knows the other, so the form is kept here. A note about something
holds good only while the thing is as it was written: `fingerprint` tells whether another program changed it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikec.compiler.weights import Array

KEY = "spikec"
"""The key under which a note stands in a file's metadata."""

FORMAT = 1


def pack(note: Mapping[str, Any]) -> tuple[str, dict[str, Array]]:
    """Give the JSON text of a note and its arrays by key. Values: numbers, strings, None, tuples, mappings, arrays."""
    arrays: dict[str, Array] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.ndim:
            arrays[str(len(arrays))] = value
            return {"array": len(arrays) - 1}
        if isinstance(value, np.ndarray | np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return {"number": str(value)}  # JSON itself has no infinity
        if isinstance(value, Mapping):
            return {"mapping": {str(key): plain(entry) for key, entry in value.items()}}
        if isinstance(value, tuple | list):
            return [plain(entry) for entry in value]
        return value

    text = json.dumps({"format": FORMAT, "note": plain(note)}, sort_keys=True, separators=(",", ":"))
    return text, arrays


def unpack(text: str, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Give back what `pack` was given; lists come back as tuples.

    Raises:
        ValueError: it is not a note, or one of another format; the message says which.
    """

    def value(entry: Any) -> Any:
        if isinstance(entry, list):
            return tuple(value(part) for part in entry)
        if not isinstance(entry, dict):
            return entry
        if "array" in entry:
            return np.asarray(arrays[str(int(entry["array"]))])
        if "number" in entry:
            return float(entry["number"])
        return {key: value(part) for key, part in entry["mapping"].items()}

    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ValueError(f"it has format {document['format']}, this spikec reads {FORMAT}")
        note = value(document["note"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is damaged: {type(error).__name__} {error}") from error
    if not isinstance(note, dict):
        raise ValueError("it is damaged: not a mapping")
    return note


def fingerprint(kind: str, fields: Mapping[str, Array | None]) -> str:
    """Give a digest of numbers by their values, whatever their type; what is None, or 0 throughout, is left out.

    (A program that reads and writes a file again may add such a field, or widen a float.)
    """
    digest = hashlib.sha256(kind.encode())
    for name in sorted(fields):
        value = fields[name]
        if value is None or not np.any(np.asarray(value)):
            continue
        array = np.ascontiguousarray(np.asarray(value, dtype="<f8"))
        digest.update(f"|{name}{list(array.shape)}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]
