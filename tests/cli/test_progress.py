"""Progress bars of work in unequal pieces: the share that is done by cost, and a time left that follows from it."""

from __future__ import annotations

import io
import re
import threading
import time

import pytest
from rich.console import Console

from spikec.cli.show import Shown


def drawn(shown: Shown, monkeypatch: pytest.MonkeyPatch, amounts: tuple[float, ...], total: float) -> str:
    """Give what is drawn while amounts are reported, each after a while, with no second of waiting at the start."""
    timer, file = threading.Timer, io.StringIO()
    monkeypatch.setattr(threading, "Timer", lambda _, function: timer(0.0, function))
    shown.err = Console(file=file, force_terminal=True, width=100)
    with shown.progress().work("ordering", total) as advance:
        for amount in amounts:
            time.sleep(0.15)
            advance(amount)
        time.sleep(0.15)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())


def test_a_bar_goes_by_cost_and_tells_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(Shown(), monkeypatch, (1.0, 74.0), 100.0)
    assert "ordering" in text
    assert "-:--:-- left" in text
    assert "75%" in text
    assert "0:00:00 left" in text


def test_the_time_left_is_in_proportion_to_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(Shown(), monkeypatch, (1.0,), 400.0)
    seconds = [int(m) * 60 + int(s) for m, s in re.findall(r"0:(\d\d):(\d\d) left", text)]
    assert seconds
    assert min(seconds) >= 0.15 * 399 - 2


@pytest.mark.parametrize("quiet", [True, False])
def test_quick_and_quiet_work_draws_nothing(quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    shown = Shown(quiet=quiet)
    shown.err = Console(file=file, force_terminal=True)
    with shown.progress().work("ordering", 2.0) as advance:
        advance(1.0)
    assert "ordering" not in file.getvalue()
