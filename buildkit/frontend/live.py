"""The live view of a run on a terminal: what runs, for how long, how much is done, when it will be over.

What belongs here: what the lines say, and when they are drawn. The terminal itself is `screen.py`'s, the
numbers are made by `observe/progress.py` and `observe/forecast.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from buildkit.core.execution import Decision
from buildkit.core.humanize import printable
from buildkit.core.plan import Task, TaskKind
from buildkit.engine import events
from buildkit.engine.loop import EventLoop
from buildkit.frontend.screen import Screen, printed_width
from buildkit.observe.forecast import Forecast
from buildkit.observe.observer import Handler
from buildkit.observe.progress import Progress

_FIRST_S = 0.5  # shorter runs need no view, and pay for none
_FRAME_S = 0.125
_MOST_TASKS = 8
_BAR_COLUMNS = 24
_MARGIN = 3  # columns left free at the right: a terminal must never wrap a line of ours
_SUMMARY = (
    (Decision.FAILED, "failed"),
    (Decision.RESTORED, "restored"),
    (Decision.SKIPPED, "skipped"),
)


@dataclass(frozen=True, slots=True)
class Style:
    """How the view may look: with colours or without, with block characters or in ASCII."""

    colours: bool
    unicode: bool

    def dim(self, text: str) -> str:
        """Return text that is there for those who look for it."""
        return f"\x1b[2m{text}\x1b[0m" if self.colours else text

    def red(self, text: str) -> str:
        """Return text for what went wrong."""
        return f"\x1b[31m{text}\x1b[0m" if self.colours else text


@dataclass(frozen=True, slots=True)
class RunningLine:
    """A task of the view. Hidden tasks are shown too: they take time like others."""

    name: str
    elapsed_s: float
    predicted_s: float | None


@dataclass(frozen=True, slots=True)
class View:
    """All that the view says, as numbers."""

    running: Sequence[RunningLine]
    done: int
    total: int
    counts: Mapping[Decision, int]
    elapsed_s: float
    left_s: float | None  # None: unknown


def lines_of(view: View, columns: int, rows: int, style: Style) -> list[str]:
    """Return the lines for a terminal of that size: the tasks that run longest, then the bar."""
    room = max(0, min(_MOST_TASKS, rows - 3))
    oldest = sorted(view.running, key=lambda task: -task.elapsed_s)
    shown = oldest if len(oldest) <= room else oldest[: max(room - 1, 0)]
    width = columns - _MARGIN
    lines = [_task_line(task, width, style) for task in shown]
    if len(shown) < len(oldest) and room:
        lines.append(style.dim(fitted(f"  and {len(oldest) - len(shown)} more", width)))
    return [*lines, _bar_line(view, width, style)]


def _task_line(task: RunningLine, width: int, style: Style) -> str:
    times = clock(task.elapsed_s)
    predicted = "" if task.predicted_s is None else f" of {clock(task.predicted_s)}"
    room = width - 2 - 1 - len(times) - len(predicted)
    if room < 8:
        predicted, room = "", width - 2 - 1 - len(times)
    name = fitted(printable(task.name), max(room, 1), style.unicode)
    late = task.predicted_s is not None and task.elapsed_s > 2 * task.predicted_s + 1
    elapsed = style.red(times) if late else times
    return f"  {name} {elapsed}{style.dim(predicted)}"


def _bar_line(view: View, width: int, style: Style) -> str:
    """Return the bar with as much beside it as there is room for, the most important first."""
    parts = [f"{view.done}/{view.total}"]
    if view.left_s is not None:
        parts.append(f"{clock(math.ceil(view.left_s))} left")
    for decision, word in _SUMMARY:
        if view.counts.get(decision):
            parts.append(f"{view.counts[decision]} {word}")
    if len(view.running) > 0:
        parts.append(f"{len(view.running)} running")
    while len(parts) > 1 and len("  ".join(parts)) > width - 2:
        parts.pop()
    text = "  ".join(style.red(part) if part.endswith(" failed") else part for part in parts)
    room = width - printed_width(text) - 4
    if room < 6:
        return fitted(text, width) if not style.colours else text
    return f"{bar(_share(view), min(room, _BAR_COLUMNS), style)}  {text}"


def _share(view: View) -> float:
    """Return how much of the run is over: by time where that is known, else by tasks."""
    if view.left_s is not None and view.elapsed_s + view.left_s > 0:
        return view.elapsed_s / (view.elapsed_s + view.left_s)
    return view.done / view.total if view.total else 0.0


def bar(share: float, columns: int, style: Style) -> str:
    """Return a bar of that width, filled to `share`."""
    filled = round(min(max(share, 0.0), 1.0) * columns)
    full, empty = ("\u2588", "\u2591") if style.unicode else ("#", ".")
    return full * filled + style.dim(empty * (columns - filled))


def clock(seconds: float) -> str:
    """Return a duration that changes once a second: `7s`, `1m05s`, `2h03m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def fitted(text: str, columns: int, unicode: bool = True) -> str:
    """Return the text, cut at the end where it is wider than that."""
    if printed_width(text) <= columns:
        return text
    mark = "\u2026" if unicode else "~"
    while text and printed_width(text) + 1 > columns:
        text = text[:-1]
    return text + mark


class LiveView:
    """Draws the view of one run, as an observer of it."""

    what = "live view"

    def __init__(
        self,
        screen: Screen,
        progress: Progress,
        forecast: Forecast,
        loop: EventLoop,
        style: Style,
        *,
        writes_directly: Callable[[Task], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`writes_directly` tells the tasks that write past us: they get the terminal for themselves."""
        self._screen = screen
        self._progress = progress
        self._forecast = forecast
        self._loop = loop
        self._style = style
        self._writes_directly = writes_directly
        self._clock = clock
        self._started_s = clock()
        self._over = False
        self._direct: set[str] = set()

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """Return who takes which class of events."""
        return {
            events.RunStarted: self._run_started,
            events.Started: self._started,
            events.Succeeded: self._ended,
            events.Failed: self._ended,
            events.Cancelled: self._ended,
            events.TearingDown: self._over_and_out,  # runs in this process, and may print
            events.RunFinished: self._over_and_out,
        }

    def finish(self, _exit_code: int) -> None:
        """Take the view away."""
        self._over = True
        self._screen.close()

    def _run_started(self, _event: events.RunStarted) -> None:
        self._started_s = self._clock()
        self._loop.call_later(_FIRST_S, self._frame)

    def _started(self, event: events.Started) -> None:
        if event.slot is not None and self._writes_directly(event.task):
            self._direct.add(event.task.name)
            self._screen.hide()

    def _ended(self, event: events.Succeeded | events.Failed | events.Cancelled) -> None:
        if event.task.kind is not TaskKind.GROUP and event.task.name in self._direct:
            self._direct.remove(event.task.name)
            self._screen.unhide()

    def _over_and_out(self, _event: events.TearingDown | events.RunFinished) -> None:
        self._over = True
        self._screen.show(())

    def _frame(self) -> None:
        if self._over:
            return
        columns, rows = self._screen.size()
        self._screen.show(lines_of(self._view(), columns, rows, self._style))
        self._loop.call_later(_FRAME_S, self._frame)

    def _view(self) -> View:
        progress, forecast = self._progress, self._forecast
        now_ns = time.monotonic_ns()
        estimate = forecast.estimate() if progress.running else None
        running = []
        for each in progress.running.values():
            predicted_ns = forecast.predicted_ns(each.task.name)
            running.append(
                RunningLine(
                    each.task.title or each.task.name,
                    (now_ns - each.started_ns) / 1e9,
                    None if predicted_ns is None else predicted_ns / 1e9,
                )
            )
        return View(
            running=running,
            done=progress.done,
            total=forecast.total,
            counts=progress.counts,
            elapsed_s=self._clock() - self._started_s,
            left_s=None if estimate is None else estimate.left_at(now_ns) / 1e9,
        )
