"""`doit accept`: take the present time of a task for the right one, with a reason.

What belongs here: options, and printing. What it changes is how `doit report` judges: see
`report/trends.py`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from typing import Any

from doit.cmd_base import Command

from buildkit.cli.arguments import OptionsAnywhere
from buildkit.cli.history import OPTION_DIR, history_of, project_of
from buildkit.cli.output import exit_code_of, print_result, print_warning, terminal_width
from buildkit.core.errors import StateError, UsageError, did_you_mean
from buildkit.core.humanize import listed, printable
from buildkit.report.tables import Column, render
from buildkit.state.database import database_path, open_database
from buildkit.state.history import Accepted, History

_OPTIONS = (
    {
        "name": "reason",
        "long": "reason",
        "type": str,
        "default": "",
        "help": "why it is slower, for those who read the report later",
    },
    OPTION_DIR,
)
_COLUMNS = (
    Column("Task", shrinks_to=10),
    Column("As of run", "right"),
    Column("On"),
    Column("Reason", shrinks_to=16),
)


class Accept(OptionsAnywhere, Command):  # type: ignore[misc]  # doit has no type hints
    """Accept the present level of tasks; needs no dodo.py."""

    name = "accept"
    doc_purpose = "take the present time and memory of tasks for the right ones, with a reason"
    doc_usage = "[TASK ... --reason REASON]"
    doc_description = "Without a task: list what was accepted."
    cmd_options = _OPTIONS

    def execute(self, opt_values: Mapping[str, Any], pos_args: Sequence[str]) -> int:
        """Record it, say so, and return the exit code."""
        return exit_code_of(lambda: print_result(_answer(opt_values, pos_args)))


def _answer(options: Mapping[str, Any], names: Sequence[str]) -> str:
    """Do what is asked for, and return what to say about it."""
    project = project_of(options)
    reason = options["reason"].strip()
    if not names and not reason:
        return _listed(project)
    if not names:
        raise UsageError("say which task to accept: doit accept TASK --reason REASON.")
    if not reason:
        raise UsageError("say why: --reason 'links with optimisation now'.")
    return _accept(project, names, reason)


def _accept(project: str, names: Sequence[str], reason: str) -> str:
    with history_of(project) as known:
        if known is None or (last := known.last_run()) is None:
            raise UsageError(f"no runs are recorded in {project} yet.")
        chosen = _chosen(known, names)
    try:
        with closing(open_database(project, warn=print_warning)) as connection:
            history = History(connection)
            for task in chosen:
                history.accept(Accepted(task, reason, time.time(), last.id))
    except sqlite3.Error as error:
        raise StateError(f"cannot change the history in {database_path(project)}: {error}.") from error
    names_of_tasks = listed([printable(task) for task in chosen])
    return f"accepted {names_of_tasks}: later runs are compared with those since the change"


def _chosen(history: History, names: Sequence[str]) -> list[str]:
    """Return the tasks of the history that are meant: by name, by pattern, or the subtasks of a group."""
    known = sorted(history.task_names().values())
    chosen: dict[str, None] = {}
    for name in names:
        found = [task for task in known if task == name]
        found = found or [task for task in known if fnmatchcase(task, name) or task.startswith(f"{name}:")]
        if not found:
            raise UsageError(f"the history knows no task '{name}'.{did_you_mean(name, known)}")
        chosen.update(dict.fromkeys(found))
    return list(chosen)


def _listed(project: str) -> str:
    with history_of(project) as history:
        accepted = history.accepted() if history is not None else []
    if not accepted:
        return "Nothing was accepted yet: doit accept TASK --reason REASON."
    rows = [
        [
            printable(one.task),
            str(one.run_id),
            time.strftime("%Y-%m-%d", time.localtime(one.at)),
            printable(one.reason),
        ]
        for one in accepted
    ]
    return render(_COLUMNS, rows, terminal_width())
