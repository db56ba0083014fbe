"""What a command says, and how it ends: its result, to a pipe that may close; errors and warnings, in a line.

What belongs here: the one place where a command's own output leaves the process. Live output of a build
goes through doit's reporters instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

from buildkit.core.errors import BuildkitError, ExitCode, UsageError

UNREAD = int(ExitCode.UNREAD)


def exit_code_of(command: Callable[[], int | None]) -> int:
    """Return the exit code of a command (0 for None); what a user can put right, and Ctrl-C, are one line."""
    try:
        return int(command() or ExitCode.OK)
    except BuildkitError as error:
        print_error(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return interrupted()


def interrupted() -> int:
    """Say that the user has ended the command, and return the exit code for that."""
    sys.stderr.write("interrupted\n")
    return int(ExitCode.INTERRUPTED)


def print_result(text: str) -> None:
    """Write `text` and a newline to standard output; a reader that has gone away (`| head`) is no error."""
    print_lines([text])


def print_lines(lines: Iterable[str]) -> None:
    """Write lines as they come, like `print_result`; UsageError where standard output cannot be written."""
    stream = sys.stdout
    if stream is None:  # closed by who started us (`>&-`): nobody wants to read it
        return
    encoding = stream.encoding or "utf-8"
    try:
        for line in lines:
            print(line.encode(encoding, "replace").decode(encoding), file=stream)
        stream.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        raise unwritable_output(error) from None


def unwritable_output(error: OSError) -> UsageError:
    """Return the error that says that standard output cannot be written."""
    return UsageError(f"standard output cannot be written: {error.strerror or error}.")


def discard_output() -> None:
    """Give standard output nowhere to go: what is buffered would fail again, and loudly, at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def print_error(error: Exception) -> None:
    """Write `ERROR: ...` to standard error, as doit does for what a user can put right."""
    sys.stderr.write(f"ERROR: {error}\n")


def print_warning(line: str) -> None:
    """Write `buildkit: ...` to standard error."""
    sys.stderr.write(f"buildkit: {line}\n")


def terminal_width() -> int | None:
    """Return the columns of the terminal or of `COLUMNS`; None where output goes elsewhere."""
    if not os.environ.get("COLUMNS", "").isdigit() and not (sys.stdout and sys.stdout.isatty()):
        return None
    import shutil  # only for texts that are fitted to a terminal

    return shutil.get_terminal_size().columns
