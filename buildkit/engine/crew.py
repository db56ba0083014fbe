"""A worker and its jobs as the pool keeps them: who does what, what waits behind it, what it has written.

What belongs here: the records, and what follows from one of them alone. Who gets which job: `workers.py`.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buildkit.core.execution import Cost
from buildkit.engine.capture import Capture
from buildkit.engine.job import Began, Done, JobOutcome, JobStatus, OutputSink, PythonJob, RunnerReply
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import Timer
from buildkit.engine.perform import outcome_of
from buildkit.engine.tree import signal_name

if TYPE_CHECKING:
    from buildkit.cache.early import EarlyOutput
    from buildkit.engine.forked import Line, Output


@dataclass(slots=True, eq=False)
class PoolJob:
    """A job from `start` to `done`."""

    job_id: int
    job: PythonJob
    sink: OutputSink | None
    done: Done
    body: bytes
    mark: str
    log: TaskLog
    captures: dict[int, Capture] = field(default_factory=dict)
    started: float = 0.0
    started_ns: int = 0
    timeout: Timer | None = None
    began: Began | None = None  # who is told once it begins, where that is later than `start`
    ending: JobStatus | None = None
    unserved: int = 0  # workers that died before they took it
    left: list[int] | None = None  # once its tree was ended: what even SIGKILL did not end

    def texts(self, stream: int) -> list[str | None]:
        """Return what it has written to a stream, as the text of its one action."""
        capture = self.captures.get(stream)
        return [capture.text() if capture is not None else ""]

    def outcome(
        self, reply: RunnerReply, cost: Cost, started_ns: int, kept: tuple[EarlyOutput, ...]
    ) -> JobOutcome:
        """Return what became of it, going by its answer."""
        outcome = outcome_of(
            reply,
            cost,
            started_ns,
            outs=self.texts(1) if reply.outs is None else reply.outs,
            errs=self.texts(2) if reply.errs is None else reply.errs,
            log=self.log,
        )
        outcome.kept = kept
        return outcome


@dataclass(slots=True, eq=False)
class Worker:
    """The parent's side of a worker process."""

    pid: int
    line: Line
    outputs: dict[Output, int]
    lane: int = 0  # which outputs the job writes to that runs now; those ahead use the ones that follow
    task: PoolJob | None = None
    ahead: deque[PoolJob] = field(default_factory=deque)  # what it begins next by itself
    most_ahead: int = 0  # how many such jobs there may be, going by how short its last one was
    retired: bool = False  # takes no more jobs
    kept: bool = False  # retired or not, it lives on for jobs that name it
    dead: bool = False

    @property
    def free(self) -> bool:
        """Whether it waits for work."""
        return self.task is None and not self.ahead and self.line.near >= 0

    @property
    def takes_ahead(self) -> bool:
        """Whether it can be given a job that it begins when it has done with those that it has."""
        return (
            len(self.ahead) < self.most_ahead
            and self.task is not None
            and self.task.ending is None
            and not self.retired
            and self.line.takes_ahead
        )


def describe_death(status: int | None) -> str:
    """Return how a worker ended, by its status as `os.wait4` gives it, for who waits for its job."""
    if status is None:
        return "the worker process of a Python action is gone; its exit status was taken by other code"
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"the worker process of a Python action was killed by {signal_name(-code)}"
    return f"the worker process of a Python action ended with exit code {code} (os._exit, or a crash)"
