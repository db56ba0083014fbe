"""What happens in a run, as data: the engine emits, consoles and reporters only consume."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from buildkit.core.execution import Execution
from buildkit.core.plan import Plan, Task
from buildkit.engine.job import JobOutcome, Stream
from buildkit.engine.log import TaskLog


class FailureKind(StrEnum):
    """What kind of failure it was; doit's exit codes follow from it."""

    FAILED = "failed"  # an action ran and said no: exit code 1
    ERROR = "error"  # an action could not do its work: exit code 2
    DEPENDENCY = "dependency"  # the task could not be judged, or its success not be saved: exit code 2
    UNMET = "unmet"  # a task that it waits for failed: exit code 2


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task did not succeed, for the user."""

    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The first event."""

    plan: Plan
    width: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A task is about to be judged."""

    task: Task


@dataclass(frozen=True, slots=True)
class Started:
    """The actions of a task begin."""

    task: Task
    slot: int | None = None  # None: a group, or a task that could not be started


@dataclass(frozen=True, slots=True)
class OutputWritten:
    """A running task wrote something; not cut at lines."""

    task: Task
    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The actions of a task ran. `outcome` is None for a group, which has none."""

    task: Task
    outcome: JobOutcome | None
    execution: Execution


@dataclass(frozen=True, slots=True)
class Skipped:
    """A task is up to date."""

    task: Task
    execution: Execution


@dataclass(frozen=True, slots=True)
class Restored:
    """Outputs, values and log of a task came back from the cache."""

    task: Task
    log: TaskLog | None
    execution: Execution


@dataclass(frozen=True, slots=True)
class Ignored:
    """The user ignores this task, or one that it waits for."""

    task: Task
    execution: Execution


@dataclass(frozen=True, slots=True)
class Failed:
    """A task did not succeed. `outcome` is None when its actions did not start."""

    task: Task
    failure: Failure
    outcome: JobOutcome | None
    execution: Execution


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A running task was ended because the run ends."""

    task: Task
    outcome: JobOutcome
    execution: Execution


@dataclass(frozen=True, slots=True)
class TearingDown:
    """The teardown actions of a task begin."""

    task: Task


@dataclass(frozen=True, slots=True)
class TeardownFailed:
    """A teardown action failed."""

    task: Task
    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know, and that changes no task's outcome."""

    message: str


@dataclass(frozen=True, slots=True)
class Aborted:
    """The definition proved wrong during the run; nothing more is started."""

    message: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event."""


Event = (
    RunStarted
    | Judged
    | Started
    | OutputWritten
    | Succeeded
    | Skipped
    | Restored
    | Ignored
    | Failed
    | Cancelled
    | TearingDown
    | TeardownFailed
    | Warned
    | Aborted
    | RunFinished
)


class EventSink(Protocol):
    """Who wants to know what happens."""

    def handle(self, event: Event) -> None:
        """Take an event; called in the engine's thread, and expected to be quick."""
