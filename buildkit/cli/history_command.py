"""`doit history`: the record of all runs, taken elsewhere, brought back, or cut down.

What belongs here: options, and printing. The lines are made in `state/transfer.py`, what may go is decided in
`state/retention.py`.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from doit.cmd_base import Command

from buildkit.cli.arguments import OptionsAnywhere, age_s
from buildkit.cli.history import OPTION_DIR, history_of, project_of
from buildkit.cli.output import exit_code_of, print_lines, print_result, print_warning
from buildkit.core.config import load_settings, parse_count
from buildkit.core.errors import StateError, UsageError, did_you_mean
from buildkit.core.humanize import plural, size
from buildkit.observe.files import ReplacedFile
from buildkit.state.database import database_path, open_database
from buildkit.state.history import History as StoredHistory
from buildkit.state.lock import Holder, ProjectLock

_DEEDS = ("export", "import", "prune")

_OPTIONS = (
    {
        "name": "jsonl",
        "long": "jsonl",
        "type": bool,
        "default": True,
        "help": "export: as JSON lines, which is the only format [default: %(default)s]",
    },
    {
        "name": "output",
        "short": "o",
        "long": "output",
        "type": str,
        "default": "",
        "metavar": "FILE",
        "help": "export: write to a file instead of standard output",
    },
    {
        "name": "max_age",
        "long": "max-age",
        "type": str,
        "default": "",
        "metavar": "AGE",
        "help": "prune: forget runs that are older (default: history_max_age, 30d unless set)",
    },
    {
        "name": "max_runs",
        "long": "max-runs",
        "type": int,
        "default": None,
        "metavar": "N",
        "help": "prune: forget all but the last N (default: history_max_runs, 1000 unless set)",
    },
    OPTION_DIR,
)


class History(OptionsAnywhere, Command):  # type: ignore[misc]  # doit has no type hints
    """Export, import or prune the history; needs no dodo.py."""

    name = "history"
    doc_purpose = "export, import or prune the record of all runs"
    doc_usage = "export [-o FILE] | import [FILE] | prune [--max-age AGE] [--max-runs N]"
    doc_description = (
        "export: print everything as JSON lines.\n"
        "import: add the runs of such lines, from FILE or from standard input; known runs are left alone.\n"
        "prune: forget old runs, except for the totals of their days."
    )
    cmd_options = _OPTIONS

    def execute(self, opt_values: Mapping[str, Any], pos_args: Sequence[str]) -> int:
        """Do it, say what was done, and return the exit code."""
        return exit_code_of(lambda: _do(opt_values, pos_args))


def _do(options: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Do what is asked for, and say what was done."""
    deed, *rest = arguments or [""]
    if deed not in _DEEDS:
        guess = did_you_mean(deed, _DEEDS) if deed else ""
        raise UsageError(f"say what to do with the history: {', '.join(_DEEDS)}.{guess}")
    if len(rest) > (deed == "import"):
        raise UsageError(f"history {deed} does not take '{rest[-1]}'.")
    project = project_of(options)
    if deed == "export":
        _export(project, options["output"])
    elif deed == "import":
        print_result(_import(project, rest[0] if rest else "-"))
    else:
        print_result(_prune(project, options["max_age"], options["max_runs"]))


def _export(project: str, path: str) -> None:
    from buildkit.state.transfer import export_lines

    with history_of(project) as history:
        lines: Iterator[str] = iter(()) if history is None else export_lines(history.connection)
        if path:
            ReplacedFile(path, "--output").write("".join(f"{line}\n" for line in lines).encode())
        else:
            print_lines(lines)


def _import(project: str, path: str) -> str:
    from buildkit.state.transfer import OtherSchemaError, import_lines

    try:
        # Closed below, unless it is standard input: no `with` says that.
        source = sys.stdin if path == "-" else open(path, encoding="utf-8", errors="replace")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}.") from None
    try:
        with _writing(project) as history:
            found = import_lines(history.connection, source)
    except OtherSchemaError as error:
        raise UsageError(f"'{path}' cannot be imported: {error}.") from None
    finally:
        if source is not sys.stdin:
            source.close()
    if found.unread:
        print_warning(f"{plural(found.unread, 'line')} left out that could not be understood")
    text = f"imported {plural(found.runs, 'run')} with {plural(found.executions, 'execution')}"
    return f"{text}; {plural(found.known, 'run')} known before" if found.known else text


def _prune(project: str, max_age: str, max_runs: int | None) -> str:
    settings = load_settings(project)
    max_age_s = age_s("--max-age", max_age) if max_age else settings.history_max_age
    if max_runs is not None:
        try:
            parse_count(max_runs)
        except ValueError as error:
            raise UsageError(f"--max-runs {max_runs}: give {error}.") from None
    if not os.path.exists(database_path(project)):
        return f"No runs are recorded in {project} yet."
    before = _size(project)
    with _writing(project) as history:
        gone = history.retire(max_age_s=max_age_s, max_runs=max_runs or settings.history_max_runs)
        # The room of what was deleted is only given back when the file is written anew.
        history.connection.execute("VACUUM")
        history.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        left = len(history.runs(limit=-1))
    return f"forgot {plural(gone, 'run')}, {left:,} left; {size(before)} before, {size(_size(project))} now"


def _size(project: str) -> int:
    path = database_path(project)
    names = (path, f"{path}-wal")
    return sum(os.path.getsize(name) for name in names if os.path.exists(name))


@contextmanager
def _writing(project: str) -> Iterator[StoredHistory]:
    """Give the history to write to, while no run goes on."""
    lock = ProjectLock(project)
    lock.acquire(wait=True, on_wait=_tell_wait, argv=tuple(sys.argv))
    try:
        with closing(open_database(project, warn=print_warning)) as connection:
            history = StoredHistory(connection)
            history.drain_pending(project)
            yield history
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"cannot change the history in {database_path(project)}: {error}.") from error
    finally:
        lock.release()


def _tell_wait(holder: Holder) -> None:
    print_warning(f"waiting for {holder} to finish with this project")
