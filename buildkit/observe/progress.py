"""Where a run stands: what is done, what runs, how fast it goes; kept up to date by events.

What belongs here: counting and measuring. Who shows it asks for it; what is left is `forecast.py`'s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from buildkit.core.execution import Decision, Execution
from buildkit.core.plan import Task, TaskKind
from buildkit.core.record import Record
from buildkit.engine import events
from buildkit.observe.observer import Handler

_PACE_TASKS = 1000  # recent ones tell how fast it goes now, and a long run must not keep them all


class RunningTask(Record):
    """A task whose actions are going on."""

    task: Task
    slot: int
    started_ns: int  # on the monotonic clock


class Finished(Record):
    """What the execution of a task says about the pace of the run."""

    task: str
    wall_ns: int
    lost_ns: int  # how long its slot stayed empty although the task could have had it


class Progress:
    """The state of a run, as an observer that others read. Groups do not count as tasks."""

    what = "progress"

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.counts: dict[Decision, int] = {}
        self.running: dict[str, RunningTask] = {}  # in the order in which they started
        self.finished: deque[Finished] = deque(maxlen=_PACE_TASKS)  # successful executions
        self.last_event_ns = clock_ns()
        self._clock_ns = clock_ns
        self._slot_free_ns: dict[int, int] = {}

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """Return who takes which class of events."""
        return {
            events.Started: self._started,
            events.Succeeded: self._succeeded,
            events.Skipped: self._ended,
            events.Restored: self._ended,
            events.Ignored: self._ended,
            events.Failed: self._ended,
            events.Cancelled: self._ended,
        }

    @property
    def done(self) -> int:
        """Return how many tasks have ended, in whatever way."""
        return sum(self.counts.values())

    def count(self, decision: Decision) -> int:
        """Return how many tasks have ended in that way."""
        return self.counts.get(decision, 0)

    def _started(self, event: events.Started) -> None:
        self.last_event_ns = now = self._clock_ns()
        if event.slot is None:
            return
        self.running[event.task.name] = RunningTask(event.task, event.slot, now)

    def _succeeded(self, event: events.Succeeded) -> None:
        if event.task.kind is TaskKind.GROUP:
            return
        execution = event.execution
        started = self.running.get(execution.task)
        if started is not None:
            # The end of the task before it in this slot is told later than the start of this one, but not
            # later than its end: the engine fills a free slot first, and keeps what was made then.
            idle_ns = started.started_ns - self._slot_free_ns.get(started.slot, started.started_ns)
            lost_ns = max(0, min(idle_ns, execution.queue_ns))
            self.finished.append(Finished(execution.task, execution.cost.wall_ns, lost_ns))
        self._ended(event)

    def _ended(self, event: Any) -> None:
        self.last_event_ns = now = self._clock_ns()
        execution: Execution = event.execution
        self.counts[execution.decision] = self.counts.get(execution.decision, 0) + 1
        started = self.running.pop(event.task.name, None)
        if started is not None:
            outcome = event.outcome
            self._slot_free_ns[started.slot] = outcome.ended_ns if outcome and outcome.ended_ns else now

    def finish(self, _exit_code: int) -> None:
        """Keep the last state for whoever looks at it."""
