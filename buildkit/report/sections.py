"""A report in words and tables: from plain data to sections with a title, columns and cells.

What belongs here: which sections there are, in which order, and how their cells are spelt. Layout is
`tables.py`, numbers are `collect.py`.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from buildkit.core.humanize import change, duration, listed, plural, printable, size
from buildkit.report.data import (
    Efficiency,
    Forecast,
    Regression,
    ReportData,
    RunView,
    SlaLevel,
    SlaRow,
    Stage,
    Unit,
)
from buildkit.report.tables import SIMPLE, Column, render

_SPARKS = "▁▂▃▄▅▆▇█"
_POINTS = 20  # of a sparkline, and the least that say anything
_LEAST_POINTS = 3
_ROWS = 12  # of a section, unless everything is asked for
_COMMIT_DIGITS = 10
_PATH_ENDS = 3  # tasks of a critical path that are named at either end
_SAID_NS = 1_000_000  # smaller savings are noise


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: a table, lines of text, or both."""

    title: str
    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[str]] = ()
    lines: Sequence[str] = field(default=())  # after the table

    def shortened(self, who_shows_all: str) -> Section:
        """Return the section with a screenful of rows at most, and a line that says what is missing."""
        hidden = len(self.rows) - _ROWS
        if hidden <= 0:
            return self
        note = f"{hidden:,} more; {who_shows_all} shows {'it' if hidden == 1 else 'them'}"
        return replace(self, rows=self.rows[:_ROWS], lines=(*self.lines, note))

    def text(self, width: int | None, table_format: str = SIMPLE, *, markdown: bool = False) -> str:
        """Return the section with its title."""
        title = self.title if self.rows else f"{self.title}:"
        parts = [f"## {self.title}\n" if markdown else wrapped(title, width)]
        if self.rows:
            parts.append(render(self.columns, self.rows, width, table_format))
        if self.rows and self.lines:
            parts.append("")
        for line in self.lines:
            if markdown:
                parts.append(f"- {line}")
            else:
                parts.append(wrapped(line, width))
        return "\n".join(parts)


def wrapped(line: str, width: int | None) -> str:
    """Return the line in lines of at most `width` characters; None is any width."""
    return line if width is None else textwrap.fill(line, max(width, 10), subsequent_indent="  ")


def sections_of(data: ReportData, *, everything: bool) -> list[Section]:
    """Return the sections that have something to say; `everything` leaves no row out."""
    made = (
        _regressions(data),
        _stages(data),
        _efficiency(data),
        _bottlenecks(data),
        _slas(data, everything),
        _flaky(data),
        _failures(data),
        _forecasts(data),
        _advice(data),
        Section("Notes", lines=data.notes) if data.notes else None,
    )
    sections = [section for section in made if section is not None]
    return sections if everything else [section.shortened("--all") for section in sections]


def sparkline(points: Sequence[int]) -> str:
    """Return the last points as a row of bars between their smallest and their largest."""
    shown = points[-_POINTS:]
    if len(shown) < _LEAST_POINTS:
        return ""
    low, high = min(shown), max(shown)
    # Noise should look like noise: a range of less than a tenth does not fill the height.
    span = max(high - low, high / 10, 1)
    return "".join(_SPARKS[round((point - low) / span * (len(_SPARKS) - 1))] for point in shown)


def _stages(data: ReportData) -> Section | None:
    if not data.stages:
        return None
    columns = (
        Column("Stage", shrinks_to=10),
        Column("Tasks", "right", expendable=2),
        Column("Time", "right"),
        Column("Share", "right", expendable=4),
        Column("Trend", expendable=3),
        Column("Median", "right", expendable=1),
        Column("p95", "right", expendable=1),
        Column("Change", "right", expendable=5),
    )

    def cells(stage: Stage) -> list[str]:
        return [
            printable(stage.name),
            f"{stage.tasks:,}",
            duration(stage.time_ns),
            f"{stage.share:.0%}",
            sparkline(stage.points),
            "" if stage.median_ns is None else duration(stage.median_ns),
            "" if stage.p95_ns is None else duration(stage.p95_ns),
            "" if stage.change is None else change(stage.change),
        ]

    return Section("Stages, by time", columns, [cells(stage) for stage in data.stages])


