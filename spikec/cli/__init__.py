"""The command `spikec`: words in, words out. Exit codes: 0 done, 1 diagnostics, 2 usage, 3 an exact rung differed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from spikec.cli.arguments import parser
from spikec.compiler.diagnostics import CompileError, Diagnostic


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    from spikec.cli.show import Shown

    arguments = parser().parse_args(words)
    shown = Shown(verbose=arguments.verbose, quiet=arguments.quiet)
    try:
        code: int = arguments.command(arguments, shown)
    except CompileError as error:
        shown.errors(error)
        return 1
    except MemoryError:
        shown.diagnostic(
            Diagnostic("cli/memory", "that needs more memory than there is", help="fewer samples, or fewer steps")
        )
        return 1
    except BrokenPipeError:  # `spikec ... | head` is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        shown.note("interrupted; nothing half-written is left")
        return 130
    return code
