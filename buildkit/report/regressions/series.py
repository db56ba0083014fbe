"""The words of the regression detector: a run, a verdict, a state.

What belongs here: plain data. How a verdict is reached lives in `detector.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What is believed of a task after a run."""

    LEARNING = "learning"  # too little history to say anything
    STEADY = "steady"  # at its known level
    SUSPECT = "suspect"  # more likely slower than not, but not surely enough for an alarm
    REGRESSED = "regressed"  # an alarm: slower than its known level
    CONFIRMED = "confirmed"  # an alarm that later runs have borne out; the only state fit to fail a build


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a task, as far as its timing is concerned. `None` means: not known."""

    i: int  # position in the history; says the order
    wall: float  # seconds, or bytes in a series of peak memory
    cpu: float | None = None  # CPU seconds
    ok: bool = True
    cache: str = "miss"  # "hit": restored, not executed
    worker: str | None = None  # machine or worker that it ran on
    load: float | None = None  # mean number of other busy tasks per core while it ran
    jobs: int | None = None  # width of the run
    t: float | None = None  # Unix time; carried along, never used for the order

    @property
    def judged(self) -> bool:
        """Return whether the run gets a verdict: it was executed, and it succeeded."""
        return self.ok and self.cache == "miss"

    @property
    def usable(self) -> bool:
        """Return whether the measurement is a number that a duration can be."""
        return math.isfinite(self.wall) and self.wall >= 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What runs 0…i say about run i."""

    i: int
    regressed: bool
    confidence: float  # probability that the task is slower than its known level
    effect: float  # level since `since` / known level; 1.0 where nothing is suspected
    since: int | None  # `i` of the first slower run; None where nothing is suspected
    state: State
    delay: int = 0  # judged runs from `since` up to and with this one
