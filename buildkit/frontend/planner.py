"""doit's tasks as tasks of the Plan.

What belongs here: reading one loaded doit task and saying it as data, with the key components that its
definition fixes. Selection and ordering are doit's own (`TaskControl`); what happens in the run is the
host's business.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any

from doit.action import BaseAction, CmdAction, PythonAction
from doit.task import Task as DoitTask
from doit.tools import Interactive, LongRunning, PythonInteractiveAction

from buildkit.core import command as command_text
from buildkit.core.config import TaskSettings, parse_task_settings
from buildkit.core.key import Component, secret_digest
from buildkit.core.plan import Check, CheckKind, CommandAction, GetArg, Task, TaskKind
from buildkit.core.pycode import CodeFingerprinter
from buildkit.frontend.checks import describe_checks

_INTERACTIVE = (LongRunning, Interactive, PythonInteractiveAction)
_COMMAND_OPTIONS = frozenset({"cwd", "env"})
_SCRIPT = "script:"  # ahead of the scripts among the programs that are being collected
_PLAIN = (str, int, float, bool, list, type(None))
_NO_PARTS: tuple[Component, ...] = (("platform", f"{sys.platform} {platform.machine()}"),)


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
            else TaskSettings()
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
            return tuple(dict.fromkeys(task.task_dep)), ()
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
        capture = task.io.capture
        parts: list[Component] = list(_NO_PARTS)
        parts.extend(("output:" + path, "") for path in task.targets)
        environment = dict.fromkeys(settings.env)
        programs = dict.fromkeys(settings.tools)
        reasons: list[str] = []
        checks = common.get("checks", ())
        parts.extend(
            ("config:" + check.name, secret_digest(check.value))
            for check in checks
            if check.kind is CheckKind.CONFIG
        )
        if not settings.cache:
            reasons.append("its meta says cache=False")
        if capture is not True:
            reasons.append("its output is not captured (io.capture)")
        if not (task.file_dep or task.calc_dep or task.getargs) and _says_nothing(checks):
            reasons.append("nothing says what its result depends on: it has neither inputs nor configuration")
        if not task.targets:
            # Without outputs nothing tells two tasks apart that do the same: each has its own effect.
            parts.append(("setting:task", task.name))
        opaque = [c.name for c in checks if c.kind in (CheckKind.OPAQUE, CheckKind.ONCE)]
        if opaque:
            reasons.append(f"its uptodate check {opaque[0]} cannot be put into a key")
        options = self._options(task, parts)
        actions = self._commands(task, parts, environment, programs, options, reasons)
        uses_changed = any("changed" in (action.text or "") for action in actions or ())
        if actions is None:
            reasons.extend(self._hosted(task, parts, environment, programs, options))
            uses_changed = "hosted:changed" in programs
            programs.pop("hosted:changed", None)
        if uses_changed:
            reasons.append("its actions look at which inputs changed")
        return Task(
            kind=TaskKind.COMMANDS if actions is not None else TaskKind.HOSTED,
            actions=tuple(actions or ()),
            options=tuple((name, json.dumps(value)) for name, value in options.items()) if actions else (),
            parts=tuple(sorted(parts)),
            environment=tuple(sorted(environment)),
            programs=_resolved_names(programs, task.file_dep),
            capture=capture,
            uncacheable="; ".join(reasons) or None,
            uses_changed=uses_changed,
            **common,
        )

    def _options(self, task: DoitTask, parts: list[Component]) -> dict[str, Any]:
        """Return the values of `params` and `pos_arg`, and put them into the key."""
        if task.params or task.creator_params or task.cfg_values or task.options:
            task.init_options()
        options: dict[str, Any] = dict(task.options) if task.options else {}
        for name, value in options.items():
            if name not in task.getargs:
                parts.append(("option:" + name, _text_of(value)))
        if task.pos_arg:
            parts.append(("option:" + task.pos_arg, _text_of(task.pos_arg_val)))
            options[task.pos_arg] = " ".join(task.pos_arg_val) if task.pos_arg_val else ""
        return {name: value for name, value in options.items() if name not in task.getargs}

    def _commands(
        self,
        task: DoitTask,
        parts: list[Component],
        environment: dict[str, None],
        programs: dict[str, None],
        options: Mapping[str, Any],
        reasons: list[str],
    ) -> list[CommandAction] | None:
        """Return the actions as commands, or None when one of them needs doit to run it."""
        commands: list[CommandAction] = []
        mine: list[Component] = []
        for number, raw in enumerate(task._actions):
            action = self._command(raw)
            if action is None:
                return None
            action = self._expand(action, task, options)
            if action is None:
                return None
            mine.append(("command:" + str(number + 1), _describe_command(action)))
            self._analyse(action, environment, programs, mine, reasons)
            commands.append(action)
        parts.extend(mine)
        return commands

    def _command(self, raw: Any) -> CommandAction | None:
        if isinstance(raw, str):
            return CommandAction(raw, (), True, self._expansion, None, None, None, "utf-8", "replace", False)
        if isinstance(raw, list):
            words = _words(raw)
            if words is None:
                return None
            return CommandAction(None, words, False, "", None, None, None, "utf-8", "replace", False)
        if type(raw) is not CmdAction or not _COMMAND_OPTIONS.issuperset(raw.pkwargs):
            return None
        cwd, env = raw.pkwargs.get("cwd"), raw.pkwargs.get("env")
        if isinstance(cwd, PurePath):
            cwd = str(cwd)
        if not (cwd is None or isinstance(cwd, str)) or not _is_environment(env):
            return None
        pairs = None if env is None else tuple(sorted(env.items()))
        rest = (cwd, pairs, raw.save_out, raw.encoding, raw.decode_error, bool(raw.buffering))
        if isinstance(raw._action, str):
            return CommandAction(raw._action, (), bool(raw.shell), self._expansion, *rest)
        words = _words(raw._action) if isinstance(raw._action, list) else None
        if words is None or raw.shell:
            return None  # a callable command, or a list for the shell: doit's own way is the reference
        return CommandAction(None, words, False, "", *rest)

    def _expand(
        self, action: CommandAction, task: DoitTask, options: Mapping[str, Any]
    ) -> CommandAction | None:
        """Fill the placeholders that are known now; what is left needs the state of the run."""
        text = action.text
        if text is None:
            return action
        if action.expansion == "old" and "%" not in text:
            return action._replace(expansion="")
        if action.expansion == "new" and "{" not in text and "}" not in text:
            return action._replace(expansion="")
        if not all(isinstance(value, _PLAIN) for value in options.values()):
            return None  # a typed option: only doit has the object
        if task.getargs or task.calc_dep or "changed" in text:
            return action
        try:
            filled = expand(text, action.expansion, placeholders(task, options))
            return action._replace(text=filled, expansion="")
        except Exception:
            return action  # the run reports it, as doit does, when it comes to this action

    def _analyse(
        self,
        action: CommandAction,
        environment: dict[str, None],
        programs: dict[str, None],
        parts: list[Component],
        reasons: list[str],
    ) -> None:
        if action.env is not None:
            for name, value in action.env:
                if self._environ.get(name) != value:
                    parts.append((f"env:{name} (given)", secret_digest(value)))
        if action.text is None:
            _note_words(action.words, action.cwd, programs)
            return
        if action.expansion:
            return  # the judge analyses it when the values in it are known
        if not action.shell:
            programs[action.text] = None
            return
        _note_text(action.text, action.cwd, environment, programs, reasons)

    def _hosted(
        self,
        task: DoitTask,
        parts: list[Component],
        environment: dict[str, None],
        programs: dict[str, None],
        options: Mapping[str, Any],
    ) -> list[str]:
        """Add the components of a task with Python actions; return what makes it uncacheable."""
        reasons: list[str] = []
        parts.append(("platform:python", platform.python_version()))
        for number, action in enumerate(task.actions):
            label = str(number + 1)
            if isinstance(action, _INTERACTIVE):
                reasons.append("it is interactive")
            if isinstance(action, PythonAction):
                self._code_of(
                    action.py_callable, action.args, action.kwargs, label, parts, environment, reasons
                )
                if _names_changed(action.py_callable):
                    programs["hosted:changed"] = None
            elif isinstance(action, CmdAction):
                self._hosted_command(action, task, options, label, parts, environment, programs, reasons)
            else:
                self._code_of(type(action).execute, (), {}, label, parts, environment, reasons)
                reasons.append(f"it has an action of the type {type(action).__name__}")
        return list(dict.fromkeys(reasons))

    def _hosted_command(
        self,
        action: CmdAction,
        task: DoitTask,
        options: Mapping[str, Any],
        label: str,
        parts: list[Component],
        environment: dict[str, None],
        programs: dict[str, None],
        reasons: list[str],
    ) -> None:
        raw = action._action
        if isinstance(raw, str):
            parts.append(("command:" + label, raw))
            known = self._command(action)
            filled = self._expand(known, task, options) if known is not None else None
            if filled is not None and not filled.expansion:
                self._analyse(filled, environment, programs, parts, reasons)
            else:
                _note_text(raw, None, environment, programs, reasons)
            if "changed" in raw:
                programs["hosted:changed"] = None
        elif isinstance(raw, list):
            parts.append(("command:" + label, json.dumps([str(word) for word in raw])))
            cwd = action.pkwargs.get("cwd")
            _note_words([str(word) for word in raw], None if cwd is None else str(cwd), programs)
        else:
            function, args, kwargs = raw if isinstance(raw, tuple) else (raw, (), {})
            self._code_of(function, args, kwargs, label, parts, environment, reasons)
            reasons.append("its command is made by a function, so its tools are not known before it runs")
        for name, value in sorted(action.pkwargs.items()):
            if name == "env" and _is_environment(value):
                parts.extend(
                    (f"env:{key} (given)", secret_digest(text))
                    for key, text in sorted((value or {}).items())
                    if self._environ.get(key) != text
                )
            else:
                parts.append((f"command:{label} {name}", _text_of(value)))
        if type(action) is not CmdAction:
            parts.append((f"command:{label} type", type(action).__name__))
            if not isinstance(action, _INTERACTIVE):
                self._code_of(type(action).execute, (), {}, label, parts, environment, reasons)

    def _code_of(
        self,
        function: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        label: str,
        parts: list[Component],
        environment: dict[str, None],
        reasons: list[str],
    ) -> None:
        found = self._code.fingerprint(function, args, kwargs)
        environment.update(dict.fromkeys(found.environment))
        suffix = "" if label == "1" else f" ({label})"
        parts.extend((f"code:{one.name}{suffix}", one.digest) for one in found.components)
        if found.unsound:
            reasons.append(found.unsound)


def _says_nothing(checks: Sequence[Check]) -> bool:
    return all(check.kind is CheckKind.CONSTANT for check in checks)


def placeholders(task: DoitTask, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what doit offers to a command's placeholders, but `changed`; inputs come in sorted order."""
    return {
        "targets": " ".join(task.targets),
        "dependencies": " ".join(sorted(task.file_dep)),
        **options,
    }


