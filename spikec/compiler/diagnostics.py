"""Diagnostics: what spikec tells a user about a fault, all of it at once, and what it remarks on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum


class Severity(str, Enum):
    """How grave a diagnostic is: an error stops the compilation, a warning and a remark do not."""

    ERROR = "error"
    WARNING = "warning"
    REMARK = "remark"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding: a stable code, what is wrong, where, and what to do about it.

    `code` is a slug `area/what` (`graph/shape-mismatch`) that scripts may rely on; `where` names a place in the
    user's own words (a module path, a file, a node); `help` says what to do.
    """

    code: str
    message: str
    where: str = ""
    help: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Give the finding as the command line prints it: one line, then where and help, indented."""
        lines = [f"{self.severity.value}[{self.code}]: {self.message}"]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)


Sink = Callable[[Diagnostic], None]
"""Where remarks and warnings go while work is under way."""


def ignore(_: Diagnostic) -> None:
    """Sink that drops what it is given."""


class CompileError(Exception):
    """The work cannot go on: carries every diagnostic that was found, errors and what led to them."""

    def __init__(self, diagnostics: Iterable[Diagnostic] | Diagnostic) -> None:
        given = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        self.diagnostics: tuple[Diagnostic, ...] = given
        super().__init__("\n".join(str(d) for d in given))


def fail(code: str, message: str, where: str = "", help: str = "") -> CompileError:
    """Make the exception for one error: `raise fail("nir/unknown-node", ...)`."""
    return CompileError(Diagnostic(code, message, where, help))


def remark(code: str, message: str, where: str = "", help: str = "") -> Diagnostic:
    """Make a remark."""
    return Diagnostic(code, message, where, help, Severity.REMARK)


def warning(code: str, message: str, where: str = "", help: str = "") -> Diagnostic:
    """Make a warning."""
    return Diagnostic(code, message, where, help, Severity.WARNING)


class Findings:
    """A collector: rules add what they find; at the end all errors are raised together."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []

    def __call__(self, diagnostic: Diagnostic) -> None:
        """Add one finding, so that a collector is itself a Sink."""
        self._found.append(diagnostic)

    def __iter__(self) -> Iterator[Diagnostic]:
        """Iterate over what was found, in order."""
        return iter(self._found)

    def __len__(self) -> int:
        """Count what was found."""
        return len(self._found)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Those findings that are errors."""
        return tuple(d for d in self._found if d.severity is Severity.ERROR)

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Turn a CompileError raised inside the block into findings, so that the next place is still looked at."""
        try:
            yield
        except CompileError as error:
            self._found.extend(error.diagnostics)

    def raise_errors(self) -> None:
        """Raise one CompileError with everything found, if any of it is an error."""
        if self.errors:
            raise CompileError(self._found)
