"""What doit calls its dep_manager, told from buildkit's state.

doit's own commands (`list --status`, `info`, `forget`, `ignore`, `clean --forget`, `reset-dep`) and the
uptodate callables of a dodo.py ask this object. It answers from the traces, and judges with the engine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from doit.dependency import Dependency, DependencyStatus, JSONCodec, MD5Checker
from doit.task import Task as DoitTask

from buildkit.core.decide import Course
from buildkit.core.execution import Reason, ReasonKind
from buildkit.engine.judge import JudgeError, Judgement
from buildkit.state.traces import FORGOTTEN, OK, Trace, TraceRow, TraceStore

# How our reasons are called in `doit info`; all others are told in buildkit's own words.
_DOIT_REASONS = {
    ReasonKind.INPUT_CHANGED: "changed_file_dep",
    ReasonKind.INPUT_MODE: "changed_file_dep",
    ReasonKind.INPUT_ADDED: "added_file_dep",
    ReasonKind.INPUT_REMOVED: "removed_file_dep",
    ReasonKind.OUTPUT_MISSING: "missing_target",
}

_NO_TRACE = Trace(None, "[]", "{}", "null", OK, False, 0, "{}")


class StateBackend:
    """doit's key-value view of a task's record, over the traces."""

    def __init__(self, traces: TraceStore, flush: Callable[[], None]) -> None:
        self.name = ".buildkit/state.db"
        self._traces = traces
        self._flush = flush

    def get(self, task: str, key: str) -> Any:
        """Return what is saved for a task under one of doit's keys, or None."""
        trace = self._traces.get(task)
        if trace is None:
            return None
        if key == "_values_:":
            return json.loads(trace.values)
        if key == "result:":
            return json.loads(trace.result)
        if key == "ignore:":
            return "1" if trace.ignored else None
        return json.loads(trace.extra).get(key)

    def set(self, task: str, key: str, value: Any) -> None:
        """Save a value under one of doit's keys."""
        trace = self._traces.get(task) or _NO_TRACE
        if key == "_values_:":
            trace = trace._replace(values=json.dumps(value))
        elif key == "result:":
            trace = trace._replace(result=json.dumps(value))
        elif key == "ignore:":
            trace = trace._replace(ignored=bool(value))
        else:
            extra = {**json.loads(trace.extra), key: value}
            trace = trace._replace(extra=json.dumps(extra))
        self._put(task, trace)

    def _put(self, task: str, trace: Trace) -> None:
        self._traces.put(
            TraceRow(
                task,
                trace.action_key,
                self._traces.components(task) or "",
                trace.outputs,
                trace.values,
                trace.result,
                trace.status,
                trace.ignored,
                trace.extra,
                time.time(),
                None,
                trace.wall_ns,
            )
        )

    def in_(self, task: str) -> bool:
        """Return whether something is saved for the task."""
        trace = self._traces.get(task)
        return trace is not None and trace.status != FORGOTTEN

    def remove(self, task: str) -> None:
        """Forget a task: its record goes, and the cache is not asked the next time either."""
        self._put(task, _NO_TRACE._replace(status=FORGOTTEN))

    def remove_all(self) -> None:
        """Forget every task that is known."""
        for task in list(self._traces.all()):
            self.remove(task)

    def dump(self) -> None:
        """Write what was set."""
        self._flush()


class BuildkitDependency(Dependency):  # type: ignore[misc] # doit has no types
    """doit's `Dependency`, answering from our state."""

    def __init__(
        self,
        traces: TraceStore,
        *,
        flush: Callable[[], None],
        checker_cls: Any = MD5Checker,
    ) -> None:
        self._traces = traces
        super().__init__(
            lambda _name, **_codec: StateBackend(traces, flush),
            ".buildkit/state.db",
            checker_cls=checker_cls,
            codec_cls=JSONCodec,
        )
        self.judge: Callable[[DoitTask, Mapping[str, DoitTask]], Judgement | None] | None = None
        self.record: Callable[[DoitTask, Mapping[str, DoitTask]], None] | None = None

    def get_status(
        self, task: DoitTask, tasks_dict: Mapping[str, DoitTask], get_log: bool = False
    ) -> DependencyStatus:
        """Judge a task as a run would, without acting on it."""
        status = DependencyStatus(get_log)
        task.dep_changed = []
        if self.judge is None:
            raise RuntimeError("a judge has to be set before a status can be asked for")
        try:
            judgement = self.judge(task, tasks_dict)
        except JudgeError as error:
            if error.maker is not None:  # a run makes it first, and then this task
                status.status = "run"
                status.reasons["buildkit"].append(f"task '{error.maker}' has to make an input first")
                return status
            status.status = "error"
            status.error_reason = str(error)
            for path in sorted(task.file_dep):
                if not self.checker.exists(path):
                    status.reasons["missing_file_dep"].append(path)
            return status
        if judgement is None:  # a group: never up to date by itself, as in doit
            status.set_reason("has_no_dependencies", True)
            return status
        if judgement.verdict.course is Course.SKIP:
            return status
        status.status = "run"
        for reason in judgement.verdict.reasons:
            self._add(status, reason, task)
        return status

    @staticmethod
    def _add(status: DependencyStatus, reason: Reason, task: DoitTask) -> None:
        key = _DOIT_REASONS.get(reason.kind)
        if key is not None:
            status.reasons[key].extend(reason.names)
            if key == "changed_file_dep":
                task.dep_changed.extend(reason.names)
        elif reason.kind is ReasonKind.NO_DEPENDENCIES:
            status.reasons["has_no_dependencies"] = True
        else:
            status.reasons["buildkit"].append(str(reason))

    def save_success(self, task: DoitTask, result_hash: Any = None) -> None:
        """Record a task as up to date without running it (`doit reset-dep`)."""
        if self.record is None:
            raise RuntimeError("a recorder has to be set before a success can be saved")
        self.record(task, {})
        if result_hash is not None:
            self._set(task.name, "result:", result_hash)
