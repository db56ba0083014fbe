"""Restores by processes of their own, beside the run: they are work for the kernel and for hashing.

What belongs here: when that is worth it, and what such a process does. The run itself looks results up and
records what came back, so these processes touch files alone. What one of them could not bring back the run
tries again itself, and says what is wrong.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TextIO, cast

from buildkit.cache.errors import RestoreError
from buildkit.cache.result import ActionResult, OutputFile
from buildkit.core.fingerprint import Fingerprint
from buildkit.core.record import Record
from buildkit.engine.job import JobOutcome, JobStatus, PythonJob
from buildkit.engine.loop import EventLoop
from buildkit.engine.parts import Brought, Order

if TYPE_CHECKING:
    from buildkit.cache.restore import Restored
    from buildkit.engine.workers import WorkerPool

# What restores take, about: it decides when there are enough of them for a process, nothing else.
_EACH_S = 60e-6
_BYTES_PER_S = 1e9
_FORK_S = 0.02  # with all that the run goes on to copy
_FEW = 4  # results that are not worth a message, unless they are large
_LARGE_BYTES = 4 << 20
_BATCH = 32  # results in a message: so that it can wait behind another one, see `WorkerPool`
_BATCH_BYTES = 32 << 20
_MOST_PROCESSES = 4  # the run itself can keep no more of them busy, nor can a disk
_MOST_UNDER_WAY = 4  # batches, for each process

Done = Callable[[int, Sequence[Brought | None]], None]  # number, and for each order what came of it
_Plain = tuple[Any, ...]  # pickled in a third of the time that records take


class Restorer(Protocol):
    """Who restores, and is forked for it: `cache.restore.Restorer`."""

    def restore(
        self, result: ActionResult, declared: Sequence[str], expected_previous: Sequence[str]
    ) -> Restored:
        """Restore a result; RestoreError where that cannot be done."""

    def close(self) -> None:
        """Leave nothing behind in this process."""


class _Batch(Record):
    """Orders that are brought back together."""

    number: int
    orders: list[_Plain]
    done: Done


class RestoreCrew:
    """The processes; the first is forked when there has been work for it."""

    def __init__(self, loop: EventLoop, restorer: Callable[[], Restorer], width: int, grace_s: float) -> None:
        """There are at most `width` processes, and never more than are of use.

        `restorer` is asked for what they restore with before the first one is forked. A result that is coming
        back when it is to be cancelled has `grace_s` to do so.
        """
        self._loop = loop
        self._restorer = restorer
        self._width = min(width, _MOST_PROCESSES)
        self._grace_s = grace_s
        self._pool: WorkerPool | None = None
        self._queue: deque[_Batch] = deque()
        self._given: dict[int, _Batch] = {}  # to the pool
        self._cancelled: set[int] = set()  # of those
        self._offered_s = 0.0
        self._broken = False  # one of them died: whatever it was, the run fares better alone
        self._closed = False

    @staticmethod
    def available() -> bool:
        """Return whether this system can do that."""
        return sys.platform.startswith("linux")

    @staticmethod
    def batches(orders: Sequence[Order]) -> list[slice]:
        """Cut orders into batches that take about as long as each other."""
        cuts = [0]
        size = 0
        for number, order in enumerate(orders):
            if number - cuts[-1] >= _BATCH or (size and size + order.size > _BATCH_BYTES):
                cuts.append(number)
                size = 0
            size += order.size
        return [slice(begin, end) for begin, end in zip(cuts, [*cuts[1:], len(orders)], strict=True)]

    def pays(self, orders: Sequence[Order]) -> bool:
        """Whether these are work for a process, going by what there has been before."""
        size = sum([order.size for order in orders])
        self._offered_s += len(orders) * _EACH_S + size / _BYTES_PER_S
        worth_it = self._offered_s > _FORK_S and (len(orders) >= _FEW or size >= _LARGE_BYTES)
        return worth_it and not self._broken

    @property
    def full(self) -> bool:
        """Whether there is enough under way to keep all processes busy for a while."""
        return len(self._queue) + len(self._given) >= _MOST_UNDER_WAY * self._width

    def give(self, number: int, orders: Sequence[Order], done: Done) -> None:
        """Have orders brought back; `done` is called once, by the loop and from nowhere else."""
        self._queue.append(_Batch(number, [_plain(order) for order in orders], done))
        self._feed()

    def _feed(self) -> None:
        """Give the pool what its workers can begin now, or right after what they do."""
        pool = self._pool = self._pool or self._new_pool()
        while self._queue:
            ahead = not pool.has_idle and pool.room_ahead()
            if not (ahead or pool.has_idle) and pool.processes >= self._width and self._given:
                return  # whoever answers next is fed
            batch = self._queue.popleft()
            self._given[batch.number] = batch
            job = PythonJob(batch.orders)
            if ahead:
                pool.start_ahead(batch.number, job, None, self._done, _began)
            else:
                pool.start(batch.number, job, None, self._done)

    def _new_pool(self) -> WorkerPool:
        from buildkit.engine.workers import WorkerPool  # most runs restore little

        inside = _Inside(self._restorer())
        # The lock of the project stays with them: the next run must not begin before all of this one ended.
        return WorkerPool(
            self._loop,
            inside.run,
            self._width,
            inside.begin,
            grace_s=self._grace_s,
            before_exit=inside.close,
        )

    def _done(self, number: int, outcome: JobOutcome) -> None:
        # Who is told may cancel others, which the pool does not allow from here.
        self._loop.call_soon(partial(self._tell, number, outcome))

    def _tell(self, number: int, outcome: JobOutcome) -> None:
        batch = self._given.pop(number)
        status = outcome.status
        if status is JobStatus.CANCELLED and not (number in self._cancelled or self._closed or self._broken):
            # It was not begun: the one before it took long, and it might be done elsewhere meanwhile.
            self._queue.appendleft(batch)
            self._feed()
            return
        self._cancelled.discard(number)
        if status is JobStatus.OK:
            answers = cast("list[_Plain | None]", outcome.extra)
            batch.done(number, [None if answer is None else _brought(answer) for answer in answers])
            self._feed()
            return
        if status is not JobStatus.CANCELLED:
            self._broken = True
            for other in self._queue:
                self._loop.call_soon(partial(_give_up, other))
            self._queue.clear()
        _give_up(batch)
        if not self._closed:
            self._feed()

    # --- as an executor

    def cancel(self, number: int) -> None:
        """End a batch, wherever it is; `done` follows."""
        for batch in self._queue:
            if batch.number == number:
                self._queue.remove(batch)
                self._loop.call_soon(partial(_give_up, batch))
                return
        if number in self._given and self._pool is not None:
            self._cancelled.add(number)
            self._pool.cancel(number)

    def hurry(self) -> None:
        """Kill what is being ended."""
        if self._pool is not None:
            self._pool.hurry()

    def shutdown(self, grace_s: float) -> None:
        """End all processes."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(grace_s)


