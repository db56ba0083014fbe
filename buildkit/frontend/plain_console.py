"""The lines of the console reporter for a run from the stored plan, where there are no doit tasks.

What belongs here: what `BuildkitReporter` prints of tasks that succeed. How a failure is told is its own
affair: it is called once there is one, because it brings doit along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, TextIO

from buildkit.core.plan import Task
from buildkit.engine import events
from buildkit.engine.events import Event
from buildkit.frontend.task_output import TaskOutput

if TYPE_CHECKING:
    from buildkit.frontend.console import BuildkitReporter
    from buildkit.frontend.folding import Folding


class PlainConsole:
    """An event sink that prints what the long way would print."""

    def __init__(
        self,
        out: TextIO,
        output: TaskOutput,
        *,
        names: Sequence[str],
        skip_lines: Callable[[Iterable[str]], str],
        running: Set[str],
        in_order: bool,
        continue_: bool,
        verbosity: Callable[[Task], int],
        failure_verbosity: int,
        folding: Folding | None,
        warn: Callable[[str], None],
    ) -> None:
        """`names` are those of all tasks, in order; `skip_lines` returns what is said of those up to date.

        `running` are the tasks that the run looks at, which may become more; with `in_order` the lines of
        others come between theirs, as they do in a sequential run, and else first.
        """
        self._out = out
        self._output = output
        self._running = running
        self._ended: set[str] = set()
        self._names = names
        self._skip_lines = skip_lines
        self._next = 0
        self._in_order = in_order
        self._continue = continue_
        self._verbosity = verbosity
        self._failure_verbosity = failure_verbosity
        self._folding = folding
        self._warn = warn
        self._reporter: BuildkitReporter | None = None
        self._failed = False
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            events.RunStarted: self._run_started,
            events.Started: self._started,
            events.OutputWritten: self._output_written,
            events.Succeeded: self._succeeded,
            events.Skipped: self._skipped,
            events.Restored: self._restored,
            events.Failed: self._task_failed,
            events.Warned: lambda event: self._warn(event.message),
            events.Aborted: lambda event: self._doits().runtime_error(event.message),
            events.RunFinished: self._run_finished,
        }

    def handle(self, event: Event) -> None:
        """Print what there is to say about an event."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _run_started(self, _event: events.RunStarted) -> None:
        if not self._in_order:
            self._skip_to(None)

    def _skip_to(self, task: str | None) -> None:
        """Print the lines of tasks that the run does not look at, up to that of `task`."""
        begin, self._next = self._next, len(self._names)
        if task is not None:
            with suppress(ValueError):
                self._next = self._names.index(task, begin)
        passed = self._names[begin : self._next]
        self._out.write(self._skip_lines(filterfalse(self._running.__contains__, passed)))

    def not_come_to(self) -> list[str]:
        """Return the tasks whose lines have not been printed, of those that the run does not look at."""
        return [name for name in self._names[self._next :] if name not in self._running]

    def _say(self, task: Task, line: str) -> None:
        if self._in_order and task.name in self._running:
            self._skip_to(task.name)
        if not task.hidden:
            self._out.write(line.format(task.name) + "\n")

    def _started(self, event: events.Started) -> None:
        if event.task.actions:
            self._say(event.task, ".  {}")
        if self._verbosity(event.task):
            self._out.flush()  # what a task writes itself must not come out ahead of its line

    def _output_written(self, event: events.OutputWritten) -> None:
        self._output.write(event.task.name, event.stream, event.data, self._verbosity(event.task))

    def _skipped(self, event: events.Skipped) -> None:
        self._ended.add(event.task.name)
        self._say(event.task, "-- {}")

    def _succeeded(self, event: events.Succeeded) -> None:
        self._ended.add(event.task.name)
        if event.outcome is not None:
            self._output.finish(event.task.name, event.outcome.log, self._verbosity(event.task))

    def _restored(self, event: events.Restored) -> None:
        self._ended.add(event.task.name)
        self._say(event.task, "== {} (restored)")
        if event.log is not None:
            self._output.replay(event.task.name, event.log, self._verbosity(event.task))

    def _task_failed(self, event: events.Failed) -> None:
        from buildkit.frontend.reporting import tell_failure

        if event.outcome is not None:
            self._output.finish(event.task.name, event.outcome.log, self._verbosity(event.task))
        self._failed = True
        self._ended.add(event.task.name)
        tell_failure(self._doits(), _Shown(event.task, self._verbosity(event.task)), event)

    def _run_finished(self, _event: events.RunFinished) -> None:
        if self._ended >= self._running and (self._continue or not self._failed):
            self._skip_to(None)
        if self._reporter is not None:
            self._reporter.complete_run()
        self._out.flush()

    def _doits(self) -> BuildkitReporter:
        """Return the reporter that the long way has from the beginning."""
        if self._reporter is None:
            from buildkit.frontend.console import BuildkitReporter

            self._reporter = BuildkitReporter(self._out, {"failure_verbosity": self._failure_verbosity})
            self._reporter.folding = self._folding
        return self._reporter


class _Action:
    """What a reporter wants to know of an action."""

    out: str | None = None
    err: str | None = None


class _Shown:
    """What a reporter wants to know of a task that has failed."""

    def __init__(self, task: Task, verbosity: int) -> None:
        self.name = task.name
        self.verbosity = verbosity
        self.actions = [_Action() for _ in task.actions]
        self.executed = False
        self.values: Mapping[str, object] = {}
        self.result: object = None

    def title(self) -> str:
        """Return the title; tasks with one of their own take the long way."""
        return self.name
