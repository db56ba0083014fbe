"""Two runs side by side: what each task took in one and in the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from buildkit.core.errors import UsageError, did_you_mean
from buildkit.core.execution import Decision
from buildkit.core.humanize import change, duration, printable
from buildkit.report.data import RunView
from buildkit.report.last_run import TaskRow
from buildkit.report.sections import Section
from buildkit.report.tables import Column

COLUMNS = (
    Column("Task", shrinks_to=10),
    Column("Before", "right"),
    Column("After", "right"),
    Column("Difference", "right", expendable=1),
    Column("Change", "right", expendable=3),
    Column("Outcome", expendable=2),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A task in two runs; None where a run does not know it."""

    task: str
    before: TaskRow | None
    after: TaskRow | None

    @property
    def difference_ns(self) -> int:
        """How much longer it took in the second; what did not run took nothing."""
        return _wall_ns(self.after) - _wall_ns(self.before)

    @property
    def change(self) -> float | None:
        """Wall time after / before, where it was executed in both."""
        pair = (self.before, self.after)
        if any(row is None or row.execution.decision is not Decision.EXECUTED for row in pair):
            return None
        return _wall_ns(self.after) / max(_wall_ns(self.before), 1)


def compare(before: Iterable[TaskRow], after: Iterable[TaskRow], pattern: str = "") -> list[Pair]:
    """Return the tasks of both runs, the largest difference first; UsageError where none matches."""
    old = {row.execution.task: row for row in before}
    new = {row.execution.task: row for row in after}
    names = dict.fromkeys((*new, *old))
    chosen = [name for name in names if not pattern or fnmatchcase(name, pattern)]
    if pattern and not chosen:
        raise UsageError(f"no task of the two runs matches '{pattern}'.{did_you_mean(pattern, names)}")
    pairs = [Pair(name, old.get(name), new.get(name)) for name in chosen]
    return sorted(pairs, key=lambda pair: (-abs(pair.difference_ns), pair.task))


def headline(before: RunView, after: RunView) -> list[str]:
    """Return what the two runs are, and what makes them hard to compare."""
    lines = [_described("Before", before), _described("After", after)]
    if before.machine != after.machine:
        lines.append("They ran on different classes of machine: times are not comparable.")
    if before.width != after.width:
        lines.append(f"They ran at different widths: {before.width or 1} and {after.width or 1}.")
    return lines


def section(pairs: Sequence[Pair], limit: int | None) -> Section:
    """Return the table."""
    lines = []
    if limit is not None and len(pairs) > limit:
        lines.append(f"{len(pairs) - limit:,} more; --all shows all")
    return Section("Tasks, by difference", COLUMNS, [cells(pair) for pair in pairs[:limit]], lines)


def cells(pair: Pair) -> list[str]:
    """Return a pair as the texts of `COLUMNS`."""
    sign = "+" if pair.difference_ns > 0 else ""
    return [
        printable(pair.task),
        _spelt(pair.before),
        _spelt(pair.after),
        f"{sign}{duration(pair.difference_ns)}",
        "" if pair.change is None else change(pair.change),
        _outcomes(pair),
    ]


def as_json(pair: Pair) -> dict[str, Any]:
    """Return the pair with its numbers; null where a run does not know the task."""
    return {
        "task": pair.task,
        "before_wall_ns": None if pair.before is None else _wall_ns(pair.before),
        "after_wall_ns": None if pair.after is None else _wall_ns(pair.after),
        "difference_ns": pair.difference_ns,
        "change_ratio": pair.change,
        "before_outcome": None if pair.before is None else pair.before.execution.decision.value,
        "after_outcome": None if pair.after is None else pair.after.execution.decision.value,
    }


def _described(which: str, run: RunView) -> str:
    took = "did not finish" if run.wall_ns is None else duration(run.wall_ns)
    commit = f", commit {run.git_commit[:10]}" if run.git_commit else ""
    return f"{which}: run {run.id}, {took}{commit}{' (dirty)' if run.git_dirty else ''}"


def _outcomes(pair: Pair) -> str:
    old = "not there" if pair.before is None else pair.before.execution.decision.value
    new = "not there" if pair.after is None else pair.after.execution.decision.value
    return old if old == new else f"{old} > {new}"


def _spelt(row: TaskRow | None) -> str:
    return duration(_wall_ns(row)) if _wall_ns(row) else ""


def _wall_ns(row: TaskRow | None) -> int:
    return 0 if row is None else row.execution.cost.wall_ns
