"""Events as JSON lines, for programs that follow a run: `--events FILE`.

What belongs here: the schema. It is documented in docs/reference/events.md; fields may be added to it, and
anything else that changes raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from buildkit.core.execution import Decision, Execution
from buildkit.core.plan import TaskKind
from buildkit.engine import events
from buildkit.observe.context import RunContext
from buildkit.observe.files import AppendedFile
from buildkit.observe.observer import Handler

SCHEMA_VERSION = 1
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class EventLines:
    """Writes one line per event, at once: whoever follows the file is never behind."""

    def __init__(
        self, file: AppendedFile, context: RunContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._context = context
        self._clock = clock
        self._counts: dict[Decision, int] = {}
        self._trace = {"trace": context.trace.trace_id}

    @property
    def what(self) -> str:
        """Return what it writes."""
        return f"events file '{self._file.path}'"

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """Return who takes which class of events."""
        return {
            events.RunStarted: self._run_started,
            events.Started: self._started,
            events.Succeeded: self._ended,
            events.Skipped: self._ended,
            events.Restored: self._ended,
            events.Ignored: self._ended,
            events.Failed: self._failed,
            events.Cancelled: self._ended,
            events.TeardownFailed: lambda event: self._write(
                "teardown-failed", event.task.name, {"message": event.message}
            ),
            events.Warned: lambda event: self._write("warning", None, {"message": event.message}),
            events.Aborted: lambda event: self._write("aborted", None, {"message": event.message}),
        }

    def finish(self, exit_code: int) -> None:
        """Write the last line."""
        try:
            self._write(
                "run-finished",
                None,
                {
                    "exit_code": exit_code,
                    "wall_ns": self._context.elapsed_ns,
                    "counts": {str(decision): count for decision, count in self._counts.items()},
                },
            )
        finally:
            self._file.close()

    def _run_started(self, event: events.RunStarted) -> None:
        info, trace = self._context.info, self._context.trace
        fields: dict[str, Any] = {
            "argv": list(info.argv),
            "project": info.cwd,
            "width": event.width,
            "selected": list(event.plan.selected),
            "machine": info.machine,
            "git_commit": info.git_commit,
            "ci": info.ci,
            "buildkit": info.buildkit,
            "pid": info.pid,
        }
        if trace.parent_id is not None:
            fields["parent_span"] = trace.parent_id
        self._write("run-started", None, fields)

    def _started(self, event: events.Started) -> None:
        if event.slot is not None:
            self._write("task-started", event.task.name, {"slot": event.slot})

    def _ended(self, event: Any, **more: Any) -> None:
        if event.task.kind is TaskKind.GROUP:
            return
        execution: Execution = event.execution
        self._counts[execution.decision] = self._counts.get(execution.decision, 0) + 1
        self._write("task-finished", execution.task, execution_fields(execution) | more)

    def _failed(self, event: events.Failed) -> None:
        self._ended(
            event,
            failure=str(event.failure.kind),
            message=event.failure.message,
            location=event.task.location,
        )

    def _write(self, event: str, task: str | None, fields: Mapping[str, Any]) -> None:
        trace = self._context.trace
        line = {
            "v": SCHEMA_VERSION,
            "event": event,
            "time": self._clock(),
            "run": self._context.info.uid,
            "task": task,
            **self._trace,
            "span": trace.span_id if task is None else trace.span_of(task),
            **fields,
        }
        self._file.write(_encode(line).encode("utf-8", "backslashreplace") + b"\n")


def execution_fields(execution: Execution) -> dict[str, Any]:
    """Return what is known of an execution, without what is not: unknown is absent, never null or zero."""
    cost = execution.cost
    fields = {
        "decision": str(execution.decision),
        "reasons": [reason.as_json() for reason in execution.reasons],
        "started_ns": execution.started_ns or None,
        "queue_ns": execution.queue_ns or None,
        "wall_ns": cost.wall_ns or None,
        "user_ns": cost.user_ns,
        "system_ns": cost.system_ns,
        "rss_bytes": cost.rss_bytes,
        "read_bytes": cost.read_bytes,
        "write_bytes": cost.write_bytes,
        "exit_code": execution.exit_code,
        "signal": execution.signal,
        "attempt": execution.attempt if execution.attempt != 1 else None,
        "worker": execution.worker,
        "slot": execution.slot,
        "beside": None if execution.beside is None else round(execution.beside, 3),
        "load": None if execution.load is None else round(execution.load, 3),
        "bytes_restored": execution.bytes_restored or None,
        "bytes_stored": execution.bytes_stored or None,
        "saved_ns": execution.saved_ns or None,
        "uncacheable": execution.uncacheable_reason,
        "log": execution.log_path,
    }
    return {name: value for name, value in fields.items() if value is not None}
