"""The inside of a forked worker: take a job, run it, answer; until the parent closes the line.

Runs in the child only, and never returns into the parent's code: no event loop, no atexit handlers, no
database connections are touched. The next job may be in the line before the answer to this one is: it is
begun at once, unless this one has failed.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TextIO, cast

from buildkit.engine.job import JobStatus, RunnerReply
from buildkit.engine.perform import Meter, Run, perform
from buildkit.engine.procfs import JOB_VARIABLE
from buildkit.engine.wire import Flag, Request, answer_of, decode, flags_of, framed, receive, send

if TYPE_CHECKING:
    from buildkit.cache.early import EarlyOutput

# Plain numbers: an operation on members of an enum takes a microsecond.
_LANE, _AFTER_SUCCESS = Flag.LANE.value, Flag.AFTER_SUCCESS.value
_FAILED, _SILENT = Flag.FAILED.value, Flag.SILENT.value
_NOT_BEGUN = framed(b"", Flag.NOT_BEGUN.value)
_ZERO = bytes(4)  # a C int


Keep = Callable[[Sequence[str]], "tuple[EarlyOutput, ...]"]


def serve(
    line: int,
    outputs: Sequence[tuple[int, int]],
    run: Run,
    after_fork: Callable[[], None],
    keep: Keep | None = None,
    before_exit: Callable[[], None] = lambda: None,
) -> NoReturn:
    """Answer requests that come over the socket `line` until it is closed, then end the process.

    `outputs` are, for each lane, where a job's stdout and stderr lead; `keep` stores the files that a job has
    made. `before_exit` is called unless the process ends in another way.
    """
    code = 70  # EX_SOFTWARE: the parent reports it with the job that was running
    try:
        gc.freeze()  # collections must not touch, and thereby copy, the pages shared with the parent
        after_fork()
        streams = _Streams(outputs)
        succeeded = True
        while (data := receive(line)) is not None:
            succeeded, answer = _serve_one(run, keep, data, streams, succeeded)
            send(line, answer)
        before_exit()
        code = 0
    except BrokenPipeError:
        code = 0  # the parent is gone
    finally:
        os._exit(code)


def _serve_one(
    run: Run, keep: Keep | None, data: bytes, streams: _Streams, succeeded: bool
) -> tuple[bool, bytes]:
    """Return whether the job succeeded, and the answer; `succeeded` says it of the one before."""
    flags = flags_of(data)
    if flags & _AFTER_SUCCESS and not succeeded:
        return succeeded, _NOT_BEGUN
    streams.begin(flags // _LANE)
    home = os.getcwd()
    meter = Meter()
    paths: tuple[str, ...] = ()
    try:
        mark, payload, paths = cast(Request, decode(data))
    except Exception as error:
        reply = RunnerReply(JobStatus.ERROR, f"the job cannot be read by its worker: {error!r}")
    else:
        os.environ[JOB_VARIABLE] = mark
        reply = perform(run, payload, streams.out, streams.err)
    cost = meter.cost()
    with suppress(OSError):  # the action may have removed it
        os.chdir(home)  # an action's `chdir` must not move the next job
    kept = keep(paths) if keep is not None and paths and reply.status is JobStatus.OK else ()
    try:
        answer = answer_of(reply, cost, meter.started_ns, kept)
    except Exception as error:
        message = f"Python action returned {_culprit(reply)}, which cannot leave its worker process ({error})"
        reply = RunnerReply(JobStatus.ERROR, message)
        answer = answer_of(reply, cost, meter.started_ns)
    streams.end()
    succeeded = reply.status is JobStatus.OK
    answer_flags = 0 if succeeded else _FAILED
    if streams.are_empty:
        answer_flags |= _SILENT
    return succeeded, framed(answer, answer_flags)


def _culprit(reply: RunnerReply) -> str:
    """Return a name for the part of a reply that cannot be pickled."""
    parts = {f"{name!r}": value for name, value in reply.values.items()}
    parts |= {"its result": reply.result, "its return value": reply.extra}
    for name, value in parts.items():
        try:
            pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception:
            return f"{name} of type {type(value).__name__}"
    return "something"


class _Streams:
    """stdout and stderr of the worker: text on top of the pipes that are descriptors 1 and 2."""

    def __init__(self, outputs: Sequence[tuple[int, int]]) -> None:
        self._outputs = outputs
        self._lane = 0
        self._waiting = _waiting_bytes()
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for the life of the worker
        self.out = _text(1)
        self.err = _text(2)

    def begin(self, lane: int) -> None:
        """Put the streams in place; an earlier job may have replaced or closed them."""
        self._lane = lane
        for number, fd in enumerate(self._outputs[lane], start=1):
            os.dup2(fd, number)
        if self.out.closed:
            self.out = _text(1)
        if self.err.closed:
            self.err = _text(2)
        sys.stdout = self.out
        sys.stderr = self.err

    def end(self) -> None:
        """Send on what is still buffered, in the parent's own streams too."""
        streams = [self.out, self.err, sys.__stdout__, sys.__stderr__]
        if sys.stdout is not self.out or sys.stderr is not self.err:
            streams += [sys.stdout, sys.stderr]
        for stream in streams:
            with suppress(ValueError, OSError, AttributeError):  # closed or replaced by the job
                cast(TextIO, stream).flush()

    @property
    def are_empty(self) -> bool:
        """Whether the parent has read all that was written: it need not look, then (Linux)."""
        if self._waiting is None:
            return False
        out, err = self._outputs[self._lane]
        try:
            return self._waiting(out) == _ZERO == self._waiting(err)
        except OSError:
            return False


def _waiting_bytes() -> Callable[[int], bytes] | None:
    """Return what asks a pipe's writing end how much waits at the other one; None where it does not know."""
    if not sys.platform.startswith("linux"):
        return None
    import fcntl  # only workers need these two
    import termios

    return lambda fd: fcntl.ioctl(fd, termios.FIONREAD, _ZERO)


def _text(fd: int) -> TextIO:
    # Unbuffered, as with `python -u`: what the job prints and what its children write stays in order.
    raw = cast(BinaryIO, io.FileIO(fd, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
