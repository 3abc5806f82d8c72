"""N of M without replacement: Gumbel top-N, and its relaxation by successive softmax (methods.md 2.2)."""

from __future__ import annotations

from typing import Any

NEVER = -1e9
"""The score of a slot that is never drawn: finite, so that a block with nothing else left has a softmax."""
TAKEN = 1e-6
"""A slot of which no more than this is left is taken whole; it cannot be drawn again."""


def gumbel_like(scores: Any) -> Any:
    """Draw standard Gumbel noise -log(-log u), u kept from 0 and 1, where float32 would be infinite."""
    import torch

    u = torch.rand_like(scores).clamp_(1e-9, 1 - 1e-7)
    return u.log_().neg_().log_().neg_()


def relaxed(scores: Any, n: int, temperature: float) -> Any:
    """Give the soft mask of n draws: s_1 + ... + s_n, s_r = softmax(a_r), a_(r+1) = a_r + log(1 - s_r).

    It sums to n in every block (the last axis). One entry may be above 1: what is drawn twice in part (for instance
    1.4 and 0.6 for n = M = 2 and s_1 = 0.9, 0.1). What a draw takes whole is put out of the next ones.
    """
    import torch

    left = scores / temperature
    drawn = torch.softmax(left, -1)
    total = drawn
    for _ in range(n - 1):
        rest = 1 - drawn
        left = (left + rest.clamp_min(TAKEN).log()).masked_fill(rest < TAKEN, NEVER)
        drawn = torch.softmax(left, -1)
        total = total + drawn
    return total


def largest(scores: Any, n: int, valid: Any | None, *, stable: bool = True) -> Any:
    """Mark the n largest of every block, at most as many as it has valid slots.

    `stable`: of equals the one of the lowest index, which costs a sort; without, any (scores that were drawn).
    """
    import torch

    if valid is not None:
        scores = scores.masked_fill(~valid, NEVER)
    first = scores.argsort(stable=True, dim=-1, descending=True)[..., :n] if stable else scores.topk(n, -1).indices
    made = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device).scatter_(-1, first, True)
    return made if valid is None else made & valid
