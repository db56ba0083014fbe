"""The past of a run: its window of runs, and the executions in it, by task.

What belongs here: reading the history once, in one scan, into lists that the analyses share. Like with
like: times are those of successful executions on machines of the run's class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from buildkit.core.execution import Decision
from buildkit.report.data import Window
from buildkit.state.history import History
from buildkit.state.runs import RunRecord
from buildkit.state.schema import DECISION_CODES

# Executions that are read at most: the runs beyond are in the totals alone. A second is all that a report
# may take, and reading this many is a quarter of it.
SAMPLE_LIMIT = 40_000
# Where a run has thousands of tasks, so many runs are read all the same: fewer would show no trend. Unless
# they are so large that it would take many seconds.
LEAST_RUNS = 24
HARD_LIMIT = 400_000

_EXECUTED = DECISION_CODES[Decision.EXECUTED]
_FAILED = DECISION_CODES[Decision.FAILED]


@dataclass(slots=True)
class TaskSamples:
    """Successful executions of a task on comparable machines, oldest first; lists of equal length."""

    run_ids: list[int] = field(default_factory=list)
    wall_ns: list[int] = field(default_factory=list)
    rss_bytes: list[int | None] = field(default_factory=list)


@dataclass(slots=True)
class KeyOutcomes:
    """How executions of one task under one action key ended."""

    failed: list[int] = field(default_factory=list)  # ids of runs
    succeeded: list[int] = field(default_factory=list)
    reasons: set[int | None] = field(default_factory=set)  # of the successes after the first, as text ids
    again_ns: int = 0  # wall time of these
    cacheable: bool = True  # the result could be stored each time

    def note_success(self, run_id: int, wall_ns: int, reasons_id: int | None, cacheable: bool) -> None:
        """Take in a success."""
        if self.succeeded:
            self.reasons.add(reasons_id)
            self.again_ns += wall_ns
        self.succeeded.append(run_id)
        self.cacheable = self.cacheable and cacheable


@dataclass(slots=True)
class Measured:
    """Executions of a task that were held to a target; the latest one, and how many broke it."""

    run_id: int = 0
    wall_ns: int = 0
    target_s: float = 0.0
    executions: int = 0
    violations: int = 0


@dataclass(frozen=True, slots=True)
class FailedExecution:
    """A failure of the window."""

    task: str
    run_id: int
    exit_code: int | None
    signal: int | None
    reasons_id: int | None
    started: bool  # False: it could not even be started


@dataclass(slots=True)
class Samples:
    """All of it."""

    window: Window
    runs: list[RunRecord]  # of the window, oldest first
    tasks: dict[str, TaskSamples]
    keys: dict[tuple[str, int], KeyOutcomes]
    measured: dict[str, Measured]
    failures: list[FailedExecution]
    reasons: dict[str, dict[int | None, list[int]]]  # task -> text id of its reasons -> runs


def runs_of_window(history: History, run: RunRecord, since_s: float) -> list[RunRecord]:
    """Return `run` and the runs before it that began in the last `since_s` seconds, oldest first.

    By order, not by clock: from the first run that began late enough on, all count, so that a clock that
    went back hides none of them.
    """
    earlier = [one for one in history.runs(limit=_ALL) if one.id <= run.id]
    earliest = run.info.started_at - since_s
    while len(earlier) > 1 and earlier[-1].info.started_at < earliest:
        earlier.pop()
    return earlier[::-1]


_ALL = 1_000_000


def read_samples(history: History, runs: Sequence[RunRecord], since_s: float) -> Samples:
    """Read the executions of `runs` (oldest first, the last one is what the report is about)."""
    run = runs[-1]
    first = _sampled_from(runs)
    window = Window(
        since_s=since_s,
        first_run=runs[0].id,
        last_run=run.id,
        runs=len(runs),
        first_at=min(one.info.started_at for one in runs),
        last_at=max(one.info.started_at for one in runs),
        complete=first == runs[0].id,
        sampled_from=first,
    )
    comparable = {one.id for one in runs if one.info.machine == run.info.machine}
    samples = Samples(window, list(runs), {}, {}, {}, [], {})
    names = history.task_names()
    _collect(samples, history.samples(first, run.id), names, comparable)
    return samples


def _sampled_from(runs: Sequence[RunRecord]) -> int:
    """Return the id of the earliest run whose executions are read."""
    total, working = 0, 0
    first = runs[-1].id
    for run in reversed(runs):
        summary = run.summary
        if summary is not None:
            count = summary.executed + summary.restored + summary.failed + summary.upstream_failed
            total += count
            working += count > 0
        most = SAMPLE_LIMIT if working > LEAST_RUNS else HARD_LIMIT
        if total > most and run is not runs[-1]:
            break
        first = run.id
    return first


def _collect(
    samples: Samples, rows: Iterable[tuple[Any, ...]], names: dict[int, str], comparable: set[int]
) -> None:
    for row in rows:
        (task_id, run_id, decision, wall_ns, rss_bytes, key_bits, sla_ms, reasons_id, exit_code, signal,
         cacheable) = row  # fmt: skip
        task = names[task_id]
        if decision == _EXECUTED:
            if run_id in comparable:
                known = samples.tasks.get(task)
                if known is None:
                    known = samples.tasks[task] = TaskSamples()
                known.run_ids.append(run_id)
                known.wall_ns.append(wall_ns)
                known.rss_bytes.append(rss_bytes)
            samples.reasons.setdefault(task, {}).setdefault(reasons_id, []).append(run_id)
        elif decision == _FAILED:
            started = wall_ns > 0
            failure = FailedExecution(task, run_id, exit_code, signal, reasons_id, started)
            samples.failures.append(failure)
        else:
            continue
        if key_bits is not None:
            outcomes = samples.keys.get((task, key_bits))
            if outcomes is None:
                outcomes = samples.keys[task, key_bits] = KeyOutcomes()
            if decision == _FAILED:
                outcomes.failed.append(run_id)
            else:
                outcomes.note_success(run_id, wall_ns, reasons_id, bool(cacheable))
        if sla_ms is not None:
            _note_target(samples.measured, task, run_id, wall_ns, sla_ms)


def _note_target(measured: dict[str, Measured], task: str, run_id: int, wall_ns: int, sla_ms: int) -> None:
    target = measured.get(task)
    if target is None:
        target = measured[task] = Measured()
    target.run_id, target.wall_ns, target.target_s = run_id, wall_ns, sla_ms / 1000
    target.executions += 1
    target.violations += wall_ns >= sla_ms * 1_000_000
