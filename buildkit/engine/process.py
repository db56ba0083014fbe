"""Commands as child processes: start, read what they write, wait, judge, end.

One object per running job moves through its commands; the event loop drives it. Why a command is run, and
what its outcome means for a task, do not belong here. How a process is started: `spawn.py`; how a whole tree
is ended: `tree.py`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from resource import struct_rusage

from buildkit.core.execution import Cost
from buildkit.engine.capture import CAPTURE_BYTES, Capture
from buildkit.engine.drain import READ_BYTES, Drains
from buildkit.engine.job import (
    Command,
    CommandJob,
    Done,
    Job,
    JobOutcome,
    JobStatus,
    OutputSink,
    Stream,
)
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import EventLoop, Timer
from buildkit.engine.procfs import own_peak_rss_bytes, peak_rss_bytes, process_clock, rss_of
from buildkit.engine.spawn import Inherited, Launch, StartError, spawn
from buildkit.engine.tree import GRACE_S, Root, TreeEnder, marks_prefix, signal_name

SAVE_OUT_BYTES = 64 * 1024 * 1024  # `save_out` is data for other tasks: whole, or an error
_LINGER_S = 0.5  # how long a background process may keep the output of a finished command open
_DRAIN_BYTES = 1024 * 1024  # read at the exit of a command; more than a pipe holds
_KEPT_BYTES = 8 * 1024 * 1024  # of captured text per job; later commands keep only the beginning
_LISTEN_S = 0.005  # what a shorter command writes is read when it has ended
_FIRST_SAMPLE_S = 0.02
_SAMPLE_S = 0.25
_STREAMS: tuple[Stream, Stream] = (1, 2)
_BLOCK_BYTES = 512  # unit of ru_inblock and ru_oublock


def judge(text: str, status: int) -> tuple[JobStatus, int | None, int | None, str]:
    """Return (status, exit code, signal, message) for a command that ended with this wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return JobStatus.OK, 0, None, ""
    if code < 0:
        return JobStatus.SIGNALLED, None, -code, f"Command failed: '{text}' was ended by {signal_name(-code)}"
    if code > 125:
        hint = f" (128 + {signal_name(code - 128)})" if code - 128 in set(signal.Signals) else ""
        return JobStatus.ERROR, code, None, f"Command error: '{text}' returned {code}{hint}"
    return JobStatus.FAILED, code, None, f"Command failed: '{text}' returned {code}"


class ProcessExecutor:
    """Runs `CommandJob`s; as many at a time as it is given."""

    def __init__(
        self,
        loop: EventLoop,
        *,
        new_log: Callable[[], TaskLog] = TaskLog,
        same_group: bool = False,
        grace_s: float = GRACE_S,
        ender: TreeEnder | None = None,
    ) -> None:
        """`same_group`: jobs stay in our process group and may use our terminal (one at a time, `-n 0`)."""
        self.loop = loop
        self.new_log = new_log
        self.same_group = same_group
        self.grace_s = grace_s
        self.ender = ender or TreeEnder(loop)
        self.inherited = Inherited()
        self.marks = marks_prefix()
        self.own_peak_bytes = 0  # our own peak resident set when it was last looked at
        self.may_inherit_stdin = same_group or not os.isatty(0)  # a background group that reads is stopped
        self._running: dict[int, _Running] = {}
        self.drains = Drains(loop)
        self._groups: set[int] = set()  # groups of ended jobs that still have processes which we adopted
        _fill_standard_descriptors()

    def start(self, job_id: int, job: Job, sink: OutputSink | None, done: Done) -> None:
        """Start the first command of the job."""
        if not isinstance(job, CommandJob):
            raise TypeError(f"the process executor runs commands, not {type(job).__name__}")
        for other in self._running.values():
            other.alone = False
        running = _Running(self, job_id, job, sink, done)
        running.alone = not self._running
        self._running[job_id] = running
        running.begin()

    def cancel(self, job_id: int) -> None:
        """End the job with all that descends from it."""
        running = self._running.get(job_id)
        if running is not None:
            running.end(JobStatus.CANCELLED)

    def hurry(self) -> None:
        """Kill what is being ended."""
        self.ender.hurry()

    def shutdown(self, grace_s: float) -> None:
        """End everything that runs, wait for it, and stop listening to background processes."""
        self.grace_s = grace_s
        for running in list(self._running.values()):
            running.alone = True  # all jobs end now: whoever's orphan it is, it goes
            running.end(JobStatus.CANCELLED)
        self.loop.run_until(lambda: not self._running)
        self.drains.close()
        self.ender.close()

    def forget(self, job_id: int, pid: int) -> None:
        """Take a finished job off the list, and reap what it left behind."""
        del self._running[job_id]
        if self.ender.adopts and pid > 0 and not self.same_group:
            self._groups.add(pid)
            for group in list(self._groups):
                # Only groups that were ours: children of other code in this process are not touched.
                try:
                    while os.waitpid(-group, os.WNOHANG)[0]:
                        pass
                except ChildProcessError:
                    self._groups.discard(group)


