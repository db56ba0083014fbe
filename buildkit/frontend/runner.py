"""Runs the actions of a doit task, in a worker, a thread or in the main process.

What belongs here: what happens between the engine's executor and doit's `execute` methods. This code
runs on the other side of a fork: it must not touch the engine, the state or the console.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from doit.exceptions import BaseFail, InvalidTask, TaskFailed
from doit.task import Stream
from doit.task import Task as DoitTask

from buildkit.core.record import Record
from buildkit.engine.job import JobStatus, RunnerReply


class Payload(Record):
    """What a worker needs beyond the doit task that it already holds.

    One is sent for each task: a tuple is pickled in half the time of a dataclass.
    """

    task: str
    options: Mapping[str, Any]
    pos_arg_val: Sequence[str] | None
    changed: Sequence[str]
    file_dep: Sequence[str]
    verbosity: int


@dataclass(frozen=True, slots=True)
class TeardownPayload:
    """Whose teardown actions are to run in the process that has executed the task."""

    task: str
    stream: Stream


@dataclass(slots=True)
class Reply:
    """What the frontend wants back of a task that failed, beside what the engine needs."""

    fail: BaseFail


class _Wrote(Record):
    """What each action wrote."""

    outs: list[str | None]
    errs: list[str | None]


class SortedDeps(set[str]):
    """A `file_dep` that actions always see in the same order: a result must not depend on hash seeds."""

    def __iter__(self) -> Any:
        """Yield the paths in sorted order."""
        return iter(sorted(set.__iter__(self)))


class TaskRunner:
    """Runs tasks by name out of the tasks that the process holds."""

    def __init__(self, tasks: Mapping[str, DoitTask]) -> None:
        self._tasks = tasks
        # The real descriptors: in a worker, 1 and 2 lead to the engine.
        self._terminal = (_duplicate(1), _duplicate(2))

    def close(self) -> None:
        """Close the duplicates of the process's own stdout and stderr."""
        for fd in self._terminal:
            if fd is not None:
                os.close(fd)

    def run(self, payload: object, out: TextIO, err: TextIO) -> RunnerReply:
        """Execute all actions of one task; stops at the first that fails."""
        if isinstance(payload, TeardownPayload):
            return self._teardown(payload)
        assert isinstance(payload, Payload)  # noqa: S101 - the host makes nothing else
        task = self._tasks[payload.task]
        task.options = dict(payload.options)
        given = payload.pos_arg_val  # doit.api hands on whatever it was given, a text too
        task.pos_arg_val = list(given) if isinstance(given, list | tuple) else given
        task.dep_changed = list(payload.changed)
        task.file_dep = SortedDeps(payload.file_dep)
        task.verbosity = payload.verbosity
        task.executed = True
        task.values = {}
        task.result = None
        if task.io.capture is not True:
            return self._uncaptured(task)
        return self._captured(task, out, err)

    def _teardown(self, payload: TeardownPayload) -> RunnerReply:
        task = self._tasks[payload.task]
        if task.verbosity is None:
            task.overwrite_verbosity(payload.stream)
        fail = task.execute_teardown(payload.stream)
        sys.stdout.flush()
        if fail is None:
            return RunnerReply()
        return RunnerReply(JobStatus.ERROR, fail.get_msg())

    def _captured(self, task: DoitTask, out: TextIO, err: TextIO) -> RunnerReply:
        wrote = _Wrote([], [])
        return self._reply(task, self._actions(task, out, err, wrote), wrote)

    def _uncaptured(self, task: DoitTask) -> RunnerReply:
        """Give the task the streams that doit would: what it writes is nobody's to keep."""
        saved = [_duplicate(1), _duplicate(2)]
        try:
            for fd, terminal in zip((1, 2), self._terminal, strict=True):
                if terminal is not None:
                    os.dup2(terminal, fd)
            out = sys.stdout if task.verbosity == 2 else None
            err = sys.stderr if task.verbosity else None
            wrote = _Wrote([], [])
            fail = self._actions(task, out, err, wrote)
            sys.stdout.flush()
            sys.stderr.flush()
            return self._reply(task, fail, wrote)
        finally:
            for fd, original in zip((1, 2), saved, strict=True):
                if original is not None:
                    os.dup2(original, fd)
                    os.close(original)

    def _actions(self, task: DoitTask, out: Any, err: Any, wrote: _Wrote) -> BaseFail | None:
        try:
            actions = task.actions
        except InvalidTask as error:
            return BaseFail(str(error))
        for action in actions:
            try:
                fail = action.execute(out, err)
            except InvalidTask as error:
                fail = BaseFail(str(error))
            wrote.outs.append(getattr(action, "out", None))
            wrote.errs.append(getattr(action, "err", None))
            if isinstance(fail, BaseFail):
                return fail
            task.result = getattr(action, "result", None)
            task.values.update(getattr(action, "values", {}))
        return None

    def _reply(self, task: DoitTask, fail: BaseFail | None, wrote: _Wrote) -> RunnerReply:
        status = JobStatus.OK
        if fail is not None:
            status = JobStatus.FAILED if isinstance(fail, TaskFailed) else JobStatus.ERROR
        return RunnerReply(
            status=status,
            message=fail.get_msg() if fail is not None else "",
            outs=wrote.outs,
            errs=wrote.errs,
            values=dict(task.values),
            result=task.result,
            extra=Reply(fail) if fail is not None else None,
        )


def _duplicate(fd: int) -> int | None:
    try:
        return os.dup(fd)
    except OSError:
        return None  # a process without that stream
