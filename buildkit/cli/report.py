"""`doit report`: what the last run did, task by task, and how that compares with the past.

What belongs here: options, and printing. Rows and tables are made in `buildkit/report`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doit.cmd_base import Command

from buildkit.cli.html import OPTION_HTML, write_html
from buildkit.cli.output import print_error, print_result, terminal_width
from buildkit.core.errors import BuildkitError, ExitCode, StateError, UsageError, did_you_mean
from buildkit.core.humanize import plural, printable
from buildkit.report.last_run import COLUMNS, Order, TaskRow, as_json, cells, matching, ordered, rows_of
from buildkit.report.summary import summary_line
from buildkit.report.tables import render
from buildkit.state.database import database_path, open_database
from buildkit.state.history import History
from buildkit.state.lock import current_holder, process_exists
from buildkit.state.runs import SUMMARY_FIELDS, RunRecord

_ROWS = 30
_JSON_SCHEMA = 1

_OPTIONS = (
    {
        "name": "run",
        "long": "run",
        "type": str,
        "default": "last",
        "help": "the run to show: last, its number, or the first digits of its uid",
    },
    {
        "name": "task",
        "long": "task",
        "type": str,
        "default": "",
        "metavar": "GLOB",
        "help": "show only tasks whose name matches, for instance 'test:*'",
    },
    {
        "name": "limit",
        "long": "limit",
        "type": int,
        "default": None,
        "metavar": "N",
        "help": f"show at most N tasks (tables: {_ROWS} unless said; --json: all)",
    },
    {"name": "all", "long": "all", "type": bool, "default": False, "help": "show all tasks"},
    {
        "name": "sort",
        "long": "sort",
        "type": str,
        "default": Order.INTEREST.value,
        "choices": [(order.value, "") for order in Order],
        "help": "what the tasks are sorted by",
    },
    {"name": "json", "long": "json", "type": bool, "default": False, "help": "print all numbers as JSON"},
    OPTION_HTML,
    {
        # Named as doit's loader names it, so that `doit --dir X report` means the same.
        "name": "cwdPath",
        "short": "d",
        "long": "dir",
        "type": str,
        "default": None,
        "metavar": "PATH",
        "help": "the project's directory, where .buildkit is (default: the current one)",
    },
)


@dataclass(frozen=True, slots=True)
class Request:
    """What the options ask for."""

    run: str
    task: str
    limit: int | None
    order: Order
    json: bool

    @classmethod
    def of(cls, options: Mapping[str, Any], arguments: Sequence[str]) -> Request:
        """Return the request; UsageError where it makes no sense."""
        if arguments:
            raise UsageError(f"report takes no arguments. Did you mean --task '{arguments[0]}'?")
        limit: int | None = options["limit"]
        if limit is not None and limit < 1:
            raise UsageError(f"--limit {limit}: give a number of tasks, at least 1, or --all.")
        if options["all"]:
            limit = None
        elif limit is None and not options["json"]:
            limit = _ROWS
        return cls(options["run"], options["task"], limit, Order(options["sort"]), options["json"])


class Report(Command):  # type: ignore[misc]  # doit has no type hints
    """Show what a run did, from the history; needs no dodo.py."""

    name = "report"
    doc_purpose = "show what the last run did: outcome, reason, time, memory and change of each task"
    doc_usage = "[--run RUN] [--task GLOB] [--limit N | --all] [--sort KEY] [--json] [--html FILE]"
    doc_description = None
    cmd_options = _OPTIONS

    def execute(self, opt_values: Mapping[str, Any], pos_args: Sequence[str]) -> int:
        """Print the report and return the exit code."""
        try:
            request = Request.of(opt_values, pos_args)
            if opt_values["html"] is not None:
                return write_html(_project_of(opt_values), opt_values)
            print_result(report(_project_of(opt_values), request))
        except BuildkitError as error:
            print_error(error)
            return int(error.exit_code)
        return int(ExitCode.OK)


def _project_of(options: Mapping[str, Any]) -> str:
    """Return the project's directory as doit would find it: `--dir`, or where the named dodo.py is."""
    named = options["cwdPath"] or os.path.dirname(options.get("dodoFile") or "")
    project = os.path.abspath(named)
    if not os.path.isdir(project):
        raise UsageError(f"there is no directory '{named}' to report on.")
    return project


