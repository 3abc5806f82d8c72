"""The loader of an overlay design: what `snn_loader` must know of an image, and its instance in `snn_top`.

Everything here follows from the geometry: networks of one geometry give one text, whatever their weights.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from spikec.backends.fpga.layout.image import HEADER, RECORD, Kind, write
from spikec.backends.fpga.layout.memories import segments
from spikec.compiler.cores import Design

STORED = (Kind.WEIGHTS, Kind.NEURONS)
"""Segments that fill a memory; all others only repeat the geometry."""
FREE_HEADER = (*range(10, 12), *range(60, 64))
"""Bytes of the header that may differ between images of one geometry: minor version and CRC."""
FREE_RECORD = range(12, 16)
"""Bytes of a stored segment's record that may: its CRC."""
PORTS = (
    "    input  logic load_start,",
    "    input  logic load_valid,",
    "    input  logic [7:0] load_byte,",
    "    output logic loaded,",
    "    output logic failed,",
    "    output logic [2:0] fault,",
)
"""Ports of `snn_top` and of `snn_probe` beside those of a baked design."""
CONNECTIONS = ".load_start(load_start), .load_valid(load_valid), .load_byte(load_byte), .loaded(loaded),"
FAULTS = ".failed(failed), .fault(fault),"


@dataclass(frozen=True)
class Loader:
    """What the loader knows: bytes and word bytes of each segment, which are stored, and the mark of the geometry.

    `writes` gives the segment that fills a memory of a core.
    """

    bytes: tuple[int, ...]
    sizes: tuple[int, ...]
    stored: tuple[bool, ...]
    mark: int
    word_bits: int
    address_bits: int
    writes: dict[tuple[int, Kind], int]


def loader_of(design: Design) -> Loader:
    """Give the loader of a design."""
    listed = segments(design)
    stored = tuple(segment.kind in STORED for segment in listed)
    kept = [segment.words for segment, keeps in zip(listed, stored, strict=True) if keeps]
    return Loader(
        tuple(len(segment.words.bytes) for segment in listed),
        tuple(-(-segment.words.width // 8) for segment in listed),
        stored,
        geometry_mark(write(listed), stored),
        max(32, *(-(-words.width // 8) * 8 for words in kept)),
        max(1, *((len(words) - 1).bit_length() for words in kept)),
        {(segment.core, segment.kind): k for k, segment in enumerate(listed)},
    )


def geometry_mark(image: bytes, stored: tuple[bool, ...]) -> int:
    """Give the CRC32 of header and table with every byte as 0 that may differ between images of one geometry."""
    head = bytearray(image[: HEADER.size + RECORD.size * len(stored)])
    free = list(FREE_HEADER)
    free += [HEADER.size + RECORD.size * k + at for k, keeps in enumerate(stored) if keeps for at in FREE_RECORD]
    for at in free:
        head[at] = 0
    return zlib.crc32(head)


def loader_lines(loader: Loader) -> list[str]:
    """Instantiate the loader; the cores are held in reset until it has loaded a whole image."""
    count = len(loader.bytes)
    head = HEADER.size + RECORD.size * count
    stored = "".join(str(int(keeps)) for keeps in reversed(loader.stored))
    return [
        f"  logic [{count - 1}:0] load_writes;",
        f"  logic [{loader.address_bits - 1}:0] load_address;",
        f"  logic [{loader.word_bits - 1}:0] load_word;",
        f"  snn_loader #(.SEGMENTS({count}), .STORED({count}'b{stored}), .MARK(32'h{loader.mark:08x}),",
        f"      .BYTES({{{_list(loader.bytes, 32)}}}),",
        f"      .SIZES({{{_list(loader.sizes, 16)}}}),",
        f"      .COUNT_BITS({max(head, *loader.bytes).bit_length()}), .WIDTH({loader.word_bits}),",
        f"      .AW({loader.address_bits})) loader (",
        "      .clk(clk), .start(load_start), .valid(load_valid), .data(load_byte), .loaded(loaded), .fault(fault),",
        "      .writes(load_writes), .address(load_address), .word(load_word));",
        "  assign failed = fault != '0;",
        "  assign hold = rst || !loaded;",
        "  logic unused;",
        "  assign unused = &{1'b0, load_writes};",
    ]


def core_parameters(loader: Loader) -> dict[str, int]:
    """Give what a core must know of the loader."""
    return {"LOADED": 1, "LOAD_WIDTH": loader.word_bits, "LOAD_AW": loader.address_bits}


def core_connections(loader: Loader | None, number: int) -> str:
    """Connect a core to the loader; in a baked design nothing is ever loaded."""
    if loader is None:
        return "      .load_weights(1'b0), .load_neurons(1'b0), .load_address('0), .load_word('0));"
    weights, neurons = (loader.writes[number, kind] for kind in STORED)
    return (
        f"      .load_weights(load_writes[{weights}]), .load_neurons(load_writes[{neurons}]),"
        " .load_address(load_address), .load_word(load_word));"
    )


def _list(numbers: tuple[int, ...], bits: int) -> str:
    """Give numbers for a concatenation: the first lowest, so last in the text."""
    return ", ".join(f"{bits}'d{number}" for number in reversed(numbers))
