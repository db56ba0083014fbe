"""Puts a report together: reads the history, asks each analysis, returns plain data.

`collect` is the one way from a history to `ReportData`; tables, JSON and the page are made of what it
returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from buildkit.core.errors import UsageError, did_you_mean
from buildkit.core.humanize import plural
from buildkit.report.advice import advice_of, worth_reading
from buildkit.report.data import Forecast, ReportData, RunView
from buildkit.report.efficiency import bottlenecks_of, efficiency_of
from buildkit.report.forecast import LEAST_DAYS, LOOK_BACK_DAYS, CacheUse, cache_forecast, forecasts_of
from buildkit.report.last_run import rows_of
from buildkit.report.reliability import failure_groups, flaky_tasks
from buildkit.report.samples import Samples, read_samples, runs_of_window
from buildkit.report.stages import group_of, spreads_of, stages_of, trends_of, typical_wall_ns
from buildkit.report.targets import sla_rows
from buildkit.report.trends import Trends, find_regressions
from buildkit.state.history import History
from buildkit.state.runs import INFO_FIELDS, RunRecord

SINCE_S = 30 * 86400.0
_COUNTS = ("executed", "restored", "skipped", "failed", "upstream_failed", "ignored", "cancelled", "saved_ns",
           "bytes_stored", "bytes_restored")  # fmt: skip
_NOT_ENDED: dict[str, Any] = {"wall_ns": None, "exit_code": None}


@dataclass(frozen=True, slots=True)
class Query:
    """What a report is about."""

    run: str = "last"  # 'last', an id, or the first digits of a uid
    since_s: float = SINCE_S  # how far before the run the past goes
    task: str = ""  # a shell pattern; "": all tasks
    # Judge every series that may hold a regression, not only those that stand out most: what a gate needs.
    thorough: bool = False


def collect(
    history: History,
    query: Query,
    *,
    project: str = "",
    is_running: Callable[[RunRecord], bool] = lambda _run: False,
    cache: Callable[[], CacheUse | None] = lambda: None,
    now: float | None = None,
) -> ReportData:
    """Return the report; UsageError where the run or the pattern does not exist.

    `is_running` tells a run that goes on from one that was killed. `cache` says what the cache holds now, and
    is asked only where there is enough history for a forecast.
    """
    now = time.time() if now is None else now
    if query.run == "last" and history.last_run() is None:
        return ReportData(project, now)
    run = history.find_run(query.run)
    runs = runs_of_window(history, run, query.since_s)
    samples = read_samples(history, runs, query.since_s)
    rows = rows_of(history, run, typical_wall_ns(samples))
    view = view_of(run, is_running)
    path = run.summary.critical_path if run.summary is not None else ()
    efficiency = efficiency_of(view, rows, path)
    bottlenecks = bottlenecks_of(view, rows, path)
    wanted = worth_reading(samples)
    wanted.update(failure.reasons_id for failure in samples.failures if failure.reasons_id is not None)
    reasons = history.reasons_texts(wanted)
    data = ReportData(
        project=project,
        generated_at=now,
        run=view,
        rows=tuple(rows),
        efficiency=efficiency,
        stages=stages_of(rows, samples, by_task=bool(query.task)),
        bottlenecks=bottlenecks,
        spreads=spreads_of(rows),
        window=samples.window,
        runs=tuple(view_of(one, is_running) for one in runs),
        trends=trends_of(samples),
        slas=sla_rows(samples),
        flaky=flaky_tasks(samples),
        failures=failure_groups(samples.failures, reasons),
        advice=advice_of(view, efficiency, rows, bottlenecks, samples, reasons) if efficiency else (),
    )
    data = _with_regressions(data, history, samples, query)
    data = replace(data, forecasts=_forecasts(history, samples, run, cache))
    return _only(data, query.task, run.id) if query.task else data


def _with_regressions(data: ReportData, history: History, samples: Samples, query: Query) -> ReportData:
    tasks = [task for task in samples.tasks if not query.task or fnmatchcase(task, query.task)]
    trends = find_regressions(history, samples, tasks, thorough=query.thorough)
    notes = (*data.notes, *_notes(data, samples, trends))
    return replace(data, regressions=trends.regressions, notes=notes)


def _notes(data: ReportData, samples: Samples, trends: Trends) -> Iterator[str]:
    run, window = data.run, samples.window
    if run is not None and run.state == "finished" and not run.executed + run.failed:
        worked = next((one for one in reversed(data.runs) if one.executed), None)
        if worked is not None:
            yield f"nothing was executed; the last run that did so is {worked.id}: --run {worked.id}"
    if not window.complete:
        yield (
            f"tasks are compared with runs {window.sampled_from} to {window.last_run}; of earlier ones there "
            "are too many executions to read"
        )
    if trends.not_judged:
        yield (
            f"{plural(trends.not_judged, 'series', 'series')} of times and sizes stand out less than those "
            "that were judged, and were left; --fail-on regression judges them all"
        )


def _forecasts(
    history: History, samples: Samples, run: RunRecord, cache: Callable[[], CacheUse | None]
) -> tuple[Forecast, ...]:
    today = int(run.info.started_at // 86400)
    since = today - LOOK_BACK_DAYS
    stored: dict[int, int] = {}
    for day in history.days():
        if since <= day.day <= today:
            stored[day.day] = stored.get(day.day, 0) + day.bytes_stored
    if not stored or max(stored) - min(stored) + 1 < LEAST_DAYS:
        return ()
    targets = {task: measured.target_s for task, measured in samples.measured.items()}
    of_tasks = forecasts_of(history.task_days(since, today, run.info.machine), targets)
    of_cache = cache_forecast(sorted(stored.items()), cache())
    return of_tasks if of_cache is None else (*of_tasks, of_cache)


def _only(data: ReportData, pattern: str, run_id: int) -> ReportData:
    """Return the report on the tasks that match; UsageError where neither run nor window knows one."""

    def matches(task: str) -> bool:
        return fnmatchcase(task, pattern)

    rows = tuple(row for row in data.rows if matches(row.execution.task))
    trends = tuple(trend for trend in data.trends if matches(trend.task))
    if not rows and not trends:
        names = [row.execution.task for row in data.rows] + [trend.task for trend in data.trends]
        raise UsageError(f"no task of run {run_id} matches '{pattern}'.{did_you_mean(pattern, names)}")
    groups = {group_of(trend.task) for trend in trends}
    return replace(
        data,
        rows=rows,
        trends=trends,
        stages=tuple(one for one in data.stages if matches(one.name)),
        spreads=tuple(one for one in data.spreads if one.stage in groups),
        bottlenecks=tuple(one for one in data.bottlenecks if matches(one.task)),
        slas=tuple(one for one in data.slas if matches(one.task)),
        regressions=tuple(one for one in data.regressions if matches(one.task)),
        flaky=tuple(one for one in data.flaky if matches(one.task)),
        failures=tuple(one for one in data.failures if any(map(matches, one.tasks))),
        forecasts=tuple(one for one in data.forecasts if matches(one.what)),
        advice=tuple(one for one in data.advice if one.task is not None and matches(one.task)),
    )


def view_of(run: RunRecord, is_running: Callable[[RunRecord], bool]) -> RunView:
    """Return a run as reports show it."""
    info: dict[str, Any] = {name: getattr(run.info, name) for name in INFO_FIELDS if name != "pid"}
    summary = run.summary
    state = "finished" if summary else "running" if is_running(run) else "unfinished"
    counts: dict[str, int] = {name: getattr(summary, name) if summary else 0 for name in _COUNTS}
    ended = {"wall_ns": summary.wall_ns, "exit_code": summary.exit_code} if summary else _NOT_ENDED
    return RunView(id=run.id, state=state, **{**info, **ended, **counts})
