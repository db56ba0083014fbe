"""What the reports show, as plain data: read once from the history, then printed as tables, JSON or HTML.

The shapes, from the outside in. Everything is frozen, made of numbers, texts, tuples and these classes, and
`to_json` makes plain JSON of it (`TaskRow` as `last_run.as_json` spells it). Times are nanoseconds (`_ns`),
sizes bytes, moments Unix seconds (`_at`), shares and rates 0…1, changes ratios new/old. None: not known.

    ReportData
      run          RunView       the run that the report is about; None for an empty history
      rows         TaskRow…      its tasks (see last_run.py): execution, typical time, change
      efficiency   Efficiency    how well that run used its slots, and what was saved
      stages       Stage…        where its time goes, groups of tasks taken together, longest first
      bottlenecks  Bottleneck…   what makes it long
      spreads      Spread…       groups whose tasks are uneven
      window       Window        which runs the past is made of: `run` and those before it
      runs         RunView…      those runs, oldest first: cache hits and totals over time
      trends       TaskTrend…    the times of each task in the window, oldest first
      slas         SlaRow…       tasks with a target, nearest to breaking it first
      regressions  Regression…   tasks that became slower or hungrier, surest first
      flaky        FlakyTask…    tasks that failed and succeeded under the same action key
      failures     FailureGroup… failures of the window by reason
      forecasts    Forecast…     where a month of history leads to
      advice       Advice…       what to do about it, largest gain first
      notes        texts         what the reader must know: limits of what was read, expired allowances

What belongs here: shapes. Reading is `samples.py`, putting together `collect.py`, each analysis its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, StrEnum
from typing import Any

from buildkit.report.last_run import TaskRow, as_json

SCHEMA = 2  # of the JSON document; raised where a key changes its meaning or goes away


@dataclass(frozen=True, slots=True)
class RunView:
    """One run."""

    id: int
    uid: str
    state: str  # 'finished', 'running' or 'unfinished' (killed)
    started_at: float
    argv: tuple[str, ...]
    cwd: str
    wall_ns: int | None  # None: not finished
    exit_code: int | None
    width: int | None
    parallel: str | None
    machine: str | None  # its class
    cores: float | None
    python: str | None
    platform: str | None
    buildkit: str | None
    git_commit: str | None
    git_dirty: bool | None
    ci: str | None
    lane: str | None
    executed: int
    restored: int
    skipped: int
    failed: int
    upstream_failed: int
    ignored: int
    cancelled: int
    saved_ns: int
    bytes_stored: int
    bytes_restored: int

    @property
    def asked(self) -> int:
        """How many tasks the engine had to decide on: those that could have been hits."""
        return self.executed + self.restored + self.skipped + self.failed

    @property
    def hit_rate(self) -> float | None:
        """Share of those that were restored or skipped."""
        return (self.restored + self.skipped) / self.asked if self.asked else None


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of the history the past is."""

    since_s: float  # what was asked for: so many seconds before the run
    first_run: int
    last_run: int
    runs: int
    first_at: float
    last_at: float
    # False: executions were read of the latest runs only, from this one on; the rest is in totals alone.
    complete: bool
    sampled_from: int