def expand(text: str, expansion: str, values: Mapping[str, Any]) -> str:
    """Fill doit's placeholders; raises what `%` and `format` raise."""
    if expansion == "old":
        return text % values
    if expansion == "new":
        return text.format(**values)
    if expansion == "both":
        return text.format(**values) % values
    return text


def _note_words(words: Sequence[str], cwd: str | None, programs: dict[str, None]) -> None:
    """Note the program of a command that no shell sees, and the script that it is told to run."""
    programs.update(dict.fromkeys(command_text.seen_from(words[:1], cwd)))
    scripts = command_text.seen_from(command_text.scripts_of(words), cwd)
    programs.update((_SCRIPT + name, None) for name in scripts)


def _resolved_names(programs: Iterable[str], inputs: Set[str]) -> tuple[str, ...]:
    """Return all programs and scripts; a script that is an input counts as one already."""
    names = {name for name in programs if not name.startswith(_SCRIPT)}
    scripts = {name.removeprefix(_SCRIPT) for name in programs if name.startswith(_SCRIPT)}
    known = {path if "/" in path else f"./{path}" for path in inputs} if scripts else set()
    return tuple(sorted(names | (scripts - known)))


def _note_text(
    text: str,
    cwd: str | None,
    environment: dict[str, None],
    programs: dict[str, None],
    reasons: list[str],
) -> None:
    """Note what a command line for the shell depends on; what cannot be told makes it uncacheable."""
    analysis = command_text.analyze(text)
    programs.update(dict.fromkeys(command_text.seen_from(analysis.programs, cwd)))
    scripts = command_text.seen_from(analysis.scripts, cwd)
    programs.update((_SCRIPT + name, None) for name in scripts)
    environment.update(dict.fromkeys(analysis.variables))
    if analysis.opaque:
        reasons.append(f"its programs are not known: {analysis.opaque}")


def _words(raw: Sequence[Any]) -> tuple[str, ...] | None:
    if raw and all(isinstance(word, (str, PurePath)) for word in raw):
        return tuple(str(word) for word in raw)
    return None


def _is_environment(env: object) -> bool:
    return env is None or (
        isinstance(env, Mapping)
        and all(isinstance(name, str) and isinstance(value, str) for name, value in env.items())
    )


def _describe_command(action: CommandAction) -> str:
    """Return the text of a command with whatever else changes what it does."""
    text = action.text if action.text is not None else json.dumps(list(action.words))
    extras = {
        "cwd": action.cwd,
        "save_out": action.save_out,
        "shell": None if action.shell == (action.text is not None) else action.shell,
        "expansion": action.expansion or None,
        "encoding": None if action.encoding == "utf-8" else action.encoding,
        "unbuffered": action.unbuffered or None,
    }
    told = {name: value for name, value in extras.items() if value is not None}
    return f"{text}  {json.dumps(told)}" if told else text


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
    return isinstance(action, _INTERACTIVE)
