"""The slots of a run: who has which, since when, and how much ran beside.

What belongs here: counting and clocks. What a slot is given to is decided elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from buildkit.core.record import Record

_LOAD_AGE_NS = 100_000_000  # the kernel makes a new average every five seconds


class Stay(Record):
    """A job's time in a slot."""

    slot: int  # from 1; 0: there was none left
    started_ns: int
    area_ns: int  # integral of the number of occupied slots over time, when this one began
    load: float | None  # one-minute load average per core


NOWHERE = Stay(0, 0, 0, None)


class Slots:
    """Slots by number, those with the lowest number first."""

    def __init__(
        self,
        width: int,
        cores: float,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        load: Callable[[], tuple[float, float, float]] = os.getloadavg,
    ) -> None:
        self._clock = clock
        self._cores = cores
        self._getloadavg = load
        self._free = list(range(max(1, width), 0, -1))
        self._taken = 0
        self._area_ns = 0
        self._area_at_ns = clock()
        self._load: float | None = None
        self._load_at_ns = -_LOAD_AGE_NS

    @property
    def free(self) -> int:
        """How many slots are free."""
        return len(self._free)

    def take(self, began_ns: int | None = None) -> Stay:
        """Occupy a slot from now on, or since a moment ago on the monotonic clock."""
        now = self._advance(began_ns)
        self._taken += 1
        if now - self._load_at_ns >= _LOAD_AGE_NS:
            self._load, self._load_at_ns = self._ask_load(), now
        return Stay(self._free.pop() if self._free else 0, now, self._area_ns, self._load)

    def leave(self, stay: Stay, ended_ns: int | None = None) -> float:
        """Give a slot back; return how many others were occupied meanwhile, on average."""
        now = self._advance(ended_ns)
        self._taken -= 1
        if stay.slot:
            self._free.append(stay.slot)
        elapsed_ns = max(1, now - stay.started_ns)
        return max(0.0, (self._area_ns - stay.area_ns) / elapsed_ns - 1.0)

    def _advance(self, at_ns: int | None) -> int:
        now = at_ns or self._clock()
        if now > self._area_at_ns:  # what several processes tell may come out of order
            self._area_ns += (now - self._area_at_ns) * self._taken
            self._area_at_ns = now
        return now

    def _ask_load(self) -> float | None:
        try:
            return self._getloadavg()[0] / self._cores
        except OSError:
            return None
