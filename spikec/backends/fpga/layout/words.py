"""Words: lanes of small integers packed side by side, and their two written forms, bytes and hexadecimal lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikec.compiler.weights import Array

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Words:
    """Words of `width` bits: `data` (words, ceil(width / 8)), least significant byte first, bits past the width 0."""

    width: int
    data: Bytes

    def __len__(self) -> int:
        """Count the words."""
        return len(self.data)

    @property
    def bytes(self) -> bytes:
        """The words one after another, each padded to whole bytes."""
        return self.data.tobytes()

    def mem(self, start: int = 0, stop: int | None = None) -> str:
        """Give words as `$readmemh` reads them: one a line, ceil(width / 4) lower-case hexadecimal digits."""
        digits = -(-self.width // 4)
        step = 2 * self.data.shape[1]
        text = np.ascontiguousarray(self.data[start:stop, ::-1]).tobytes().hex()
        return "".join(f"{text[at + step - digits : at + step]}\n" for at in range(0, len(text), step))


def pack(fields: Array, widths: int | tuple[int, ...]) -> Words:
    """Pack integers (words, fields) into words, the first field in the least significant bits, two's complement.

    Args:
        fields: (words, fields).
        widths: bits of every field, or of each; their sum is the width of a word.

    Raises:
        ValueError: an integer does not fit into its field, as signed or as unsigned number.
    """
    each = (widths,) * fields.shape[1] if isinstance(widths, int) else widths
    whole = np.asarray(fields, np.int64)
    low, high = np.array([-(1 << w >> 1) for w in each]), np.array([(1 << w) - 1 for w in each])
    if np.any((whole < low) | (whole > high)):
        raise ValueError(f"an integer does not fit into its field of {max(each, default=0)} bits")
    bits = np.concatenate(
        [((whole[:, i, None] >> np.arange(w)) & 1).astype(np.uint8) for i, w in enumerate(each)], axis=1
    )
    return Words(bits.shape[1], np.packbits(bits, axis=1, bitorder="little"))


def unpack(words: Words, widths: int | tuple[int, ...], *, signed: bool | tuple[bool, ...]) -> Array:
    """Give the integers (words, fields) that `pack` was given."""
    each = (widths,) * (words.width // widths) if isinstance(widths, int) else widths
    signs = (signed,) * len(each) if isinstance(signed, bool) else signed
    bits = np.unpackbits(words.data, axis=1, bitorder="little").astype(np.int64)
    columns, at = [], 0
    for width, sign in zip(each, signs, strict=True):
        value = bits[:, at : at + width] @ (np.int64(1) << np.arange(width, dtype=np.int64))
        columns.append(np.where(sign & (value >> (width - 1) != 0), value - (1 << width), value) if width else value)
        at += width
    return np.stack(columns, axis=1) if columns else np.zeros((len(words), 0), np.int64)


def from_bytes(data: bytes, width: int, count: int) -> Words:
    """Read words from their bytes.

    Raises:
        ValueError: the data is not `count` words long, or has bits past the width.
    """
    size = -(-width // 8)
    if len(data) != size * count:
        raise ValueError(f"{count} words of {width} bits are {size * count} bytes long, not {len(data)}")
    array = np.frombuffer(data, np.uint8).reshape(count, size)
    if width % 8 and np.any(array[:, -1] >> (width % 8)):
        raise ValueError(f"a word has bits past its width of {width}")
    return Words(width, array)


def from_mem(text: str, width: int) -> Words:
    """Read the lines of a `.mem` file; comments (`//`) and empty lines are passed over.

    Raises:
        ValueError: a line is not a word of the width.
    """
    digits = -(-width // 4)
    size = -(-width // 8)
    lines = [line for raw in text.splitlines() if (line := raw.partition("//")[0].strip())]
    for number, line in enumerate(lines):
        if len(line) != digits or any(c not in "0123456789abcdef" for c in line):
            raise ValueError(f"word {number} is not {digits} lower-case hexadecimal digits: '{line[:40]}'")
    data = bytes.fromhex("".join(line.rjust(2 * size, "0") for line in lines))
    return from_bytes(np.frombuffer(data, np.uint8).reshape(len(lines), size)[:, ::-1].tobytes(), width, len(lines))
