"""Teardown actions: who owes them, and where they run.

A Python task may have left in memory what its teardown needs (a server, a connection), so its teardown runs
in the process that ran the task, as in doit; all others run in this one.
"""

from __future__ import annotations

from collections.abc import Callable

from buildkit.core.errors import BuildkitError
from buildkit.core.plan import Task
from buildkit.engine import events
from buildkit.engine.host import Host
from buildkit.engine.job import Executor, JobOutcome, JobStatus, PythonJob
from buildkit.engine.loop import EventLoop

_JOB_ID = 0  # jobs of the run count from 1; of these there is one at a time


class Teardown:
    """The teardown actions that a run owes, last one first."""

    def __init__(
        self, host: Host, python: Executor, loop: EventLoop, emit: Callable[[events.Event], None]
    ) -> None:
        self._host = host
        self._python = python
        self._loop = loop
        self._emit = emit
        self._owed: dict[str, tuple[Task, str]] = {}

    def owe(self, task: Task, worker: str = "") -> None:
        """Note that a task began, or with `worker` where it ran (`JobOutcome.worker`)."""
        self._owed[task.name] = (task, worker)

    def execute(self) -> None:
        """Run them all; failures are told and change nothing else. The executors must still be open."""
        while self._owed:
            _name, (task, worker) = self._owed.popitem()
            self._emit(events.TearingDown(task))
            try:
                outcome = self._in_worker(worker, task)
                if outcome is None:
                    message = self._host.teardown(task)
                else:
                    message = self._host.torn_down(task, outcome)
            except BuildkitError as error:
                message = str(error)
            if message is not None:
                self._emit(events.TeardownFailed(task, message))

    def _in_worker(self, worker: str, task: Task) -> JobOutcome | None:
        """Run the actions in the process that holds what the task has left there; None if that is gone."""
        if not worker.startswith("worker:"):
            return None
        outcomes: list[JobOutcome] = []
        job = PythonJob(self._host.teardown_payload(task), worker=worker)
        self._python.start(_JOB_ID, job, None, lambda _id, outcome: outcomes.append(outcome))
        self._loop.run_until(lambda: bool(outcomes))
        return outcomes[0] if outcomes[0].status is not JobStatus.LOST else None
