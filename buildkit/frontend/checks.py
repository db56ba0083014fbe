"""doit's `uptodate` items as checks of the Plan, and the values that doit saves for them.

What belongs here: which items can be told as data (and so enter the action key), and how the others
are asked. The rules of each item are those of doit's documentation.
"""

from __future__ import annotations

import inspect
import subprocess
from collections.abc import Mapping
from typing import Any

from doit.dependency import UptodateCalculator
from doit.task import Task as DoitTask
from doit.task import result_dep
from doit.tools import config_changed, run_once

from buildkit.core.plan import Check, CheckKind
from buildkit.engine.host import CheckAnswer


def describe_checks(task: DoitTask) -> tuple[Check, ...]:
    """Return the checks of a task; items that are None say nothing in doit and are left out."""
    return tuple(
        check
        for item, _args, _kwargs in task.uptodate
        if (check := _describe(item, from_getargs=_is_getargs(task, item))) is not None
    )


def _is_getargs(task: DoitTask, item: Any) -> bool:
    """Whether doit added this result_dep for `getargs`: the values themselves are then in the key."""
    if type(item) is not result_dep or not item.setup_dep:
        return False
    return any(source == item.dep_name for source, _key in task.getargs.values())


def _describe(item: Any, *, from_getargs: bool) -> Check | None:
    if item is None:
        return None
    if isinstance(item, bool):
        return Check(CheckKind.CONSTANT, str(item), "1" if item else "0")
    if item is run_once:
        return Check(CheckKind.ONCE, "run_once", "")
    if type(item) is config_changed:
        try:
            digest = item._calc_digest()
        except Exception:
            # The configuration cannot be told as data; asking raises the same error where it can be shown.
            return Check(CheckKind.OPAQUE, repr(item), "")
        item.config_digest = digest  # what its value saver is going to save
        return Check(CheckKind.CONFIG, "config_changed", digest)
    if type(item) is result_dep:
        kind = CheckKind.CONSTANT if from_getargs else CheckKind.RESULT
        return Check(kind, f"result_dep({item.dep_name})", "1" if from_getargs else item.dep_name)
    if isinstance(item, str):
        return Check(CheckKind.OPAQUE, item, "")
    name = getattr(item, "__name__", None) or repr(item)
    return Check(CheckKind.OPAQUE, name, "")


def ask_opaque(task: DoitTask, dependency: Any, tasks: Mapping[str, DoitTask]) -> list[CheckAnswer]:
    """Ask the items that only doit can evaluate, as doit does; their value savers are left on the task.

    Raises whatever a user's callable raises.
    """
    answers = []
    for item, args, kwargs in task.uptodate:
        check = _describe(item, from_getargs=_is_getargs(task, item))
        if check is None or check.kind is not CheckKind.OPAQUE:
            continue
        answers.append(CheckAnswer(check.name, _ask(task, item, args, kwargs, dependency, tasks)))
    return answers


def _ask(
    task: DoitTask, item: Any, args: Any, kwargs: Any, dependency: Any, tasks: Mapping[str, DoitTask]
) -> bool | None:
    if isinstance(item, str):
        done = subprocess.run(  # noqa: S602 - the item is a shell command by doit's definition
            item, shell=True, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return done.returncode == 0
    if isinstance(item, UptodateCalculator):
        item.setup(dependency, tasks)
    magic: list[object] = []
    for position, name in enumerate(inspect.signature(item).parameters):
        if position == 0 and name == "task":
            magic.append(task)
        elif position == 1 and name == "values":
            magic.append(dependency.get_values(task.name))
    answer = item(*magic, *(args or ()), **(kwargs or {}))
    return None if answer is None else bool(answer)
