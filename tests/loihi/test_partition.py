"""The core table: published figures reproduced, limits kept, and the laws of a split."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.backends.loihi.memory import OVERHEAD_2024, CoreLimits, conv_words, dense_words
from spikec.backends.loihi.partition import LIMITS, partition
from spikec.compiler.ir import Graph, Node
from spikec.compiler.ops import Conv2d, FixedSum, Input, Output
from spikec.compiler.weights import Fixed
from spikec.frontends.netx import lower
from tests.loihi.networks import dense, image, linear, neuron


@pytest.mark.parametrize(
    ("axons", "neurons", "words"),
    [
        (200, 256, 16_200),  # oxford, first layer on one core
        (200, 85, 5_400),  # on three, 85 neurons as printed
        (256, 200, 16_128),  # second layer on one core
        (252, 100, 8_064),  # on two: 252 of its 256 inputs have weights there
    ],
)
def test_the_words_that_intels_compiler_printed_in_2022(axons, neurons, words):
    """Oxford: 8-bit weights, 12 bits beside each."""
    assert dense_words(axons, neurons, 8) == words


@pytest.mark.parametrize(("axons", "neurons", "words"), [(784, 48, 9_408), (64, 10, 192)])
def test_the_words_that_intels_compiler_printed_in_2024(axons, neurons, words):
    """Mnist: 7 bits beside each weight (9 408 words are 47 to 50 neurons on the fullest core)."""
    assert dense_words(axons, neurons, 8, OVERHEAD_2024) == words


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "cores", "words"),
    [("oxford", [2, 2], [8_200, 7_680]), ("trained_mnist", [3, 1, 1], [10_976, 2_688, 256])],
)
def test_our_split_of_the_published_networks(shared_data, name, cores, words):
    """Published were 3 + 2 cores for oxford and 3 + 1 + 1 for mnist; ours is 4 and 5."""
    table = partition(lower(shared_data / "lava_dl" / f"{name}.net"))
    assert [row.cores for row in table.rows] == cores
    assert [row.words for row in table.rows] == words
    assert table.cores == sum(cores)


def test_the_published_shares_of_a_core():
    """10 neurons are 0.24 %, 784 inputs 4.90 %, one group 12.5 %."""
    (row,) = partition(dense(linear(2 * np.ones((10, 784), int)))).rows
    assert row.use() | {"words": 0, "axon_map": 0} == {
        "neurons": 0.24,
        "axons": 4.9,
        "groups": 12.5,
        "words": 0,
        "axon_map": 0,
    }


@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 3))
def test_every_core_keeps_the_limits_and_nothing_is_lost(neurons, inputs, zeros):
    """On a small core: words, neurons and inputs fit, and the cores hold all neurons."""
    limits = CoreLimits(words=200, neurons=40, axons_in=64)
    weights = 2 * np.ones((neurons, inputs), int)
    weights[:, : min(zeros, inputs)] = 0
    (row,) = partition(dense(linear(weights)), limits).rows
    assert row.words <= limits.words
    assert row.neurons <= limits.neurons
    assert row.axons == max(0, inputs - zeros)
    assert row.cores * row.neurons >= neurons
    assert row.neurons == ceil(neurons / row.cores)


def test_zeros_in_a_used_input_save_nothing_and_an_unused_one_is_free():
    """Synapses are stored dense: memory is saved only where a whole column is zero."""
    full, holes, gone = (2 * np.ones((20, 30), int) for _ in range(3))
    holes[::2, ::2] = 0
    gone[:, :10] = 0
    words = [partition(dense(linear(w))).rows[0].words for w in (full, holes, gone)]
    assert words[1] == words[0]
    assert words[2] * 3 == words[0] * 2


def wide(channels=6, height=40, width=60):
    """An image with a 3 x 3 convolution on it."""
    kernel = Fixed(2 * np.ones((channels, 2, 3, 3), int), 0, 8, "mixed", 2)
    conv = Conv2d(kernel, padding=((1, 1), (1, 1)), latency=1, sum=FixedSum(0, 24))
    nodes = (
        Node("input", Input((2, height, width))),
        Node("conv", conv, ("input",)),
        Node("lif", neuron(), ("conv",)),
        Node("output", Output(), ("lif",)),
    )
    return Graph(nodes)


def test_a_convolution_is_split_into_tiles():
    """The widest power of two columns that fits 4095 neurons; every core holds the kernel."""
    (row,) = partition(wide()).rows
    assert row.neurons == 16 * 40 * 6
    assert row.cores == ceil(60 / 16)
    assert row.words == conv_words(2, 9, 6, 8) == 18
    assert row.axons == 2 * 18 * 40  # of the padded reach, what lies in the image: 16 + 2 columns, all rows
    assert row.words_total == row.words * row.cores


def test_a_tall_column_is_split_into_rows():
    """If one column is too many neurons."""
    (row,) = partition(wide(channels=200, height=40, width=3)).rows
    assert row.neurons == 16 * 200
    assert row.cores == 3 * 3


def test_layers_have_cores_of_their_own():
    """The table's rows follow the graph, and its sum is the network's."""
    table = partition(image())
    assert [row.layer for row in table.rows] == ["lif1", "lif2"]
    assert table.cores == 2
    assert table.chips == 1
    assert table.fact["limits"]["words"] == LIMITS.words == 12_000


def test_a_network_may_need_several_chips():
    """129 cores are two chips."""
    limits = CoreLimits(cores=1)
    assert partition(image(), limits).chips == 2
