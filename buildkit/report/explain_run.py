"""What happened to tasks in a run, and why: in words.

What belongs here: choosing rows of the history by name, and their wording. Numbers and comparisons with the
past are `doit report`'s.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from buildkit.core.errors import UsageError, did_you_mean
from buildkit.core.execution import Decision
from buildkit.core.humanize import duration, ending, plural, printable
from buildkit.report.explain_text import reason_line
from buildkit.report.last_run import TaskRow
from buildkit.report.tables import Column, render
from buildkit.state.runs import RunRecord

_COLUMNS = (Column("Task", shrinks_to=10), Column("Outcome"), Column("Why", shrinks_to=20))


def chosen(rows: Sequence[TaskRow], names: Sequence[str], run_id: int) -> list[TaskRow]:
    """Return the rows of the named tasks, in the order of the names; all rows for no names.

    A name stands for itself, for its subtasks where it is a group, or, with `*`, for what it matches.
    Raises UsageError for a name that the run knows nothing of.
    """
    if not names:
        return list(rows)
    found: dict[str, TaskRow] = {}
    for name in names:
        matching = [row for row in rows if _means(name, row.execution.task)]
        if not matching:
            guess = did_you_mean(name, (row.execution.task for row in rows))
            raise UsageError(f"run {run_id} knows no task '{name}'.{guess}")
        found.update((row.execution.task, row) for row in matching)
    return list(found.values())


def headline(run: RunRecord) -> str:
    """Return which run it was."""
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.info.started_at))
    ended = "has not ended" if run.summary is None else f"exit code {run.summary.exit_code}"
    return f"Run {run.id}, {started}: {printable(' '.join(run.info.argv))} ({ended})"


def run_table(rows: Sequence[TaskRow], width: int | None, limit: int | None) -> str:
    """Return the tasks as a table with all reasons."""
    if not rows:
        return "No tasks."
    cells = [
        [printable(row.execution.task), str(row.execution.decision), "; ".join(_reasons(row))]
        for row in rows[:limit]
    ]
    lines = [render(_COLUMNS, cells, width)]
    if len(cells) < len(rows):
        lines += ["", f"{plural(len(rows) - len(cells), 'more task')}; --all shows all"]
    return "\n".join(lines)


def run_text(row: TaskRow) -> str:
    """Return all that the history says about one task."""
    execution = row.execution
    took = f" in {duration(execution.cost.wall_ns)}" if execution.cost.wall_ns else ""
    lines = [f"{printable(execution.task)}: {execution.decision}{took}"]
    lines += [f"  {line}" for reason in _reasons(row) for line in reason.splitlines()]
    how = ending(execution.exit_code, execution.signal)
    if execution.decision is Decision.FAILED and how:
        lines.append(f"  {how}")
    if execution.decision is Decision.EXECUTED and execution.uncacheable_reason:
        lines.append(f"  not kept in the cache: {printable(execution.uncacheable_reason)}")
    if execution.log_path:
        lines.append(f"  log: {printable(execution.log_path)}")
    return "\n".join(lines)


def _reasons(row: TaskRow) -> list[str]:
    return [reason_line(reason) for reason in row.execution.reasons]


def _means(name: str, task: str) -> bool:
    return task == name or task.startswith(name + ":") or ("*" in name and fnmatchcase(task, name))
