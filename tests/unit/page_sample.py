"""A small report with something of everything, for tests of the page."""

from __future__ import annotations

from typing import Any

from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.report.data import Efficiency, Regression, ReportData, RunView, Stage, TaskTrend, Unit
from buildkit.report.last_run import TaskRow

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run_view(number: int = 1, **changes: Any) -> RunView:
    values: dict[str, Any] = {
        "id": number, "uid": f"{number:016x}", "state": "finished",
        "started_at": 1_760_000_000.0 + 3600 * number,
        "argv": ("doit", "-n", "2"), "cwd": "/project", "wall_ns": 3_000_000_000, "exit_code": 0, "width": 2,
        "parallel": "process", "machine": "a machine", "cores": 2.0, "python": "3.12", "platform": "linux",
        "buildkit": "0", "git_commit": COMMIT, "git_dirty": False, "ci": None, "lane": None, "executed": 1,
        "restored": 1, "skipped": 1, "failed": 0, "upstream_failed": 0, "ignored": 0, "cancelled": 0,
        "saved_ns": 0, "bytes_stored": 0, "bytes_restored": 0,
    }  # fmt: skip
    return RunView(**{**values, **changes})


def row(name: str, decision: Decision = Decision.EXECUTED, **changes: Any) -> TaskRow:
    values: dict[str, Any] = {
        "reasons": (Reason(ReasonKind.INPUT_CHANGED, ("a.py",)),),
        "started_ns": 0,
        "cost": Cost(2_000_000_000, 10**9, 10**8, 2**24),
        "exit_code": 0,
        "slot": 1,
    }
    return TaskRow(Execution(name, decision, **{**values, **changes}), typical_wall_ns=10**9)


def report(*rows: TaskRow, runs: int = 5, **changes: Any) -> ReportData:
    """Return a report on the last of so many runs, with these tasks."""
    views = tuple(run_view(number) for number in range(1, runs + 1))
    names = [each.execution.task for each in rows]
    values: dict[str, Any] = {
        "project": "/project",
        "generated_at": 1_760_100_000.0,
        "run": views[-1] if views else None,
        "rows": rows,
        "runs": views,
        "efficiency": Efficiency(
            wall_ns=3 * 10**9, task_ns=4 * 10**9, cpu_ns=None, tasks_per_s=1.0, success_rate=1.0,
            utilisation=0.7, speed_up=1.3, parallel_efficiency=0.9, saved_by_parallel_ns=10**9,
            saved_by_history_ns=10**9, hit_rate=0.5, bytes_restored=0, bytes_stored=0,
            critical_path=tuple(names[:1]), critical_ns=2 * 10**9,
        ),
        "stages": tuple(Stage(name, 1, 2 * 10**9, 0.5, (1, 2, 3), None, None, None) for name in names),
        "trends": tuple(
            TaskTrend(name, tuple(view.id for view in views), (10**9,) * runs, (None,) * runs, 10**9, 10**9)
            for name in names
        ),
    }  # fmt: skip
    return ReportData(**{**values, **changes})


def regression(task: str, since_run: int = 4, **changes: Any) -> Regression:
    values: dict[str, Any] = {
        "unit": Unit.WALL, "state": "regressed", "confidence": 0.97, "effect": 1.4, "before": 10**9,
        "after": 14 * 10**8, "since_run": since_run, "since_at": 1_760_000_000.0, "since_commit": COMMIT,
        "before_commit": None, "runs": 2, "together": (),
    }  # fmt: skip
    return Regression(task, **{**values, **changes})
