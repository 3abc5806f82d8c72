"""The mask of one layer, as a torch parametrization of its weight; imported by `attach` alone, for it needs torch."""

from __future__ import annotations

from typing import Any

import torch  # noqa: TID253 - a class derived from torch's cannot be made without it
from torch import Tensor, nn  # noqa: TID253

from spikec.passes.spike_nm.train.blocks import of_blocks, to_blocks
from spikec.passes.spike_nm.train.sampling import NEVER, gumbel_like, largest, relaxed
from spikec.passes.spike_nm.train.settings import Learning, Pattern


class Masked(torch.autograd.Function):
    """weight * hard, whose gradient flows on to the soft mask, and to masked weights too where that is asked for."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, soft: Tensor | None, hard: Tensor, decay: float | None) -> Tensor:
        """Mask; `decay` None: masked weights get no gradient; else the dense one and decay * weight (SR-STE)."""
        ctx.save_for_backward(weight, hard)
        ctx.decay, ctx.soft = decay, soft is not None
        return weight * hard

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Give the gradients of weight and soft mask."""
        (grad,) = grads
        weight, hard = ctx.saved_tensors
        own = grad * hard if ctx.decay is None else grad + ctx.decay * (weight * ~hard)
        return own, grad * weight if ctx.soft else None, None, None


class Mask(nn.Module):
    """N of M along an axis of one weight.

    In training one mask is drawn for each step: as long as neither the weight nor the logits change, and until a
    gradient has flowed back, every use of the weight is given the same masked tensor. In evaluation it is the N
    largest of each block, without noise; of equals the first.
    """

    logits: Tensor
    keep: Tensor
    frozen: Tensor
    credit: Tensor
    valid: Tensor | None

    def __init__(self, weight: Tensor, pattern: Pattern, learning: Learning, generator: torch.Generator) -> None:
        super().__init__()
        self.pattern, self.learning = pattern, learning
        self.shape = tuple(weight.shape)
        blocks = to_blocks(weight.detach(), pattern.m, pattern.axis)
        self.register_buffer("valid", self._valid(weight), persistent=False)
        if learning.method != "sr-ste":
            drawn = torch.randn(blocks.shape, generator=generator).to(blocks)
            first = drawn * (learning.spread if learning.method == "basis" else 1.0)
            if learning.method == "basis":
                first += learning.prior * largest(blocks.abs(), pattern.n, self.valid)
            self.logits = nn.Parameter(first, requires_grad=learning.method == "basis")
        self.register_buffer("keep", torch.zeros(self.shape, dtype=torch.bool, device=weight.device))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool, device=weight.device))
        if learning.distillation is not None:
            self.register_buffer("credit", torch.zeros_like(blocks))
        self.kept, self.kappa, self.temperature = pattern.n, 1.0, 1.0
        self.draws = 0
        self._is_frozen: bool | None = None
        self._cache: tuple[Any, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the masked tensor out of copies: it belongs to a graph."""
        return {**self.__dict__, "_cache": None}

    def _valid(self, weight: Tensor) -> Tensor | None:
        valid = to_blocks(torch.ones_like(weight.detach()), self.pattern.m, self.pattern.axis) > 0
        return None if bool(valid.all()) else valid

    @property
    def is_frozen(self) -> bool:
        """Say whether the mask is fixed."""
        if self._is_frozen is None:
            self._is_frozen = bool(self.frozen)
        return self._is_frozen

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._is_frozen = self._cache = None

    def forward(self, weight: Tensor) -> Tensor:
        """Give the masked weight."""
        grad = torch.is_grad_enabled()
        logits = self.logits._version if hasattr(self, "logits") else 0
        key = (id(weight), weight.device, weight._version, logits, self.training, grad, self.kept, self.is_frozen)
        if self._cache is None or self._cache[0] != key:
            made = self._masked(weight)
            if made.requires_grad:
                made.register_hook(self._flowed_back(weight))  # type: ignore[no-untyped-call]
            self._cache = (key, made)
        return self._cache[1]

    def _flowed_back(self, weight: Tensor) -> Any:
        def hook(grad: Tensor) -> None:
            self._cache = None  # its graph is used up
            if self.learning.distillation is not None and not self.is_frozen:
                from spikec.passes.spike_nm.train.credit import of_gradient

                of_gradient(self, grad.detach(), weight.detach())

        return hook

    def _masked(self, weight: Tensor) -> Tensor:
        if self.is_frozen:
            return weight * self.keep
        if not self.training:
            return weight * self.best(weight)
        self.draws += 1
        decay = self.learning.decay if self.learning.dense_gradient or self.learning.method == "sr-ste" else None
        if self.learning.method != "basis":
            hard = largest(self.scores(weight), self.kept, self.valid, stable=self.learning.method == "sr-ste")
            return Masked.apply(weight, None, self.of_blocks(hard), decay)  # type: ignore[no-any-return, no-untyped-call]
        noisy = self.kappa * self.logits
        noisy = noisy + gumbel_like(noisy)
        if self.valid is not None:
            noisy = noisy.masked_fill(~self.valid, NEVER)
        hard = largest(noisy.detach(), self.kept, self.valid, stable=False)
        soft = relaxed(noisy, self.pattern.n, self.temperature)
        return Masked.apply(weight, self.of_blocks(soft), self.of_blocks(hard), decay)  # type: ignore[no-any-return, no-untyped-call]

    def scores(self, weight: Tensor) -> Tensor:
        """Give what the slots of each block are ranked by."""
        if self.learning.method == "sr-ste":
            return to_blocks(weight.detach().abs(), self.pattern.m, self.pattern.axis)  # type: ignore[no-any-return]
        return self.logits.detach()

    def best(self, weight: Tensor) -> Tensor:
        """Give the mask of evaluation and export, in the weight's shape: the N largest, of equals the first."""
        return self.of_blocks(largest(self.scores(weight), self.pattern.n, self.valid))

    def of_blocks(self, blocks: Tensor) -> Tensor:
        """Put blocks into the weight's shape."""
        return of_blocks(blocks, self.shape, self.pattern.axis)  # type: ignore[no-any-return]

    def to_blocks(self, tensor: Tensor) -> Tensor:
        """Cut a tensor of the weight's shape into blocks."""
        return to_blocks(tensor, self.pattern.m, self.pattern.axis)  # type: ignore[no-any-return]

    def freeze(self, weight: Tensor) -> None:
        """Fix the mask that evaluation takes."""
        with torch.no_grad():
            if not self.is_frozen:
                self.keep.copy_(self.best(weight))
                self.frozen.fill_(True)
        self._is_frozen, self._cache = True, None
