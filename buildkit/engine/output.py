"""What Python code prints in this process: whose it is, and where it goes.

Stand-ins for sys.stdout and sys.stderr know which thread writes. Output of processes that a job starts goes
to our own descriptors, as in stock doit, and passes by here.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from buildkit.engine.capture import Capture
from buildkit.engine.job import OutputSink, Stream
from buildkit.engine.log import TaskLog
from buildkit.engine.loop import EventLoop

_LIVE_BYTES = 4 * 1024 * 1024  # output on its way to the sink; a job that is faster has to wait


class JobOutput:
    """What one in-process job writes: into its log at once, and to the sink in the loop's thread.

    `direct`: the loop's thread itself runs the job. It stands still while the job's other threads write,
    so they may tell the sink themselves.
    """

    def __init__(
        self,
        loop: EventLoop,
        job_id: int,
        sink: OutputSink | None,
        log: TaskLog,
        *,
        direct: bool = False,
    ) -> None:
        self.log = log
        self.out = cast(TextIO, _JobStream(self, 1, sys.__stdout__ or sys.stdout))
        self.err = cast(TextIO, _JobStream(self, 2, sys.__stderr__ or sys.stderr))
        self._loop = loop
        self._direct = direct
        self._job_id = job_id
        self._sink = sink
        self._captures = {1: Capture(), 2: Capture()}
        self._changed = threading.Condition()
        self._pending: list[tuple[Stream, bytes]] = []
        self._pending_bytes = 0
        self._closed = False

    def write(self, stream: Stream, data: bytes) -> None:
        """Append to the log; after `close` discard, because nobody waits for an abandoned job's words."""
        with self._changed:
            if self._closed:
                return
            self.log.write(stream, data)
            self._captures[stream].write(data)
            if self._sink is None:
                return
            if self._direct or threading.get_ident() == self._loop.thread_id:
                self._sink.write(self._job_id, stream, data)
                return
            while self._pending_bytes > _LIVE_BYTES and not self._closed:
                self._changed.wait()
            if not self._pending:
                self._loop.call_soon_threadsafe(self._deliver)
            self._pending.append((stream, data))
            self._pending_bytes += len(data)

    def _deliver(self) -> None:
        """Hand to the sink what waits for it; in the loop's thread."""
        with self._changed:
            pending, self._pending = self._pending, []
            self._pending_bytes = 0
            self._changed.notify_all()
        for stream, data in pending:
            if self._sink is not None:
                self._sink.write(self._job_id, stream, data)

    def close(self) -> None:
        """Hand on the rest, take no more, and let a waiting writer go; in the loop's thread."""
        with self._changed:
            self._closed = True
        self._deliver()

    def text(self, stream: Stream) -> list[str | None]:
        """Return what was written, as the one entry of a list of outputs."""
        return [self._captures[stream].text()]


class _JobStream(io.TextIOBase):
    """The file-like object that a job's Python code prints to."""

    def __init__(self, output: JobOutput, stream: Stream, real: TextIO) -> None:
        self._output = output
        self._stream = stream
        self._real = real

    @property
    def encoding(self) -> str:  # type: ignore[override] # read-only, as in a real text stream
        return "utf-8"

    @property
    def buffer(self) -> io.RawIOBase:
        return _JobBuffer(self._output, self._stream)

    def fileno(self) -> int:
        return self._real.fileno()  # for processes that inherit it: their output is not captured

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._output.write(self._stream, text.encode("utf-8", "backslashreplace"))
        return len(text)


class _JobBuffer(io.RawIOBase):
    """The bytes underneath: `sys.stdout.buffer.write(...)`."""

    def __init__(self, output: JobOutput, stream: Stream) -> None:
        self._output = output
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._output.write(self._stream, bytes(data))
        return len(data)


class _ByThread:
    """Stands in for sys.stdout or sys.stderr: a thread's job gets its own stream, all others the real one."""

    def __init__(self, real: TextIO, current: threading.local, name: str) -> None:
        self._real = real
        self._current = current
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(self._current, self._name, self._real), attribute)


class ThreadStreams:
    """Puts the stand-ins into `sys`, and takes them out again."""

    def __init__(self) -> None:
        self._current = threading.local()
        self._before: tuple[TextIO, TextIO] | None = None

    def install(self) -> None:
        """Stand in for sys.stdout and sys.stderr, once."""
        if self._before is None:
            self._before = (sys.stdout, sys.stderr)
            sys.stdout = cast(TextIO, _ByThread(sys.stdout, self._current, "out"))
            sys.stderr = cast(TextIO, _ByThread(sys.stderr, self._current, "err"))

    def remove(self) -> None:
        """Put the real ones back."""
        if self._before is not None:
            sys.stdout, sys.stderr = self._before
            self._before = None

    @contextmanager
    def belonging_to(self, output: JobOutput) -> Iterator[None]:
        """Within this, what the present thread prints is the job's."""
        self._current.out, self._current.err = output.out, output.err
        try:
            yield
        finally:
            del self._current.out, self._current.err
