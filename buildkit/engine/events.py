"""What happens in a run, as data: the engine emits, consoles and reporters only consume."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from buildkit.core.execution import Execution
from buildkit.core.plan import Plan, Task
from buildkit.core.record import Record
from buildkit.engine.job import JobOutcome, Stream
from buildkit.engine.log import TaskLog


class FailureKind(StrEnum):
    """What kind of failure it was; doit's exit codes follow from it."""

    FAILED = "failed"  # an action ran and said no: exit code 1
    ERROR = "error"  # an action could not do its work: exit code 2
    DEPENDENCY = "dependency"  # the task could not be judged, or its success not be saved: exit code 2
    UNMET = "unmet"  # a task that it waits for failed: exit code 2


class Failure(Record):
    """Why a task did not succeed, for the user."""

    kind: FailureKind
    message: str


class RunStarted(Record):
    """The first event."""

    plan: Plan
    width: int


class Judged(Record):
    """A task is about to be judged."""

    task: Task


class Started(Record):
    """The actions of a task begin."""

    task: Task
    slot: int | None = None  # None: a group, or a task that could not be started


class OutputWritten(Record):
    """A running task wrote something; not cut at lines."""

    task: Task
    stream: Stream
    data: bytes


class Succeeded(Record):
    """The actions of a task ran. `outcome` is None for a group, which has none."""

    task: Task
    outcome: JobOutcome | None
    execution: Execution


class Skipped(Record):
    """A task is up to date."""

    task: Task
    execution: Execution


class Restored(Record):
    """Outputs, values and log of a task came back from the cache."""

    task: Task
    log: TaskLog | None
    execution: Execution


class Ignored(Record):
    """The user ignores this task, or one that it waits for."""

    task: Task
    execution: Execution


class Failed(Record):
    """A task did not succeed. `outcome` is None when its actions did not start."""

    task: Task
    failure: Failure
    outcome: JobOutcome | None
    execution: Execution


class Cancelled(Record):
    """A running task was ended because the run ends."""

    task: Task
    outcome: JobOutcome
    execution: Execution


class TearingDown(Record):
    """The teardown actions of a task begin."""

    task: Task


class TeardownFailed(Record):
    """A teardown action failed."""

    task: Task
    message: str


class Warned(Record):
    """Something that the user should know, and that changes no task's outcome."""

    message: str


class Aborted(Record):
    """The definition proved wrong during the run; nothing more is started."""

    message: str


class RunFinished(Record):
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
