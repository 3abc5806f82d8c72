"""Fixtures common to all tests: golden text, the acceptance data folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# No time limit a drawn example: on a busy machine it would fail tests at random.
settings.register_profile("spikec", deadline=None)
settings.load_profile("spikec")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`."""
    parser.addoption("--update-golden", action="store_true", help="write the golden texts anew instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare text with the file `golden/NAME.txt` beside the test."""

    def check(name: str, text: str) -> None:
        file = request.path.parent / "golden" / f"{name}.txt"
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert file.is_file(), f"{file} does not exist; run pytest --update-golden and read what it wrote"
        assert text == file.read_text(encoding="utf-8")

    return check


@pytest.fixture
def shared_data() -> Path:
    """Give the folder of acceptance data, or skip with the reason."""
    path = Path(os.environ.get("SPIKEC_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no acceptance data at {path} (set SPIKEC_DATA)")
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that were skipped for lack of the acceptance data."""
    skipped = terminalreporter.stats.get("skipped", [])
    lacking = [report for report in skipped if "acceptance data" in str(report.longrepr)]
    if lacking:
        terminalreporter.write_line(f"{len(lacking)} tests skipped for lack of the acceptance data (SPIKEC_DATA)")
