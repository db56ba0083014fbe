"""Python jobs in this process: in threads (`-P thread`), or at once in the calling thread (`-n 0`).

A thread cannot be ended from outside: a job that is cancelled or too late is reported at once, and its thread
is abandoned. What jobs print: `output.py`.
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from types import FrameType

from buildkit.core.execution import Cost
from buildkit.engine.job import Done, Job, JobOutcome, JobStatus, OutputSink, PythonJob, RunnerReply
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import EventLoop, InterruptedBySignal, Timer
from buildkit.engine.output import JobOutput, ThreadStreams
from buildkit.engine.perform import Meter, Run, outcome_of, perform


class _Progress(Enum):
    WAITING = 1  # no thread has taken it
    RUNNING = 2  # a thread is in it
    ANSWERED = 3  # the thread is through; the loop may not know yet
    FINISHED = 4  # `done` was called, or will be at once; whatever the thread says is too late


class _Task:
    __slots__ = ("done", "job", "job_id", "output", "progress", "started_ns", "timeout")

    def __init__(
        self,
        job_id: int,
        job: PythonJob,
        done: Done,
        output: JobOutput,
        started_ns: int,
    ) -> None:
        self.job_id = job_id
        self.job = job
        self.done = done
        self.output = output
        self.started_ns = started_ns
        self.progress = _Progress.WAITING
        self.timeout: Timer | None = None


class ThreadExecutor:
    """Runs `PythonJob`s in up to `width` daemon threads; more jobs than that wait in order."""

    def __init__(
        self, loop: EventLoop, run: Run, width: int, *, new_log: Callable[[], TaskLog] = TaskLog
    ) -> None:
        self._loop = loop
        self._run = run
        self._width = max(width, 1)
        self._new_log = new_log
        self._tasks: dict[int, _Task] = {}
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = 0  # that take jobs; abandoned ones do not count
        self._progress = threading.Lock()
        self._streams = ThreadStreams()

    def start(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> None:
        """Queue the job for the next free thread."""
        if not isinstance(job, PythonJob):
            raise TypeError(f"the thread executor runs Python jobs, not {type(job).__name__}")
        self._streams.install()
        output = JobOutput(self._loop, job_id, sink, self._new_log())
        task = _Task(job_id, job, done, output, time.monotonic_ns())
        self._tasks[job_id] = task
        if job.timeout_s is not None:
            why = f"Python action was given up after {job.timeout_s:g} s (timeout); its thread goes on"
            task.timeout = self._loop.call_later(
                job.timeout_s, partial(self._give_up, task, JobStatus.TIMED_OUT, why)
            )
        self._queue.put(task)
        self._staff()

    def cancel(self, job_id: int) -> None:
        """Report the job as cancelled; its thread is abandoned if it runs."""
        task = self._tasks.get(job_id)
        if task is not None:
            self._loop.call_soon(partial(self._give_up, task, JobStatus.CANCELLED, "Python action cancelled"))

    def hurry(self) -> None:
        """Do nothing: a thread cannot be ended sooner."""

    def shutdown(self, grace_s: float) -> None:
        """Wait for running jobs at most `grace_s`, report the rest as cancelled, let the threads go."""
        self._loop.run_until(lambda: not self._tasks, timeout_s=grace_s)
        for task in list(self._tasks.values()):
            self._give_up(task, JobStatus.CANCELLED, "Python action cancelled")
        for _ in range(self._threads):
            self._queue.put(None)
        self._threads = 0
        self._streams.remove()

    def _staff(self) -> None:
        """Have as many threads as there are jobs, up to the width."""
        while self._threads < min(self._width, len(self._tasks)):
            self._threads += 1
            threading.Thread(target=self._work, name="buildkit job", daemon=True).start()

    def _work(self) -> None:
        """Take jobs until told to stop; in a thread of its own."""
        while (task := self._queue.get()) is not None:
            if not self._advance(task, _Progress.WAITING, _Progress.RUNNING):
                continue  # cancelled while it waited
            meter = Meter(thread=True)
            with self._streams.belonging_to(task.output):
                reply = perform(self._run, task.job.payload, task.output.out, task.output.err)
            cost = meter.cost()
            if not self._advance(task, _Progress.RUNNING, _Progress.ANSWERED):
                return  # abandoned: another thread has taken our place
            self._loop.call_soon_threadsafe(partial(self._answered, task, reply, cost, meter.started_ns))

    def _advance(self, task: _Task, old: _Progress, new: _Progress) -> bool:
        with self._progress:
            if task.progress is not old:
                return False
            task.progress = new
            return True

    def _answered(self, task: _Task, reply: RunnerReply, cost: Cost, started_ns: int) -> None:
        if self._advance(task, _Progress.ANSWERED, _Progress.FINISHED):
            self._finish(task, _outcome(reply, cost, started_ns, task.output))

    def _give_up(self, task: _Task, status: JobStatus, message: str) -> None:
        with self._progress:
            before, task.progress = task.progress, _Progress.FINISHED
        if before is _Progress.FINISHED:
            return
        if before is _Progress.RUNNING:
            self._threads -= 1
        outcome = JobOutcome(status, message, started_ns=task.started_ns, ended_ns=time.monotonic_ns())
        outcome.cost.wall_ns = outcome.ended_ns - outcome.started_ns
        outcome.outs, outcome.errs = task.output.text(1), task.output.text(2)
        self._finish(task, outcome)

    def _finish(self, task: _Task, outcome: JobOutcome) -> None:
        del self._tasks[task.job_id]
        if task.timeout is not None:
            task.timeout.cancel()
        task.output.close()
        self._staff()
        outcome.log = task.output.log
        outcome.worker = "thread"
        task.done(task.job_id, outcome)


class _TimeIsOverError(BaseException):
    """Raised in an in-process action by its timeout; nothing that an action catches by habit."""


class InlineExecutor:
    """Runs each `PythonJob` at once, in the thread that calls `start`."""

    def __init__(self, loop: EventLoop, run: Run, *, new_log: Callable[[], TaskLog] = TaskLog) -> None:
        self._loop = loop
        self._run = run
        self._new_log = new_log

    def start(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> None:
        """Run the job to its end; `done` follows from the loop.

        A signal that the loop delivers ends the action: the job is CANCELLED, and the loop tells of the
        signal next. Where the loop does not deliver signals, KeyboardInterrupt passes through.
        """
        if not isinstance(job, PythonJob):
            raise TypeError(f"the inline executor runs Python jobs, not {type(job).__name__}")
        output = JobOutput(self._loop, job_id, sink, self._new_log(), direct=True)
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = output.out, output.err
        meter = Meter()
        try:
            with self._loop.interruptible(), _time_limit(job.timeout_s):
                reply = perform(
                    self._run,
                    job.payload,
                    output.out,
                    output.err,
                    passing=(KeyboardInterrupt, _TimeIsOverError),
                )
        except InterruptedBySignal as interruption:
            reply = RunnerReply(JobStatus.CANCELLED, "Python action cancelled")
            self._loop.redeliver(interruption.signum)
        except _TimeIsOverError:
            why = f"Python action was ended after {job.timeout_s:g} s (timeout)"
            reply = RunnerReply(JobStatus.TIMED_OUT, why)
        finally:
            sys.stdout, sys.stderr = before
            output.close()
        outcome = _outcome(reply, meter.cost(), meter.started_ns, output)
        outcome.worker = "inline"
        self._loop.call_soon(partial(done, job_id, outcome))

    def cancel(self, job_id: int) -> None:
        """Do nothing: a job has ended when `start` returns."""

    def hurry(self) -> None:
        """Do nothing."""

    def shutdown(self, grace_s: float) -> None:
        """Do nothing."""


@contextmanager
def _time_limit(timeout_s: float | None) -> Iterator[None]:
    """Raise `_TimeIsOverError` in the main thread after the time, unless somebody else uses the alarm."""
    usable = (
        threading.current_thread() is threading.main_thread() and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    )
    if timeout_s is None or not usable:
        yield
        return

    def ring(_signum: int, _frame: FrameType | None) -> None:
        raise _TimeIsOverError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _outcome(reply: RunnerReply, cost: Cost, started_ns: int, output: JobOutput) -> JobOutcome:
    outs = output.text(1) if reply.outs is None else reply.outs
    errs = output.text(2) if reply.errs is None else reply.errs
    return outcome_of(reply, cost, started_ns, outs, errs, output.log)
