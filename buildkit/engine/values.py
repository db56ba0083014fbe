"""Saved values and results of tasks, as the run sees them: what was recorded, then what ran."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from buildkit.core.plan import Check, CheckKind, GetArg, Plan
from buildkit.state.traces import TraceStore


class ValueMissingError(Exception):
    """A value that another task should have saved is not there; the message is for the user."""


class ValueTable:
    """Values and results by task name; parsed only when somebody asks."""

    def __init__(self, traces: TraceStore) -> None:
        self._traces = traces
        self._values: dict[str, Mapping[str, object]] = {}
        self._results: dict[str, object] = {}

    def values(self, task: str) -> Mapping[str, object]:
        """Return the saved values of a task; empty when there are none."""
        found = self._values.get(task)
        if found is None:
            trace = self._traces.get(task)
            found = json.loads(trace.values) if trace is not None else {}
            self._values[task] = found
        return found

    def result(self, task: str) -> object:
        """Return the saved result of a task (what `result_dep` compares), or None."""
        if task not in self._results:
            trace = self._traces.get(task)
            self._results[task] = json.loads(trace.result) if trace is not None else None
        return self._results[task]

    def saved(self, task: str, values: Mapping[str, object], result: object) -> None:
        """Take over what a task saved in this run."""
        if not values and result is None and self._says_nothing(task):
            return  # which is so for nearly all tasks, and what `values` and `result` find out by themselves
        self._values[task] = values
        self._results[task] = result

    def _says_nothing(self, task: str) -> bool:
        trace = self._traces.get(task)
        recorded = trace is not None and (trace.values, trace.result) != ("{}", "null")
        return not recorded and task not in self._values and task not in self._results

    def result_of(self, plan: Plan, name: str) -> object:
        """Return the result of a task, or for a group those of its subtasks by name."""
        task = plan.get(name)
        if task is not None and task.subtasks:
            return {sub: self.result(sub) for sub in task.subtasks}
        return self.result(name)

    def argument(self, plan: Plan, wanted: GetArg) -> object:
        """Return the value of one `getargs` entry; ValueMissingError where there is none."""
        task = plan.get(wanted.task)
        if task is not None and task.subtasks:
            cut = len(wanted.task) + 1
            return {sub[cut:]: self._one(sub, wanted.key) for sub in task.subtasks}
        return self._one(wanted.task, wanted.key)

    def _one(self, task: str, key: str | None) -> object:
        if key is None:
            return dict(self.values(task))
        if task not in self._values and self._traces.get(task) is None:
            raise ValueMissingError(f"task '{task}' has no computed value.")
        values = self.values(task)
        if key not in values:
            raise ValueMissingError(f"Invalid arg name. Task '{task}' has no value for '{key}'.")
        return values[key]


def values_of_checks(checks: Iterable[Check], results: Mapping[str, object]) -> dict[str, object]:
    """Return what doit's own items save beside a task's values, for the checks that are told as data."""
    saved: dict[str, object] = {}
    for check in checks:
        if check.kind is CheckKind.CONFIG:
            saved["_config_changed"] = check.value
        elif check.kind is CheckKind.ONCE:
            saved["run-once"] = True
        elif check.kind is CheckKind.RESULT:
            saved[f"_result:{check.value}"] = results.get(check.value)
    return saved
