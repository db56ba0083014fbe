"""When a run will be over: the rest of its schedule, played through with the times that history predicts.

What belongs here: the simulation, and the pace that this run has shown so far. Averages of what is done do
not foretell what is left: long tasks, chains and empty slots do. See "When will it be done?" in
docs/explanation/a-run.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from buildkit.core.plan import TaskKind
from buildkit.core.record import Record
from buildkit.engine.scheduler import Node, Scheduler
from buildkit.observe.progress import Progress

_SHARE_OF_TIME = 0.01  # of a run that may be spent on looking ahead
_LEAST_PAUSE_S = 0.5
_MOST_SIMULATED = 20_000  # tasks; with more of them the bounds are as good, and a pause of the loop shorter
_TRUST = 0.02  # the share of all work that must be done before the pace of this run counts half
_MOST_PACE = 3.0
_OVERRUN = 0.1  # a task that takes longer than predicted: this share of its time is expected to come still
_KNOWN_SHARE = 0.5  # of the work left; with less of it predicted, nothing is foretold


class Estimate(Record):
    """When a run is expected to be over."""

    at_ns: int  # when it was made, on the monotonic clock
    left_ns: int  # from then on

    def left_at(self, now_ns: int) -> int:
        """Return what is left of it at a later moment, never less than nothing."""
        return max(0, self.left_ns - (now_ns - self.at_ns))


class Forecast:
    """Looks ahead for a run that goes on, and not more often than that is worth."""

    def __init__(
        self,
        scheduler: Scheduler,
        progress: Progress,
        *,
        width: int,
        pools: Mapping[str, int],
        predicted: Callable[[], Mapping[str, int]],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`predicted` returns wall times in ns by task; it is asked once, at the first look ahead."""
        self._scheduler = scheduler
        self._progress = progress
        self._width = max(1, width)
        self._pools = pools
        self._predicted = predicted
        self._clock_ns = clock_ns
        self._known: Mapping[str, int] | None = None
        self._estimate: Estimate | None = None
        self._next_look_ns = 0
        self._counted = (0, 0)  # nodes that there were, and how many of them are tasks

    def predicted_ns(self, task: str) -> int | None:
        """Return the wall time that history predicts for a task, None where it knows none."""
        if self._known is None:
            self._known = self._predicted()
        return self._known.get(task)

    @property
    def total(self) -> int:
        """Return how many tasks the run has, as far as it is known."""
        nodes = self._scheduler.nodes
        if self._counted[0] != len(nodes):
            tasks = sum(1 for node in nodes.values() if node.task.kind is not TaskKind.GROUP)
            self._counted = (len(nodes), tasks)
        return max(self._counted[1], self._progress.done + len(self._progress.running))

    def estimate(self) -> Estimate | None:
        """Return when the run is expected to be over; None where too little is known.

        Looks ahead anew only after a pause, so that it takes a hundredth of the time at most.
        """
        now = self._clock_ns()
        if now >= self._next_look_ns:
            left_ns = self._look_ahead(now)
            self._estimate = None if left_ns is None else Estimate(now, left_ns)
            spent_ns = self._clock_ns() - now
            self._next_look_ns = now + max(int(spent_ns / _SHARE_OF_TIME), int(_LEAST_PAUSE_S * 1e9))
        return self._estimate

    def _look_ahead(self, now: int) -> int | None:
        if self._known is None:
            self._known = self._predicted()
        from buildkit.observe.simulation import bounds_ns, simulate_ns  # short runs are not foretold

        left = [node for node in self._scheduler.nodes.values() if node.decision is None]
        wall_ns = self._wall_of(left)
        if wall_ns is None:
            return None
        running = {}
        for name, task in self._progress.running.items():
            expected, elapsed = wall_ns(name), now - task.started_ns
            running[name] = max(expected - elapsed, int(elapsed * _OVERRUN))
        lost_ns = self._lost_ns()

        def takes_ns(name: str) -> int:
            return wall_ns(name) + lost_ns

        if len(left) > _MOST_SIMULATED:
            return bounds_ns(left, running, takes_ns, self._width)
        return simulate_ns(left, running, takes_ns, self._width, self._pools)

    def _wall_of(self, left: list[Node]) -> Callable[[str], int] | None:
        """Return how long each task will take in this run, or None where too little is known of it."""
        known = self._known or {}
        finished = self._progress.finished
        names = [node.task.name for node in left if node.task.kind is not TaskKind.GROUP]
        expected = [known[name] for name in names if name in known]
        strangers = len(names) - len(expected)
        seen = [known[each.task] for each in finished if each.task in known]
        # Nobody has seen the strangers: they are taken for what else this run has done, or for the others.
        if strangers and finished:
            guess = sum(each.wall_ns for each in finished) // len(finished)
        else:
            guess = sum(expected) // len(expected) if expected else 0
        known_share = sum(expected) / (sum(expected) + strangers * guess or 1)
        # Without history the run foretells itself, when a part of it is done.
        if strangers and known_share < _KNOWN_SHARE and len(finished) * 4 < strangers:
            return None
        pace = _pace(
            sum(min(each.wall_ns, _MOST_PACE * known[each.task]) for each in finished if each.task in known),
            sum(seen),
            sum(expected) + sum(seen),
        )
        return lambda name: int(known[name] * pace) if name in known else guess

    def _lost_ns(self) -> int:
        """Return how long a slot stays empty between two tasks."""
        finished = self._progress.finished
        return sum(each.lost_ns for each in finished) // len(finished) if finished else 0


def _pace(took_ns: float, predicted_ns: int, all_ns: int) -> float:
    """Return how much slower this run is than predicted, doubting it as long as little is done."""
    doubt_ns = _TRUST * all_ns
    if not predicted_ns + doubt_ns:
        return 1.0
    return min((took_ns + doubt_ns) / (predicted_ns + doubt_ns), _MOST_PACE)