class _Running:
    """A job on its way through its commands."""

    def __init__(
        self, executor: ProcessExecutor, job_id: int, job: CommandJob, sink: OutputSink | None, done: Done
    ) -> None:
        self.executor = executor
        self.job_id = job_id
        self.job = job
        self.sink = sink
        self.done = done
        self.alone = False
        self.mark = f"{executor.marks}{job_id}"
        self.index = -1
        self.pid = -1
        self.fds: dict[Stream, int] = {}  # open outputs of the present command
        self.captures: dict[Stream, Capture] = {}
        self.kept_bytes = 0
        self.status: int | None = None  # wait status of the present command
        self.exited = False
        self.ending: JobStatus | None = None  # what it will have been, once its tree is gone
        self.tree_gone = False
        self.beginning = True  # within `start`, where `done` must not be called
        self.linger: Timer | None = None
        self.listener: Timer | None = None
        self.listening = False  # whether the loop watches the outputs of the present command
        self.sampler: Timer | None = None
        self.timeout: Timer | None = None
        self.started = process_clock()
        self.outcome = JobOutcome(
            JobStatus.OK,
            log=executor.new_log(),
            cost=Cost(user_ns=0, system_ns=0, read_bytes=0, write_bytes=0),
            worker="process",
            started_ns=time.monotonic_ns(),
        )

    def begin(self) -> None:
        if self.job.timeout_s is not None:
            self.timeout = self.executor.loop.call_later(
                self.job.timeout_s, lambda: self.end(JobStatus.TIMED_OUT)
            )
        self.next_command()
        self.beginning = False

    @property
    def command(self) -> Command:
        return self.job.commands[self.index]

    # -- one command

    def next_command(self) -> None:
        self.index += 1
        if self.index >= len(self.job.commands):
            self.finish()
            return
        self.status, self.exited, self.listening = None, False, False
        self.captures = {}
        try:
            self.launch(self.command)
        except StartError as error:
            self.outcome.exit_code = error.exit_code
            code = f" (exit code {error.exit_code})" if error.exit_code is not None else ""
            self.fail(
                JobStatus.ERROR, f"Command error: '{self.command.text}' could not be started: {error}{code}"
            )

    def launch(self, command: Command) -> None:
        """Start a command with its pipes watched; StartError, with nothing left open."""
        executor, loop = self.executor, self.executor.loop
        launch = Launch(
            argv=command.argv,
            env=executor.inherited.marked(command.env, self.mark),
            cwd=command.cwd,
            stdin_null=not (self.job.stdin == "inherit" and executor.may_inherit_stdin),
            own_group=not executor.same_group,
            our_path=command.env is None,
        )
        given: list[int] = []  # the child's ends
        try:
            if command.capture:
                for stream in _STREAMS:
                    reader, writer = os.pipe()
                    given.append(writer)
                    self.fds[stream] = reader
                    os.set_blocking(reader, False)
                launch.stdout, launch.stderr = given
                self.captures = {
                    1: Capture(self.capture_limit(command)),
                    2: Capture(self.capture_limit(None)),
                }
            elif command.capture is None:
                given.append(os.open(os.devnull, os.O_WRONLY))
                launch.stdout = launch.stderr = given[0]
            self.pid = -1
            self.pid = spawn(launch)
        except (StartError, OSError) as error:
            self.close_fds()
            if isinstance(error, StartError):
                raise
            raise StartError(f"{error.strerror} (see `ulimit -n`)") from error
        finally:
            for fd in given:
                os.close(fd)
        loop.watch_child(self.pid, self.on_exit)
        if self.job.live:
            self.listen()
        else:
            self.listener = loop.call_later(_LISTEN_S, self.listen)

    def listen(self) -> None:
        """Read outputs from now on as they come.

        Not from the start: most commands of a build that has many are over in a few milliseconds, and being
        told of the end of each output and then of the end of the process costs as much as starting it.
        """
        if not self.listening:
            self.listening = True
            for stream, fd in self.fds.items():
                self.executor.loop.watch_reads(fd, partial(self.read, stream))
        if self.sampler is None and not self.exited:
            self.sampler = self.executor.loop.call_later(_FIRST_SAMPLE_S, self.sample)

    def unlisten(self, fd: int) -> None:
        if self.listening:
            self.executor.loop.unwatch(fd)

    def capture_limit(self, command: Command | None) -> int:
        if command is not None and command.save_out:
            return SAVE_OUT_BYTES
        return CAPTURE_BYTES if self.kept_bytes < _KEPT_BYTES else CAPTURE_BYTES // 64

    def read(self, stream: Stream) -> bool:
        """Read once; return whether there may be more."""
        fd = self.fds[stream]
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self.outcome.log.write(stream, data)
            self.captures[stream].write(data)
            if self.sink is not None:
                self.sink.write(self.job_id, stream, data)
            return True
        self.unlisten(fd)
        os.close(fd)
        del self.fds[stream]
        if self.exited and not self.fds:
            self.command_ended()
        return False

    def on_exit(self, status: int | None, usage: struct_rusage | None) -> None:
        """Note that the first process of the command is gone; its output may still be open."""
        if self.outcome.ended_ns:
            return  # given up before, because not even SIGKILL worked
        self.status = status
        if usage is not None:
            self.add_usage(usage)
        for stream in list(self.fds):
            for _ in range(_DRAIN_BYTES // READ_BYTES):
                if not self.read(stream):
                    break
        self.exited = True
        if self.listener is not None:
            self.listener.cancel()
        if self.ending is not None:
            if self.tree_gone:
                self.finish()
        elif self.fds:
            self.listen()
            self.linger = self.executor.loop.call_later(_LINGER_S, self.command_ended)
        else:
            self.command_ended()

    def command_ended(self) -> None:
        """Exit status and output of the command are known: go on, or stop."""
        if self.ending is not None:
            return
        if self.linger is not None:
            self.linger.cancel()
            self.linger = None
        self.release_fds()
        command = self.command
        if not self.take_output(command):
            return
        if self.status is None:
            self.fail(
                JobStatus.ERROR,
                f"Command error: the exit status of '{command.text}' was taken by other code in this process",
            )
            return
        status, exit_code, signum, message = judge(command.text, self.status)
        self.outcome.exit_code = exit_code
        self.outcome.signal = signum
        if status is not JobStatus.OK:
            self.fail(status, message)
        else:
            self.next_command()

    def take_output(self, command: Command) -> bool:
        """Decode what was captured; False when that failed the job."""
        if not self.captures:
            self.outcome.outs.append(None)
            self.outcome.errs.append(None)
            return True
        out, err = self.captures[1], self.captures[2]
        self.kept_bytes += out.kept_bytes + err.kept_bytes
        try:
            texts = [stream.text(command.encoding, command.decode_errors) for stream in (out, err)]
            if self.index == len(self.job.commands) - 1:
                self.outcome.result = "".join(
                    text if not stream.overflowed else stream.identity()
                    for text, stream in zip(texts, (out, err), strict=True)
                )
        except (UnicodeError, LookupError) as error:
            self.captures = {}
            self.outcome.outs.append(None)
            self.outcome.errs.append(None)
            if self.ending is None:
                self.fail(JobStatus.ERROR, f"Command error: the output of '{command.text}': {error}")
            return False
        self.outcome.outs.append(texts[0])
        self.outcome.errs.append(texts[1])
        if command.save_out and self.ending is None:
            if out.overflowed:
                self.fail(
                    JobStatus.ERROR,
                    f"Command error: save_out: '{command.text}' wrote {out.total_bytes:,} bytes; "
                    f"at most {SAVE_OUT_BYTES:,} can be saved as a value",
                )
                return False
            if self.status == 0:
                self.outcome.values[command.save_out] = texts[0]
        return True

    # -- the end of the job

    def end(self, why: JobStatus) -> None:
        """End the job's whole tree; the job is finished when that is gone."""
        if self.ending is not None or self.outcome.ended_ns:
            return
        self.ending = why
        if self.linger is not None:
            self.linger.cancel()
        root = Root(
            pid=self.pid,
            started=self.started,
            mark=self.mark,
            own_group=not self.executor.same_group,
            alone=self.alone,
        )
        self.executor.ender.end(root, self.executor.grace_s, self.on_gone)

    def on_gone(self, left: list[int]) -> None:
        self.tree_gone = True
        if left:
            self.outcome.message = f"; processes that even SIGKILL did not end: {', '.join(map(str, left))}"
        if self.exited or self.pid in left:
            self.finish()

    def fail(self, status: JobStatus, message: str) -> None:
        self.outcome.status = status
        self.outcome.message = message
        self.outcome.failed_action = self.index
        self.finish()

    def finish(self) -> None:
        """Tell the outcome, once."""
        outcome = self.outcome
        if self.ending is not None:
            self.settle_ended(self.ending)
        for timer in (self.timeout, self.listener, self.sampler, self.linger):
            if timer is not None:
                timer.cancel()
        outcome.ended_ns = time.monotonic_ns()
        outcome.cost.wall_ns = outcome.ended_ns - outcome.started_ns
        self.executor.forget(self.job_id, self.pid)
        if self.beginning:
            self.executor.loop.call_soon(lambda: self.done(self.job_id, outcome))
        else:
            self.done(self.job_id, outcome)

    def settle_ended(self, ending: JobStatus) -> None:
        """Write down how a job ended that we ended."""
        outcome = self.outcome
        outcome.status = ending
        outcome.failed_action = self.index
        text = self.command.text
        if ending is JobStatus.TIMED_OUT:
            limit = f"{self.job.timeout_s:g} s"
            outcome.message = f"Command failed: '{text}' was ended after {limit} (timeout){outcome.message}"
        else:
            outcome.message = f"Command cancelled: '{text}'{outcome.message}"
        if self.status is not None:
            _, outcome.exit_code, outcome.signal, _ = judge(text, self.status)
        self.close_fds()
        self.take_output(self.command)

    def close_fds(self) -> None:
        for fd in self.fds.values():
            self.unlisten(fd)
            os.close(fd)
        self.fds.clear()

    def release_fds(self) -> None:
        """Leave outputs that a background process holds open to be drained."""
        for fd in self.fds.values():
            self.unlisten(fd)
            self.executor.drains.add(fd)
        self.fds.clear()

    # -- what it costs

    def sample(self) -> None:
        """Look at the memory of the living processes; from the second look on this is a long job."""
        self.executor.ender.adopt()
        if not self.exited and self.pid > 0:
            peak = peak_rss_bytes(self.pid)
            if peak is not None:
                self.outcome.cost.rss_bytes = max(self.outcome.cost.rss_bytes or 0, peak)
        self.sampler = self.executor.loop.call_later(_SAMPLE_S, self.sample)

    def add_usage(self, usage: struct_rusage) -> None:
        cost = self.outcome.cost
        cost.user_ns = (cost.user_ns or 0) + int(usage.ru_utime * 1e9)
        cost.system_ns = (cost.system_ns or 0) + int(usage.ru_stime * 1e9)
        cost.read_bytes = (cost.read_bytes or 0) + usage.ru_inblock * _BLOCK_BYTES
        cost.write_bytes = (cost.write_bytes or 0) + usage.ru_oublock * _BLOCK_BYTES
        peak = rss_of(usage.ru_maxrss)
        executor = self.executor
        if peak > executor.own_peak_bytes:
            executor.own_peak_bytes = own_peak_rss_bytes()
        if peak > executor.own_peak_bytes:
            # Below that it is our own peak, which the kernel hands on at spawn, and says nothing.
            cost.rss_bytes = max(cost.rss_bytes or 0, peak)


def _fill_standard_descriptors() -> None:
    """Open /dev/null as 0, 1 and 2 where we were started without: a pipe must not get these numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
