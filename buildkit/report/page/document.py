"""A report as the JSON that the page reads.

Tasks, runs and trends are columns, because ten thousand tasks need not repeat the names of their numbers.
Times of tasks and runs are microseconds here; everything else is spelt as in `report/data.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import buildkit
from buildkit.core.execution import Decision
from buildkit.report.data import ReportData, RunView, TaskTrend, to_json
from buildkit.report.last_run import TaskRow

SCHEMA = 1
# The page looks outcomes up by position; see OUTCOMES in assets/script/model.js.
OUTCOMES = (
    Decision.EXECUTED,
    Decision.RESTORED,
    Decision.SKIPPED,
    Decision.FAILED,
    Decision.UPSTREAM_FAILED,
    Decision.IGNORED,
    Decision.CANCELLED,
)
_CODES = {outcome: code for code, outcome in enumerate(OUTCOMES)}
_TREND_POINTS = 200_000  # about 2 MB; beyond, the trends of tasks that take little time are left out
_REASON_LENGTH = 400
_AS_THEY_ARE = (
    "efficiency", "stages", "bottlenecks", "spreads", "window", "slas", "regressions", "flaky", "failures",
    "forecasts", "advice", "notes",
)  # fmt: skip


def page_document(
    data: ReportData,
    *,
    project: str,
    commit_url: str | None = None,
    live: bool = False,
    status: Mapping[str, Any] | None = None,
    trend_points: int = _TREND_POINTS,
) -> dict[str, Any]:
    """Return the report as plain JSON for the page.

    `project` is the name in its head; `commit_url` ends where a commit's hash belongs, None for no links.
    `status` is what `.buildkit/status.json` says, which knows what a run does at this moment.
    """
    if data.run is None or data.run.state != "running" or (status and status.get("run") != data.run.uid):
        status = None
    kept = _most_telling(data, trend_points)
    path = data.efficiency.critical_path if data.efficiency else ()
    position = {run.id: index for index, run in enumerate(data.runs)}
    return {
        "schema": SCHEMA,
        "buildkit": buildkit.__version__,
        "project": project,
        "generated_at": data.generated_at,
        "live": live,
        "commit_url": commit_url,
        "run": _run(data.run, data.generated_at, status) if data.run else None,
        "progress": _progress(data.run, data.generated_at, status) if data.run and status else None,
        "critical_path": list(path),
        "tasks": _tasks(data.rows),
        "runs": _runs(data.runs),
        "trends": [_trend(trend, position) for trend in kept],
        "trends_omitted": len(data.trends) - len(kept),
        **{name: to_json(getattr(data, name)) for name in _AS_THEY_ARE},
    }


def _run(run: RunView, now: float, status: Mapping[str, Any] | None) -> dict[str, Any]:
    counts = status["counts"] if status else {}
    return {
        "id": run.id,
        "uid": run.uid,
        "state": run.state,
        "at": run.started_at,
        "wall": _us(run.wall_ns),
        "elapsed": _us_between(run.started_at, now) if run.state == "running" else None,
        "exit": run.exit_code,
        "command": " ".join(run.argv),
        "width": run.width,
        "machine": run.machine,
        "commit": run.git_commit,
        "dirty": bool(run.git_dirty),
        "ci": run.ci,
        "lane": run.lane,
        **{
            decision.name.lower(): counts.get(decision.value, getattr(run, decision.name.lower()))
            for decision in Decision
        },
    }


def _progress(run: RunView, now: float, status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is under way; times count from the start of the run, as those of tasks do."""
    return {
        "total": status["total"],
        "done": status["done"],
        "eta_at": status.get("eta_at"),
        "running": [
            {
                "task": task["task"],
                "slot": task["slot"],
                "start": _us_between(run.started_at, task["started_at"]),
                "wall": _us_between(task["started_at"], now),
                "expected": _us(task.get("predicted_ns")),
            }
            for task in status["running"]
        ],
    }


def _tasks(rows: Sequence[TaskRow]) -> dict[str, list[Any]]:
    executions = [row.execution for row in rows]
    costs = [execution.cost for execution in executions]
    return {
        "name": [execution.task for execution in executions],
        "outcome": [_CODES[execution.decision] for execution in executions],
        "start": [_us(execution.started_ns) for execution in executions],
        "wall": [_us(cost.wall_ns) for cost in costs],
        "queue": [_us(execution.queue_ns) for execution in executions],
        "cpu": [_us(row.cpu_ns) for row in rows],
        "rss": [cost.rss_bytes for cost in costs],
        "typical": [_us(row.typical_wall_ns) for row in rows],
        "slot": [execution.slot for execution in executions],
        "attempt": [execution.attempt for execution in executions],
        "exit": [execution.exit_code for execution in executions],
        "signal": [execution.signal for execution in executions],
        "saved": [_us(execution.saved_ns) for execution in executions],
        "reason": [_joined(execution.reasons) for execution in executions],
        "log": [execution.log_path for execution in executions],
        "uncacheable": [execution.uncacheable_reason for execution in executions],
    }


def _runs(runs: Sequence[RunView]) -> dict[str, list[Any]]:
    return {
        "id": [run.id for run in runs],
        "at": [round(run.started_at, 3) for run in runs],
        "wall": [_us(run.wall_ns) for run in runs],
        "exit": [run.exit_code for run in runs],
        "executed": [run.executed for run in runs],
        "restored": [run.restored for run in runs],
        "skipped": [run.skipped for run in runs],
        "failed": [run.failed for run in runs],
        "commit": [run.git_commit for run in runs],
        "machine": [run.machine for run in runs],
    }


def _trend(trend: TaskTrend, position: Mapping[int, int]) -> dict[str, Any]:
    points = [
        (position[run], _us(wall))
        for run, wall in zip(trend.run_ids, trend.wall_ns, strict=True)
        if run in position
    ]
    return {
        "task": trend.task,
        "run": [run for run, _ in points],
        "wall": [wall for _, wall in points],
        "median": _us(trend.median_ns),
        "p95": _us(trend.p95_ns),
    }


def _most_telling(data: ReportData, limit: int) -> list[TaskTrend]:
    """Return the trends for which there is room: tasks in alarm first, then those that take longest."""
    alarmed = {regression.task for regression in data.regressions}
    kept: list[TaskTrend] = []
    for trend in sorted(data.trends, key=lambda each: (each.task not in alarmed, -each.median_ns, each.task)):
        limit -= len(trend.run_ids)
        if limit < 0:
            break
        kept.append(trend)
    return kept


def _joined(reasons: Iterable[object]) -> str:
    text = "; ".join(map(str, reasons))
    return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 1] + "…"


def _us(nanoseconds: int | None) -> int | None:
    """Return microseconds; what took time never becomes 0, which means that nothing ran."""
    if nanoseconds is None:
        return None
    return max(nanoseconds // 1000, 1) if nanoseconds > 0 else 0


def _us_between(before: float, after: float) -> int:
    return round(max(after - before, 0) * 1e6)
