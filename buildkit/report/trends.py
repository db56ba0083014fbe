"""Which tasks became slower, or need more memory: the detector, asked about the history.

What belongs here: choosing like with like (successful executions, machines of one class), and the way from
verdicts to what a report says. How a verdict is reached is `buildkit/report/regressions`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from buildkit.core.quantiles import whole_median
from buildkit.report.data import Regression, Unit
from buildkit.report.regressions import Detector, Run, Settings, State, Verdict, control_across
from buildkit.report.regressions.sieve import LEAST, quiet_length, sureness
from buildkit.report.samples import Samples
from buildkit.state.history import Accepted, History, Point
from buildkit.state.runs import RunRecord

SERIES_LENGTH = 120  # executions of a task that the detector is given: it forgets older ones anyway
JUDGED = 40  # of them, the latest, that get a verdict each; an alarm is told for no longer than that
QUICK_VERDICTS = 400  # a quarter of a second: what a report may spend that nobody asked for a gate

_Series = tuple[str, Unit]


@dataclass(frozen=True, slots=True)
class Trends:
    """What the detector says, and about how many series it was not asked."""

    regressions: tuple[Regression, ...]
    not_judged: int = 0  # series that moved, but were left to a report that takes its time


def find_regressions(history: History, samples: Samples, tasks: Collection[str], *, thorough: bool) -> Trends:
    """Return which of `tasks` are slower or hungrier, surest first.

    Not `thorough` is what can be had in a fraction of a second: the series that stand out most.
    """
    standing_out: list[tuple[float, _Series]] = []
    for task in tasks:
        known = samples.tasks.get(task)
        if known is None or len(known.wall_ns) < LEAST:
            continue
        standing_out.append((sureness(known.wall_ns), (task, Unit.WALL)))
        sizes = [rss for rss in known.rss_bytes if rss]
        standing_out.append((sureness(sizes), (task, Unit.MEMORY)))
    candidates = sorted((one for one in standing_out if one[0] > 0), key=lambda one: (-one[0], one[1]))
    runs = {run.id: run for run in samples.runs}
    accepted = history.accepted()
    found: dict[_Series, tuple[Verdict, Sequence[Point]]] = {}
    left, not_judged = QUICK_VERDICTS, 0
    for _sureness, series in candidates:
        if left <= 0 and not thorough:
            not_judged += 1
            continue
        points = _points(history, samples, series[0], runs)
        left -= min(len(points), JUDGED)
        verdict = judge_series(points, series[1], runs, [one for one in accepted if one.task == series[0]])
        if verdict is not None and verdict.state in (State.SUSPECT, State.REGRESSED, State.CONFIRMED):
            found[series] = (verdict, points)
    return Trends(_regressions(found, runs), not_judged)


def _points(history: History, samples: Samples, task: str, runs: Mapping[int, RunRecord]) -> list[Point]:
    machine = samples.runs[-1].info.machine
    points = history.points(task, samples.window.last_run, limit=2 * SERIES_LENGTH)
    comparable = [one for one in points if one.run_id in runs and runs[one.run_id].info.machine == machine]
    return comparable[-SERIES_LENGTH:]


def judge_series(
    points: Iterable[Point], unit: Unit, runs: Mapping[int, RunRecord], accepted: Sequence[Accepted]
) -> Verdict | None:
    """Return the verdict on the latest of the points, oldest first; None where there is none.

    At each acceptance, the level of that moment becomes the known one: what set in before it is no news.
    """
    points = list(points)
    values = [value for point in points if (value := _value(point, unit))]
    detector = Detector(Settings(warm_up=quiet_length(values, JUDGED)))
    waiting = sorted(accepted, key=lambda one: one.run_id)
    verdict: Verdict | None = None
    for point in points:
        while waiting and waiting[0].run_id < point.run_id:
            waiting.pop(0)
            detector.accept()
            verdict = None
        run = _run(point, unit, runs[point.run_id])
        if run is not None:
            verdict = detector.update(run)
    settled = max((one.run_id for one in accepted), default=-1)
    if verdict is None or waiting or (verdict.since is not None and verdict.since <= settled):
        return None
    return verdict


def _run(point: Point, unit: Unit, run: RunRecord) -> Run | None:
    if unit is Unit.MEMORY:
        return Run(point.run_id, float(point.rss_bytes)) if point.rss_bytes else None
    cores = run.info.cores or 1.0
    return Run(
        i=point.run_id,
        wall=point.wall_ns / 1e9,
        cpu=None if point.cpu_ns is None else point.cpu_ns / 1e9,
        load=None if point.beside is None else point.beside / cores,
        jobs=run.info.width,
        t=run.info.started_at,
    )


def _regressions(
    found: Mapping[_Series, tuple[Verdict, Sequence[Point]]], runs: Mapping[int, RunRecord]
) -> tuple[Regression, ...]:
    standing: set[_Series] = set()
    together: dict[_Series, tuple[str, ...]] = {}
    for unit in Unit:
        verdicts = {task: verdict for (task, its), (verdict, _) in found.items() if its is unit}
        control = control_across(verdicts)
        standing.update((task, unit) for task in control.kept)
        for onset in control.onsets:
            for task in onset.tasks:
                together[task, unit] = tuple(other for other in onset.tasks if other != task)
    listed = []
    for series, (verdict, points) in found.items():
        (task, unit), since = series, verdict.since
        if since is None:
            continue
        values = [_value(point, unit) for point in points if point.run_id >= since]
        after = whole_median([value for value in values if value])
        earlier = [point.run_id for point in points if point.run_id < since]
        listed.append(
            Regression(
                task=task,
                unit=unit,
                state=str(verdict.state if series in standing else State.SUSPECT),
                confidence=verdict.confidence,
                effect=verdict.effect,
                before=round(after / verdict.effect),
                after=after,
                since_run=since,
                since_at=runs[since].info.started_at,
                since_commit=runs[since].info.git_commit,
                before_commit=runs[earlier[-1]].info.git_commit if earlier else None,
                runs=len(values),
                together=together.get(series, ()),
            )
        )
    return tuple(sorted(listed, key=lambda one: (one.state == State.SUSPECT, -one.confidence, one.task)))


def _value(point: Point, unit: Unit) -> int:
    return point.wall_ns if unit is Unit.WALL else point.rss_bytes or 0
