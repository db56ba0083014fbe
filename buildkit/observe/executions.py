"""All executions of a run in memory, for the formats that are written when it is over.

What belongs here: collecting. An observer that writes at the end is given one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from buildkit.core.execution import Decision, Execution
from buildkit.core.plan import TaskKind
from buildkit.engine import events
from buildkit.engine.events import Failure
from buildkit.engine.job import JobStatus
from buildkit.observe.observer import Handler

_TAIL_LINES = 200  # of the output of a task that failed


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended, and what there is to say about it."""

    execution: Execution
    location: str  # "dodo.py:14"
    failure: Failure | None = None
    status: JobStatus | None = None  # how its actions ended, of a failure only; None: they did not start
    output: str = ""  # the end of what it wrote, of a failure only


@dataclass(slots=True)
class Executions:
    """What became of each task of a run, in the order in which they ended. Groups are left out."""

    what = "list of executions"
    ended: list[Ended] = field(default_factory=list)
    width: int = 0

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
