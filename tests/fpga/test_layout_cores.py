"""Images of whole networks: the weights of the graph come back exactly, here and in the C reader."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.backends.fpga.backend import bits_on_target
from spikec.backends.fpga.layers import Choice, Layer, build, layers_of
from spikec.backends.fpga.layout.image import Kind, Segment, image_bytes, read, write
from spikec.backends.fpga.layout.memories import geometry_of, mem_files, neurons_from, segments, weights_from
from spikec.backends.fpga.layout.reader import layer_weights, neuron_values, read_cores
from spikec.backends.fpga.layout.words import from_mem, pack, unpack
from spikec.compiler.cores import Design, EventCore
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ir import Graph
from tests.fpga.networks import fixed_mlp

C_READER = Path(__file__).resolve().parents[2] / "examples" / "fpga_image"


def random_design(seed: int) -> tuple[Graph, Design]:
    """Give a random graph and a random mapping of it."""
    rng = np.random.default_rng(seed)
    graph = fixed_mlp(rng)
    choices = [Choice(int(2 ** rng.integers(1, 6)), int(rng.integers(1, 4))) for _ in layers_of(graph)]
    return graph, build(graph, choices)


def expected(layer: Layer, name: str) -> np.ndarray:
    op = layer.neuron
    value = {"threshold": op.threshold, "bias": op.bias, "initial": op.v_init}.get(name)
    if name == "amount":
        value = op.amount if op.reset == "subtract" else op.v_reset
    return np.broadcast_to(np.asarray(value), (layer.outputs,))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_image_gives_back_the_weights_of_the_graph(seed: int) -> None:
    graph, design = random_design(seed)
    image = write(segments(design))
    placed = read_cores(image)
    assert len(image) == image_bytes(segments(design)) == bits_on_target(design)["image"] // 8
    before: int | tuple = design.input_size
    at = 0
    for number, (cores, layer) in enumerate(zip(design.layers, layers_of(graph), strict=True)):
        now = placed[at : at + len(cores)]
        at += len(cores)
        back = layer_weights(before, now)
        assert np.array_equal(back.decode(), layer.weight.decode())
        assert back.describe() == layer.weight.describe()
        assert back.pack() == layer.weight.pack()
        for name in ("threshold", "bias", "amount", "initial"):
            assert np.array_equal(neuron_values(now, name), expected(layer, name))
        assert [p.core.offset for p in now] == [sum(c.neurons for c in cores[:k]) for k in range(len(cores))]
        assert {(p.layer, p.inputs, p.depth) for p in now} == {(number, layer.inputs, design.links[number + 1].depth)}
        assert all(_same(p.core, core) for p, core in zip(now, cores, strict=True))
        before = now


def _same(a: EventCore, b: EventCore) -> bool:
    fields = [n for n in EventCore.__dataclass_fields__ if n not in ("name", "layer")]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_mem_banks_hold_the_same_words(seed: int) -> None:
    _, design = random_design(seed)
    files = dict(mem_files(design))
    bits = {"weights": 0, "neurons": 0}
    for name, text in files.items():
        core = design.cores[int(name.split(".")[0][1:])]
        kind = name.split(".")[1]
        width = core.weight_word_bits if kind == "weights" else core.neuron_word_bits
        bits[kind] += width * len(from_mem(text, width))
    assert bits == {key: bits_on_target(design)[key] for key in bits}
    placed = segments(design)
    for number, core in enumerate(design.cores):
        own = {s.kind: s.words for s in placed if s.core == number}
        shape = geometry_of(own[Kind.GEOMETRY])
        banks = [files[f"c{number}.weights.b{k:02d}.mem"] for k in range(core.banks)]
        whole = from_mem("".join(banks), core.weight_word_bits)
        assert all(len(bank.splitlines()) == core.bank_words for bank in banks)
        assert np.array_equal(whole.data[: core.weight_words], own[Kind.WEIGHTS].data)
        assert not whole.data[core.weight_words :].any()
        assert np.array_equal(weights_from(own[Kind.WEIGHTS], shape)[0], core.values)
        neurons = neurons_from(from_mem(files[f"c{number}.neurons.mem"], core.neuron_word_bits), shape)
        assert np.array_equal(neurons["bias"], core.bias)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the C reader."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("c") / "dump"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-O1"]
    sources = [str(C_READER / name) for name in ("dump.c", "spk_image.c")]
    subprocess.run([compiler, *flags, "-o", str(program), *sources], check=True)
    return program


def run_dump(dump: Path, image: bytes, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    file = folder / "image.bin"
    file.write_bytes(image)
    return subprocess.run([str(dump), file.name, *words], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("seed", range(6))
def test_the_c_reader_reads_the_same_values(dump: Path, tmp_path: Path, seed: int) -> None:
    _, design = random_design(seed)
    image = write(segments(design))
    done = run_dump(dump, image, tmp_path, "values")
    assert done.returncode == 0, done.stderr
    lines = iter(done.stdout.splitlines())
    for number, core in enumerate(design.cores):
        head = next(lines)
        assert head.startswith(f"core {number}: layer {[c.layer for c in design.cores][number][1:]} rows {core.rows} ")
        weights = dense_weights(core)
        for n in range(core.neurons):
            physical = int(core.physical[n])
            flat = {
                key: int(getattr(core, key).reshape(-1)[physical]) for key in ("threshold", "bias", "amount", "initial")
            }
            said = " ".join(f"{key} {value}" for key, value in flat.items())
            assert next(lines) == f"neuron {n}: physical {physical} {said}"
            assert next(lines) == "weights " + " ".join(map(str, weights[:, n]))
    assert next(lines, None) is None


def dense_weights(core: EventCore) -> np.ndarray:
    """Give the weights (rows, neurons) of a core, entry by entry, as docs/fpga-layout.md says it."""
    made = np.zeros((core.rows, core.neurons), int)
    for n in range(core.neurons):
        i, lane, j = n % core.block, n // core.block % core.lanes, n // (core.block * core.lanes)
        for k in range(core.kept):
            here = core.positions[:, j * core.kept + k, lane] == i
            made[here, n] = core.values[here, j * core.kept + k, lane]
    return made


def test_the_c_reader_refuses_what_is_damaged(dump: Path, tmp_path: Path) -> None:
    _, design = random_design(1)
    image = write(segments(design))
    rng = np.random.default_rng(0)
    cases = {"truncated": image[:-1], "not an image": b"x" + image[1:], "longer": image + b"\0"}
    version = bytearray(image)
    version[8] = 9
    cases["version"] = bytes(version)
    for k in range(40):
        changed = bytearray(image)
        bit = int(rng.integers(0, 8 * len(image)))
        changed[bit // 8] ^= 1 << bit % 8
        cases[f"bit {k}"] = bytes(changed)
    said = {}
    for name, data in cases.items():
        done = run_dump(dump, data, tmp_path)
        assert done.returncode == 1, name
        said[name] = done.stderr
    assert "cut off" in said["truncated"]
    assert "another version" in said["version"]
    assert "not an image" in said["not an image"]
    assert "sizes do not fit" in said["longer"]


def replaced(design: Design, kind: Kind, words: object) -> bytes:
    made = [Segment(s.core, s.kind, words) if s.core == 0 and s.kind is kind else s for s in segments(design)]  # type: ignore[arg-type]
    return write(s for s in made if s.words is not None)


def test_cores_that_cannot_be_are_refused() -> None:
    _, design = random_design(5)
    own = {s.kind: s.words for s in segments(design) if s.core == 0}
    numbers = unpack(own[Kind.GEOMETRY], 32, signed=False)

    def geometry(at: int, value: int) -> bytes:
        changed = numbers.copy()
        changed[at] = value
        return replaced(design, Kind.GEOMETRY, pack(changed, 32))

    swapped = unpack(own[Kind.NEURON_MAP], 32, signed=False)
    cases = {
        "has no weights": replaced(design, Kind.WEIGHTS, None),
        "engine 7 is not known": geometry(0, 7),
        "reset 9 is none of value, subtract, none": geometry(19, 9),
        "do not fit their geometry": geometry(11, int(numbers[11, 0]) + 1),
        "its neuron map is not that of its geometry": replaced(design, Kind.NEURON_MAP, pack(swapped + 1, 32)),
        "two segments of neurons": write([*segments(design), segments(design)[2]]),
    }
    for message, image in cases.items():
        with pytest.raises(CompileError, match=message):
            read_cores(image)
    with pytest.raises(CompileError, match="cores, the design 99"):
        read_cores(write(segments(design)), [("c0", "n0")] * 99)


def test_a_record_is_where_the_document_says() -> None:
    _, design = random_design(2)
    image = write(segments(design))
    core, kind, width, words, crc, offset, size = struct.unpack_from("<HHIIIQQ", image, 64 + 48)
    assert (core, kind) == (0, Kind.WEIGHTS)
    assert (width, words) == (design.cores[0].weight_word_bits, design.cores[0].weight_words)
    assert offset % 64 == 0
    assert zlib.crc32(image[offset : offset + size]) == crc
    assert read(image)[1].words.bytes == image[offset : offset + size]
