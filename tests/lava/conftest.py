"""Lava's environment for these tests; where it is not installed they are skipped with the reason."""

from __future__ import annotations

import pytest

from spikec.runtime.lava.env import LavaEnv, find


@pytest.fixture(scope="session")
def lava() -> LavaEnv:
    """Give Lava's environment."""
    found = find()
    if found is None:
        pytest.skip("Lava is not installed (spikec lava install)")
    return found
