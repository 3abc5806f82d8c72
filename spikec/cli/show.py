"""What a person sees: diagnostics, tables, progress bars, by rich; results on standard output, all else on error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from spikec.compiler.diagnostics import CompileError, Diagnostic, Severity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, Task

T = TypeVar("T")
WIDE = 200
COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.REMARK: "cyan"}


class Shown:
    """The console of one command."""

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        from rich.console import Console

        self.out: Console = Console(soft_wrap=True, highlight=False)
        if not self.out.is_terminal:
            self.out.width = WIDE  # nothing is cut off in a file or a pipe
        self.err: Console = Console(stderr=True, soft_wrap=True, highlight=False)
        self.verbose, self.quiet = verbose, quiet
        self._unseen: Counter[str] = Counter()

    def diagnostic(self, finding: Diagnostic) -> None:
        """Show one finding in colour."""
        from rich.markup import escape

        head, _, rest = str(finding).partition("\n")
        kind, _, message = head.partition(": ")
        colour = COLOURS[finding.severity]
        self.err.print(f"[{colour}]{escape(kind)}[/]: {escape(message)}" + (f"\n{escape(rest)}" if rest else ""))

    def errors(self, error: CompileError) -> None:
        """Show everything that an exception carries, errors last."""
        for finding in sorted(error.diagnostics, key=lambda d: d.severity is Severity.ERROR):
            if finding.severity is not Severity.REMARK or self.verbose:
                self.diagnostic(finding)

    def remark(self, finding: Diagnostic) -> None:
        """Sink of warnings and remarks: remarks are counted, and shown only on request."""
        if finding.severity is Severity.REMARK and not self.verbose:
            self._unseen[finding.code] += 1
        elif not self.quiet:
            self.diagnostic(finding)

    def note(self, text: str) -> None:
        """Say something that is not a result."""
        if not self.quiet:
            self.err.print(text, markup=False)

    def unseen_remarks(self) -> None:
        """Say how many remarks were kept back."""
        count = sum(self._unseen.values())
        if count:
            self.note(f"{count} remarks ({', '.join(sorted(self._unseen))}); -v shows them")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; columns that start with `>` are set flush right."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for column in columns:
            made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
        for row in rows:
            made.add_row(*(escape(str(cell)) for cell in row))
        self.out.print(made)

    def progress(self) -> Bars:
        """Give a Progress that draws bars on standard error for anything over a second."""
        return Bars(self)


class Bars:
    """Progress bars of rich; quick work (under a second) draws nothing."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    @property
    def _hidden(self) -> bool:
        return self._shown.quiet or not self._shown.err.is_terminal

    def _made(self) -> RichProgress:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        return Progress(*columns, console=self._shown.err, transient=True, disable=self._hidden)

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """Pass the items through, with a bar once a second has gone."""
        from time import monotonic

        listed: Iterable[T] = items
        if total is None:
            known = list(items)
            listed, total = known, len(known)
        began, bar, task = monotonic(), self._made(), None
        try:
            for done, item in enumerate(listed):
                if task is None and monotonic() - began > 1 and not self._hidden:
                    bar.start()
                    task = bar.add_task(what, total=total, completed=done)
                yield item
                if task is not None:
                    bar.advance(task)
        finally:
            bar.stop()

    @contextmanager
    def task(self, what: str) -> Iterator[None]:
        """Show a spinner while the block runs."""
        if self._hidden:
            yield
            return
        with self._shown.err.status(what):
            yield

    @contextmanager
    def work(self, what: str, total: float) -> Iterator[Callable[[float], None]]:
        """Show a bar of what is done, with the time left at the mean pace so far, once a second has gone."""
        from threading import Timer

        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), _left())
        bar = Progress(*columns, console=self._shown.err, transient=True, disable=self._hidden)
        task = bar.add_task(what, total=total)
        late = Timer(1.0, bar.start)
        late.daemon = True
        late.start()
        try:
            yield lambda amount: bar.advance(task, amount)
        finally:
            late.cancel()
            late.join()
            bar.stop()


def _left() -> ProgressColumn:
    """Make the column of the time left: that spent until the last piece was done, in proportion, and then counted down.

    Rich's own forgets what was done more than half a minute ago, which is less than one large piece takes.
    """
    from datetime import timedelta

    from rich.progress import ProgressColumn
    from rich.text import Text

    class Left(ProgressColumn):
        last: tuple[float, float] = (0.0, 0.0)

        def render(self, task: Task) -> Text:
            now = task.elapsed or 0.0
            if task.completed != self.last[0]:
                self.last = (task.completed, now)
            done, then = self.last
            if not done or task.total is None:
                return Text("-:--:-- left")
            left = then * (task.total - done) / done - (now - then)
            return Text(f"{timedelta(seconds=max(0, round(left)))} left")

    return Left()
