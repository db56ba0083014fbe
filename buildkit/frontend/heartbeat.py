"""A sign of life where nobody draws a live view: after half a minute of silence, one line says what runs.

What belongs here: that line. CI services end jobs that say nothing for too long, and people who read a log
want to know what it waits for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from buildkit.core.humanize import duration, printable
from buildkit.engine import events
from buildkit.engine.loop import EventLoop
from buildkit.observe.forecast import Forecast
from buildkit.observe.observer import Handler
from buildkit.observe.progress import Progress, RunningTask

SILENCE_S = 30.0
_MOST_TASKS = 4


class Heartbeat:
    """Writes the line to standard error, as an observer of the run."""

    what = "heartbeat"

    def __init__(
        self,
        progress: Progress,
        forecast: Forecast,
        loop: EventLoop,
        *,
        spoke_s: Callable[[], float],
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], object] | None = None,
    ) -> None:
        """`spoke_s` returns when something was printed last, on the scale of `clock`."""
        self._progress = progress
        self._forecast = forecast
        self._loop = loop
        self._spoke_s = spoke_s
        self._silence_s = silence_s
        self._clock = clock
        self._write = write or sys.stderr.write
        self._beat_s = clock()
        self._over = False

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """Return who takes which class of events."""
        return {events.RunStarted: lambda _event: self._wait(self._silence_s), events.RunFinished: self._end}

    def finish(self, _exit_code: int) -> None:
        """Say nothing more."""
        self._over = True

    def _end(self, _event: events.RunFinished) -> None:
        self._over = True

    def _wait(self, delay_s: float) -> None:
        self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        if self._over:
            return
        now = self._clock()
        silent_s = now - max(self._spoke_s(), self._beat_s)
        if silent_s >= self._silence_s and self._progress.running:
            self._beat_s = now
            self._write(heartbeat_line(self._progress, self._forecast, time.monotonic_ns()) + "\n")
            silent_s = 0.0
        self._wait(max(self._silence_s - silent_s, 1.0))


def heartbeat_line(progress: Progress, forecast: Forecast, now_ns: int) -> str:
    """Return `buildkit: 12 of 40 done, about 1 min 05 s left; running: link (45.2 s of about 1 min), …`."""
    tasks = list(progress.running.values())
    named = ", ".join(_running(task, forecast, now_ns) for task in tasks[:_MOST_TASKS])
    more = f" and {len(tasks) - _MOST_TASKS} more" if len(tasks) > _MOST_TASKS else ""
    estimate = forecast.estimate()
    left = "" if estimate is None else f", about {duration(estimate.left_at(now_ns))} left"
    return f"buildkit: {progress.done} of {forecast.total} done{left}; running: {named}{more}"


def _running(task: RunningTask, forecast: Forecast, now_ns: int) -> str:
    elapsed = duration(now_ns - task.started_ns)
    predicted_ns = forecast.predicted_ns(task.task.name)
    expected = "" if predicted_ns is None else f" of about {duration(predicted_ns)}"
    return f"{printable(task.task.name)} ({elapsed}{expected})"
