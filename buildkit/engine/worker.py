"""The inside of a forked worker: take a job, run it, answer; until the parent closes the line.

Runs in the child only, and never returns into the parent's code: no event loop, no atexit handlers, no
database connections are touched. Messages are pickles with a length before them.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, NoReturn, TextIO, cast

from buildkit.core.execution import Cost
from buildkit.engine.job import JobStatus, RunnerReply
from buildkit.engine.perform import Meter, Run, perform
from buildkit.engine.procfs import JOB_VARIABLE

LENGTH = struct.Struct("<Q")

Request = tuple[str, object]  # mark, payload
Answer = tuple[RunnerReply, Cost, int]  # the reply, what it took, when it began on the monotonic clock


def encode(message: object) -> bytes:
    """Return the bytes of a message; raises whatever pickling it raises."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data


def serve(line: int, run: Run, after_fork: Callable[[], None]) -> NoReturn:
    """Answer requests that come over the socket `line` until it is closed, then end the process."""
    code = 70  # EX_SOFTWARE: the parent reports it with the job that was running
    try:
        gc.freeze()  # collections must not touch, and thereby copy, the pages shared with the parent
        after_fork()
        streams = _Streams()
        while True:
            data = _receive(line)
            if data is None:
                break
            streams.begin()
            answer = _answer(run, data, streams)
            streams.end()
            _send(line, answer)
        code = 0
    except BrokenPipeError:
        code = 0  # the parent is gone
    finally:
        os._exit(code)


def _answer(run: Run, data: bytes, streams: _Streams) -> bytes:
    home = os.getcwd()
    meter = Meter()
    try:
        mark, payload = pickle.loads(data)  # noqa: S301 - from our own parent, over a private socket
    except Exception as error:
        reply = RunnerReply(JobStatus.ERROR, f"the job cannot be read by its worker: {error!r}")
    else:
        os.environ[JOB_VARIABLE] = mark
        reply = perform(run, payload, streams.out, streams.err)
    cost = meter.cost()
    with suppress(OSError):  # the action may have removed it
        os.chdir(home)  # an action's `chdir` must not move the next job
    answer: Answer = (reply, cost, meter.started_ns)
    try:
        return encode(answer)
    except Exception as error:
        message = f"Python action returned {_culprit(reply)}, which cannot leave its worker process ({error})"
        return encode((RunnerReply(JobStatus.ERROR, message), cost, meter.started_ns))


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

    def __init__(self) -> None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for the life of the worker
        self.out = _text(1)
        self.err = _text(2)

    def begin(self) -> None:
        """Put the streams in place; an earlier job may have replaced or closed them."""
        if self.out.closed:
            self.out = _text(1)
        if self.err.closed:
            self.err = _text(2)
        sys.stdout = self.out
        sys.stderr = self.err

    def end(self) -> None:
        """Send on what is still buffered, in the parent's own streams too."""
        for stream in (self.out, self.err, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            with suppress(ValueError, OSError, AttributeError):  # closed or replaced by the job
                cast(TextIO, stream).flush()


def _text(fd: int) -> TextIO:
    # Unbuffered, as with `python -u`: what the job prints and what its children write stays in order.
    raw = cast(BinaryIO, io.FileIO(fd, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def _receive(line: int) -> bytes | None:
    head = _read_exactly(line, LENGTH.size)
    return None if head is None else _read_exactly(line, LENGTH.unpack(head)[0])


def _read_exactly(fd: int, size: int) -> bytes | None:
    """Return `size` bytes; None when the other side is gone."""
    parts = []
    while size:
        try:
            part = os.read(fd, min(size, 1024 * 1024))
        except ConnectionResetError:
            return None
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _send(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