def _efficiency(data: ReportData) -> Section | None:
    efficiency, run = data.efficiency, data.run
    if efficiency is None or run is None or not efficiency.task_ns:
        return None
    rows = [[name, value] for name, value in _measures(efficiency, run) if value]
    return Section("Efficiency", (Column("Measure", shrinks_to=14), Column("Value", shrinks_to=20)), rows)


def _measures(one: Efficiency, run: RunView) -> Iterator[tuple[str, str]]:
    yield "Task time", f"{duration(one.task_ns)} in {duration(one.wall_ns)}"
    if one.cpu_ns is not None:
        yield "CPU time", f"{duration(one.cpu_ns)} ({one.cpu_ns / max(one.wall_ns, 1):.0%} of one core)"
    yield "Throughput", f"{one.tasks_per_s:,.1f} tasks/s"
    if one.success_rate is not None:
        yield (
            "Success rate",
            f"{one.success_rate:.1%} of {plural(run.executed + run.failed, 'task')} that ran",
        )
    width = run.width or 1
    if one.utilisation is not None and width > 1:
        yield "Worker utilisation", f"{one.utilisation:.0%} of {plural(width, 'slot')}"
    if one.parallel_efficiency is not None and width > 1:
        yield "Parallel efficiency", f"{one.parallel_efficiency:.0%}; speed-up {one.speed_up:.2f}"
    if one.critical_path:
        chain = " > ".join(map(printable, _ends(one.critical_path)))
        yield "Critical path", f"{duration(one.critical_ns)}: {chain}"
    if one.saved_by_parallel_ns >= _SAID_NS:
        yield "Saved by running side by side", duration(one.saved_by_parallel_ns)
    if one.saved_by_history_ns >= _SAID_NS:
        yield "Saved by skips and restores", f"{duration(one.saved_by_history_ns)} of task time"
    if one.hit_rate is not None:
        yield "Hit rate", f"{one.hit_rate:.0%} of {plural(run.asked, 'task')}"
    moved = [f"{size(one.bytes_restored)} restored"] if one.bytes_restored else []
    moved += [f"{size(one.bytes_stored)} stored"] if one.bytes_stored else []
    yield "Cache", ", ".join(moved)


def _ends(path: Sequence[str]) -> Sequence[str]:
    if len(path) <= 2 * _PATH_ENDS:
        return path
    return [*path[:_PATH_ENDS], f"… {len(path) - 2 * _PATH_ENDS} more …", *path[-_PATH_ENDS:]]


def _bottlenecks(data: ReportData) -> Section | None:
    if not data.bottlenecks and not data.spreads:
        return None
    columns = (
        Column("Task", shrinks_to=10),
        Column("Wall", "right"),
        Column("Mean", "right", expendable=1),
        Column("Critical path", expendable=2),
        Column("Half saves", "right"),  # what the run would gain if the task took half its time
    )
    rows = [
        [
            printable(one.task),
            duration(one.wall_ns),
            f"x{one.ratio:.1f}",
            "" if one.critical is None else "yes" if one.critical else "no",
            duration(one.gain_ns) if one.gain_ns >= _SAID_NS else "nothing",
        ]
        for one in data.bottlenecks
    ]
    lines = [
        f"{printable(one.stage)}: uneven, '{printable(one.longest)}' takes {duration(one.longest_ns)}, the "
        f"middle one of {one.tasks} takes {duration(one.median_ns)}"
        for one in data.spreads[:3]
    ]
    return Section("Bottlenecks", columns, rows, lines)


def _slas(data: ReportData, everything: bool) -> Section | None:
    if not data.slas:
        return None
    return sla_section(data.slas, everything=everything)


