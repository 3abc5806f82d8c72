"""Triangular algebra in place on BLAS, which NumPy alone has not: an inverse that costs no second matrix."""

from __future__ import annotations

import numpy as np

from spikec.compiler.weights import Array

LEAF = 64
PANEL = 256


def cholesky(matrix: Array) -> Array:
    """Factor a positive definite float64 matrix (n, n) in place into the lower L of L L^T; give it back.

    Raises:
        LinAlgError: it is not positive definite to rounding.
    """
    for start in range(0, len(matrix), PANEL):
        end = min(start + PANEL, len(matrix))
        corner, below = matrix[start:end, start:end], matrix[end:, start:end]
        corner[...] = np.linalg.cholesky(corner)
        if end == len(matrix):
            break
        below[...] = below @ invert_lower(corner.copy()).T
        matrix[start:end, end:] = 0
        for left in range(end, len(matrix), PANEL):
            right = min(left + PANEL, len(matrix))
            matrix[left:, left:right] -= matrix[left:, start:end] @ matrix[left:right, start:end].T
    return matrix


def invert_lower(lower: Array) -> Array:
    """Invert a lower triangular matrix (n, n) in place, by halves; give it back. What is above must be 0."""
    n = len(lower)
    if n <= LEAF:
        lower[...] = np.tril(np.linalg.inv(lower))
        return lower
    half = n // 2
    first, below, second = lower[:half, :half], lower[half:, :half], lower[half:, half:]
    invert_lower(first)
    invert_lower(second)
    below[...] = -(second @ below) @ first
    return lower


def gram_of_lower(lower: Array) -> tuple[Array, Array]:
    """Give L^T L of a lower triangular L (n, n): float32 and exactly symmetric; and its diagonal in float64."""
    n = len(lower)
    product, diagonal = np.empty((n, n), np.float32), np.empty(n)
    for start in range(0, n, PANEL):
        end = min(start + PANEL, n)
        panel = lower[start:, :end].T @ lower[start:, start:end]
        square = panel[start:]
        diagonal[start:end] = square.diagonal()
        square[...] = np.tril(square) + np.tril(square, -1).T
        product[:end, start:end] = panel
        product[start:end, :start] = panel[:start].T
    return product, diagonal


def upper_of_inverse(matrix: Array) -> Array:
    """Give the upper triangular U with U^T U = matrix^-1, of a positive definite float64 matrix (n, n).

    With J the reversal of rows and columns and J A J = L L^T, U = J L^-1 J: no inverse of A itself is made.
    """
    return invert_lower(cholesky(np.array(matrix[::-1, ::-1])))[::-1, ::-1]
