"""doit's tasks as tasks of the Plan.

What belongs here: reading one loaded doit task and saying it as data, with the key components that its
definition fixes. Selection and ordering are doit's own (`TaskControl`); what happens in the run is the
host's business.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from doit.action import BaseAction, CmdAction, PythonAction
from doit.task import Task as DoitTask
from doit.tools import Interactive, LongRunning, PythonInteractiveAction

from buildkit.core.config import DEFAULT_TASK_SETTINGS, TaskSettings, parse_task_settings
from buildkit.core.key import Component, secret_digest
from buildkit.core.needs import Needs
from buildkit.core.plan import Check, CheckKind, CommandAction, GetArg, Task, TaskKind
from buildkit.core.pycode import CodeFingerprinter
from buildkit.frontend.checks import describe_checks
from buildkit.frontend.commands import command_of, described, filled, is_environment

_INTERACTIVE = (LongRunning, Interactive, PythonInteractiveAction)
_FIRST_COMMAND = "command:1"  # one text for all tasks
_PLATFORM: Component = ("platform", f"{sys.platform} {platform.machine()}")


class Planner:
    """Turns doit tasks into Plan tasks; one per run, since it remembers what code looks like."""

    def __init__(
        self,
        *,
        root: str,
        environ: Mapping[str, str],
        expansion: str,
        locate: Callable[[str], str],
    ) -> None:
        """`expansion` is doit's action_string_formatting; `locate` says where a task is defined."""
        self._environ = environ
        self._expansion = expansion
        self._locate = locate
        self._root = root
        self._code = CodeFingerprinter(root)
        self._programs: dict[tuple[str, ...], tuple[str, ...]] = {}  # one tuple for all that have the same

    def forget_code(self) -> None:
        """Read code anew from now on: a task has written modules."""
        import importlib  # only then

        importlib.invalidate_caches()
        self._code = CodeFingerprinter(self._root)

    def plan(self, task: DoitTask, *, known: Callable[[str], DoitTask | None]) -> Task:
        """Return `task` as data; ConfigError where its `meta` is wrong."""
        location = self._locate(task.name)
        settings = (
            parse_task_settings(task.meta, f"task '{task.name}'{f' ({location})' if location else ''}")
            if task.meta
            else DEFAULT_TASK_SETTINGS
        )
        common = {
            "name": task.name,
            "inputs": tuple(sorted(task.file_dep)) if len(task.file_dep) > 1 else tuple(task.file_dep),
            "outputs": tuple(task.targets),
            "settings": settings,
            "verbosity": task.verbosity,
            "title": "" if task.custom_title else None,
            "subtask_of": task.subtask_of,
            "teardown": bool(task.teardown),
            "location": location,
        }
        waits, setup = self._edges(task, known)
        common["waits"] = waits
        common["setup"] = setup
        if task.calc_dep or task.loader:
            common["calc_deps"] = tuple(sorted(task.calc_dep))
            common["dynamic"] = True
        if task.has_subtask:
            common["subtasks"] = tuple(
                name for name in task.task_dep if (sub := known(name)) is None or sub.subtask_of == task.name
            )
        if task.uptodate:
            common["checks"] = describe_checks(task)
        if task.getargs:
            common["getargs"] = tuple(
                GetArg(name, source, key) for name, (source, key) in task.getargs.items()
            )
        if not task._actions and not (task.file_dep or task.targets or task.uptodate):
            return Task(kind=TaskKind.GROUP, **common)
        return self._with_actions(task, settings, common)

    def _edges(
        self, task: DoitTask, known: Callable[[str], DoitTask | None]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what `task` waits for, and its setup tasks.

        The sources of getargs are setup tasks in doit, judged only after the task that uses them, which
        then may be told up to date by stale values. Sources that can themselves be up to date are waited
        for here; a source that would run every time stays a setup task, as doit has it.
        """
        if not task.setup_tasks:
            return tuple(dict.fromkeys(task.task_dep)) if task.task_dep else (), ()
        sources = {source for source, _key in task.getargs.values()}
        waits = dict.fromkeys(task.task_dep)
        setup: dict[str, None] = {}
        for name in task.setup_tasks:
            source = known(name) if name in sources else None
            if source is not None and (source.file_dep or source.uptodate or source.has_subtask):
                waits[name] = None
            else:
                setup[name] = None
        return tuple(waits), tuple(setup)

    def _with_actions(self, task: DoitTask, settings: TaskSettings, common: dict[str, Any]) -> Task:
        checks: tuple[Check, ...] = common.get("checks", ())
        draft = _Draft(settings)
        for path in task.targets:
            draft.parts.append(("output:" + path, ""))
        for check in checks:
            if check.kind is CheckKind.CONFIG:
                draft.parts.append(("config:" + check.name, secret_digest(check.value)))
        if not task.targets:
            # Without outputs nothing tells two tasks apart that do the same: each has its own effect.
            draft.parts.append(("setting:task", task.name))
        _note_doubts(task, settings, checks, draft.needs)
        options = _options(task, draft)
        actions = self._commands(task, options, draft)
        if actions is None:
            self._hosted(task, options, draft)
        if draft.uses_changed:
            draft.needs.doubt("its actions look at which inputs changed")
        programs = draft.needs.programs(task.file_dep)
        return Task(
            kind=TaskKind.COMMANDS if actions is not None else TaskKind.HOSTED,
            actions=tuple(actions or ()),
            options=tuple((name, json.dumps(value)) for name, value in options.items()) if actions else (),
            parts=tuple(sorted(draft.parts)),
            environment=draft.needs.environment,
            programs=self._programs.setdefault(programs, programs),
            capture=task.io.capture,
            uncacheable=draft.needs.uncacheable,
            uses_changed=draft.uses_changed,
            **common,
        )

    def _commands(
        self, task: DoitTask, options: Mapping[str, Any], draft: _Draft
    ) -> list[CommandAction] | None:
        """Return the actions as commands, or None when one of them needs doit to run it."""
        commands: list[CommandAction] = []
        for raw in task._actions:
            action = command_of(raw, self._expansion)
            action = filled(action, task, options) if action is not None else None
            if action is None:
                return None
            commands.append(action)
        for number, action in enumerate(commands, start=1):
            draft.parts.append((_FIRST_COMMAND if number == 1 else f"command:{number}", described(action)))
            self._note_command(action, draft)
            if action.text is not None and "changed" in action.text:
                draft.uses_changed = True
        return commands

    def _note_command(self, action: CommandAction, draft: _Draft) -> None:
        """Add what a command depends on."""
        if action.env is not None:
            self._note_environment(action.env, draft)
        if action.text is None:
            draft.needs.add_words(action.words, action.cwd)
        elif action.expansion:
            return  # the judge analyses it when the values in it are known
        elif action.shell:
            draft.needs.add_text(action.text, action.cwd)
        else:
            draft.needs.add_program(action.text)

    def _note_environment(self, given: Iterable[tuple[str, str]], draft: _Draft) -> None:
        draft.parts.extend(
            (f"env:{name} (given)", secret_digest(value))
            for name, value in given
            if self._environ.get(name) != value
        )

    def _hosted(self, task: DoitTask, options: Mapping[str, Any], draft: _Draft) -> None:
        """Add what a task with Python actions depends on, and what makes it uncacheable."""
        draft.parts.append(("platform:python", platform.python_version()))
        for number, action in enumerate(task.actions, start=1):
            if is_interactive(action):
                draft.needs.doubt("it is interactive")
            if isinstance(action, PythonAction):
                self._note_code(action.py_callable, action.args, action.kwargs, number, draft)
                if _names_changed(action.py_callable):
                    draft.uses_changed = True
            elif isinstance(action, CmdAction):
                self._hosted_command(action, task, options, number, draft)
            else:
                self._note_code(type(action).execute, (), {}, number, draft)
                draft.needs.doubt(f"it has an action of the type {type(action).__name__}")

    def _hosted_command(
        self, action: CmdAction, task: DoitTask, options: Mapping[str, Any], number: int, draft: _Draft
    ) -> None:
        raw = action._action
        label = f"command:{number}"
        if isinstance(raw, str):
            draft.parts.append((label, raw))
            known = command_of(action, self._expansion)
            ready = filled(known, task, options) if known is not None else None
            if ready is not None and not ready.expansion:
                self._note_command(ready, draft)
            else:
                draft.needs.add_text(raw, None)
            if "changed" in raw:
                draft.uses_changed = True
        elif isinstance(raw, list):
            words = [str(word) for word in raw]
            draft.parts.append((label, json.dumps(words)))
            cwd = action.pkwargs.get("cwd")
            draft.needs.add_words(words, None if cwd is None else str(cwd))
        else:
            function, args, kwargs = raw if isinstance(raw, tuple) else (raw, (), {})
            self._note_code(function, args, kwargs, number, draft)
            draft.needs.doubt("its command is made by a function, so its tools are not known before it runs")
        for name, value in sorted(action.pkwargs.items()):
            if name == "env" and is_environment(value):
                self._note_environment(sorted((value or {}).items()), draft)
            else:
                draft.parts.append((f"{label} {name}", _text_of(value)))
        if type(action) is not CmdAction:
            draft.parts.append((f"{label} type", type(action).__name__))
            if not is_interactive(action):
                self._note_code(type(action).execute, (), {}, number, draft)

    def _note_code(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], number: int, draft: _Draft
    ) -> None:
        """Add what a Python function depends on."""
        found = self._code.fingerprint(function, args, kwargs)
        draft.needs.add_variables(found.environment)
        suffix = "" if number == 1 else f" ({number})"
        draft.parts.extend((f"code:{one.name}{suffix}", one.digest) for one in found.components)
        if found.unsound:
            draft.needs.doubt(found.unsound)


class _Draft:
    """What is found out about the key of one task while its definition is read."""

    __slots__ = ("needs", "parts", "uses_changed")

    def __init__(self, settings: TaskSettings) -> None:
        self.parts: list[Component] = [_PLATFORM]
        self.needs = Needs(settings.env, settings.tools)
        self.uses_changed = False  # an action looks at which inputs changed


def _note_doubts(task: DoitTask, settings: TaskSettings, checks: Sequence[Check], needs: Needs) -> None:
    """Note what makes a task uncacheable, whatever its actions are."""
    if not settings.cache:
        needs.doubt("its meta says cache=False")
    if task.io.capture is not True:
        needs.doubt("its output is not captured (io.capture)")
    inputs = task.file_dep or task.calc_dep or task.getargs
    if not inputs and all(check.kind is CheckKind.CONSTANT for check in checks):
        needs.doubt("nothing says what its result depends on: it has neither inputs nor configuration")
    for check in checks:
        if check.kind in (CheckKind.OPAQUE, CheckKind.ONCE):
            needs.doubt(f"its uptodate check {check.name} cannot be put into a key")
            return


def _options(task: DoitTask, draft: _Draft) -> dict[str, Any]:
    """Return the values of `params` and `pos_arg`, and put them into the key."""
    if task.params or task.creator_params or task.cfg_values or task.options:
        task.init_options()
    elif not task.pos_arg:
        return {}
    options: dict[str, Any] = dict(task.options) if task.options else {}
    for name, value in options.items():
        if name not in task.getargs:
            draft.parts.append(("option:" + name, _text_of(value)))
    if task.pos_arg:
        draft.parts.append(("option:" + task.pos_arg, _text_of(task.pos_arg_val)))
        options[task.pos_arg] = " ".join(task.pos_arg_val) if task.pos_arg_val else ""
    return {name: value for name, value in options.items() if name not in task.getargs}


def _text_of(value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        return repr(value)


def _names_changed(function: Any) -> bool:
    """Whether doit would hand the list of changed inputs to this function."""
    code = getattr(function, "__code__", None)
    if code is None:
        wrapped = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)
        return _names_changed(wrapped) if wrapped is not None else False
    return "changed" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def is_interactive(action: BaseAction) -> bool:
    """Whether an action needs the terminal for itself."""
    return type(action) is not PythonAction and isinstance(action, _INTERACTIVE)