def sla_section(rows: Sequence[SlaRow], *, everything: bool = False, history: bool = True) -> Section:
    """Return the table of targets: those that are near or broken, and how many are not."""
    columns = (
        Column("Task", shrinks_to=10),
        Column("Target", "right"),
        Column("Wall", "right"),
        Column("Used", "right", expendable=2),
        Column("State"),
        Column("Violations", "right", expendable=1),
    )
    shown = [row for row in rows if everything or row.level is not SlaLevel.OK or row.violations]
    cells = [
        [
            printable(row.task),
            duration(round(row.target_s * 1e9)),
            duration(row.wall_ns),
            f"{row.share:.0%}",
            row.level.value,
            f"{row.violations} of {row.executions}" if history else "",
        ]
        for row in shown
    ]
    fine = sum(row.level is SlaLevel.OK for row in rows)
    within = f"{plural(fine, 'task')} of {len(rows)} below 80% of the target"
    return Section("Targets (SLA)", columns, cells, [within] if fine else [])


def _regressions(data: ReportData) -> Section | None:
    if not data.regressions:
        return None
    columns = (
        Column("Task", shrinks_to=10),
        Column("What", expendable=1),
        Column("Before", "right", expendable=2),
        Column("Now", "right"),
        Column("Change", "right"),
        Column("Sure", "right"),
        Column("State", expendable=4),
        Column("Since run", "right", expendable=3),
        Column("Commit", expendable=5),
    )
    rows = [_regression(one) for one in data.regressions]
    lines = [
        f"'{printable(one.task)}' may fail no gate: {printable(one.allowed)}"
        for one in data.regressions
        if one.allowed is not None
    ]
    return Section("Slower, or hungrier, than before", columns, rows, lines)


def _regression(one: Regression) -> list[str]:
    spelt: Callable[[int], str] = duration if one.unit is Unit.WALL else size
    return [
        printable(one.task),
        "time" if one.unit is Unit.WALL else "memory",
        spelt(one.before),
        spelt(one.after),
        change(one.effect),
        f"{one.confidence:.0%}",
        one.state,
        f"{one.since_run}, {time.strftime('%Y-%m-%d', time.localtime(one.since_at))}",
        (one.since_commit or "")[:_COMMIT_DIGITS],
    ]


def _flaky(data: ReportData) -> Section | None:
    if not data.flaky:
        return None
    columns = (
        Column("Task", shrinks_to=10),
        Column("Failed", "right"),
        Column("Succeeded", "right", expendable=1),
        Column("Last in run", "right", expendable=2),
    )
    rows = [
        [printable(one.task), str(one.failed), str(one.succeeded), str(one.last_run)] for one in data.flaky
    ]
    return Section("Flaky: failed and succeeded with nothing changed", columns, rows)


def _failures(data: ReportData) -> Section | None:
    if not data.failures:
        return None
    columns = (
        Column("Reason", shrinks_to=15),
        Column("Failures", "right"),
        Column("Tasks", shrinks_to=15, expendable=1),
        Column("Last in run", "right", expendable=2),
    )
    rows = [
        [printable(one.reason), str(one.count), printable(listed(one.tasks)), str(one.last_run)]
        for one in data.failures
    ]
    return Section("Failures, by reason", columns, rows)


def _forecasts(data: ReportData) -> Section | None:
    if not data.forecasts:
        return None
    columns = (
        Column("What", shrinks_to=10),
        Column("Now", "right"),
        Column("In 30 days", "right"),
        Column("95% interval", expendable=1),
        Column("Limit reached", expendable=2),
    )
    return Section("Forecast", columns, [_forecast(one) for one in data.forecasts])


def _forecast(one: Forecast) -> list[str]:
    spelt: Callable[[int], str] = duration if one.unit == "ns" else size
    reached = ""
    if one.breaks_in_days is not None:
        earliest, latest = one.breaks_earliest_days, one.breaks_latest_days
        until = "more than 365" if latest is None else f"{latest:.0f}"
        reached = f"in {one.breaks_in_days:.0f} days ({earliest or 0:.0f} to {until})"
    name = {"total": "all tasks", "cache": "cache"}.get(one.what, one.what)
    low, high = change(one.growth_low), change(one.growth_high)
    return [printable(name), spelt(one.now), change(one.growth), f"{low} to {high}", reached]


def _advice(data: ReportData) -> Section | None:
    if not data.advice:
        return None
    lines = []
    for one in data.advice:
        gain = f" Gain: up to {duration(one.gain_ns)} a run." if one.gain_ns else ""
        lines.append(f"{one.text} Why: {one.evidence}.{gain}")
    return Section("Recommendations", lines=lines)
