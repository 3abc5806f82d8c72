"""Overlay designs: images loaded over the link, run like baked ones, changed without a new model, refused if wrong."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from spikec.backends.fpga.layout.image import HEADER, RECORD, Kind, write
from spikec.backends.fpga.layout.memories import segments
from spikec.backends.fpga.layout.reader import read_cores
from spikec.backends.fpga.top import rtl_files
from spikec.compiler.cores import Design, EventCore, load_cycles, sum_bits, widest_sum_bits
from spikec.compiler.diagnostics import CompileError
from spikec.runtime.rtl.compare import verify_in_turn, verify_rtl
from spikec.runtime.rtl.run import Rtl
from tests.fpga.designs import Knobs, Style, random_design, random_spikes

SMALL = Knobs(
    layers=(1,),
    cores=(2,),
    lanes=(2,),
    structures=((2, 4),),
    neurons=(7, 7),
    inputs=(8, 8),
    style=Style(8, "multiply", 400, ">", "subtract", "membrane"),
)
"""A design of a short image: two cores, words that are no whole bytes."""


def overlay(design: Design) -> Design:
    """Give the overlay of a design: sums that no weights overflow."""
    return replace(design, memories="overlay", cores=tuple(map(_widest, design.cores)))


def _widest(core: EventCore) -> EventCore:
    return replace(core, sum_bits=widest_sum_bits(core.rows, core.weight_bits, core.bias_bits, core.state_bits))


def reweighted(rng: np.random.Generator, design: Design) -> Design:
    """Give a design of the same geometry with other weights, thresholds, biases and amounts."""

    def change(core: EventCore) -> EventCore:
        half, state = 1 << (core.weight_bits - 1), 1 << (core.state_bits - 1)
        return replace(
            core,
            values=np.where(core.values == 0, 0, rng.integers(-half, half, core.values.shape)),
            threshold=np.where(core.threshold == state - 1, state - 1, rng.integers(1, state, core.threshold.shape)),
            bias=np.where(core.bias == 0, 0, rng.integers(-state, state, core.bias.shape)),
            amount=rng.integers(-state, state, core.amount.shape),
        )

    return replace(design, name="another", cores=tuple(map(change, design.cores)))


def of(design: Design, **options: int) -> Rtl:
    return Rtl(design, rtl_files(design), {}, image=write(segments(design)), optimise="-O0", **options)


def small(seed: int = 0) -> Rtl:
    return of(overlay(random_design(np.random.default_rng(seed), SMALL)))


def signed_again(image: bytes, at: int, form: str, value: int) -> bytes:
    """Change a number of header or table and put a right CRC behind it."""
    raw = bytearray(image)
    struct.pack_into(form, raw, at, value)
    count = struct.unpack_from("<I", image, 16)[0]
    raw[60:64] = bytes(4)
    struct.pack_into("<I", raw, 60, zlib.crc32(bytes(raw[: HEADER.size + RECORD.size * count])))
    return bytes(raw)


@pytest.mark.parametrize("seed", range(30))
def test_the_rtl_is_that_of_the_geometry_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = overlay(random_design(rng))
    other = reweighted(rng, design)
    assert write(segments(design)) != write(segments(other))
    assert rtl_files(design) == rtl_files(other)
    first = design.cores[0]
    decays = replace(first, decay_constant=first.decay_constant + (1 if first.decay_constant < 2 else -1))
    changed = replace(design, cores=(decays, *design.cores[1:]))
    assert rtl_files(design)["snn_top.sv"] != rtl_files(changed)["snn_top.sv"]


@pytest.mark.parametrize("seed", range(30))
def test_the_widest_sum_holds_the_worst_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, bits, state = int(rng.integers(1, 60)), int(rng.integers(2, 9)), int(rng.integers(4, 17))
    worst = []
    for value, bias in ((-1 << (bits - 1), -1 << (state - 1)), ((1 << (bits - 1)) - 1, (1 << (state - 1)) - 1)):
        values = np.full((inputs, 1, 1), value)
        worst.append(sum_bits(values, np.zeros_like(values), np.array([[bias]]), state))
    assert widest_sum_bits(inputs, bits, state, state) == max(worst)


def test_a_loaded_design_runs_as_the_simulator_says() -> None:
    rtl = small()
    inputs = random_spikes(np.random.default_rng(1), rtl.design, 3, 6, 0.4)
    for gap in (1, 3):
        verdict = verify_rtl(replace(rtl, load_gap=gap), inputs)
        assert verdict.equal, str(verdict)
        assert verdict.rtl is not None
        assert [load.cycles for load in verdict.rtl.loads] == [load_cycles(len(rtl.image), gap)]
        assert f"loaded in {load_cycles(len(rtl.image), gap)} cycles" in str(verdict)


def test_other_weights_run_in_the_same_model() -> None:
    rtl = small()
    rng = np.random.default_rng(2)
    other = of(reweighted(rng, rtl.design))
    inputs = random_spikes(rng, rtl.design, 3, 6, 0.5)
    verdicts = verify_in_turn([(rtl, inputs), (other, inputs), (rtl, inputs)])
    assert [str(verdict) for verdict in verdicts if not verdict.equal] == []
    outputs = [verdict.simulated.outputs for verdict in verdicts]
    assert not np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2040))
def test_random_designs_are_equal_load_after_load(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = overlay(random_design(rng))
    options = {"batch": int(rng.integers(1, 3)), "load_gap": int(rng.choice([1, 1, 2, 5]))}
    turns = []
    for each in (design, reweighted(rng, design)):
        turns.append((of(each, **options), random_spikes(rng, each, 2, 4, float(rng.choice([0.1, 0.4])))))
    for verdict in verify_in_turn(turns):
        assert verdict.equal, f"seed {seed}: {verdict}"


def fault_at(image: bytes, at: int) -> int:
    """Give the fault that a changed byte must raise: by where it lies."""
    count = struct.unpack_from("<I", image, 16)[0]
    if at < 10:
        return 1 if at < 8 else 2
    if at < HEADER.size + RECORD.size * count:
        return 3
    for k in range(count):
        offset, size = struct.unpack_from("<QQ", image, HEADER.size + RECORD.size * k + 16)
        if offset <= at < offset + size:
            return 5
    return 6


def test_a_changed_bit_in_any_byte_is_refused() -> None:
    changed_bits(small())


def changed_bits(rtl: Rtl) -> None:
    rng = np.random.default_rng(3)
    images = []
    for at in range(len(rtl.image)):
        raw = bytearray(rtl.image)
        raw[at] ^= 1 << int(rng.integers(8))
        images.append(bytes(raw))
    told = rtl.load([*images, rtl.image])
    assert len(told) == len(images) + 1
    wanted = [fault_at(rtl.image, at) for at in range(len(images))]
    assert [load.fault for load in told[:-1]] == wanted
    assert set(wanted) == {1, 2, 3, 5, 6}
    assert not any(load.loaded or load.open for load in told[:-1])
    assert told[-1].loaded
    for image in images[:: len(images) // 20]:
        with pytest.raises(CompileError):
            read_cores(image)


def test_images_for_something_else_are_refused() -> None:
    other_images(small())


def other_images(rtl: Rtl) -> None:
    image, head = rtl.image, HEADER.size
    first = rtl.design.cores[0]
    other = of(replace(rtl.design, cores=(replace(first, decay_constant=401), *rtl.design.cores[1:])))
    fewer = write([s for s in segments(rtl.design) if s.kind is not Kind.NEURON_MAP])
    cases = {
        "a later version": (signed_again(image, 8, "<H", 2), 2),
        "another decay": (other.image, 4),
        "another offset": (signed_again(image, head + RECORD.size + 16, "<Q", 64), 4),
        "another core": (signed_again(image, head + RECORD.size, "<H", 7), 4),
        "another kind": (signed_again(image, head + 2, "<H", 1), 4),
        "another width": (signed_again(image, head + RECORD.size + 4, "<I", 999), 4),
        "fewer segments": (fewer, 3),
        "cut off": (image[:-1], 0),
        "cut in the table": (image[:100], 0),
        "nothing": (b"\0" * 200, 1),
        "a later minor version": (signed_again(image, 10, "<H", 9), 0),
        "as it is": (image, 0),
        "with more behind it": (image + bytes(range(100)), 0),
    }
    told = dict(zip(cases, rtl.load([image for image, _ in cases.values()]), strict=True))
    assert {name: load.fault for name, load in told.items()} == {name: fault for name, (_, fault) in cases.items()}
    good = [name for name, load in told.items() if load.loaded]
    assert good == ["a later minor version", "as it is", "with more behind it"]
    assert {told[name].cycles for name in good} == {load_cycles(len(image))}
    assert [name for name, load in told.items() if load.open] == good


def test_a_refused_image_is_one_diagnostic_and_a_verdict() -> None:
    rtl = small()
    inputs = random_spikes(np.random.default_rng(1), rtl.design, 1, 2, 0.4)
    broken = replace(rtl, image=rtl.image[:-64] + bytes([1]) + rtl.image[-63:])
    with pytest.raises(CompileError) as caught:
        broken.run(inputs)
    assert [d.code for d in caught.value.diagnostics] == ["fpga/load-failed"]
    assert "a segment was changed" in str(caught.value)
    verdict = verify_rtl(broken, inputs)
    assert not verdict.equal
    assert "fpga/load-failed" in str(verdict)


MUTATIONS = (
    ("writes a word one too far", "address <= number;", "address <= number + 1'b1;"),
    ("lets the cores run before the last segment", "SW'(SEGMENTS + 1)) loaded", "SW'(SEGMENTS)) loaded"),
    ("begins every word anew too late", "part == last;", "part == last + 1'b1;"),
    ("does not check CRCs", "wanted != ~crc", "1'b0"),
    ("does not check the geometry", "mark != ~MARK", "1'b0"),
    ("does not check the magic", "data != BEGINNING[spot*8+:8]", "1'b0"),
    ("does not check padding", "!body && data != '0", "1'b0"),
    ("takes the CRC of the header for a part of it", "head && own_crc ? 8'd0 : data", "data"),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("what", "before", "after"), MUTATIONS)
def test_a_planted_fault_of_the_loader_is_seen(what: str, before: str, after: str) -> None:
    rtl = small()
    text = rtl.rtl["snn_loader.sv"]
    assert text.count(before) == 1
    broken = replace(rtl, rtl={**rtl.rtl, "snn_loader.sv": text.replace(before, after)})
    inputs = random_spikes(np.random.default_rng(1), rtl.design, 3, 6, 0.4)
    if verify_rtl(broken, inputs).equal:
        with pytest.raises(AssertionError):
            refuses_what_is_wrong(broken)


def refuses_what_is_wrong(rtl: Rtl) -> None:
    changed_bits(rtl)
    other_images(rtl)
