"""Drawing N of M: Plackett-Luce frequencies, soft masks that sum to N, blocks as NM has them, no pattern counted."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch

from spikec.compiler.weights import Dense
from spikec.compiler.weights_nm import NM
from spikec.passes.spike_nm.train.blocks import of_blocks, to_blocks
from spikec.passes.spike_nm.train.sampling import gumbel_like, largest, relaxed
from spikec.passes.spike_nm.train.settings import Axis, Schedule

DRAWS = 100_000


def plackett_luce(p: np.ndarray, n: int) -> np.ndarray:
    """Inclusion probabilities by the definition: the sum over all orders in which n are drawn."""
    made = np.zeros(len(p))
    for order in permutations(range(len(p)), n):
        left, chance = 1.0, 1.0
        for i in order:
            chance *= p[i] / left
            left -= p[i]
        made[list(order)] += chance
    return made


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (2, 8), (1, 8), (3, 6)])
def test_inclusion_frequencies_are_plackett_luces(n: int, m: int) -> None:
    torch.manual_seed(n * 100 + m)
    scores = torch.randn(m)
    hard = largest(scores + gumbel_like(scores.expand(DRAWS, m)), n, None, stable=False)
    assert bool((hard.sum(-1) == n).all())
    wanted = plackett_luce(torch.softmax(scores.double(), -1).numpy(), n)
    assert np.abs(hard.double().mean(0).numpy() - wanted).max() < 0.01


@pytest.mark.parametrize("temperature", [4.0, 0.5, 0.05, 0.005])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_soft_masks_sum_to_n_and_gradients_are_finite(n: int, temperature: float) -> None:
    torch.manual_seed(0)
    scores = (10 * torch.randn(500, 8)).requires_grad_()
    soft = relaxed(scores + gumbel_like(scores), n, temperature)
    assert torch.allclose(soft.sum(-1), torch.full((500,), float(n)), atol=1e-4)
    assert bool((soft >= 0).all())
    (soft * torch.randn(500, 8)).sum().backward()
    assert scores.grad is not None
    assert bool(torch.isfinite(scores.grad).all())


def test_a_cold_soft_mask_is_the_hard_one() -> None:
    scores = torch.tensor([[3.0, -100.0, 50.0, 2.0]])
    assert torch.allclose(relaxed(scores, 2, 0.01), torch.tensor([[1.0, 0.0, 1.0, 0.0]]))  # 50 is not drawn twice


def test_of_equals_the_first_is_taken_and_what_is_no_slot_never() -> None:
    scores = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, -5.0, 9.0, 9.0]])
    valid = torch.tensor([[True] * 4, [True, False, False, False]])
    assert largest(scores, 2, valid).tolist() == [[True, True, False, False], [True, False, False, False]]


@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("shape", [(5, 7), (4, 8), (3, 5, 2), (6, 5, 3, 2)])
def test_blocks_are_cut_at_one_position_of_the_kernel_and_put_back(shape: tuple[int, ...], axis: Axis) -> None:
    weight = torch.arange(1, 1 + int(np.prod(shape))).reshape(shape).float()
    blocks = to_blocks(weight, 4, axis)
    assert torch.equal(of_blocks(blocks, shape, axis), weight)
    index = {float(value): where for where, value in np.ndenumerate(weight.numpy())}
    along = 1 if axis == "in" else 0
    for block in blocks.reshape(-1, 4):
        places = [index[float(value)] for value in block if value]
        others = {(*where[:along], *where[along + 1 :]) for where in places}
        assert len(others) == 1
        assert [where[along] for where in places] == list(range(places[0][along], places[0][along] + len(places)))
        assert places[0][along] % 4 == 0


SHAPES = [(shape, axis) for shape in ((5, 9), (6, 5, 3), (6, 5, 3, 2)) for axis in ("in", "out")]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_masks_of_these_blocks_are_what_nm_holds(shape: tuple[int, ...], axis: Axis) -> None:
    torch.manual_seed(1)
    weight = torch.randn(shape)
    valid = to_blocks(torch.ones(shape), 4, axis) > 0
    keep = of_blocks(largest(to_blocks(weight.abs(), 4, axis), 2, valid), shape, axis)
    made = NM(Dense((weight * keep).numpy()), 2, 4, axis)
    np.testing.assert_array_equal(made.values[..., :1] != 0, np.ones_like(made.values[..., :1], bool))


def test_the_schedule_goes_from_dense_to_n() -> None:
    schedule = Schedule(dense=0.1, sparse=0.5)
    kept = [schedule.kept(step / 100, 2, 16) for step in range(101)]
    assert kept[:10] == [16] * 10
    assert kept[50:] == [2] * 51
    assert all(first >= second for first, second in pairwise(kept))
    assert len(set(kept)) > 8
    assert schedule.at(0) == (1.0, 4.0)
    assert schedule.at(1) == pytest.approx((10.0, 0.05))
    assert Schedule(sparse=0).kept(0, 2, 16) == 2
