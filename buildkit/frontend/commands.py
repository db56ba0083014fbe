"""doit's command actions as commands of the Plan.

What belongs here: what a raw action of a dodo.py means, and the placeholders in it that are known before a
run. What a command depends on is `planner.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from doit.action import CmdAction
from doit.task import Task as DoitTask

from buildkit.core.command import fill_placeholders
from buildkit.core.plan import CommandAction

_OPTIONS = frozenset({"cwd", "env"})  # of a CmdAction, that the engine knows too
# The fields of a command from `cwd` on, where the dodo.py says nothing about them.
_ORDINARY: tuple[None, None, None, str, str, bool] = (None, None, None, "utf-8", "replace", False)
_ORDINARY_TEXT = (True, "", *_ORDINARY)
_PLAIN = (str, int, float, bool, list, type(None))


def command_of(raw: Any, expansion: str) -> CommandAction | None:
    """Return an action as a command, None where doit has to run it; `expansion` is what its texts use."""
    if isinstance(raw, str):
        return CommandAction(raw, (), True, _open(raw, expansion), *_ORDINARY)
    if isinstance(raw, list):
        words = _words(raw)
        if words is None:
            return None
        return CommandAction(None, words, False, "", *_ORDINARY)
    if type(raw) is not CmdAction or not _OPTIONS.issuperset(raw.pkwargs):
        return None
    cwd, env = raw.pkwargs.get("cwd"), raw.pkwargs.get("env")
    if isinstance(cwd, PurePath):
        cwd = str(cwd)
    if not (cwd is None or isinstance(cwd, str)) or not is_environment(env):
        return None
    pairs = None if env is None else tuple(sorted(env.items()))
    rest = (cwd, pairs, raw.save_out, raw.encoding, raw.decode_error, bool(raw.buffering))
    if isinstance(raw._action, str):
        return CommandAction(raw._action, (), bool(raw.shell), _open(raw._action, expansion), *rest)
    words = _words(raw._action) if isinstance(raw._action, list) else None
    if words is None or raw.shell:
        return None  # a callable command, or a list for the shell: doit's own way is the reference
    return CommandAction(None, words, False, "", *rest)


def _open(text: str, expansion: str) -> str:
    """Return how placeholders in a text are filled, "" where there can be none."""
    if expansion == "old" and "%" not in text:
        return ""
    if expansion == "new" and "{" not in text and "}" not in text:
        return ""
    return expansion


def filled(action: CommandAction, task: DoitTask, options: Mapping[str, Any]) -> CommandAction | None:
    """Return the command with the placeholders filled that are known now; the others need the run.

    None where only doit can fill them.
    """
    text = action.text
    if text is None or not action.expansion:
        return action
    if not all(isinstance(value, _PLAIN) for value in options.values()):
        return None  # a typed option: only doit has the object
    if task.getargs or task.calc_dep or "changed" in text:
        return action
    values = {
        "targets": " ".join(task.targets),
        "dependencies": " ".join(sorted(task.file_dep)),
        **options,
    }
    try:
        return action._replace(text=fill_placeholders(text, action.expansion, values), expansion="")
    except Exception:
        return action  # the run reports it, as doit does, when it comes to this action


def described(action: CommandAction) -> str:
    """Return the text of a command with whatever else changes what it does."""
    text = action.text
    if text is not None and action[2:] == _ORDINARY_TEXT:
        return text  # what follows comes to the same
    if text is None:
        text = json.dumps(list(action.words))
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


def is_environment(env: object) -> bool:
    """Whether `env` is what a command can be given as its environment, or None."""
    return env is None or (
        isinstance(env, Mapping)
        and all(isinstance(name, str) and isinstance(value, str) for name, value in env.items())
    )


def _words(raw: Sequence[Any]) -> tuple[str, ...] | None:
    if raw and all(isinstance(word, (str, PurePath)) for word in raw):
        return tuple(str(word) for word in raw)
    return None
