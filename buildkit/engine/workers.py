"""Python jobs in forked worker processes, which hold everything that this process has loaded.

A worker serves many jobs, one at a time; its descriptors 1 and 2 are pipes to us, so that whatever a job
starts writes to that job's log. A worker whose jobs are short is given the next ones ahead of time, so that
it need not wait for us in between. Such jobs wait in the line, where they can be taken back: as long as that
succeeds, they were not begun. Once the worker has taken one, the answer to the job before is in the line.

This process must have no other running thread at the moment of a fork: a lock that another thread holds would
stay locked in the child. `quiesce` is entered around each fork for that.
What happens inside a worker: `worker.py`; how it is reached: `forked.py`.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from resource import struct_rusage
from typing import TYPE_CHECKING

from buildkit.core.execution import Cost
from buildkit.engine.capture import Capture
from buildkit.engine.crew import PoolJob, Worker, describe_death
from buildkit.engine.drain import READ_BYTES, Drains
from buildkit.engine.job import Began, Done, Job, JobOutcome, JobStatus, OutputSink, PythonJob, Stream
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import EventLoop
from buildkit.engine.perform import Run
from buildkit.engine.procfs import process_clock
from buildkit.engine.tree import GRACE_S, Root, TreeEnder, marks_prefix
from buildkit.engine.wire import MOST_LANES, PACKET_BYTES, Flag, decode_answer, flags_of, pickled
from buildkit.engine.worker import Keep, serve

if TYPE_CHECKING:
    from buildkit.engine.forked import Output

_TRIES = 3  # workers that may die before they take a job; more of them, and no worker ever will
_ADOPT_AFTER_S = 0.02  # a run whose jobs are shorter than this need not adopt orphans
_DRAIN_BYTES = 1024 * 1024  # read at the end of a job; more than a pipe holds
_QUICK_NS = 5_000_000  # jobs that are given ahead wait about as long, and might run elsewhere meanwhile
_STREAMS: tuple[Stream, Stream] = (1, 2)
_AFTER_SUCCESS = Flag.AFTER_SUCCESS.value
# How many pairs of pipes each of so many workers has; one job less is given ahead. A process has descriptors
# for so many, and the jobs of many workers keep us busy anyway.
_LANES = ((8, MOST_LANES), (24, 4))
_FEWEST_LANES = 2
_FAILED, _NOT_BEGUN, _SILENT = Flag.FAILED.value, Flag.NOT_BEGUN.value, Flag.SILENT.value


class WorkerPool:
    """Runs `PythonJob`s in up to `width` forked processes; more jobs than that wait in order.

    `run(payload, out, err)` is executed in the worker and may return a `RunnerReply`. `after_fork` is called
    in each new worker first, to let go of what it must not share (connections, files), `before_exit` in one
    that ends because there is no more work. `keep` stores in the worker what a job has made, see
    `PythonJob.outputs`. `done` of a job that succeeded must not cancel others: some may just be beginning.
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
        keep: Keep | None = None,
        before_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._run = run
        self._width = max(width, 1)
        self._lanes = next((lanes for most, lanes in _LANES if width <= most), _FEWEST_LANES)
        self._after_fork = after_fork
        self._new_log = new_log
        self._grace_s = grace_s
        self._ender = ender or TreeEnder(loop)
        self._quiesce = quiesce
        self._drains = Drains(loop)
        self._workers: list[Worker] = []  # all that live, retired ones too
        self._idle: list[Worker] = []
        self._waiting: deque[PoolJob] = deque()
        self._tasks: dict[int, PoolJob] = {}
        self._keep = keep
        self._before_exit = before_exit
        self._closed = False
        self._marks = marks_prefix()
        self._taker: Worker | None = None  # who said last that it takes a job ahead

    # -- the executor

    def start(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> None:
        """Give the job to a worker, to a new one if all are busy and fewer than `width` live."""
        task = self._accept(job_id, job, sink, done)
        if task is None:
            return
        if task.job.worker:
            self._give_to(task.job.worker, task)
            return
        self._waiting.append(task)
        self._feed()

    @property
    def processes(self) -> int:
        """How many workers there are that take jobs."""
        return sum(not worker.retired for worker in self._workers)

    @property
    def has_idle(self) -> bool:
        """Whether a worker waits for work."""
        return bool(self._idle)

    def room_ahead(self) -> bool:
        """Whether a worker would take a job now that it begins once it has done with another one."""
        taker: Worker | None = None
        if not self._waiting:
            for worker in self._workers:
                if (taker is None or len(worker.ahead) < len(taker.ahead)) and worker.takes_ahead:
                    taker = worker
        self._taker = taker
        return taker is not None

    def start_ahead(self, job_id: int, job: Job, sink: OutputSink | None, done: Done, began: Began) -> None:
        """Give the job to a worker that is busy with a short one, as `room_ahead` has just said there is.

        It does not begin if the other one fails: then it waits for the next worker that is free. One that
        is cancelled before it began is never told to have begun.
        """
        task = self._accept(job_id, job, sink, done)
        if task is None:
            return
        task.began = began
        worker, self._taker = self._taker, None
        if worker is None or not self._give_ahead(worker, task):
            self._waiting.append(task)
            self._feed()

    def _give_ahead(self, worker: Worker, task: PoolJob) -> bool:
        """Send a job to a busy worker; return whether that was possible."""
        if worker.takes_ahead and len(task.body) < PACKET_BYTES // 2:  # so that it is one packet
            with suppress(OSError):  # the worker has died: somebody else has to do it
                if worker.send(task, _AFTER_SUCCESS):
                    worker.ahead.append(task)
                    return True
                worker.line.outbox = b""
        return False

    def spread(self, slots: int) -> None:
        """Let workers that have nothing to do begin what waits behind other jobs."""
        for worker in self._workers:
            if slots > 0 and worker.ahead and (self._idle or self._may_fork()):
                back = self._take_back(worker)
                elsewhere = back[:slots]
                for task in back[slots:]:
                    if not self._give_ahead(worker, task):
                        elsewhere.append(task)
                self._wait_again(elsewhere)
                slots -= len(elsewhere)
        self._feed()

    def _accept(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> PoolJob | None:
        if not isinstance(job, PythonJob):
            raise TypeError(f"the worker pool runs Python jobs, not {type(job).__name__}")
        mark = f"{self._marks}{job_id}"
        task = PoolJob(job_id, job, sink, done, b"", mark, self._new_log())
        self._tasks[job_id] = task
        try:
            task.body = pickled((mark, job.payload, job.outputs))
        except Exception as error:
            message = f"Python action cannot be sent to a worker process: {error}"
            self._loop.call_soon(partial(self._finish, task, JobOutcome(JobStatus.ERROR, message)))
            return None
        return task

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
        for worker in self._workers:
            for task in list(worker.ahead):
                self._end(task, JobStatus.CANCELLED)
        for task in list(self._tasks.values()):
            self._end(task, JobStatus.CANCELLED)
        self._loop.run_until(lambda: not self._tasks)
        for worker in list(self._workers):
            worker.kept = False
            if worker.retired and worker.free:
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
                if not self._may_fork():
                    return
                try:
                    worker = self._fork()
                except OSError as error:
                    message = f"no worker process could be started: {error.strerror}"
                    task = self._waiting.popleft()
                    self._loop.call_soon(partial(self._finish, task, JobOutcome(JobStatus.ERROR, message)))
                    continue
            self._give(worker, self._waiting.popleft())

    def _may_fork(self) -> bool:
        return self.processes < self._width

    def _named(self, name: str) -> Worker | None:
        for worker in self._workers:
            if name == f"worker:{worker.pid}" and worker.free:
                return worker
        return None

    def _give_to(self, name: str, task: PoolJob) -> None:
        worker = self._named(name)
        if worker is None:
            outcome = JobOutcome(JobStatus.LOST, f"the process {name} is gone")
            self._loop.call_soon(partial(self._finish, task, outcome))
            return
        if worker in self._idle:
            self._idle.remove(worker)
        self._give(worker, task)

    def _give(self, worker: Worker, task: PoolJob) -> None:
        try:
            sent = worker.send(task, 0)
        except OSError:  # the worker died idle, and we were not told yet: the job never reached it
            self._retire(worker)
            if task.job.worker:
                outcome = JobOutcome(JobStatus.LOST, f"the process {task.job.worker} is gone")
                self._loop.call_soon(partial(self._finish, task, outcome))
            else:
                self._waiting.appendleft(task)
            return
        self._begin(worker, task, time.monotonic_ns())
        if not sent:
            self._loop.watch_writes(worker.line.near, partial(self._write_more, worker))

    def _begin(self, worker: Worker, task: PoolJob, began_ns: int) -> None:
        """Take note that a job is the next that its worker does."""
        worker.task = task
        worker.kept |= task.job.keeps_worker
        # It may have begun while we did other things: what it has started since is its own.
        task.started = process_clock() - (time.monotonic_ns() - began_ns) / 1e9
        task.started_ns = began_ns
        if task.job.timeout_s is not None:
            task.timeout = self._loop.call_later(
                task.job.timeout_s, partial(self._end, task, JobStatus.TIMED_OUT)
            )
        began, task.began = task.began, None
        if began is not None:
            began(task.job_id, task.started_ns)

    def _write_more(self, worker: Worker) -> None:
        if worker.line.send_more():
            self._loop.unwatch_writes(worker.line.near)

    def _fork(self) -> Worker:
        """Return a new worker; OSError when the system has no room for it."""
        from buildkit.engine.forked import fork_worker  # only runs with Python actions need it

        pid, line, outputs = fork_worker(
            [worker.line for worker in self._workers],
            self._quiesce,
            lambda line, pairs: serve(
                line, pairs, self._run, self._after_fork, self._keep, self._before_exit
            ),
            self._loop,
            self._lanes,
        )
        worker = Worker(pid, line, outputs, self._lanes)
        self._loop.watch_reads(line.near, partial(self._receive_some, worker))
        for output, fd in outputs.items():
            self._loop.watch_reads(fd, partial(self._read, worker, output))
        self._loop.watch_child(pid, partial(self._on_exit, worker))
        if not self._workers:
            self._loop.call_later(_ADOPT_AFTER_S, self._adopt)
        self._workers.append(worker)
        return worker

    def _adopt(self) -> None:
        if self._tasks and not self._closed:
            self._ender.adopt()

    # -- what comes back

    def _read(self, worker: Worker, output: Output) -> bool:
        """Read once from a worker's output; return whether there may be more."""
        fd = worker.outputs.get(output)
        if fd is None:
            return False
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:  # a job closed it: this worker cannot serve another one
            self._loop.unwatch(fd)
            os.close(fd)
            del worker.outputs[output]
            if worker.free:
                self._retire(worker)
            worker.retired = True
            return False
        lane, stream = output
        while lane != worker.lane and worker.ahead and self._receive(worker):
            pass  # a job that was given ahead writes: those before it have been answered
        task = worker.task
        if task is not None and lane == worker.lane:
            task.log.write(stream, data)
            if stream not in task.captures:
                task.captures[stream] = Capture()
            task.captures[stream].write(data)
            if task.sink is not None:
                task.sink.write(task.job_id, stream, data)
        return True

    def _drain(self, worker: Worker) -> None:
        """Read what the job wrote before it answered or died."""
        lane = worker.lane
        for stream in _STREAMS:
            for _ in range(_DRAIN_BYTES // READ_BYTES):
                if not self._read(worker, (lane, stream)):
                    break

    def _receive_some(self, worker: Worker) -> None:
        """Take the answers that are there: of tiny jobs, several come at once."""
        for _ in range(self._lanes):
            if not self._receive(worker):
                break

    def _receive(self, worker: Worker) -> bool:
        """Take an answer if there is one; return whether there may be another one."""
        message = worker.line.receive()
        if message is None:
            return False
        flags = flags_of(message)
        if flags & _NOT_BEGUN:
            self._given_back(worker)
            return False
        task = worker.task
        if task is None or task.ending is not None:
            return False  # it answered while we were ending it: too late
        if not flags & _SILENT:
            self._drain(worker)
        try:
            outcome = task.outcome(*decode_answer(message))
        except Exception as error:
            outcome = JobOutcome(JobStatus.ERROR, f"the result of a Python action cannot be read: {error!r}")
        outcome.worker = f"worker:{worker.pid}"
        took_ns = outcome.cost.wall_ns
        worker.most_ahead = min(_QUICK_NS // (took_ns + 1), self._lanes - 1)
        worker.task = None
        if worker.ahead:
            if flags & _FAILED:
                self._wait_again(self._take_back(worker))  # of the others, it says that it did not begin them
            elif not worker.most_ahead:
                self._return(self._take_back(worker))
        self._finish(task, outcome)
        if not worker.ahead:
            self._is_free(worker)
        elif not flags & _FAILED:
            self._begin(worker, worker.ahead.popleft(), outcome.ended_ns)
            return True
        return False

    def _is_free(self, worker: Worker) -> None:
        if worker.retired:
            worker.retired = False
            self._retire(worker)
        elif worker.free and worker not in self._idle:
            self._idle.append(worker)
        self._feed()

    def _given_back(self, worker: Worker) -> None:
        """Let a job wait again that its worker did not begin, because one before it failed."""
        if worker.ahead:
            self._wait_again([worker.ahead.popleft()])
        self._is_free(worker)

    def _take_back(self, worker: Worker) -> list[PoolJob]:
        """Return the jobs given ahead that are still in the line: they were not begun, and are not now."""
        back, has_current = worker.take_back()
        task = worker.task
        if task is None or has_current:
            return back
        # It was told to have begun, and is only now about to.
        if worker.ahead:  # while we took it back, the worker took one that follows
            worker.task = None
            self._wait_again([task])
            self._begin(worker, worker.ahead.popleft(), time.monotonic_ns())
        else:
            with suppress(OSError):  # the worker died: its exit tells the rest
                worker.send(task, 0)
        return back

    def _wait_again(self, tasks: Iterable[PoolJob]) -> None:
        """Let jobs that were not begun wait for the next worker that is free, ahead of all others."""
        going_on: list[PoolJob] = []
        for task in tasks:
            if task.timeout is not None:
                task.timeout.cancel()
            if task.ending is not None:
                self._loop.call_soon(partial(self._finish_ended, task))
            else:
                going_on.append(task)
        self._waiting.extendleft(reversed(going_on))

    def _return(self, tasks: Iterable[PoolJob]) -> None:
        """Give jobs back that were not begun: jobs take long by now, and others may be more urgent."""
        for task in tasks:
            task.ending = task.ending or JobStatus.CANCELLED
            self._loop.call_soon(partial(self._finish_ended, task))

    def _on_exit(self, worker: Worker, status: int | None, _usage: struct_rusage | None) -> None:
        """Clean up after a worker's end, and say what became of its job."""
        worker.retired = True
        while (worker.task is None or worker.task.ending is None) and self._receive(worker):
            pass  # it may have answered with its last breath
        self._drain(worker)
        ahead, has_current = worker.take_back()
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
        self._wait_again((*worker.ahead, *ahead))  # they waited here, and did not begin
        worker.ahead.clear()
        if (
            not has_current
            and task is not None
            and task.ending is None
            and not task.job.worker
            and task.unserved < _TRIES
        ):
            worker.task = None  # nor did this one
            task.unserved += 1
            self._wait_again([task])
        task = worker.task
        if task is not None and task.ending is None:
            outcome = JobOutcome(JobStatus.LOST, describe_death(status), worker=f"worker:{worker.pid}")
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                outcome.exit_code, outcome.signal = (code, None) if code >= 0 else (None, -code)
            self._finish(task, outcome)
        elif task is not None and task.left is not None:
            self._finish_ended(task)
        self._feed()

    def _retire(self, worker: Worker) -> None:
        if not worker.retired:
            worker.retired = True
            if worker in self._idle:
                self._idle.remove(worker)
            if worker.free and not worker.kept:
                self._hang_up(worker)

    def _hang_up(self, worker: Worker) -> None:
        """Close the line; a worker that waits for work ends then."""
        if worker.line.near >= 0:
            self._loop.unwatch(worker.line.near)
            worker.line.close()

    # -- ending

    def _end(self, task: PoolJob, why: JobStatus) -> None:
        if task.ending is not None or task.job_id not in self._tasks:
            return
        worker = self._holder(task)
        if worker is not None and worker.ahead:
            self._wait_again(self._take_back(worker))
            if task in worker.ahead:
                task.ending = why  # given back, it is not to begin elsewhere
            # Where it has taken the next one, it has answered the one before.
            while worker.ahead and self._receive(worker):
                pass
            if task.job_id not in self._tasks:
                return
        task.ending = why
        worker = self._holder(task)
        if worker is None:  # it waits
            with suppress(ValueError):
                self._waiting.remove(task)
            self._loop.call_soon(partial(self._finish_ended, task))
            return
        if task in worker.ahead:
            return  # one before it failed: it was not begun, and is on its way back
        worker.retired = True
        root = Root(pid=worker.pid, started=task.started, mark=task.mark, alone=self._closed)
        self._ender.end(root, self._grace_s, partial(self._on_gone, task, worker))
        self._feed()

    def _holder(self, task: PoolJob) -> Worker | None:
        """Return the worker that a job was given to."""
        for worker in self._workers:
            if worker.task is task or task in worker.ahead:
                return worker
        return None

    def _on_gone(self, task: PoolJob, worker: Worker, left: list[int]) -> None:
        task.left = left
        if worker.dead or worker.pid in left:
            self._finish_ended(task)

    def _finish_ended(self, task: PoolJob) -> None:
        ending = task.ending or JobStatus.CANCELLED
        left = f"; processes that even SIGKILL did not end: {task.left}" if task.left else ""
        if ending is JobStatus.TIMED_OUT:
            message = f"Python action was ended after {task.job.timeout_s:g} s (timeout){left}"
        else:
            message = f"Python action cancelled{left}"
        self._finish(task, JobOutcome(ending, message))

    def _finish(self, task: PoolJob, outcome: JobOutcome) -> None:
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
            outcome.outs, outcome.errs = task.texts(1), task.texts(2)
        task.done(task.job_id, outcome)
