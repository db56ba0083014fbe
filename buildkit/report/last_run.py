"""The tasks of one run: what became of each, why, what it cost, and how that compares with its past.

What belongs here: rows as data, their order, and their spelling in a table and in JSON. The history is
read; nothing is measured or decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from buildkit.core.execution import Decision, Execution, Reason, ReasonKind
from buildkit.core.humanize import change, duration, ending, printable, size
from buildkit.core.quantiles import whole_median
from buildkit.report.tables import Column
from buildkit.state.history import History
from buildkit.state.runs import RunRecord

LEAST_HISTORY = 3  # executions before which a change says more about chance than about the task

COLUMNS = (
    Column("Task", shrinks_to=10),
    Column("Outcome", expendable=5),
    Column("Reason", shrinks_to=16, expendable=3),
    Column("Wall", "right"),
    Column("CPU", "right", expendable=1),
    Column("Memory", "right", expendable=2),  # the peak
    Column("Change", "right", expendable=4),
)


class Order(StrEnum):
    """What the rows are sorted by."""

    INTEREST = "interest"  # failures first, then what took longest, skipped tasks last
    WALL = "wall"
    CPU = "cpu"
    MEMORY = "memory"
    CHANGE = "change"
    START = "start"
    NAME = "name"


_INTEREST = (
    Decision.FAILED,
    Decision.CANCELLED,
    Decision.UPSTREAM_FAILED,
    Decision.EXECUTED,
    Decision.RESTORED,
    Decision.IGNORED,
    Decision.SKIPPED,
)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task of a run: its last attempt, and its past."""

    execution: Execution
    typical_wall_ns: int | None = None  # median of earlier successful executions on such a machine

    @property
    def cpu_ns(self) -> int | None:
        """User and system time together; None where not measured."""
        return self.execution.cost.cpu_ns

    @property
    def change(self) -> float | None:
        """Wall time as a ratio to the typical one; None for anything that is not a successful execution."""
        if self.execution.decision is not Decision.EXECUTED or not self.typical_wall_ns:
            return None
        return self.execution.cost.wall_ns / self.typical_wall_ns


def rows_of(
    history: History, run: RunRecord, typical_wall_ns: Mapping[str, int] | None = None
) -> list[TaskRow]:
    """Return one row per task of the run, skipped ones included, in the order they started.

    `typical_wall_ns` spares a look at the past where the caller has had one.
    """
    last_attempts: dict[str, Execution] = {}
    for execution in history.executions_of(run.id):
        known = last_attempts.get(execution.task)
        if known is None or known.attempt <= execution.attempt:
            last_attempts[execution.task] = execution
    typical = _typical(history, run, last_attempts.values()) if typical_wall_ns is None else typical_wall_ns
    rows = [TaskRow(last, typical.get(task)) for task, last in last_attempts.items()]
    up_to_date = (Reason(ReasonKind.UP_TO_DATE),)
    skipped = (task for task in history.skipped_tasks_of(run.id) if task not in last_attempts)
    rows.extend(TaskRow(Execution(task, Decision.SKIPPED, up_to_date)) for task in skipped)
    return rows


def ordered(rows: Iterable[TaskRow], order: Order) -> list[TaskRow]:
    """Return the rows sorted, the most telling first; what is unknown comes last."""
    keys: dict[Order, Callable[[TaskRow], Any]] = {
        Order.INTEREST: lambda row: (_INTEREST.index(row.execution.decision), -row.execution.cost.wall_ns),
        Order.WALL: lambda row: -row.execution.cost.wall_ns,
        Order.CPU: lambda row: -(row.cpu_ns or 0),
        Order.MEMORY: lambda row: -(row.execution.cost.rss_bytes or 0),
        Order.CHANGE: lambda row: -(row.change or 0),
        Order.START: lambda row: (row.execution.decision is Decision.SKIPPED, row.execution.started_ns),
        Order.NAME: lambda row: row.execution.task,
    }
    return sorted(rows, key=keys[order])


def cells(row: TaskRow) -> list[str]:
    """Return the row as the texts of `COLUMNS`; unknown is empty."""
    execution = row.execution
    ran = execution.cost.wall_ns > 0
    return [
        printable(execution.task),
        str(execution.decision),
        printable(_why(execution)),
        duration(execution.cost.wall_ns) if ran else "",
        "" if row.cpu_ns is None else duration(row.cpu_ns),
        "" if execution.cost.rss_bytes is None else size(execution.cost.rss_bytes),
        "" if row.change is None else change(row.change),
    ]


def as_json(row: TaskRow) -> dict[str, Any]:
    """Return the row with all its numbers, units in the names; unknown is null."""
    execution, cost = row.execution, row.execution.cost
    return {
        "task": execution.task,
        "outcome": execution.decision.value,
        "reasons": [reason.as_json() for reason in execution.reasons],
        "started_ns": execution.started_ns,
        "queue_ns": execution.queue_ns,
        "wall_ns": cost.wall_ns,
        "user_ns": cost.user_ns,
        "system_ns": cost.system_ns,
        "cpu_ratio": row.cpu_ns / cost.wall_ns if row.cpu_ns is not None and cost.wall_ns else None,
        "rss_bytes": cost.rss_bytes,
        "read_bytes": cost.read_bytes,
        "write_bytes": cost.write_bytes,
        "typical_wall_ns": row.typical_wall_ns,
        "change_ratio": row.change,
        "exit_code": execution.exit_code,
        "signal": execution.signal,
        "attempt": execution.attempt,
        "worker": execution.worker,
        "slot": execution.slot,
        "beside": execution.beside,
        "load_per_core": execution.load,
        "bytes_restored": execution.bytes_restored,
        "bytes_stored": execution.bytes_stored,
        "saved_ns": execution.saved_ns,
        "cacheable": execution.cacheable,
        "uncacheable_reason": execution.uncacheable_reason,
        "log_path": execution.log_path,
        "sla_s": execution.sla_s,
        "key": execution.key,
    }


def _typical(history: History, run: RunRecord, executions: Iterable[Execution]) -> dict[str, int]:
    executed = [one.task for one in executions if one.decision is Decision.EXECUTED]
    earlier = history.earlier_wall_ns(run, executed)
    return {task: whole_median(wall_ns) for task, wall_ns in earlier.items() if len(wall_ns) >= LEAST_HISTORY}


def _why(execution: Execution) -> str:
    """Return how a failure ended, then why the task was due."""
    how = ending(execution.exit_code, execution.signal) if execution.decision is Decision.FAILED else ""
    return "; ".join([*([how] if how else []), *map(str, execution.reasons)])
