"""Mapping: what is chosen fits and is no slower than the smallest, and the counts are those of the memories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikec.backends.fpga.boards import BOARDS, EBR, ICE_EBR
from spikec.backends.fpga.costs import core_cost, design_cost, queue_cost, reasons, step_cycles
from spikec.backends.fpga.layers import Choice, build, layers_of, shares
from spikec.backends.fpga.mapping import LANES, choose
from spikec.compiler.cores import Link
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ops import Input
from tests.fpga.networks import fixed_mlp


@pytest.mark.parametrize(
    ("words", "width", "ebr", "ice"),
    [
        (1024, 128, 8, 32),
        (512, 36, 1, 5),
        (1024, 144, 8, 36),
        (256, 32, 1, 2),
        (2048, 9, 1, 5),
        (1, 1, 1, 1),
        (0, 8, 0, 0),
    ],
)
def test_block_memories_are_counted_in_their_best_shape(words: int, width: int, ebr: int, ice: int) -> None:
    assert EBR.blocks(words, width) == ebr
    assert ICE_EBR.blocks(words, width) == ice


def placed(words: int, width: int, board: str) -> int:
    """Give the block memories of a queue of so many tokens."""
    return queue_cost(Link(("c0",), ("c1",), words), width, BOARDS[board]).blocks


@pytest.mark.parametrize(
    ("words", "width", "ice", "ecp5"),
    [(2, 20, 0, 0), (4, 20, 0, 0), (8, 20, 2, 0), (16, 8, 1, 0), (64, 20, 2, 0), (16, 74, 5, 0), (128, 20, 2, 1)],
)
def test_what_is_written_counts_as_yosys_makes_it(words: int, width: int, ice: int, ecp5: int) -> None:
    assert placed(words, width, "icebreaker") == ice
    assert placed(words, width, "ulx3s-85f") == ecp5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(BOARDS)))
def test_what_is_chosen_fits_and_is_no_slower_than_the_smallest(seed: int, name: str) -> None:
    graph, board = fixed_mlp(np.random.default_rng(seed), widest=60), BOARDS[name]
    try:
        mapped = choose(graph, board)
    except CompileError:
        assert name == "icebreaker"
        for lanes in LANES:
            assert reasons(build(graph, [Choice(lanes)] * len(layers_of(graph))), board)
        return
    assert not reasons(mapped.design, board)
    costs, between = design_cost(mapped.design, board)
    assert sum(cost.blocks for cost in costs) + between.blocks <= board.blocks
    assert sum(cost.luts for cost in costs) + between.luts <= board.luts
    smallest = build(graph, [Choice(LANES[0])] * len(layers_of(graph)))
    slowest = max(
        step_cycles(core, spikes)
        for cores, spikes in zip(smallest.layers, mapped.spikes, strict=True)
        for core in cores
    )
    assert max(mapped.cycles) <= slowest or bool(reasons(smallest, board))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([2, 8, 32]))
def test_shares_cover_a_layer_once_in_whole_blocks(seed: int, cores: int, lanes: int) -> None:
    for layer in layers_of(fixed_mlp(np.random.default_rng(seed))):
        parts = shares(layer, Choice(lanes, cores))
        assert [start for start, _ in parts] == [sum(n for _, n in parts[:k]) for k in range(len(parts))]
        assert sum(n for _, n in parts) == layer.outputs
        assert all(n > 0 and start % layer.structure[1] == 0 for start, n in parts)


def test_a_busy_layer_gets_more_than_a_quiet_one() -> None:
    graph = fixed_mlp(np.random.default_rng(11), layers=2, widest=80)
    source = graph.of(Input)[0].name
    first, second = (layer.name for layer in layers_of(graph))
    busy = choose(graph, BOARDS["ulx3s-85f"], {source: 60.0, first: 0.5, second: 1.0})
    quiet = choose(graph, BOARDS["ulx3s-85f"], {source: 0.5, first: 60.0, second: 1.0})
    assert busy.choices[0].lanes * busy.choices[0].cores >= quiet.choices[0].lanes * quiet.choices[0].cores
    assert busy.choices != quiet.choices
    assert busy.measured


def test_blocks_of_a_core_are_whole_banks() -> None:
    graph = fixed_mlp(np.random.default_rng(4), layers=1, widest=200)
    for lanes in (4, 16):
        core = build(graph, [Choice(lanes)]).cores[0]
        cost = core_cost(core, BOARDS["ulx3s-85f"])
        assert cost.weight_blocks == core.banks * EBR.blocks(core.bank_words, core.weight_word_bits)
        assert core.banks * core.bank_words >= core.weight_words > (core.banks - 1) * core.bank_words


def test_layers_keep_their_order() -> None:
    graph = fixed_mlp(np.random.default_rng(8), layers=3)
    assert [layer.name for layer in layers_of(graph)] == ["n0", "n1", "n2"]
