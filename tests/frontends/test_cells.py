"""Every neuron class and option of the installed frameworks: the float reference against the framework itself."""

from __future__ import annotations

import pytest

from tests.frontends.cells import CELLS, Cell, count, installed

ALL = [cell for name in installed() for cell in CELLS[name]()]
LARGE = 64  # samples: 122,880 cells
SMALL = 2


def check(cell: Cell, kind: str, samples: int) -> None:
    """No cell differs, and there is something to compare."""
    found = count(cell, kind, samples)
    assert found.differing == 0
    assert found.active > found.cells // 500


@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("cell", [c for c in ALL if c.framework != "snntorch"], ids=str)
def test_every_class_and_option_equals_its_framework(cell: Cell, kind: str) -> None:
    check(cell, kind, SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("cell", ALL, ids=str)
def test_every_class_and_option_over_a_hundred_thousand_cells(cell: Cell, kind: str) -> None:
    check(cell, kind, LARGE)
