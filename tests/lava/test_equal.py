"""Reference = engine = Lava, to the last bit, in spikes, u and v at every step."""

from __future__ import annotations

from collections import Counter

import pytest

from spikec.backends.loihi.lavanet import custom_nodes, describe
from spikec.compiler.ir import Graph
from spikec.compiler.weights import Array
from spikec.runtime.engine import Engine
from spikec.runtime.lava.env import LavaEnv
from spikec.runtime.lava.worker import LavaRunner
from spikec.runtime.reference import Reference
from tests.lava.networks import custom, differing, native, reached

LEAST = {
    "conv": 10,
    "delays": 20,
    "graded": 20,
    "initial state": 10,
    "negative v": 50,
    "recurrent": 15,
    "reset interval": 15,
    "sparse": 20,
    "spikes": 80,
    "start": 40,
    "u wraps": 15,
    "v saturates": 15,
}
"""How many of the hundred networks must at least have or reach it, so that equality says something."""


def agree(lava: LavaEnv, graph: Graph, inputs: Array) -> None:
    """Run in all three and compare."""
    reference = Reference().run(graph, inputs, trace=True)
    assert not differing(graph, reference, Engine().run(graph, inputs, trace=True))
    runner = LavaRunner(describe(graph), timeout=120, env=lava)
    assert not differing(graph, reference, runner.run(graph, inputs, trace=True))


@pytest.mark.lava
@pytest.mark.parametrize("seed", [5, 8, 12, 41, 209])
def test_five_random_networks_are_equal_in_reference_engine_and_lava(lava: LavaEnv, seed: int) -> None:
    agree(lava, *native(seed))


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_random_networks_are_equal_in_reference_engine_and_lava(lava: LavaEnv, seed: int) -> None:
    graph, inputs = native(seed)
    assert not custom_nodes(graph)
    agree(lava, graph, inputs)


def test_the_hundred_networks_reach_what_they_are_for() -> None:
    hits: Counter[str] = Counter()
    for seed in range(100):
        graph, inputs = native(seed)
        hits.update(reached(graph, inputs, Reference().run(graph, inputs, trace=True)))
    print(dict(sorted(hits.items())))
    assert {name: hits[name] for name, least in LEAST.items() if hits[name] < least} == {}


@pytest.mark.lava
@pytest.mark.parametrize("seed", [3, 7])
def test_two_networks_of_our_own_neurons_are_equal(lava: LavaEnv, seed: int) -> None:
    graph, inputs = custom(seed)
    assert custom_nodes(graph)
    agree(lava, graph, inputs)


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_thirty_networks_of_our_own_neurons_are_equal(lava: LavaEnv, seed: int) -> None:
    graph, inputs = custom(seed)
    assert custom_nodes(graph)
    agree(lava, graph, inputs)
