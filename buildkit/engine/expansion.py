"""Command actions of the Plan as commands that can be started: placeholders, shell or not, environment.

What belongs here: the last step before the executor. What is known when the dodo.py is loaded has been
filled in by the planner.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from buildkit.core.command import analyze, fill_placeholders
from buildkit.core.plan import CommandAction, Task
from buildkit.engine.job import Command

_SHELL = "/bin/sh"


class ExpansionError(Exception):
    """A command cannot be made; the message is for the user."""


def commands_of(
    task: Task,
    *,
    getargs: Mapping[str, object],
    changed: Callable[[], Sequence[str]],
    environ: Mapping[str, str],
) -> tuple[Command, ...]:
    """Return the commands of a task; ExpansionError where a placeholder cannot be filled."""
    return tuple([_command(task, action, getargs, changed, environ) for action in task.actions])


def analyzed(task: Task, getargs: Mapping[str, object]) -> Task:
    """Return a task with what its commands depend on, now that the values in their texts are known.

    Texts that were complete when dodo.py was loaded have been analysed by the planner. One that cannot be
    filled is left alone: the run tells the user when it comes to it.
    """
    from buildkit.core.needs import Needs  # only where a text waits for values

    needs = Needs(task.environment, task.programs, [task.uncacheable] if task.uncacheable else ())
    for action in task.actions:
        if action.text is None or not action.expansion:
            continue
        try:
            text = _fill(task, action.text, action.expansion, getargs, tuple)
        except ExpansionError:
            continue
        if action.shell:
            needs.add_text(text, action.cwd)
        else:
            needs.add_program(text)
    return task._replace(
        environment=needs.environment, programs=needs.programs(), uncacheable=needs.uncacheable
    )


def has_open_texts(task: Task) -> bool:
    """Whether a command of the task still waits for values."""
    return any([action.expansion for action in task.actions])


def _command(
    task: Task,
    action: CommandAction,
    getargs: Mapping[str, object],
    changed: Callable[[], Sequence[str]],
    environ: Mapping[str, str],
) -> Command:
    text = action.text
    if text is None:
        argv, shown = action.words, " ".join(action.words)
    else:
        if action.expansion:
            text = _fill(task, text, action.expansion, getargs, changed)
        shown = text
        # What has no shell syntax is started directly: a shell would only be one more process.
        argv = (analyze(text).argv or (_SHELL, "-c", text)) if action.shell else (text,)
    env: Mapping[str, str] | None = None
    if action.env is not None or action.unbuffered:
        env = dict(action.env if action.env is not None else environ)
        if action.unbuffered:
            env = {**env, "PYTHONUNBUFFERED": "1"}
    return Command(
        shown, argv, action.cwd, env, task.capture, action.save_out, action.encoding, action.decode_errors
    )


def _fill(
    task: Task,
    text: str,
    expansion: str,
    getargs: Mapping[str, object],
    changed: Callable[[], Sequence[str]],
) -> str:
    values: dict[str, object] = {
        "targets": " ".join(task.outputs),
        "dependencies": " ".join(task.inputs),
    }
    if "changed" in text:
        values["changed"] = " ".join(changed())
    values.update((name, json.loads(value)) for name, value in task.options)
    values.update(getargs)
    try:
        return fill_placeholders(text, expansion, values)
    except Exception as error:  # what % and format raise is the user's text speaking
        raise ExpansionError(
            f"CmdAction Error creating command string\n{type(error).__name__}: {error} in {text!r}"
        ) from error
