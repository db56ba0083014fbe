"""Restores by processes of their own, beside the run: they are work for the kernel and for hashing.

What belongs here: when that is worth it, and what such a process does. The run itself looks results up and
records what came back, so these processes touch files alone. What one of them could not bring back the run
tries again itself, and says what is wrong.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast

from buildkit.cache.errors import RestoreError
from buildkit.cache.result import ActionResult, OutputFile
from buildkit.core.fingerprint import Fingerprint
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

# Result and declared outputs, and the paths of an earlier state: see `restore.restore`.
Restore = Callable[[ActionResult, Sequence[str], Sequence[str]], "Restored"]
Done = Callable[[int, Sequence[Brought | None]], None]  # number, and for each order what came of it
_Plain = tuple[Any, ...]  # pickled in a third of the time that records take


class RestoreCrew:
    """The processes; the first is forked when there has been work for it."""

    def __init__(self, loop: EventLoop, restorer: Callable[[], Restore], width: int) -> None:
        """There are at most `width` processes, and never more than are of use.

        `restorer` is asked for what they restore with before the first one is forked.
        """
        self._loop = loop
        self._restorer = restorer
        self._width = min(width, _MOST_PROCESSES)
        self._pool: WorkerPool | None = None
        self._processes = 0
        self._under_way: dict[int, tuple[int, Done]] = {}  # how many orders, and who is told
        self._offered_s = 0.0
        self._broken = False  # one of them died: whatever it was, the run fares better alone

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
        return len(self._under_way) >= _MOST_UNDER_WAY * self._width

    def give(self, number: int, orders: Sequence[Order], done: Done) -> None:
        """Have orders brought back; the loop calls `done` once, never from within."""
        self._under_way[number] = len(orders), done
        job = PythonJob([_plain(order) for order in orders])
        pool = self._pool = self._pool or self._new_pool()
        if len(self._under_way) > self._processes and pool.room_ahead():
            pool.start_ahead(number, job, None, self._done, _began)
        else:
            self._processes = max(self._processes, min(len(self._under_way), self._width))
            pool.start(number, job, None, self._done)

    def _new_pool(self) -> WorkerPool:
        from buildkit.engine.workers import WorkerPool  # most runs restore little

        # The lock of the project stays with them: the next run must not begin before all of this one ended.
        return WorkerPool(self._loop, partial(_bring_all_back, self._restorer()), self._width)

    def _done(self, number: int, outcome: JobOutcome) -> None:
        count, done = self._under_way.pop(number)
        if outcome.status is not JobStatus.OK:
            self._broken = True
            done(number, [None] * count)
            return
        answers = cast("list[_Plain | None]", outcome.extra)
        done(number, [None if answer is None else _brought(answer) for answer in answers])

    # --- as an executor

    def cancel(self, number: int) -> None:
        """End a batch, wherever it is; `done` follows."""
        if self._pool is not None:
            self._pool.cancel(number)

    def hurry(self) -> None:
        """Kill what is being ended."""
        if self._pool is not None:
            self._pool.hurry()

    def shutdown(self, grace_s: float) -> None:
        """End all processes."""
        if self._pool is not None:
            self._pool.shutdown(grace_s)


def _began(_number: int, _began_ns: int) -> None:
    """Nobody asks when a batch begins."""


# --- the two sides of the line


def _plain(order: Order) -> _Plain:
    result = order.result
    outputs = [tuple(output) for output in result.outputs]
    return result.task, result.roots, outputs, result.log, order.declared, order.previous


def _brought(answer: _Plain) -> Brought:
    log, size, seen, started_ns, wall_ns = answer
    prints = tuple([None if one is None else Fingerprint(*one) for one in seen])
    return Brought(log, size, prints, started_ns, wall_ns)


def _bring_all_back(restore: Restore, orders: object, _out: TextIO, _err: TextIO) -> list[_Plain | None]:
    return [_bring_back(restore, order) for order in cast("list[_Plain]", orders)]


def _bring_back(restore: Restore, order: _Plain) -> _Plain | None:
    """Bring one result back; None where that cannot be done."""
    started_ns = time.monotonic_ns()
    task, roots, outputs, log, declared, previous = order
    files = tuple([OutputFile(*output) for output in outputs])
    try:
        restored = restore(ActionResult(task, roots, files, log), declared, previous)
    except RestoreError:
        return None
    prints = [entry.fingerprint for entry in restored.entries]
    seen = [None if one is None else tuple(one) for one in prints]
    return restored.log, restored.size, seen, started_ns, time.monotonic_ns() - started_ns