def _began(_number: int, _began_ns: int) -> None:
    """Nobody asks when a batch begins."""


def _give_up(batch: _Batch) -> None:
    batch.done(batch.number, [None] * len(batch.orders))


# --- in such a process


class _Inside:
    """Brings results back one by one; who is told to end does so between two of them."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._busy = False
        self._told_to_end = False

    def begin(self) -> None:
        """Right after the fork: a result that comes back does so as a whole."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def run(self, orders: object, _out: TextIO, _err: TextIO) -> list[_Plain | None]:
        """Bring one batch back."""
        answers = []
        for order in cast("list[_Plain]", orders):
            self._busy = True
            try:
                answers.append(_bring_back(self._restorer, order))
            finally:
                self._busy = False
            if self._told_to_end:
                self._leave()
        return answers

    def close(self) -> None:
        """Right before the end."""
        self._restorer.close()

    def _on_signal(self, _signum: int, _frame: object) -> None:
        self._told_to_end = True
        if not self._busy:
            self._leave()

    def _leave(self) -> NoReturn:
        self.close()
        os._exit(0)


# --- the two sides of the line


def _plain(order: Order) -> _Plain:
    result = order.result
    outputs = [tuple(output) for output in result.outputs]
    return result.task, result.roots, outputs, result.log, order.declared, order.previous


def _brought(answer: _Plain) -> Brought:
    log, size, seen, started_ns, wall_ns = answer
    prints = tuple([None if one is None else Fingerprint(*one) for one in seen])
    return Brought(log, size, prints, started_ns, wall_ns)


def _bring_back(restorer: Restorer, order: _Plain) -> _Plain | None:
    """Bring one result back; None where that cannot be done."""
    started_ns = time.monotonic_ns()
    task, roots, outputs, log, declared, previous = order
    files = tuple([OutputFile(*output) for output in outputs])
    try:
        restored = restorer.restore(ActionResult(task, roots, files, log), declared, previous)
    except RestoreError:
        return None
    prints = [entry.fingerprint for entry in restored.entries]
    seen = [None if one is None else tuple(one) for one in prints]
    return restored.log, restored.size, seen, started_ns, time.monotonic_ns() - started_ns
