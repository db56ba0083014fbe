"""Python jobs in forked worker processes, which hold everything that this process has loaded.

A worker serves many jobs, one at a time; its descriptors 1 and 2 are pipes to us, so that whatever a job
starts writes to that job's log. This process must have no other running thread at the moment of a fork: a
lock that another thread holds would stay locked in the child. `quiesce` is entered around each fork for that.
What happens inside a worker: `worker.py`.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from resource import struct_rusage

from buildkit.core.execution import Cost
from buildkit.engine.capture import Capture
from buildkit.engine.drain import READ_BYTES, Drains
from buildkit.engine.job import Done, Job, JobOutcome, JobStatus, OutputSink, PythonJob, Stream
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import EventLoop, Timer
from buildkit.engine.perform import Run, outcome_of
from buildkit.engine.procfs import die_with_parent, process_clock
from buildkit.engine.tree import GRACE_S, Root, TreeEnder, new_mark, signal_name
from buildkit.engine.worker import LENGTH, Answer, encode, serve

_ADOPT_AFTER_S = 0.02  # a run whose jobs are shorter than this need not adopt orphans
_DRAIN_BYTES = 1024 * 1024  # read at the end of a job; more than a pipe holds
_STREAMS: tuple[Stream, Stream] = (1, 2)


@dataclass(slots=True)
class _Task:
    """A job from `start` to `done`."""

    job_id: int
    job: PythonJob
    sink: OutputSink | None
    done: Done
    request: bytes
    mark: str
    log: TaskLog
    captures: dict[int, Capture] = field(default_factory=dict)
    started: float = 0.0
    started_ns: int = 0
    timeout: Timer | None = None
    ending: JobStatus | None = None
    left: list[int] | None = None  # once its tree was ended: what even SIGKILL did not end


@dataclass(slots=True, eq=False)
class _Worker:
    """The parent's side of a worker process."""

    pid: int
    line: int  # socket; requests go out, answers come in
    outputs: dict[Stream, int]
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytes = b""
    task: _Task | None = None
    retired: bool = False  # takes no more jobs
    kept: bool = False  # retired or not, it lives on for jobs that name it
    dead: bool = False


