"""Where the time goes: tasks by stage, stages by time, and how both compare with their past.

A stage is a group of tasks: what comes before the first colon of their names, as doit names subtasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from buildkit.core.execution import Decision
from buildkit.core.quantiles import quantile, whole_median
from buildkit.report.data import Spread, Stage, TaskTrend
from buildkit.report.last_run import LEAST_HISTORY, TaskRow
from buildkit.report.samples import Samples

UNEVEN = 3.0  # the longest task of a stage over the middle one
_UNEVEN_FROM_NS = 50_000_000  # below this, being uneven costs nobody anything
_RAN = (Decision.EXECUTED, Decision.FAILED)


def group_of(task: str) -> str:
    """Return the name of the group that a task belongs to."""
    return task.partition(":")[0]


def stages_of(rows: Iterable[TaskRow], samples: Samples, *, by_task: bool = False) -> tuple[Stage, ...]:
    """Return the stages in which something ran, longest first; `by_task`, each task is one of its own."""
    stage_of = (lambda task: task) if by_task else group_of
    ran: dict[str, list[TaskRow]] = {}
    for row in rows:
        if row.execution.decision in _RAN and row.execution.cost.wall_ns:
            ran.setdefault(stage_of(row.execution.task), []).append(row)
    total_ns = sum(row.execution.cost.wall_ns for stage in ran.values() for row in stage)
    past = _totals(samples, ran, stage_of)
    stages = [_stage(name, of_stage, total_ns, past.get(name, {})) for name, of_stage in ran.items()]
    return tuple(sorted(stages, key=lambda stage: (-stage.time_ns, stage.name)))


def _totals(
    samples: Samples, wanted: Iterable[str], stage_of: Callable[[str], str]
) -> dict[str, dict[int, list[int]]]:
    """Return, by stage and run before the last one: how many tasks were executed, and their time."""
    totals: dict[str, dict[int, list[int]]] = {name: {} for name in wanted}
    last = samples.window.last_run
    for task, known in samples.tasks.items():
        by_run = totals.get(stage_of(task))
        if by_run is None:
            continue
        for run_id, wall_ns in zip(known.run_ids, known.wall_ns, strict=True):
            total = by_run.get(run_id)
            if total is None:
                by_run[run_id] = [1, wall_ns]
            else:
                total[0] += 1
                total[1] += wall_ns
    for by_run in totals.values():
        by_run.pop(last, None)
    return totals


def _stage(name: str, rows: Sequence[TaskRow], total_ns: int, past: dict[int, list[int]]) -> Stage:
    time_ns = sum(row.execution.cost.wall_ns for row in rows)
    points = tuple(past[run][1] for run in sorted(past) if past[run][0] == len(rows))
    enough = len(points) >= LEAST_HISTORY
    succeeded = all(row.execution.decision is Decision.EXECUTED for row in rows)
    middle = whole_median(points) if enough else None
    return Stage(
        name=name,
        tasks=len(rows),
        time_ns=time_ns,
        share=time_ns / total_ns if total_ns else 0.0,
        points=(*points, time_ns) if succeeded else points,
        median_ns=middle,
        p95_ns=quantile(points, 0.95) if enough else None,
        change=time_ns / middle if middle and succeeded else None,
    )


def spreads_of(rows: Iterable[TaskRow]) -> tuple[Spread, ...]:
    """Return the stages of three tasks or more whose longest takes over three times the middle one."""
    stages: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        if row.execution.decision is Decision.EXECUTED:
            pair = (row.execution.cost.wall_ns, row.execution.task)
            stages.setdefault(group_of(row.execution.task), []).append(pair)
    found = []
    for name, times in stages.items():
        longest_ns, longest = max(times)
        middle = whole_median([wall_ns for wall_ns, _task in times])
        if len(times) >= 3 and longest_ns >= _UNEVEN_FROM_NS and longest_ns > UNEVEN * middle:
            ratio = longest_ns / max(middle, 1)
            found.append(Spread(name, len(times), longest, longest_ns, middle, ratio))
    return tuple(sorted(found, key=lambda spread: -spread.longest_ns))


def trends_of(samples: Samples) -> tuple[TaskTrend, ...]:
    """Return the series of every task that was executed in the window, the longest task first."""
    trends = [
        TaskTrend(
            task,
            tuple(known.run_ids),
            tuple(known.wall_ns),
            tuple(known.rss_bytes),
            whole_median(known.wall_ns),
            quantile(known.wall_ns, 0.95),
        )
        for task, known in samples.tasks.items()
    ]
    return tuple(sorted(trends, key=lambda trend: (-trend.median_ns, trend.task)))


def typical_wall_ns(samples: Samples, limit: int = 20) -> dict[str, int]:
    """Return the median of up to `limit` executions of each task before the last run of the window."""
    typical = {}
    last = samples.window.last_run
    for task, known in samples.tasks.items():
        count = len(known.run_ids)
        while count and known.run_ids[count - 1] == last:
            count -= 1
        if count >= LEAST_HISTORY:
            typical[task] = whole_median(known.wall_ns[max(0, count - limit) : count])
    return typical
