"""The history of a project, for commands that show it without loading the dodo.py.

What belongs here: finding the project, opening its history, and errors of either in one line.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from buildkit.core.errors import BuildkitError, StateError, UsageError
from buildkit.state.database import database_path, open_database
from buildkit.state.history import History
from buildkit.state.lock import current_holder, process_exists
from buildkit.state.runs import RunRecord

OPTION_DIR = {
    # Named as doit's loader names it, so that `doit --dir X report` means the same.
    "name": "cwdPath",
    "short": "d",
    "long": "dir",
    "type": str,
    "default": None,
    "metavar": "PATH",
    "help": "the project's directory (default: the current one)",
}


def project_of(options: Mapping[str, Any]) -> str:
    """Return the project's directory as doit's loader would find it; UsageError where there is none."""
    dodo = options.get("dodoFile") or ""
    named = options.get("cwdPath") or os.path.dirname(dodo)
    project = os.path.abspath(named)
    if options.get("seek_file") and not named:
        project = _seek(project, dodo)
    if not os.path.isdir(project):
        raise UsageError(f"there is no directory '{named}'.")
    return project


def _seek(directory: str, name: str) -> str:
    """Return the nearest directory above that has the file, or `directory` itself."""
    folder = directory
    while not os.path.exists(os.path.join(folder, name)):
        parent = os.path.dirname(folder)
        if parent == folder:
            return directory
        folder = parent
    return folder


@contextlib.contextmanager
def history_of(project: str) -> Iterator[History | None]:
    """Give the history of the project, None where nothing was recorded yet; StateError as a message."""
    try:
        connection = open_database(project, warn=_ignore, read_only=True)
        if connection is None:
            yield None
            return
        with contextlib.closing(connection):
            _drain_pending(project)
            yield History(connection)
    except sqlite3.Error as error:
        raise StateError(f"cannot read the history in {database_path(project)}: {error}.") from error


def _drain_pending(project: str) -> None:
    """Move runs that wait in their file into the history, which needs a connection that can write.

    Where there can be none (a read-only copy, say), what the database holds is all there is to show.
    """
    with (
        contextlib.suppress(BuildkitError, OSError, sqlite3.Error),
        contextlib.closing(open_database(project, warn=_ignore)) as writable,
    ):
        History(writable).drain_pending(project)


def _ignore(_line: str) -> None:
    """Take a warning that cannot come: the database was read without one a moment ago."""


def is_running(project: str, run: RunRecord) -> bool:
    """Whether a run without an end goes on. Otherwise it was killed, or the machine went down."""
    # Both, because a process id may be used again, and a run inside a run does not hold the lock itself.
    return current_holder(project) is not None and process_exists(run.info.pid)
