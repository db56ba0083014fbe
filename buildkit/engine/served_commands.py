"""Commands run by a process of their own (see `command_server.py`): the engine's side of it.

The first few commands of a run are started directly: a fork costs as much as a dozen of them. Should the
server be killed, what it ran is ended and lost, and everything else is run directly again.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import partial
from resource import struct_rusage
from typing import Any

from buildkit.core.execution import Cost
from buildkit.engine.command_server import serve
from buildkit.engine.command_wire import Ask, Inbox, Tell, encode, job_fields, outcome_of
from buildkit.engine.job import Began, CommandJob, Done, Job, JobOutcome, JobStatus, OutputSink
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import EventLoop
from buildkit.engine.parts import FEW_COMMANDS
from buildkit.engine.process import ProcessExecutor
from buildkit.engine.procfs import process_clock
from buildkit.engine.tree import Root, marks_prefix, signal_name

_AHEAD_S = 0.03  # so much work is queued: more than what the run's loop does in one go takes
_MOST_AHEAD = 64
_LEARNING = 0.2  # weight of the latest command in what is typical
_LAST_READS = 64  # of what a server said before it died
_END_S = 1.0  # how long the server may take for its own end, once everything else is gone


class _Job:
    """A job from the moment when the server was told of it."""

    __slots__ = ("began", "done", "job", "log", "sink", "told")

    def __init__(
        self,
        job: CommandJob,
        sink: OutputSink | None,
        done: Done,
        log: TaskLog,
        told: float,  # when, on the scale of `process_clock`
        began: Began | None = None,  # it waits in the queue
    ) -> None:
        self.job = job
        self.sink = sink
        self.done = done
        self.log = log
        self.told = told
        self.began = began


class ServedCommands:
    """An executor of `CommandJob`s that can also hold a queue of them (Linux)."""

    def __init__(
        self,
        loop: EventLoop,
        *,
        width: int,
        continue_: bool,
        grace_s: float,
        direct: ProcessExecutor,
        few: int = FEW_COMMANDS,
    ) -> None:
        """`direct` runs what the server does not.

        `continue_`: a job that fails hands its slot on to the queue like any other.
        """
        self._loop = loop
        self._width = width
        self._continue = continue_
        self._grace_s = grace_s
        self._direct = direct
        self._few = few
        self._pid = 0  # of the server, while it lives
        self._line = -1
        self._inbox = Inbox()
        self._outbox = b""
        self._writes_soon = False
        self._blocked = False  # the server reads more slowly than we write
        self._jobs: dict[int, _Job] = {}
        self._environment: dict[bytes, bytes] = {}
        self._directory = ""
        self._queued = 0
        self._typical_s = 1.0  # what commands took of late
        self._closed = False

    @staticmethod
    def available() -> bool:
        """Return whether this system can do that."""
        return sys.platform.startswith("linux")

    # -- the executor

    def start(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> None:
        """Begin a job, in the server or directly."""
        if not isinstance(job, CommandJob) or not self._serves(job):
            self._direct.start(job_id, job, sink, done)
            return
        self._jobs[job_id] = _Job(job, sink, done, self._direct.new_log(), process_clock())
        self._tell_surroundings()
        self._tell(Ask.START, job_id, job_fields(job))

    def cancel(self, job_id: int) -> None:
        """End the job, or take it out of the queue."""
        if job_id in self._jobs:
            self._tell(Ask.CANCEL, job_id)
        else:
            self._direct.cancel(job_id)

    def hurry(self) -> None:
        """Kill what is being ended."""
        self._tell(Ask.HURRY)
        self._direct.hurry()

    def shutdown(self, grace_s: float) -> None:
        """End everything that runs, wait for it, and end the server."""
        self._closed = True
        for job_id in list(self._jobs):
            self.cancel(job_id)
        self._loop.run_until(lambda: not self._jobs)
        if self._pid:
            self._tell(Ask.END, grace_s)
            if not self._loop.run_until(lambda: not self._pid, grace_s + _END_S):
                with suppress(ProcessLookupError):
                    os.kill(self._pid, 9)
                self._loop.run_until(lambda: not self._pid, _END_S)
        self._direct.shutdown(grace_s)

    # -- the queue

    def room_ahead(self) -> bool:
        """Whether there is less in the queue than what keeps the slots busy for a while.

        Where commands take long, nothing waits there: something more urgent may come up meanwhile.
        """
        return self._line >= 0 and self._queued < min(_MOST_AHEAD, self._width * _AHEAD_S / self._typical_s)

    def start_ahead(self, job_id: int, job: Job, sink: OutputSink | None, done: Done, began: Began) -> None:
        """Have the job begun, in its turn, as soon as one of the server's jobs leaves its slot to it."""
        if not isinstance(job, CommandJob):
            raise TypeError(f"commands are served, not {type(job).__name__}")
        self._jobs[job_id] = _Job(job, sink, done, self._direct.new_log(), process_clock(), began)
        self._queued += 1
        self._tell_surroundings()
        self._tell(Ask.QUEUE, job_id, job_fields(job))

    def spread(self, slots: int) -> None:
        """Begin queued jobs in slots that became free elsewhere."""
        if self._queued and self._line >= 0:
            waiting = [job_id for job_id, job in self._jobs.items() if job.began is not None]
            for job_id in waiting[:slots]:
                self._begin(job_id, time.monotonic_ns())
                self._tell(Ask.RELEASE, job_id)

    def _begin(self, job_id: int, began_ns: int) -> None:
        job = self._jobs[job_id]
        began, job.began = job.began, None
        if began is not None:  # else it was given a slot before it got this one
            self._queued -= 1
            began(job_id, began_ns)

    # -- the server

    def _serves(self, job: CommandJob) -> bool:
        if self._line >= 0:
            return job.stdin == "null"
        self._few -= 1
        if self._few >= 0 or self._closed or job.stdin != "null":
            return False
        try:
            self._fork()
        except OSError:
            self._few = 1000  # no room for another process now; perhaps later
            return False
        return True

    def _fork(self) -> None:
        import socket  # only runs with many commands need it

        near, far = socket.socketpair()
        with near, far, self._loop.forking():
            pid = os.fork()
            if not pid:
                try:
                    line = far.detach()
                    near.close()
                    self._loop.abandon_in_child()
                    serve(
                        line,
                        grace_s=self._grace_s,
                        new_log=self._direct.new_log,
                        continue_=self._continue,
                    )
                finally:
                    os._exit(70)
            self._pid = pid
            self._line = near.detach()
        os.set_blocking(self._line, False)
        self._environment, self._directory = _environment().copy(), os.getcwd()
        self._loop.watch_reads(self._line, self._receive)
        self._loop.watch_child(pid, self._on_exit)

    def _tell_surroundings(self) -> None:
        """Tell the server what commands inherit from us, if code in this process has changed it."""
        environment = _environment()
        if environment != self._environment:
            self._environment = environment.copy()
            self._tell(Ask.ENVIRONMENT, self._environment)
        with suppress(OSError):  # the directory was removed
            directory = os.getcwd()
            if directory != self._directory:
                self._directory = directory
                self._tell(Ask.DIRECTORY, directory)

    def _tell(self, what: Ask, *details: Any) -> None:
        """Say it to the server, at once or, where it only fills the queue, together with what follows."""
        if self._line < 0:
            return
        self._outbox += encode((int(what), *details))
        if what != Ask.QUEUE:
            self._write()
        elif not self._writes_soon:
            self._writes_soon = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._writes_soon = False
        if not self._outbox or self._blocked:
            return
        try:
            self._outbox = self._outbox[os.write(self._line, self._outbox) :]
        except BlockingIOError:
            pass
        except OSError:
            self._outbox = b""  # it is dead: its exit tells the rest
        if self._outbox:
            self._blocked = True
            self._loop.watch_writes(self._line, self._write_more)

    def _write_more(self) -> None:
        self._blocked = False
        self._loop.unwatch_writes(self._line)
        self._write()

    def _receive(self) -> None:
        alive = self._inbox.receive(self._line)
        while (message := self._inbox.next()) is not None:
            self._hear(*message)
        if not alive:
            self._hang_up()

    def _hear(self, what: int, job_id: int, *details: Any) -> None:
        if what == Tell.OUTPUT:
            job = self._jobs[job_id]
            job.log.write(*details)
            if job.sink is not None:
                job.sink.write(job_id, *details)
            return
        job = self._jobs.pop(job_id)
        if what == Tell.WITHDRAWN:
            self._queued -= job.began is not None
            job.done(job_id, _never_begun(job))
            return
        outcome = outcome_of(details[0], job.log)
        self._typical_s += (outcome.cost.wall_ns / 1e9 - self._typical_s) * _LEARNING
        job.done(job_id, outcome)
        follower, began_ns = details[1:]
        if follower:
            self._begin(follower, began_ns)

    # -- its end

    def _hang_up(self) -> None:
        if self._line >= 0:
            self._loop.unwatch(self._line)
            os.close(self._line)
            self._line = -1
            self._outbox = b""
            self._blocked = False

    def _on_exit(self, status: int | None, _usage: struct_rusage | None) -> None:
        """End what a server that has died has left running, and say that it is lost."""
        for _ in range(_LAST_READS):
            if self._line >= 0:
                self._receive()
        self._hang_up()
        pid, self._pid = self._pid, 0
        self._few = sys.maxsize  # what killed it once may do it again
        for job_id, job in list(self._jobs.items()):
            if job.began is not None:
                del self._jobs[job_id]
                self._queued -= 1
                job.done(job_id, _never_begun(job))
                continue
            root = Root(pid=-1, started=job.told, mark=f"{marks_prefix(pid)}{job_id}", own_group=False)
            self._direct.ender.end(root, self._grace_s, partial(self._lost, job_id, status))

    def _lost(self, job_id: int, status: int | None, _left: list[int]) -> None:
        job = self._jobs.pop(job_id)
        how = "is gone"
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        outcome = JobOutcome(
            JobStatus.LOST, f"the process that runs the commands {how}", log=job.log, worker="process"
        )
        outcome.ended_ns = outcome.started_ns = time.monotonic_ns()
        outcome.cost = Cost()
        job.done(job_id, outcome)


def _never_begun(job: _Job) -> JobOutcome:
    return JobOutcome(JobStatus.CANCELLED, log=job.log, worker="process")


def _environment() -> dict[bytes, bytes]:
    """Return our environment as it is now, not to be changed: comparing bytes is ten times cheaper."""
    data = getattr(os.environ, "_data", None)
    return data if isinstance(data, dict) else dict(os.environb)