@dataclass(frozen=True, slots=True)
class Efficiency:
    """How well a run used what it had."""

    wall_ns: int
    task_ns: int  # all executions of the run one after the other
    cpu_ns: int | None
    tasks_per_s: float  # executed, restored, skipped and failed ones per second of the run
    success_rate: float | None  # of the tasks that ran
    utilisation: float | None  # share of the slots' time in which a task ran
    speed_up: float | None  # task time / wall time
    # The shortest possible time at this width (all task time evenly spread, but no less than the critical
    # path) / wall time.
    parallel_efficiency: float | None
    saved_by_parallel_ns: int  # task time less wall time; 0 in sequence
    saved_by_history_ns: int  # recorded time of what was skipped or restored instead
    hit_rate: float | None
    bytes_restored: int
    bytes_stored: int
    critical_path: tuple[str, ...]  # first to last; empty where not known
    critical_ns: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A group of tasks (`test` for `test:a`, `test:b`), or a task of no group."""

    name: str
    tasks: int  # executed in the run
    time_ns: int  # of them, in the run
    share: float  # of the run's task time
    # Like with like: runs on such a machine in which as many of its tasks were executed, oldest first.
    points: tuple[int, ...]
    median_ns: int | None
    p95_ns: int | None
    change: float | None  # time / median


@dataclass(frozen=True, slots=True)
class TaskTrend:
    """Successful executions of a task in the window, on machines of the run's class, oldest first."""

    task: str
    run_ids: tuple[int, ...]
    wall_ns: tuple[int, ...]
    rss_bytes: tuple[int | None, ...]
    median_ns: int
    p95_ns: int


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A task far above the mean of its run."""

    task: str
    wall_ns: int
    ratio: float  # to the mean of the executed tasks
    critical: bool | None  # on the critical path; None: not known
    gain_ns: int  # what the run would gain if the task took half its time


@dataclass(frozen=True, slots=True)
class Spread:
    """A group whose tasks are uneven: one of them takes far longer than the others."""

    stage: str
    tasks: int
    longest: str
    longest_ns: int
    median_ns: int
    ratio: float


class SlaLevel(StrEnum):
    """How near a task is to its target."""

    OK = "ok"
    WARNING = "warning"  # at 80% or more
    VIOLATION = "violation"  # at 100% or more


@dataclass(frozen=True, slots=True)
class SlaRow:
    """A task with a target."""

    task: str
    target_s: float
    run_id: int  # in which it was measured last
    wall_ns: int  # in that run
    share: float  # of the target
    level: SlaLevel
    violations: int  # in the window, that run included
    executions: int  # in the window


@dataclass(frozen=True, slots=True)
class FlakyTask:
    """A task that failed and succeeded under the same action key: nothing that it depends on had changed."""

    task: str
    keys: int  # how many keys both happened under
    failed: int  # executions under these keys
    succeeded: int
    first_run: int
    last_run: int

    @property
    def rate(self) -> float:
        """Share of the executions under these keys that failed."""
        return self.failed / (self.failed + self.succeeded)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of the window that ended alike."""

    reason: str  # "exit code 1", "killed by SIGKILL", "error: …"
    count: int
    tasks: tuple[str, ...]  # most often first
    last_run: int


class Unit(StrEnum):
    """What a series measures."""

    WALL = "wall"  # nanoseconds
    MEMORY = "memory"  # bytes, peak


@dataclass(frozen=True, slots=True)
class Regression:
    """A task whose latest executions are slower, or hungrier, than its known level."""

    task: str
    unit: Unit
    state: str  # 'suspect', 'regressed', 'confirmed' (docs/regressions.md)
    confidence: float
    effect: float  # new / old
    before: int  # nanoseconds or bytes
    after: int
    since_run: int
    since_at: float
    since_commit: str | None
    before_commit: str | None  # of the last execution at the known level
    runs: int  # executions since
    together: tuple[str, ...]  # other tasks that set in with the same run
    allowed: str | None = None  # the reason in the allow-list


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where a quantity leads to, from a month of history or more."""

    what: str  # 'total', 'cache' or the name of a task
    unit: str  # 'ns' or 'bytes'
    now: int
    growth: float  # per 30 days, as a ratio: 1.1 is 10% more
    growth_low: float  # 95% interval
    growth_high: float
    days: int  # of history behind it
    sla_s: float | None = None
    # Days from now until the target is broken, and the interval of that; None: not within a year.
    breaks_in_days: float | None = None
    breaks_earliest_days: float | None = None
    breaks_latest_days: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """One recommendation."""

    kind: str  # 'more-workers', 'fewer-workers', 'split', 'volatile-input', 'uncacheable', 'cache-size', …
    text: str  # what to do
    evidence: str  # what says so, with numbers
    gain_ns: int | None  # expected, per run; None: cannot be told in time
    task: str | None = None


@dataclass(frozen=True, slots=True)
class ReportData:
    """All of it; see the top of this file."""

    project: str
    generated_at: float
    run: RunView | None = None
    rows: tuple[TaskRow, ...] = ()
    efficiency: Efficiency | None = None
    stages: tuple[Stage, ...] = ()
    bottlenecks: tuple[Bottleneck, ...] = ()
    spreads: tuple[Spread, ...] = ()
    window: Window | None = None
    runs: tuple[RunView, ...] = ()
    trends: tuple[TaskTrend, ...] = ()
    slas: tuple[SlaRow, ...] = ()
    regressions: tuple[Regression, ...] = ()
    flaky: tuple[FlakyTask, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    advice: tuple[Advice, ...] = ()
    notes: tuple[str, ...] = ()


def to_json(value: Any) -> Any:
    """Return any of these shapes as what `json.dumps` takes; keys are the names of the fields."""
    if isinstance(value, TaskRow):
        return as_json(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    return value
