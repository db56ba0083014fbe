"""The process that starts commands for a run, watches and ends them: the inside of it.

It is forked from the run and has little to do, so that a slot that becomes free is filled within a tenth of a
millisecond, whatever the run itself is busy with. To that end it holds a queue: when a job ends, the first of
the queue gets its slot, unless the job failed in a run that stops at the first failure. The queue never takes
a slot that it was not given. All that is known about running commands is in `process.py`; what may be queued,
and when, is decided by the run.
"""

from __future__ import annotations

import gc
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from buildkit.engine.command_wire import Ask, Inbox, Tell, encode, job_of, outcome_fields
from buildkit.engine.job import CommandJob, JobOutcome, JobStatus, Stream
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import EventLoop, Timer
from buildkit.engine.process import ProcessExecutor

_ENOUGH = 8  # so many queued jobs, and the run need not hear at once that one has succeeded
_LATE_S = 0.004  # how long it waits for that


def serve(line: int, *, grace_s: float, new_log: Callable[[], TaskLog], continue_: bool) -> NoReturn:
    """Do what is asked over the socket `line` until that ends or says so, then end the process."""
    code = 70  # EX_SOFTWARE
    try:
        gc.freeze()  # collections must not touch, and thereby copy, the pages shared with the run
        with EventLoop() as loop:
            # What a terminal or a service sends to the whole group is for the run, which tells us.
            loop.deliver_signals(lambda _signum: None)
            server = CommandServer(
                loop, line, ProcessExecutor(loop, grace_s=grace_s, new_log=new_log), grace_s, continue_
            )
            loop.watch_reads(line, server.receive)
            loop.run_until(lambda: server.over)
            server.end()
        code = 0
    finally:
        os._exit(code)


class CommandServer:
    """Runs the jobs that it is told of, and hands slots on from one to the next."""

    def __init__(
        self, loop: EventLoop, line: int, executor: ProcessExecutor, grace_s: float, continue_: bool
    ) -> None:
        """`continue_`: a job that fails hands its slot on like any other."""
        self.over = False
        self._loop = loop
        self._line = line
        self._executor = executor
        self._grace_s = grace_s
        self._continue = continue_
        self._failed = False
        self._inbox = Inbox()
        self._queue: deque[tuple[int, CommandJob]] = deque()
        self._unsaid = b""
        self._speaks_at: Timer | None = None

    def receive(self) -> None:
        """Take what has arrived, and do it."""
        alive = self._inbox.receive(self._line)
        while (message := self._inbox.next()) is not None:
            self._obey(*message)
        if not alive:
            self._hang_up()

    def _obey(self, what: int, *details: Any) -> None:
        if what == Ask.QUEUE:
            self._queue.append((details[0], job_of(details[1])))
        elif what == Ask.START:
            self._start(details[0], job_of(details[1]))
        elif what == Ask.RELEASE:
            job = self._take(details[0])
            if job is not None:  # else it has got the slot of another one meanwhile
                self._start(details[0], job)
        elif what == Ask.CANCEL:
            if self._take(details[0]) is not None:
                self._tell(Tell.WITHDRAWN, details[0])
            else:
                self._executor.cancel(details[0])
        elif what == Ask.HURRY:
            self._executor.hurry()
        elif what == Ask.ENVIRONMENT:
            os.environb.clear()
            os.environb.update(details[0])
        elif what == Ask.DIRECTORY:
            with suppress(OSError):  # it was removed meanwhile: the old one is as good
                os.chdir(details[0])
        else:
            self._grace_s = details[0]
            self._hang_up()

    def _take(self, job_id: int) -> CommandJob | None:
        """Take a job out of the queue; None where it is not there any more."""
        for entry in self._queue:
            if entry[0] == job_id:
                self._queue.remove(entry)
                return entry[1]
        return None

    def _start(self, job_id: int, job: CommandJob) -> None:
        self._executor.start(job_id, job, self, self._done)

    def write(self, job_id: int, stream: Stream, data: bytes) -> None:
        """Pass on what a command wrote (the executor's OutputSink)."""
        self._tell(Tell.OUTPUT, job_id, int(stream), data)

    def _done(self, job_id: int, outcome: JobOutcome) -> None:
        if outcome.status is not JobStatus.OK and not self._continue:
            self._failed = True
        follower, began_ns = 0, 0
        if self._queue and not self._failed and not self.over:
            follower, job = self._queue.popleft()
            began_ns = time.monotonic_ns()
            self._start(follower, job)
        in_time = outcome.status is JobStatus.OK and len(self._queue) >= _ENOUGH
        self._tell(Tell.ENDED, job_id, outcome_fields(outcome), follower, began_ns, in_time=in_time)

    def _tell(self, what: Tell, *details: Any, in_time: bool = False) -> None:
        """Say it to the run, at once or soon: waking it takes longer than what it does with one message."""
        self._unsaid += encode((int(what), *details))
        if not in_time:
            self._speak()
        elif self._speaks_at is None:
            self._speaks_at = self._loop.call_later(_LATE_S, self._speak)

    def _speak(self) -> None:
        """Say what is unsaid. This may wait for the run, which itself never waits for us."""
        if self._speaks_at is not None:
            self._speaks_at.cancel()
            self._speaks_at = None
        view, self._unsaid = memoryview(self._unsaid), b""
        try:
            while view and not self.over:
                view = view[os.write(self._line, view) :]
        except (BrokenPipeError, ConnectionResetError):
            self._loop.call_soon(self._hang_up)

    def _hang_up(self) -> None:
        """Start nothing more: the run has said goodbye, or has been killed."""
        if not self.over:
            self.over = True
            self._queue.clear()
            self._loop.unwatch(self._line)

    def end(self) -> None:
        """End all commands, and wait until they are gone."""
        self._executor.shutdown(self._grace_s)
