"""Engine events as calls of a doit reporter.

What belongs here: the translation. doit's reporters, built in or the user's own, keep their contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from doit.exceptions import BaseFail, DependencyError, SetupError, TaskError, TaskFailed, UnmetDependency
from doit.task import Stream
from doit.task import Task as DoitTask

from buildkit.core.plan import Task
from buildkit.engine import events
from buildkit.engine.events import Event, Failure, FailureKind
from buildkit.engine.job import JobOutcome
from buildkit.frontend.console import BuildkitReporter
from buildkit.frontend.folding import Folding
from buildkit.frontend.observing import Voice
from buildkit.frontend.runner import Reply
from buildkit.frontend.task_output import TaskOutput

_FAILURES: dict[FailureKind, type[BaseFail]] = {
    FailureKind.FAILED: TaskFailed,
    FailureKind.ERROR: TaskError,
    FailureKind.DEPENDENCY: DependencyError,
    FailureKind.UNMET: UnmetDependency,
}


class ReporterSink:
    """Feeds a doit reporter."""

    def __init__(
        self,
        reporter: Any,
        *,
        tasks: Mapping[str, DoitTask],
        selected: list[str],
        stream: Stream,
        parallel: bool,
        warn: Callable[[str], None],
        voice: Voice | None = None,
        folding: Folding | None = None,
    ) -> None:
        """`voice` takes note of what is printed, `folding` puts markers around the output of tasks."""
        self._reporter = reporter
        self._ours = type(reporter) is BuildkitReporter
        self._tasks = tasks
        self._selected = selected
        self._stream = stream
        self._warn = warn
        self._output = TaskOutput(parallel=parallel, voice=voice, folding=folding)
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.RunStarted: self._run_started,
            events.Judged: lambda event: reporter.get_status(self._task(event.task)),
            events.Started: self._started,
            events.OutputWritten: self._output_written,
            events.Succeeded: self._succeeded,
            events.Skipped: self._skipped,
            events.Restored: self._restored,
            events.Ignored: lambda event: reporter.skip_ignore(self._task(event.task)),
            events.Failed: self._failed,
            events.Cancelled: lambda _event: None,  # doit's reporters are told nothing either
            events.TearingDown: lambda event: reporter.teardown_task(self._task(event.task)),
            events.TeardownFailed: self._teardown_failed,
            events.Warned: lambda event: self._warn(event.message),
            events.Aborted: lambda event: reporter.runtime_error(event.message),
            events.RunFinished: lambda _event: reporter.complete_run(),
        }

    def handle(self, event: Event) -> None:
        """Translate one event."""
        self._handlers[type(event)](event)

    def _task(self, task: Task) -> DoitTask:
        found = self._tasks[task.name]
        found.overwrite_verbosity(self._stream)
        return found

    def _verbosity(self, task: Task) -> int:
        return int(self._stream.effective_verbosity(task.verbosity))

    def _run_started(self, _event: events.RunStarted) -> None:
        if hasattr(self._reporter, "initialize"):
            self._reporter.initialize(self._tasks, self._selected)

    def _started(self, event: events.Started) -> None:
        self._reporter.execute_task(self._task(event.task))
        flush = getattr(getattr(self._reporter, "outstream", None), "flush", None)
        if flush is not None and self._verbosity(event.task):
            flush()  # what a task writes itself must not come out ahead of its line

    def _output_written(self, event: events.OutputWritten) -> None:
        self._output.write(event.task.name, event.stream, event.data, self._verbosity(event.task))

    def _succeeded(self, event: events.Succeeded) -> None:
        task = self._task(event.task)
        made_here = not self._ours and task._action_instances is None
        if event.outcome is not None:
            self._output.finish(event.task.name, event.outcome.log, self._verbosity(event.task))
            if self._ours:
                _note_success(task, event.outcome)
            else:
                _fill(task, event.outcome)
        self._reporter.add_success(task)
        if made_here and event.outcome is not None and not event.outcome.result:
            task._action_instances = None  # half a kilobyte that says nothing; doit makes them again if asked

    def _skipped(self, event: events.Skipped) -> None:
        self._reporter.skip_uptodate(self._task(event.task))

    def _restored(self, event: events.Restored) -> None:
        task = self._task(event.task)
        restored = getattr(self._reporter, "restored", None)
        (restored or self._reporter.skip_uptodate)(task)
        if event.log is not None:
            self._output.replay(event.task.name, event.log, self._verbosity(event.task))

    def _failed(self, event: events.Failed) -> None:
        if event.outcome is not None:
            self._output.finish(event.task.name, event.outcome.log, self._verbosity(event.task))
        tell_failure(self._reporter, self._task(event.task), event)

    def _teardown_failed(self, event: events.TeardownFailed) -> None:
        self._reporter.cleanup_error(SetupError(event.message))


def tell_failure(reporter: Any, task: Any, event: events.Failed) -> None:
    """Tell a reporter of a failure; `task` is a doit task, or what looks like one to reporters."""
    fail: BaseFail | None = None
    if event.outcome is not None:
        _fill(task, event.outcome)
        if isinstance(event.outcome.extra, Reply):
            fail = event.outcome.extra.fail
    if fail is None:
        fail = _fail_of(event.failure)
    fail.log_path = event.execution.log_path
    reporter.add_failure(task, fail)


def _fail_of(failure: Failure) -> BaseFail:
    return _FAILURES[failure.kind](failure.message)


def _note_success(task: DoitTask, outcome: JobOutcome) -> None:
    """Put the end into a task, as far as our own reporter asks for it."""
    if outcome.values:
        task.values = dict(outcome.values)
    if outcome.result is not None:
        task.result = outcome.result
    task.executed = True


def _fill(task: Any, outcome: JobOutcome) -> None:
    """Put what the job wrote where doit's reporters look for it."""
    task.values = dict(outcome.values)
    task.result = outcome.result
    task.executed = True
    try:
        actions = task.actions
    except Exception:
        return  # the failure says why they cannot be made
    outs = outcome.outs or ([None] * len(actions))
    errs = outcome.errs or ([None] * len(actions))
    for action, out, err in zip(actions, outs, errs, strict=False):
        action.out, action.err = out, err
