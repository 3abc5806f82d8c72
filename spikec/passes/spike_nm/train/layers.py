"""Linear and convolution layers with an N:M weight, which say so to the torch frontend: what `export` makes."""

from __future__ import annotations

from typing import Any, cast

from torch import nn  # noqa: TID253 - classes derived from torch's cannot be made without it

from spikec.compiler.weights import Dense
from spikec.compiler.weights_nm import NM, Axis


class _Told:
    """Says its weight as NM, by the protocol of `spikec.frontends.torch.encoded`."""

    nm: tuple[int, int, Axis]

    def __spikec_weight__(self) -> NM:
        """Give the weight as it is now. Raises ValueError if it has not the structure (any more)."""
        weight = cast(Any, self).weight.detach().cpu().numpy()
        return NM(Dense(weight), *self.nm)


class NMLinear(_Told, nn.Linear):
    """Linear with an N:M weight."""


class NMConv1d(_Told, nn.Conv1d):
    """Conv1d with an N:M weight."""


class NMConv2d(_Told, nn.Conv2d):
    """Conv2d with an N:M weight."""


KINDS: dict[type[nn.Module], type[_Told]] = {nn.Linear: NMLinear, nn.Conv1d: NMConv1d, nn.Conv2d: NMConv2d}
"""By torch's class, exactly: what a class derived from one computes is not known."""
