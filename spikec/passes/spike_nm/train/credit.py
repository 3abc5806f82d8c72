"""Eligibility-inspired distillation (EXPERIMENTAL): what each weight of a block is worth, as a target of its logits.

A reconstruction (methods.md 2.2, 2.3): the paper's own form is not public, and no credit here beat plain sampling.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spikec.passes.spike_nm.train.sampling import NEVER
from spikec.passes.spike_nm.train.settings import Distillation

TINY = 1e-30
"""Below this a block's credits are all nothing."""


def of_gradient(mask: Any, grad: Any, weight: Any) -> None:
    """Take credits from the gradient G of the loss for the masked weight, once a step: |G|, |G| |w|, max(-G w, 0)."""
    kind = mask.learning.distillation.credit
    if kind == "gradient":
        update(mask, grad.abs())
    elif kind == "gradient-weight":
        update(mask, grad.abs() * weight.abs())
    elif kind == "gain":
        update(mask, (-grad * weight).clamp_min(0))


def update(mask: Any, credit: Any) -> None:
    """Move the average of a mask's credits by one step's, given in the weight's shape."""
    mask.credit.lerp_(mask.to_blocks(credit), 1 - mask.learning.distillation.average)


def targets(credit: Any, valid: Any, sharpness: float) -> tuple[Any, Any]:
    """Give the soft target q = softmax(C / (max C * sharpness)) of each block, and which blocks have any credit."""
    import torch

    most = credit.amax(-1, keepdim=True)
    scaled = credit / (most.clamp_min(TINY) * sharpness)
    if valid is not None:
        scaled = scaled.masked_fill(~valid, NEVER)
    return torch.softmax(scaled, -1), most.squeeze(-1) > TINY


def loss_of(masks: Iterable[Any], distillation: Distillation | None) -> Any:
    """Give beta * mean over blocks of KL(q || softmax(kappa * pi)); 0.0 without distillation."""
    if distillation is None or not distillation.beta:
        return 0.0
    total, blocks = 0.0, 0
    for mask in masks:
        if mask.is_frozen:
            continue
        q, known = targets(mask.credit, mask.valid, distillation.sharpness)
        scores = mask.kappa * mask.logits
        if mask.valid is not None:
            scores = scores.masked_fill(~mask.valid, NEVER)
        p = scores.log_softmax(-1)
        each = (q * (q.clamp_min(TINY).log() - p)).sum(-1)
        total = total + (each * known).sum()
        blocks += each.numel()
    return distillation.beta * total / max(blocks, 1)


def watch(layer: Any, mask: Any) -> list[Any]:
    """Hook what a layer is given, and the gradient of what it gives, for the credits that need them."""
    kind = mask.learning.distillation.credit
    if kind.startswith("activity"):
        return [layer.register_forward_hook(_Activity(mask))]
    return [layer.register_forward_hook(_Eligibility(mask))] if kind == "eligibility" else []


class _Activity:
    """Averages the mean input of each channel, or that times |w|; borders of a kernel are taken as its middle."""

    def __init__(self, mask: Any) -> None:
        self.mask = mask

    def __call__(self, layer: Any, args: Any, result: Any) -> None:
        if not (layer.training and result.requires_grad) or self.mask.is_frozen:
            return
        x = args[0].detach().abs()
        axis = -1 if layer.weight.dim() == 2 else -(layer.weight.dim() - 1)
        rates = x.movedim(axis, -1).flatten(0, -2).mean(0)
        groups = getattr(layer, "groups", 1)
        each = rates.reshape(groups, 1, -1).expand(-1, self.mask.shape[0] // groups, -1).flatten(0, 1)
        credit = each.reshape(*each.shape, *[1] * (len(self.mask.shape) - 2)).expand(self.mask.shape)
        if self.mask.learning.distillation.credit == "activity-weight":
            credit = credit * layer.parametrizations.weight.original.detach().abs()
        update(self.mask, credit)


class _Eligibility:
    """Credits |sum over t and samples of d_i[t] xbar_j[t]|, xbar[t] = (1 - 1/tau) xbar[t-1] + x[t] / tau.

    d_i[t], the gradient of the loss for what the layer gives at a step, is the surrogate's derivative times what the
    loss says of the spike, and what later steps send back. Traces start from 0 with every mask that is drawn.
    """

    def __init__(self, mask: Any) -> None:
        self.mask = mask
        self.draw = -1
        self.trace: Any = None
        self.sum: Any = None
        self.open = 0

    def __call__(self, layer: Any, args: Any, result: Any) -> None:
        if not (layer.training and result.requires_grad) or self.mask.is_frozen:
            return
        if self.mask.draws != self.draw:
            self.draw, self.trace, self.sum, self.open = self.mask.draws, None, None, 0
        axis = self.mask.learning.distillation.time_axis
        x = args[0].detach()
        traces = [self._step(x)] if axis is None else [self._step(part) for part in x.unbind(axis)]
        self.open += 1
        result.register_hook(self._gradient(layer, traces, axis))

    def _step(self, x: Any) -> Any:
        tau = self.mask.learning.distillation.tau
        self.trace = x / tau if self.trace is None else (1 - 1 / tau) * self.trace + x / tau
        return self.trace

    def _gradient(self, layer: Any, traces: list[Any], axis: int | None) -> Any:
        draw = self.draw

        def hook(grad: Any) -> None:
            if draw != self.draw:
                return
            grads = [grad] if axis is None else grad.unbind(axis)
            for part, trace in zip(grads, traces, strict=True):
                made = _weight_gradient(layer, self.mask.shape, trace, part.detach())
                self.sum = made if self.sum is None else self.sum + made
            self.open -= 1
            if not self.open:
                update(self.mask, self.sum.abs())

        return hook


def _weight_gradient(layer: Any, shape: tuple[int, ...], x: Any, grad: Any) -> Any:
    """Give what a gradient of a layer's output and an input make of the weight."""
    from torch.nn.grad import conv1d_weight, conv2d_weight

    if len(shape) == 2:
        return grad.reshape(-1, shape[0]).T @ x.reshape(-1, shape[1])
    made: Any = conv1d_weight if len(shape) == 3 else conv2d_weight
    return made(x, shape, grad, layer.stride, layer.padding, layer.dilation, layer.groups)
