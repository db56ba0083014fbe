"""Who observes a run, beside doit's reporter: chosen from options, settings, environment and terminal.

What belongs here: the choice, and the order in which observers are told. What each does is its own module's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from buildkit.core.plan import Task, TaskKind
from buildkit.core.record import Record
from buildkit.engine.loop import EventLoop
from buildkit.engine.scheduler import Scheduler
from buildkit.frontend.ci import ci_service
from buildkit.observe.context import TRACEPARENT, RunContext
from buildkit.observe.files import AppendedFile, ReplacedFile
from buildkit.observe.forecast import Forecast
from buildkit.observe.observer import Observer
from buildkit.observe.options import OBSERVING_VARIABLES, ObserveOptions
from buildkit.observe.progress import Progress
from buildkit.observe.status import StatusFile

if TYPE_CHECKING:
    from buildkit.frontend.folding import Folding
    from buildkit.frontend.screen import Screen
    from buildkit.observe.executions import FinishedRun


class ConsoleMode(Enum):
    """What the console shows beside the reporter's lines."""

    NOTHING = 1  # another reporter than ours: what is printed is its contract
    LINES = 2  # no terminal: a heartbeat when nothing was said for long
    TERMINAL = 3  # a terminal that tasks may use themselves: nothing is drawn on it
    LIVE = 4  # a terminal that is ours: the live view


def console_mode(
    environ: Mapping[str, str], *, ours: bool, terminal: bool, inline: bool, live: bool
) -> ConsoleMode:
    """Return what to show. `terminal`: standard error is one; `inline`: tasks run in sequence, at its front.

    With `-n 0` a task may ask questions, start an editor or a debugger: drawing would be in its way.
    """
    if not ours:
        return ConsoleMode.NOTHING
    if not terminal or ci_service(environ) is not None:
        return ConsoleMode.LINES
    if inline or not live or environ.get("TERM", "dumb") == "dumb":
        return ConsoleMode.TERMINAL
    return ConsoleMode.LIVE


def folding_of(environ: Mapping[str, str]) -> Folding | None:
    """Return how this CI service folds output, None where none does."""
    service = ci_service(environ)
    if service not in ("github", "gitlab"):
        return None
    from buildkit.frontend.folding import GitHubFolding, GitLabFolding  # only there

    return GitHubFolding() if service == "github" else GitLabFolding()


class RunParts(Record):
    """The parts of a run that observers look at."""

    context: RunContext
    scheduler: Scheduler
    loop: EventLoop
    width: int
    pools: Mapping[str, int]
    nested: bool  # this run is part of a task of another run of the same project


class Voice:
    """When something was printed last, on the monotonic clock."""

    def __init__(self) -> None:
        self.spoke_s = 0.0

    def speaks(self) -> None:
        """Take note that something is printed now."""
        self.spoke_s = time.monotonic()


