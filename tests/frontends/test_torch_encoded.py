"""Layers that tell their encoded weight: read as what they are derived from, refused where they do not tell true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import nn

from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ops import Conv2d, Linear
from spikec.compiler.weights import Dense, Sparse
from spikec.frontends.torch import lower


class Told(nn.Linear):
    """A linear layer that says that its weight is sparse."""

    def __spikec_weight__(self) -> Any:
        return Sparse(Dense(self.weight.detach().numpy()))


class ToldConv(nn.Conv2d):
    """A convolution that does."""

    def __spikec_weight__(self) -> Any:
        return Sparse(Dense(self.weight.detach().numpy()))


class Net(nn.Module):
    """One layer and a neuron, over time."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.lif = layer, snn.Leaky(beta=0.5, init_hidden=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.lif(self.layer(step)) for step in x])


def pruned(layer: Any) -> Any:
    with torch.no_grad():
        layer.weight.mul_(torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.3)
    return layer


@pytest.mark.parametrize(
    ("layer", "op", "shape"), [(Told(6, 5), Linear, (6,)), (ToldConv(2, 3, 3, padding=1), Conv2d, (2, 4, 4))]
)
def test_a_layer_is_read_with_the_weight_that_it_tells(layer: Any, op: type, shape: tuple[int, ...]) -> None:
    net = Net(pruned(layer))
    made = lower(net, torch.ones(3, 2, *shape))["layer"].op
    assert isinstance(made, op)
    assert isinstance(made.weight, Sparse)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(made.weight.decode(), layer.weight.detach().numpy())  # type: ignore[attr-defined]


def test_one_layer_on_all_of_time_is_read_too() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.lif = pruned(Told(6, 5)), snn.Leaky(beta=0.5, init_hidden=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.lif(step) for step in self.layer(x)])

    weight = lower(Whole(), torch.ones(3, 2, 6))["layer"].op.weight  # type: ignore[attr-defined]
    assert weight.encoding == "sparse"


@pytest.mark.parametrize(
    ("tell", "say"),
    [
        (lambda w: Dense(w * 2), r"gives other values than the layer computes with \(\d+ of 30\)"),
        (lambda w: Dense(w[:2]), r"gives shape \[2, 6\], the layer's weight has \[5, 6\]"),
        (lambda w: w, "gives ndarray, not a Weight"),
    ],
)
def test_a_layer_that_tells_something_else_is_refused(tell: Any, say: str) -> None:
    class Liar(nn.Linear):
        def __spikec_weight__(self) -> Any:
            return tell(self.weight.detach().numpy())

    with pytest.raises(CompileError, match=f"__spikec_weight__ {say}"):
        lower(Net(pruned(Liar(6, 5))), torch.ones(3, 2, 6))


def test_a_structure_that_was_lost_is_told() -> None:
    from spikec.compiler.weights_nm import NM

    class Lost(nn.Linear):
        def __spikec_weight__(self) -> Any:
            return NM(Dense(self.weight.detach().numpy()), 1, 2, "in")

    with pytest.raises(CompileError, match=r"cannot encode the weight: at most 1 of 2(.|\n)*layer"):
        lower(Net(Lost(6, 5)), torch.ones(3, 2, 6))


def test_a_method_on_something_that_is_no_layer_changes_nothing() -> None:
    class Module(nn.Module):
        def __spikec_weight__(self) -> Any:
            return None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sinh(x)

    with pytest.raises(CompileError, match="torch/"):
        lower(Net(Module()), torch.ones(3, 2, 6))
