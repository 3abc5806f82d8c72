"""How a torch weight is cut into blocks: the same blocks as those of `NM`, by views and one padding."""

from __future__ import annotations

from typing import Any

from spikec.compiler.ir import Shape
from spikec.compiler.weights_nm import Axis


def to_blocks(weight: Any, m: int, axis: Axis) -> Any:
    """Cut a weight (C_out, C_in, *kernel) into (lines, blocks, m), zeros past the end of a line.

    Along `in` a line is the C_in inputs of one output at one position of the kernel (columns ordered kh, kw, C_in);
    along `out` it is the C_out outputs of one input at one position.
    """
    from torch.nn.functional import pad

    inward = weight.movedim(1, -1)
    lines = inward.reshape(-1, weight.shape[1]) if axis == "in" else inward.reshape(weight.shape[0], -1).T
    past = -lines.shape[1] % m
    if past:
        lines = pad(lines, (0, past))
    return lines.reshape(lines.shape[0], -1, m)


def of_blocks(blocks: Any, shape: Shape, axis: Axis) -> Any:
    """Put blocks back into a weight of a shape; what lies past the end of a line is dropped."""
    length = shape[1] if axis == "in" else shape[0]
    lines = blocks.reshape(blocks.shape[0], -1)[:, :length]
    inward = (shape[0], *shape[2:], shape[1])
    return (lines if axis == "in" else lines.T).reshape(inward).movedim(-1, 1)
