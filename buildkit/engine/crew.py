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
from buildkit.engine.wire import PACKET_BYTES, Flag, flags_of, framed

if TYPE_CHECKING:
    from buildkit.cache.early import EarlyOutput
    from buildkit.engine.forked import Line, Output

_LANE = Flag.LANE.value


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
    number: int = 0  # among those that its worker was sent; it tells which outputs the job writes to
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
    lanes: int  # how many pairs of outputs it has
    task: PoolJob | None = None
    ahead: deque[PoolJob] = field(default_factory=deque)  # what it begins next by itself
    most_ahead: int = 0  # how many such jobs there may be, going by how short its last one was
    next_number: int = 0  # of the job that it is sent next
    in_parts: bool = False  # the last job that it was sent took several packets
    retired: bool = False  # takes no more jobs
    kept: bool = False  # retired or not, it lives on for jobs that name it
    dead: bool = False

    @property
    def free(self) -> bool:
        """Whether it waits for work."""
        return self.task is None and not self.ahead and self.line.near >= 0

    @property
    def takes_ahead(self) -> bool:
        """Whether it can be given a job that it begins when it has done with those that it has.

        Each of them needs outputs of its own.
        """
        task = self.task
        return (
            task is not None
            and len(self.ahead) < self.most_ahead
            and self.next_number - task.number < self.lanes
            and task.ending is None
            and not task.job.worker
            and not self.in_parts
            and not self.retired
            and self.line.takes_ahead
        )

    @property
    def lane(self) -> int:
        """Return which outputs the job writes to that runs now; -1 where none does."""
        return -1 if self.task is None else self.task.number % self.lanes

    def send(self, task: PoolJob, flags: int) -> bool:
        """Send it a job, and return whether all of that went; OSError where it is gone."""
        task.number = self.next_number
        self.next_number += 1
        request = framed(task.body, flags | task.number % self.lanes * _LANE)
        self.in_parts = len(request) > PACKET_BYTES
        return self.line.send(request)

    def take_back(self) -> tuple[list[PoolJob], bool]:
        """Take back what is still in the line: return the jobs sent ahead, and whether it has the one before.

        It may take another one while we are at it: what is left in `ahead` it has, or has answered.
        """
        packets = self.line.take_back()
        if self.in_parts or not self.line.keeps_packets:  # then nothing was sent ahead
            return [], not packets
        lanes = {flags_of(packet) // _LANE for packet in packets}
        back = [task for task in self.ahead if task.number % self.lanes in lanes]
        if back:
            self.ahead = deque([task for task in self.ahead if task.number % self.lanes not in lanes])
            last = self.ahead[-1] if self.ahead else self.task
            if last is not None:
                self.next_number = last.number + 1  # nothing was written where those after it would have
        return back, self.lane not in lanes


def describe_death(status: int | None) -> str:
    """Return how a worker ended, by its status as `os.wait4` gives it, for who waits for its job."""
    if status is None:
        return "the worker process of a Python action is gone; its exit status was taken by other code"
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"the worker process of a Python action was killed by {signal_name(-code)}"
    return f"the worker process of a Python action ended with exit code {code} (os._exit, or a crash)"
