"""Notes: what is packed comes back exactly, and a fingerprint sees values, not types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.compiler.notes import fingerprint, pack, unpack

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner))


@given(st.dictionaries(st.text(), values))
def test_what_is_packed_comes_back(note: dict[str, Any]) -> None:
    assert unpack(*pack(note)) == note


def test_arrays_stand_apart() -> None:
    given = {
        "a": np.arange(3, dtype=np.int16),
        "b": ({"c": np.array([[0.1]])},),
        "d": np.float32(0.1),
        "e": np.array(2),
    }
    text, arrays = pack(given)
    back = unpack(text, arrays)
    assert [back["a"].dtype, back["b"][0]["c"].tolist()] == [np.int16, [[0.1]]]
    assert back["a"].tolist() == [0, 1, 2]
    assert (back["d"], back["e"]) == (float(np.float32(0.1)), 2)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format":1}', '{"format":9,"note":{}}', '{"format":1,"note":{"array":0}}']
)
def test_damage_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"damaged|format|Expecting"):
        unpack(text, {})


def test_a_fingerprint_sees_values() -> None:
    ones = np.ones(3, np.float32)
    mark = fingerprint("LIF", {"tau": ones, "r": ones * 2})
    assert mark == fingerprint(
        "LIF", {"r": ones.astype(np.float64) * 2, "tau": ones, "v_reset": np.zeros(3), "x": None}
    )
    others = [("IF", ones, ones * 2), ("LIF", ones * 2, ones), ("LIF", ones, np.array([2.0, 2.0, 2.0 + 1e-15]))]
    assert mark not in [fingerprint(kind, {"tau": tau, "r": r}) for kind, tau, r in others]
    assert mark != fingerprint("LIF", {"tau": np.ones(1), "r": ones * 2})