class Observing:
    """The observers of one run: files are opened, and found writable, before the first task."""

    def __init__(
        self,
        options: ObserveOptions,
        environ: MutableMapping[str, str],
        *,
        mode: ConsoleMode,
        threads: bool,
    ) -> None:
        """`threads`: Python actions run in threads. UsageError where what is asked for cannot be done.

        Tasks inherit `environ`: where the run is traced, it tells them of the trace.
        """
        self.voice = Voice()
        self.mode = mode
        self.folding = None if mode is ConsoleMode.NOTHING else folding_of(environ)
        self._environ = environ
        self._threads = threads
        self._events = None if options.events is None else AppendedFile(options.events, options.events_from)
        self._trace = None if options.trace is None else ReplacedFile(options.trace, "--trace")
        self._junit = None if options.junit is None else ReplacedFile(options.junit, "--junit")
        self._prometheus = (
            None if options.prometheus is None else ReplacedFile(options.prometheus, "--prometheus")
        )
        self._otel = _wants_spans(options, environ)
        # A doit within a task, or a test run that makes spans of its own, belongs below this run.
        self._traced = self._otel or self._events is not None
        self._outer_trace = environ.get(TRACEPARENT)
        self.screen: Screen | None = None
        if mode is ConsoleMode.LIVE:
            from buildkit.frontend.screen import Screen, terminal_reflows  # only where there is a terminal

            self.screen = Screen(2, reflows=terminal_reflows(environ))
            self.screen.install()

    @property
    def wants_every_run(self) -> bool:
        """Whether somebody has to be told of each run, also of one that has nothing to do."""
        files = (self._events, self._trace, self._junit, self._prometheus)
        return self._otel or any(file is not None for file in files) or ci_service(self._environ) == "github"

    @property
    def open_files(self) -> list[str]:
        """Return what is written while tasks run."""
        return [] if self._events is None else [self._events.path]

    def close(self) -> None:
        """Give the terminal and the environment back, however the run ended."""
        if self.screen is not None:
            self.screen.close()
        if self._outer_trace is not None:
            self._environ[TRACEPARENT] = self._outer_trace
        elif self._traced:
            self._environ.pop(TRACEPARENT, None)

    def observers(self, parts: RunParts) -> list[Observer]:
        """Return who is told of this run, in order."""
        context, loop = parts.context, parts.loop
        progress = Progress()
        forecast = Forecast(
            parts.scheduler, progress, width=parts.width, pools=parts.pools, predicted=context.predicted
        )
        if self._traced:
            self._environ[TRACEPARENT] = context.trace.traceparent()
        chosen: list[Observer] = [progress]
        if not parts.nested:  # the status is that of the run around this one
            chosen.append(StatusFile(context, progress, forecast, loop))
        if self._events is not None:
            from buildkit.observe.jsonl import EventLines  # as all below: only where it is asked for

            chosen.append(EventLines(self._events, context))
        if self._trace is not None:
            from buildkit.observe.chrome_trace import ChromeTrace

            chosen.append(ChromeTrace(self._trace, context, loop))
        chosen += self._at_the_end(context)
        chosen += self._console(parts, progress, forecast)
        return chosen

    def _at_the_end(self, context: RunContext) -> list[Observer]:
        """Return the observers that write when all is over, and the list that they write from."""
        wanted: list[tuple[str, Callable[[FinishedRun], None]]] = []
        if self._junit is not None:
            from buildkit.observe.junit import write_junit

            wanted.append((f"JUnit report '{self._junit.path}'", partial(write_junit, self._junit)))
        if self._prometheus is not None:
            from buildkit.observe.prometheus import write_metrics

            name = f"Prometheus file '{self._prometheus.path}'"
            wanted.append((name, partial(write_metrics, self._prometheus)))
        if self.folding is not None and ci_service(self._environ) == "github":
            from buildkit.frontend.github import write_for_github

            wanted.append(("GitHub job summary", partial(write_for_github, self._environ, sys.stdout.write)))
        if self._otel:
            from buildkit.observe.otel import send_spans

            wanted.append(("OpenTelemetry trace", partial(send_spans, self._environ)))
        if not wanted:
            return []
        from buildkit.observe.executions import Executions, WrittenAtTheEnd  # as above

        executions = Executions()
        writers = [WrittenAtTheEnd(what, write, context, executions) for what, write in wanted]
        return [executions, *writers]

    def _console(self, parts: RunParts, progress: Progress, forecast: Forecast) -> list[Observer]:
        if self.mode is ConsoleMode.LINES:
            from buildkit.frontend.heartbeat import Heartbeat

            return [
                Heartbeat(
                    progress,
                    forecast,
                    parts.loop,
                    spoke_s=lambda: max(self.voice.spoke_s, progress.last_event_ns / 1e9),
                )
            ]
        if self.screen is None:
            return []
        from buildkit.frontend.live import LiveView, Style

        style = Style(
            colours=not self._environ.get("NO_COLOR"),
            unicode=(sys.stderr.encoding or "").lower().startswith("utf"),
        )
        return [
            LiveView(
                self.screen, progress, forecast, parts.loop, style, writes_directly=self._writes_directly
            )
        ]

    def _writes_directly(self, task: Task) -> bool:
        """Whether what the task prints does not pass through us."""
        # In threads, what processes that a Python action starts print goes to our own descriptors.
        return task.capture is False or (self._threads and task.kind is TaskKind.HOSTED)


def _wants_spans(options: ObserveOptions, environ: Mapping[str, str]) -> bool:
    """Whether to send spans: the option insists on it, the environment only where it can be done."""
    if options.otel:
        from buildkit.observe.otel import require_sdk

        require_sdk()
        return True
    if not any(environ.get(name) for name in OBSERVING_VARIABLES):
        return False
    from buildkit.observe.otel import sdk_installed, wanted_by_environment

    return wanted_by_environment(environ) and sdk_installed()
