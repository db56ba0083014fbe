"""doit's task objects, with less in them.

What belongs here: a task that takes a fifth of the memory and looks the same. A doit task has 34 attributes
and a dozen containers, nearly all of them empty in nearly all tasks; a run holds every task until its end.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from doit.task import IOConfig
from doit.task import Task as DoitTask

from buildkit.core.plan import Task

# Attributes that can be changed in place, as they are where the dodo.py says nothing about them.
_EMPTY: dict[str, Callable[[], Any]] = {
    "creator_params": list,
    "setup_tasks": list,
    "value_savers": list,
    "uptodate": list,
    "clean_actions": list,
    "teardown": list,
    "task_dep": list,
    "wild_dep": list,
    "calc_dep": set,
    "getargs": dict,
    "values": dict,
}


class LeanTask(DoitTask):  # type: ignore[misc] # doit has no types
    """A doit task without what it shares with most others, which is there as soon as it is asked for."""

    _planned: Task
    params = ()
    options = None
    pos_arg = None
    pos_arg_val = None
    _action_instances = None
    loader = None
    has_subtask = False
    result = None
    verbosity = None
    custom_title = None
    cfg_values = None
    _remove_targets = False
    doc = ""
    watch = ()
    meta = None
    executed = False
    dep_changed = None

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that was left out; the task keeps it from now on, since it can be changed."""
        if name in _EMPTY:
            value = _EMPTY[name]()
        elif name == "file_dep":
            value = set(self._planned.inputs)
        elif name == "targets":
            value = list(self._planned.outputs)
        elif name == "io":
            value = IOConfig({})
        elif name == "subtask_of":
            return self._planned.subtask_of
        else:
            raise AttributeError(f"'Task' object has no attribute '{name}'")
        self.__dict__[name] = value
        return value


_DEFAULTS = {
    name: value for name, value in vars(LeanTask).items() if not callable(value) and name[:2] != "__"
}
_DEFAULTS |= {name: make() for name, make in _EMPTY.items()}
_ORDINARY = tuple(_DEFAULTS.values())
_of_defaults = itemgetter(*_DEFAULTS)
_FROM_PLAN = ("file_dep", "targets", "subtask_of")
_ATTRIBUTES = len({*_DEFAULTS, *_FROM_PLAN, "name", "_actions", "io"})


def make_lean(task: DoitTask, planned: Task) -> None:
    """Let a task go of all that it can be given back; `planned` is what the plan holds of it."""
    if type(task) is not DoitTask:
        return
    state = task.__dict__
    try:
        if len(state) == _ATTRIBUTES and _of_defaults(state) == _ORDINARY:
            kept = {"name": task.name, "_actions": task._actions}
        else:
            kept = {
                name: value
                for name, value in state.items()
                if name not in _FROM_PLAN and (name not in _DEFAULTS or _DEFAULTS[name] != value)
            }
    except KeyError:
        return  # this doit has other attributes
    if task.io.capture is True:
        kept.pop("io", None)
    else:
        kept["io"] = task.io
    kept["_planned"] = planned
    task.__class__ = LeanTask
    task.__dict__ = kept