class WorkerPool:
    """Runs `PythonJob`s in up to `width` forked processes; more jobs than that wait in order.

    `run(payload, out, err)` is executed in the worker and may return a `RunnerReply`. `after_fork` is called
    in each new worker first, to let go of what it must not share (connections, files).
    """

    def __init__(
        self,
        loop: EventLoop,
        run: Run,
        width: int,
        after_fork: Callable[[], None] = lambda: None,
        *,
        new_log: Callable[[], TaskLog] = TaskLog,
        grace_s: float = GRACE_S,
        ender: TreeEnder | None = None,
        quiesce: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._loop = loop
        self._run = run
        self._width = max(width, 1)
        self._after_fork = after_fork
        self._new_log = new_log
        self._grace_s = grace_s
        self._ender = ender or TreeEnder(loop)
        self._quiesce = quiesce
        self._drains = Drains(loop)
        self._workers: list[_Worker] = []  # all that live, retired ones too
        self._idle: list[_Worker] = []
        self._waiting: deque[_Task] = deque()
        self._tasks: dict[int, _Task] = {}
        self._closed = False

    # -- the executor

    def start(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> None:
        """Give the job to a worker, to a new one if all are busy and fewer than `width` live."""
        if not isinstance(job, PythonJob):
            raise TypeError(f"the worker pool runs Python jobs, not {type(job).__name__}")
        mark = new_mark(job_id)
        task = _Task(job_id, job, sink, done, b"", mark, self._new_log())
        self._tasks[job_id] = task
        try:
            task.request = encode((mark, job.payload))
        except Exception as error:
            message = f"Python action cannot be sent to a worker process: {error}"
            self._loop.call_soon(partial(self._finish, task, JobOutcome(JobStatus.ERROR, message)))
            return
        if job.worker:
            self._give_to(job.worker, task)
            return
        self._waiting.append(task)
        self._feed()

    def cancel(self, job_id: int) -> None:
        """End the job with its worker and all that descends from it."""
        task = self._tasks.get(job_id)
        if task is not None:
            self._end(task, JobStatus.CANCELLED)

    def hurry(self) -> None:
        """Kill what is being ended."""
        self._ender.hurry()

    def retire_all(self) -> None:
        """Let new jobs run in freshly forked workers only; jobs that run now finish where they are."""
        for worker in list(self._workers):
            self._retire(worker)

    def shutdown(self, grace_s: float) -> None:
        """End everything that runs and wait until no worker is left."""
        self._closed = True
        self._grace_s = grace_s
        for task in list(self._tasks.values()):
            self._end(task, JobStatus.CANCELLED)
        self._loop.run_until(lambda: not self._tasks)
        for worker in list(self._workers):
            worker.kept = False
            if worker.retired and worker.task is None:
                self._hang_up(worker)
        self.retire_all()
        if not self._loop.run_until(lambda: not self._workers, timeout_s=grace_s):
            for worker in self._workers:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, 9)
            self._loop.run_until(lambda: not self._workers, timeout_s=1.0)
        self._drains.close()
        self._ender.close()

    # -- giving out work

    def _feed(self) -> None:
        while self._waiting and not self._closed:
            worker = self._idle.pop() if self._idle else None
            if worker is None:
                if sum(not worker.retired for worker in self._workers) >= self._width:
                    return
                try:
                    worker = self._fork()
                except OSError as error:
                    message = f"no worker process could be started: {error.strerror}"
                    task = self._waiting.popleft()
                    self._loop.call_soon(partial(self._finish, task, JobOutcome(JobStatus.ERROR, message)))
                    continue
            self._give(worker, self._waiting.popleft())

    def _named(self, name: str) -> _Worker | None:
        for worker in self._workers:
            if name == f"worker:{worker.pid}" and worker.task is None and worker.line >= 0:
                return worker
        return None

    def _give_to(self, name: str, task: _Task) -> None:
        worker = self._named(name)
        if worker is None:
            outcome = JobOutcome(JobStatus.LOST, f"the process {name} is gone")
            self._loop.call_soon(partial(self._finish, task, outcome))
            return
        if worker in self._idle:
            self._idle.remove(worker)
        self._give(worker, task)

    def _give(self, worker: _Worker, task: _Task) -> None:
        worker.task = task
        worker.kept |= task.job.keeps_worker
        task.started = process_clock()
        task.started_ns = time.monotonic_ns()
        if task.job.timeout_s is not None:
            task.timeout = self._loop.call_later(
                task.job.timeout_s, partial(self._end, task, JobStatus.TIMED_OUT)
            )
        try:
            sent = os.write(worker.line, task.request)
        except BlockingIOError:
            sent = 0
        except OSError:  # the worker died idle, and we were not told yet: the job never reached it
            worker.task = None
            self._retire(worker)
            if task.timeout is not None:
                task.timeout.cancel()
            if task.job.worker:
                outcome = JobOutcome(JobStatus.LOST, f"the process {task.job.worker} is gone")
                self._loop.call_soon(partial(self._finish, task, outcome))
            else:
                self._waiting.appendleft(task)
            return
        if sent < len(task.request):
            worker.outbox = task.request[sent:]
            self._loop.watch_writes(worker.line, partial(self._write_more, worker))
        task.request = b""

    def _write_more(self, worker: _Worker) -> None:
        try:
            sent = os.write(worker.line, worker.outbox)
        except BlockingIOError:
            return
        except OSError:
            sent = len(worker.outbox)  # the worker died: its exit tells the rest
        worker.outbox = worker.outbox[sent:]
        if not worker.outbox:
            self._loop.unwatch_writes(worker.line)

    def _fork(self) -> _Worker:
        """Return a new worker; OSError when the system has no room for it."""
        import socket  # only runs with Python actions need it

        ours: list[int] = []
        theirs: list[int] = []
        try:
            near, far = socket.socketpair()
            ours.append(near.detach())
            theirs.append(far.detach())
            for _ in _STREAMS:
                reader, writer = os.pipe()
                ours.append(reader)
                theirs.append(writer)
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()  # else both processes would write what is buffered
            parent = os.getpid()
            with self._quiesce():
                pid = os.fork()
                if not pid:
                    die_with_parent(parent)
                    self._become_worker(theirs, ours)
        except OSError:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        with suppress(OSError):  # the child does the same; who comes first does not matter
            os.setpgid(pid, pid)
        for fd in ours:
            os.set_blocking(fd, False)
        worker = _Worker(pid, ours[0], {1: ours[1], 2: ours[2]})
        self._loop.watch_reads(worker.line, partial(self._receive, worker))
        for stream_number, fd in worker.outputs.items():
            self._loop.watch_reads(fd, partial(self._read, worker, stream_number))
        self._loop.watch_child(pid, partial(self._on_exit, worker))
        if not self._workers:
            self._loop.call_later(_ADOPT_AFTER_S, self._adopt)
        self._workers.append(worker)
        return worker

    def _become_worker(self, theirs: list[int], ours: list[int]) -> None:
        """Turn the forked child into a worker; never returns."""
        try:
            os.setpgid(0, 0)
            self._loop.abandon_in_child()
            for fd in ours:
                os.close(fd)
            null = os.open(os.devnull, os.O_RDONLY)
            for number, fd in enumerate((null, theirs[1], theirs[2])):
                os.dup2(fd, number)
                os.close(fd)
            serve(theirs[0], self._run, self._after_fork)
        finally:
            os._exit(70)

    def _adopt(self) -> None:
        if self._tasks and not self._closed:
            self._ender.adopt()

    # -- what comes back

    def _read(self, worker: _Worker, stream: Stream) -> bool:
        """Read once from a worker's output; return whether there may be more."""
        fd = worker.outputs[stream]
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:  # the job closed it: this worker cannot serve another one
            self._loop.unwatch(fd)
            os.close(fd)
            del worker.outputs[stream]
            if worker.task is None:
                self._retire(worker)
            worker.retired = True
            return False
        task = worker.task
        if task is not None:
            task.log.write(stream, data)
            if stream not in task.captures:
                task.captures[stream] = Capture()
            task.captures[stream].write(data)
            if task.sink is not None:
                task.sink.write(task.job_id, stream, data)
        return True

    def _drain(self, worker: _Worker) -> None:
        """Read what the job wrote before it answered or died."""
        for stream in _STREAMS:
            for _ in range(_DRAIN_BYTES // READ_BYTES):
                if stream not in worker.outputs or not self._read(worker, stream):
                    break

    def _receive(self, worker: _Worker) -> None:
        try:
            data = os.read(worker.line, READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._hang_up(worker)  # its exit follows
            return
        inbox = worker.inbox
        inbox += data
        if len(inbox) < LENGTH.size or len(inbox) < LENGTH.size + LENGTH.unpack_from(inbox)[0]:
            return
        message = bytes(memoryview(inbox)[LENGTH.size :])
        inbox.clear()
        task = worker.task
        if task is None or task.ending is not None:
            return  # it answered while we were ending it: too late
        self._drain(worker)
        worker.task = None
        try:
            answer: Answer = pickle.loads(message)  # noqa: S301 - from our own worker, over a private socket
        except Exception as error:
            outcome = JobOutcome(JobStatus.ERROR, f"the result of a Python action cannot be read: {error!r}")
        else:
            outcome = _outcome(task, answer)
        outcome.worker = f"worker:{worker.pid}"
        if worker.retired:
            worker.retired = False
            self._retire(worker)
        else:
            self._idle.append(worker)
        self._feed()
        self._finish(task, outcome)

    def _on_exit(self, worker: _Worker, status: int | None, _usage: struct_rusage | None) -> None:
        """Clean up after a worker's end, and say what became of its job."""
        while worker.line >= 0 and worker.task is not None and worker.task.ending is None:
            before = len(worker.inbox)
            self._receive(worker)  # it may have answered with its last breath
            if worker.line >= 0 and len(worker.inbox) <= before:
                break
        self._drain(worker)
        worker.dead = True
        self._hang_up(worker)
        for fd in worker.outputs.values():
            self._loop.unwatch(fd)
            self._drains.add(fd)
        worker.outputs.clear()
        self._workers.remove(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        task = worker.task
        if task is not None and task.ending is None:
            outcome = JobOutcome(JobStatus.LOST, _describe_death(status), worker=f"worker:{worker.pid}")
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                outcome.exit_code, outcome.signal = (code, None) if code >= 0 else (None, -code)
            self._finish(task, outcome)
        elif task is not None and task.left is not None:
            self._finish_ended(task)
        self._feed()

    def _retire(self, worker: _Worker) -> None:
        if not worker.retired:
            worker.retired = True
            if worker in self._idle:
                self._idle.remove(worker)
            if worker.task is None and not worker.kept:
                self._hang_up(worker)

    def _hang_up(self, worker: _Worker) -> None:
        """Close the line; a worker that waits for work ends then."""
        if worker.line >= 0:
            self._loop.unwatch(worker.line)
            os.close(worker.line)
            worker.line = -1

    # -- ending

    def _end(self, task: _Task, why: JobStatus) -> None:
        if task.ending is not None or task.job_id not in self._tasks:
            return
        task.ending = why
        worker = next((worker for worker in self._workers if worker.task is task), None)
        if worker is None:  # it waits
            with suppress(ValueError):
                self._waiting.remove(task)
            self._loop.call_soon(partial(self._finish_ended, task))
            return
        worker.retired = True
        root = Root(pid=worker.pid, started=task.started, mark=task.mark, alone=self._closed)
        self._ender.end(root, self._grace_s, partial(self._on_gone, task, worker))

    def _on_gone(self, task: _Task, worker: _Worker, left: list[int]) -> None:
        task.left = left
        if worker.dead or worker.pid in left:
            self._finish_ended(task)

    def _finish_ended(self, task: _Task) -> None:
        ending = task.ending or JobStatus.CANCELLED
        left = f"; processes that even SIGKILL did not end: {task.left}" if task.left else ""
        if ending is JobStatus.TIMED_OUT:
            message = f"Python action was ended after {task.job.timeout_s:g} s (timeout){left}"
        else:
            message = f"Python action cancelled{left}"
        self._finish(task, JobOutcome(ending, message))

    def _finish(self, task: _Task, outcome: JobOutcome) -> None:
        if self._tasks.pop(task.job_id, None) is None:
            return
        if task.timeout is not None:
            task.timeout.cancel()
        if not outcome.ended_ns:
            outcome.ended_ns = time.monotonic_ns()
            outcome.started_ns = task.started_ns or outcome.ended_ns
            outcome.cost = Cost(wall_ns=outcome.ended_ns - outcome.started_ns)
        outcome.log = task.log
        if not outcome.outs and not outcome.errs:
            outcome.outs, outcome.errs = _texts(task, 1), _texts(task, 2)
        task.done(task.job_id, outcome)


def _texts(task: _Task, stream: int) -> list[str | None]:
    capture = task.captures.get(stream)
    return [capture.text() if capture is not None else ""]


def _outcome(task: _Task, answer: Answer) -> JobOutcome:
    reply, cost, started_ns = answer
    return outcome_of(
        reply,
        cost,
        started_ns,
        outs=_texts(task, 1) if reply.outs is None else reply.outs,
        errs=_texts(task, 2) if reply.errs is None else reply.errs,
    )


def _describe_death(status: int | None) -> str:
    if status is None:
        return "the worker process of a Python action is gone; its exit status was taken by other code"
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"the worker process of a Python action was killed by {signal_name(-code)}"
    return f"the worker process of a Python action ended with exit code {code} (os._exit, or a crash)"
