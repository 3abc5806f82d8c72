"""Losses: what NIR cannot say of a network, field by field, and what a reader that follows NIR alone does instead."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Loss:
    """One thing that NIR cannot say: of which node and field, what was trained, what is read, and what that changes."""

    node: str
    field: str
    trained: str
    read_as: str
    effect: str

    def __str__(self) -> str:
        """Give it in one sentence."""
        return f"{self.field} {self.trained} is read as {self.read_as}: {self.effect}"

    @property
    def fact(self) -> dict[str, str]:
        """The loss as plain JSON data."""
        return asdict(self)
