"""All executions of a run in memory, for the formats that are written when it is over.

What belongs here: collecting, and handing on what was collected. A format is a function of a `FinishedRun`,
in a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from buildkit.core.execution import Decision, Execution
from buildkit.core.plan import TaskKind
from buildkit.core.record import Record
from buildkit.engine import events
from buildkit.engine.events import Failure
from buildkit.engine.job import JobStatus
from buildkit.observe.context import RunContext
from buildkit.observe.observer import Handler

_TAIL_LINES = 200  # of the output of a task that failed


class Ended(Record):
    """How a task ended, and what there is to say about it."""

    execution: Execution
    location: str  # "dodo.py:14"
    failure: Failure | None = None
    status: JobStatus | None = None  # how its actions ended, of a failure only; None: they did not start
    output: str = ""  # the end of what it wrote, of a failure only


class Executions:
    """What became of each task of a run, in the order in which they ended. Groups are left out."""

    what = "list of executions"

    def __init__(self) -> None:
        self.ended: list[Ended] = []
        self.width = 0

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """Return who takes which class of events."""
        return {
            events.RunStarted: self._run_started,
            events.Succeeded: self._add,
            events.Skipped: self._add,
            events.Restored: self._add,
            events.Ignored: self._add,
            events.Cancelled: self._add,
            events.Failed: self._failed,
        }

    def finish(self, _exit_code: int) -> None:
        """Keep what there is."""

    def count(self, decision: Decision) -> int:
        """Return how many tasks ended in that way."""
        return sum(1 for each in self.ended if each.execution.decision is decision)

    def _run_started(self, event: events.RunStarted) -> None:
        self.width = event.width

    def _add(self, event: Any) -> None:
        if event.task.kind is not TaskKind.GROUP:
            self.ended.append(Ended(event.execution, event.task.location))

    def _failed(self, event: events.Failed) -> None:
        if event.task.kind is TaskKind.GROUP:
            return
        # Now: the log may be closed when the run is over.
        outcome = event.outcome
        status, output = None, ""
        if outcome is not None:
            status, output = outcome.status, "\n".join(outcome.log.tail(_TAIL_LINES))
        self.ended.append(Ended(event.execution, event.task.location, event.failure, status, output))


class FinishedRun(Record):
    """A run that is over, as it is written down."""

    context: RunContext
    executions: Executions
    elapsed_s: float
    exit_code: int


class WrittenAtTheEnd:
    """An observer that takes no events: all that it writes is collected by `executions`."""

    handlers: ClassVar[Mapping[type, Handler]] = {}

    def __init__(
        self, what: str, write: Callable[[FinishedRun], None], context: RunContext, executions: Executions
    ) -> None:
        self.what = what  # see Observer
        self.write = write
        self.context = context
        self.executions = executions

    def finish(self, exit_code: int) -> None:
        """Write it."""
        elapsed_s = self.context.elapsed_ns / 1e9
        self.write(FinishedRun(self.context, self.executions, elapsed_s, exit_code))
