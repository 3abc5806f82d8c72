"""The container image.bin: words come back, and no changed byte goes unseen."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.backends.fpga.layout.codebook import CodebookWeights, segments, weights_of
from spikec.backends.fpga.layout.image import Kind, Segment, read, write
from spikec.backends.fpga.layout.words import Words, from_bytes, from_mem, pack, unpack
from spikec.compiler.diagnostics import CompileError


@st.composite
def fields(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...], tuple[bool, ...]]:
    """Draw words of fields: integers, widths, which of them are signed."""
    widths = tuple(draw(st.lists(st.integers(1, 24), min_size=1, max_size=12)))
    signed = tuple(draw(st.lists(st.booleans(), min_size=len(widths), max_size=len(widths))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, 9))
    columns = [
        rng.integers(-(1 << w >> 1) if s else 0, (1 << (w - 1)) if s else 1 << w, count)
        for w, s in zip(widths, signed, strict=True)
    ]
    return np.stack(columns, axis=1), widths, signed


@given(fields())
def test_words_give_back_their_fields(drawn: tuple[np.ndarray, tuple[int, ...], tuple[bool, ...]]) -> None:
    values, widths, signed = drawn
    words = pack(values, widths)
    assert words.width == sum(widths)
    assert np.array_equal(unpack(words, widths, signed=signed), values)
    assert np.array_equal(from_bytes(words.bytes, words.width, len(words)).data, words.data)
    assert np.array_equal(from_mem(words.mem(), words.width).data, words.data)
    whole = [sum((int(v) & ((1 << w) - 1)) << sum(widths[:i]) for i, (v, w) in enumerate(zip(row, widths))) for row in values]  # noqa: B905,E501  # fmt: skip
    assert [int(line, 16) for line in words.mem().splitlines()] == whole


def some_segments(rng: np.random.Generator, count: int) -> list[Segment]:
    made = []
    for core in range(count):
        width, words = int(rng.integers(1, 70)), int(rng.integers(0, 40))
        bits = rng.integers(0, 2, (words, width)).astype(np.uint8)
        data = np.packbits(bits, axis=1, bitorder="little")
        made.append(Segment(core, Kind(int(rng.integers(0, 4))), Words(width, data)))
    return made


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_an_image_gives_back_its_segments(seed: int, count: int) -> None:
    made = some_segments(np.random.default_rng(seed), count)
    back = read(write(made))
    assert len(back) == count
    for a, b in zip(made, back, strict=True):
        assert (a.core, a.kind, a.words.width) == (b.core, b.kind, b.words.width)
        assert np.array_equal(a.words.data, b.words.data)


@given(st.integers(0, 2**32 - 1), st.data())
def test_every_changed_bit_and_every_cut_is_seen(seed: int, data: st.DataObject) -> None:
    image = write(some_segments(np.random.default_rng(seed), 3))
    bit = data.draw(st.integers(0, 8 * len(image) - 1))
    changed = bytearray(image)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CompileError):
        read(bytes(changed))
    with pytest.raises(CompileError):
        read(image[: data.draw(st.integers(0, len(image) - 1))])
    with pytest.raises(CompileError):
        read(image + bytes(data.draw(st.integers(1, 100))))


def signed_again(image: bytes, at: int, form: str, value: int) -> bytes:
    """Change a number of header or table and put a right CRC behind it, as a careless tool would."""
    raw = bytearray(image)
    struct.pack_into(form, raw, at, value)
    count = struct.unpack_from("<I", raw, 16)[0]
    raw[60:64] = bytes(4)
    struct.pack_into("<I", raw, 60, zlib.crc32(bytes(raw[: 64 + 48 * count])))
    return bytes(raw)


def test_messages(golden: Callable[[str, str], None]) -> None:
    image = write(some_segments(np.random.default_rng(3), 3))
    flipped = bytearray(image)
    flipped[260] ^= 4
    stained = bytearray(image)
    stained[-1] = 1
    cases = {
        "empty file": b"",
        "another file": b"PK\x03\x04" + image[4:],
        "cut in the header": image[:40],
        "cut in the table": image[:100],
        "cut in the last segment": image[:-70],
        "longer": image + bytes(64),
        "flipped bit in a segment": bytes(flipped),
        "flipped bit behind a segment": bytes(stained),
        "flipped bit in the table": image[:70] + bytes([image[70] ^ 1]) + image[71:],
        "later version": signed_again(image, 8, "<H", 2),
        "unknown kind": signed_again(image, 64 + 2, "<H", 99),
        "wrong number of words": signed_again(image, 64 + 8, "<I", 7777),
        "wrong offset": signed_again(image, 64 + 48 + 16, "<Q", 64),
        "fewer segments": signed_again(image, 16, "<I", 2),
    }
    said = []
    for name, data in cases.items():
        with pytest.raises(CompileError) as caught:
            read(data)
        said.append(f"{name}\n{caught.value}")
    golden("image-messages", "\n\n".join(said))


@given(
    st.integers(1, 6), st.integers(1, 40), st.integers(1, 12), st.sampled_from([1, 4, 16]), st.integers(0, 2**32 - 1)
)
def test_a_codebook_comes_back(eta: int, out: int, patches: int, lanes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_ = CodebookWeights(
        rng.integers(0, 512, 1 << eta), rng.integers(0, 1 << eta, (out, patches)), rng.integers(0, 2, out)
    )
    codebook, indices, signs = read(write(segments(given_, 0, lanes)))
    back = weights_of(codebook, indices, signs, out)
    assert np.array_equal(back.decode(), given_.decode())
    assert set(np.unique(back.decode())) <= {-1, 1}
    groups = -(-out // lanes)
    assert indices.words.width == lanes * eta
    assert len(indices.words) == patches * groups


def test_a_codebook_that_cannot_be_is_refused() -> None:
    none = np.zeros((2, 2), np.int64)
    with pytest.raises(ValueError, match="power of two"):
        segments(CodebookWeights(np.array([1, 2, 3]), none, np.array([0, 1])), 0, 4)
    with pytest.raises(ValueError, match="codeword lies outside"):
        segments(CodebookWeights(np.array([1, 512]), none, np.array([0, 1])), 0, 4)
    with pytest.raises(ValueError, match="index lies outside"):
        segments(CodebookWeights(np.array([1, 2]), none + 2, np.array([0, 1])), 0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [("00\n0g\n", "word 1 is not 2 lower-case"), ("0\n", "not 2 lower-case"), ("ff\n", "bits past its width of 7")],
)
def test_a_bad_line_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mem(text, 7)
