"""A loop, an executor and what came of its jobs: for the tests of the executors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from buildkit.engine.job import Command, CommandJob, Executor, Job, JobOutcome
from buildkit.engine.loop import EventLoop

PATIENCE_S = 30.0  # a limit for tests that hang, never a time that a test waits


def shell(text: str, **options: object) -> Command:
    return Command(text, ("/bin/sh", "-c", text), **options)  # type: ignore[arg-type]


def commands(*texts: str, timeout_s: float | None = None, **options: object) -> CommandJob:
    return CommandJob(tuple(shell(text, **options) for text in texts), timeout_s=timeout_s)


class Rig:
    """Starts jobs and collects outcomes and live output."""

    def __init__(self, make: Callable[[EventLoop], Executor]) -> None:
        self.loop = EventLoop()
        self.executor = make(self.loop)
        self.outcomes: dict[int, JobOutcome] = {}
        self.order: list[int] = []
        self.live: dict[int, bytes] = {}
        self._next = 0

    def write(self, job_id: int, stream: int, data: bytes) -> None:
        self.live[job_id] = self.live.get(job_id, b"") + data

    def _done(self, job_id: int, outcome: JobOutcome) -> None:
        assert job_id not in self.outcomes, "told twice"
        self.outcomes[job_id] = outcome
        self.order.append(job_id)

    def start(self, job: Job) -> int:
        self._next += 1
        self.executor.start(self._next, job, self, self._done)
        return self._next

    def wait(self, job_id: int) -> JobOutcome:
        self.until(lambda: job_id in self.outcomes)
        return self.outcomes[job_id]

    def wait_for_output(self, job_id: int, text: bytes) -> None:
        self.until(lambda: text in self.live.get(job_id, b""))

    def until(self, condition: Callable[[], bool]) -> None:
        assert self.loop.run_until(condition, PATIENCE_S), "it never happened"

    def run(self, job: Job) -> JobOutcome:
        return self.wait(self.start(job))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.executor.shutdown(0.0 if kind else 2.0)
        self.loop.close()


@contextmanager
def gate(folder: object, name: str = "gate") -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield a FIFO and a function that lets everybody through who reads it: `read x < FIFO`."""
    path = os.path.join(str(folder), name)
    os.mkfifo(path)
    # Open for both: the open does not wait, and readers block until something is written.
    fd = os.open(path, os.O_RDWR)
    try:
        yield path, lambda: os.write(fd, b"go\n") and None  # type: ignore[func-returns-value]
    finally:
        os.close(fd)


class Lifeline:
    """A FIFO that is at its end when no process holds it any more: `exec 9> FIFO`.

    What processes write to it arrives in `said`.
    """

    def __init__(self, folder: object, loop: EventLoop, name: str = "lifeline") -> None:
        self.path = os.path.join(str(folder), name)
        os.mkfifo(self.path)
        self.said = b""
        self.ended = False
        self._loop = loop
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        loop.watch_reads(self._fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        self.said += data
        if not data:
            self.ended = True
            self._loop.unwatch(self._fd)

    def close(self) -> None:
        if not self.ended:
            self._loop.unwatch(self._fd)
        os.close(self._fd)
