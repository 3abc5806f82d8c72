"""The container `image.bin`: a header, a table of segments, and their words, each part under a CRC32; little endian.

docs/fpga-layout.md specifies it to the byte.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from spikec.backends.fpga.layout.words import Words, from_bytes
from spikec.compiler.diagnostics import CompileError, Findings, fail

MAGIC = b"SPIKEIMG"
MAJOR, MINOR = 1, 0
HEADER = struct.Struct("<8sHHIII Q 28x I")
"""Magic, version (major, minor), header bytes, segment count, bytes of a record, total bytes, zeros, CRC32."""
RECORD = struct.Struct("<HHIII QQ 16x")
"""Core, kind, word bits, words, CRC32 of the segment's bytes, offset, bytes, zeros."""
ALIGN = 64
LARGEST_WORD = 1 << 16


class Kind(IntEnum):
    """What a segment holds."""

    GEOMETRY = 0
    WEIGHTS = 1
    NEURONS = 2
    NEURON_MAP = 3
    CODEBOOK = 16
    INDICES = 17
    SIGNS = 18


@dataclass(frozen=True, eq=False)
class Segment:
    """The words of one memory of one core."""

    core: int
    kind: Kind
    words: Words


def write(segments: Iterable[Segment]) -> bytes:
    """Give the image: the header, the table, then the segments in order, each aligned to 64 bytes."""
    listed = list(segments)
    at = _aligned(HEADER.size + RECORD.size * len(listed))
    table, body = b"", b""
    start = at
    for segment in listed:
        data = segment.words.bytes
        table += RECORD.pack(
            segment.core, segment.kind, segment.words.width, len(segment.words), zlib.crc32(data), at, len(data)
        )
        body += data + bytes(_aligned(len(data)) - len(data))
        at = start + len(body)
    fields = (MAGIC, MAJOR, MINOR, HEADER.size, len(listed), RECORD.size, at)
    header = HEADER.pack(*fields, zlib.crc32(HEADER.pack(*fields, 0) + table))
    return (header + table).ljust(start, b"\0") + body


def image_bytes(segments: Iterable[Segment]) -> int:
    """Give the size of an image from the sizes of its segments alone."""
    sizes = [-(-s.words.width // 8) * len(s.words) for s in segments]
    return _aligned(HEADER.size + RECORD.size * len(sizes)) + sum(map(_aligned, sizes))


def read(data: bytes, where: str = "image.bin") -> tuple[Segment, ...]:
    """Read an image and check every byte of it.

    Raises:
        CompileError: it is no image, of another major version, truncated, or damaged; one diagnostic a segment.
    """
    count = _check_header(data, where)
    found = Findings()
    segments: list[Segment] = []
    end = HEADER.size + RECORD.size * count
    for index in range(count):
        record = RECORD.unpack_from(data, HEADER.size + RECORD.size * index)
        with found.catching():
            segments.append(_segment(data, index, record, end, where))
        end = _aligned(end) + record[6]
    with found.catching():
        if not found.errors and _aligned(end) != len(data):
            raise _bad("size", f"the segments end at byte {end}, the image has {len(data)}", where)
        if any(data[end:]):
            raise _bad("padding", "the bytes behind the last segment are not 0", where)
    found.raise_errors()
    return tuple(segments)


def _check_header(data: bytes, where: str) -> int:
    """Check header and table and give the number of segments."""
    if data[: len(MAGIC)] != MAGIC:
        raise _bad("not-an-image", f"not an image: it does not begin with {MAGIC.decode()}", where)
    if len(data) < HEADER.size:
        raise _bad("truncated", f"the image ends after {len(data)} bytes, inside its header", where)
    _, major, minor, size, count, record, total, crc = HEADER.unpack_from(data)
    if major != MAJOR:
        raise _bad("version", f"the image has version {major}.{minor}, this spikec reads {MAJOR}.x", where)
    if total > len(data):
        raise _bad("truncated", f"the image ends after {len(data)} bytes of {total}", where)
    head = HEADER.size + RECORD.size * count
    if (
        size != HEADER.size
        or record != RECORD.size
        or head > len(data)
        or zlib.crc32(data[: HEADER.size - 4] + bytes(4) + data[HEADER.size : head]) != crc
    ):
        raise _bad("crc", "the header or the table of segments was changed: its CRC32 differs", where)
    if total != len(data):
        raise _bad("size", f"the image has {len(data)} bytes, its header says {total}", where)
    return int(count)


def _segment(data: bytes, index: int, record: tuple[int, ...], end: int, where: str) -> Segment:
    core, kind, width, words, crc, offset, size = record
    name = f"segment {index}"
    if offset != _aligned(end) or offset + size > len(data):
        raise _bad("size", f"{name} lies at bytes {offset} to {offset + size}, where it cannot", where)
    if kind not in list(Kind):
        raise _bad("kind", f"{name} is of kind {kind}, which this spikec does not know", where)
    named = f"{name} ({Kind(kind).name.lower()} of core {core})"
    if not 0 < width <= LARGEST_WORD or -(-width // 8) * words != size:
        raise _bad("size", f"{named} has {size} bytes for {words} words of {width} bits", where)
    part = data[offset : offset + size]
    if zlib.crc32(part) != crc:
        raise _bad("crc", f"{named} was changed: its CRC32 differs", where)
    if any(data[end:offset]):
        raise _bad("padding", f"the bytes before {named} are not 0", where)
    try:
        return Segment(core, Kind(kind), from_bytes(part, width, words))
    except ValueError as error:
        raise _bad("word", f"{named}: {error}", where) from error


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _bad(slug: str, message: str, where: str) -> CompileError:
    help = "use the spikec that wrote it, or compile again" if slug in ("version", "kind") else "compile again"
    return fail(f"fpga-image/{slug}", message, where, help)