def report(project: str, request: Request) -> str:
    """Return the report on a run of the project, as text or JSON; BuildkitError where that cannot be."""
    try:
        connection = open_database(project, warn=_ignore, read_only=True)
        if connection is None:
            return _empty(project, request)
        with contextlib.closing(connection):
            _drain_pending(project)
            return _report(project, History(connection), request)
    except sqlite3.Error as error:
        raise StateError(f"cannot read the history in {database_path(project)}: {error}.") from error


def _drain_pending(project: str) -> None:
    """Move runs that wait in their file into the history, which needs a connection that can write.

    Where there can be none (a read-only copy, say), the report shows what the database holds.
    """
    with (
        contextlib.suppress(BuildkitError, OSError, sqlite3.Error),
        contextlib.closing(open_database(project, warn=_ignore)) as writable,
    ):
        History(writable).drain_pending(project)


def _report(project: str, history: History, request: Request) -> str:
    if request.run == "last" and history.last_run() is None:
        return _empty(project, request)
    run = history.find_run(request.run)
    rows = rows_of(history, run)
    if request.task:
        chosen = matching(rows, request.task)
        if not chosen:
            guess = did_you_mean(request.task, (row.execution.task for row in rows))
            raise UsageError(f"no task of run {run.id} matches '{request.task}'.{guess}")
        rows = chosen
    rows = ordered(rows, request.order)
    shown = rows[: request.limit]
    return _document(project, run, shown, len(rows)) if request.json else _text(project, run, rows, shown)


def _text(project: str, run: RunRecord, rows: Sequence[TaskRow], shown: Sequence[TaskRow]) -> str:
    lines = [_headline(project, run)]
    if run.summary is not None:
        lines.append(summary_line(run.summary))
    if shown:
        lines += ["", render(COLUMNS, [cells(row) for row in shown], terminal_width())]
    hidden = len(rows) - len(shown)
    if hidden:
        lines += ["", f"{plural(hidden, 'more task')}; --all shows {'it' if hidden == 1 else 'them'}"]
    return "\n".join(lines)


def _headline(project: str, run: RunRecord) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.info.started_at))
    command = printable(" ".join(run.info.argv))
    return f"Run {run.id}, {started}: {command} ({_state_text(project, run)})"


def _state_text(project: str, run: RunRecord) -> str:
    if run.summary is not None:
        return f"exit code {run.summary.exit_code}"
    return (
        "still running" if _is_running(project, run) else "did not finish: killed, or the machine went down"
    )


def _is_running(project: str, run: RunRecord) -> bool:
    # Both, because a process id may be used again, and a run inside a run does not hold the lock itself.
    return current_holder(project) is not None and process_exists(run.info.pid)


def _empty(project: str, request: Request) -> str:
    if not request.json:
        return f"No runs are recorded in {project} yet."
    return json.dumps({"schema": _JSON_SCHEMA, "run": None, "tasks": [], "hidden_tasks": 0}, indent=2)


def _document(project: str, run: RunRecord, shown: Sequence[TaskRow], matched: int) -> str:
    info, summary = run.info, run.summary
    state = "finished" if summary else "running" if _is_running(project, run) else "unfinished"
    document = {
        "schema": _JSON_SCHEMA,
        "run": {
            "id": run.id,
            "uid": info.uid,
            "state": state,
            "started_at_unix_s": info.started_at,
            "argv": list(info.argv),
            "cwd": info.cwd,
            "width": info.width,
            "parallel": info.parallel,
            "machine": info.machine,
            "cores": info.cores,
            "python": info.python,
            "platform": info.platform,
            "buildkit": info.buildkit,
            "git_commit": info.git_commit,
            "git_dirty": info.git_dirty,
            "ci": info.ci,
            "lane": info.lane,
            "pid": info.pid,
            **{name: getattr(summary, name) if summary else None for name in SUMMARY_FIELDS},
        },
        "tasks": [as_json(row) for row in shown],
        "hidden_tasks": matched - len(shown),
    }
    return json.dumps(document, indent=2)


def _ignore(_line: str) -> None:
    """Take a warning that cannot come: the database was read without one a moment ago."""
