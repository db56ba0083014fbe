"""What the entry points in the group `doit.COMMAND` lead to: our command, or doit's own.

An entry point is an attribute of this module, made when doit asks for it. doit's own command is returned
where buildkit is switched off, where the platform cannot run it, and in programs that bring commands of
their own by subclassing DoitMain: their `run` is not ours, so neither may be what reads its state. What only
buildkit adds is not there then.
"""

from __future__ import annotations

import os
import sys
from typing import Any

# Where a command is, if its module has another name: `history.py` is what many of them share.
_MODULES = {"history": "history_command"}

# Attribute -> name of the command in doit that is replaced.
_REPLACED = {
    "run": "run",
    "list": "list",
    "info": "info",
    "clean": "clean",
    "forget": "forget",
    "ignore": "ignore",
    "dumpdb": "dumpdb",
    "reset_dep": "reset-dep",
    "help": "help",
    "strace": "strace",
    "tabcompletion": "tabcompletion",
}


def __getattr__(attribute: str) -> Any:
    """Return the command class behind an entry point."""
    if attribute == "run" and (answered := _fast_answer()) is not None:
        return answered
    from buildkit.cli import precedence  # a run that has nothing to do does without
    from buildkit.cli.precedence import OUR_COMMANDS

    if attribute not in _REPLACED and attribute not in OUR_COMMANDS:
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    embedder = _embedding_program()
    reason = "not for this program" if embedder is not None and _brings_commands(embedder) else None
    if reason is None and _stands_aside(attribute):
        reason = "it is switched off here" if sys.platform != "win32" else "it does not run on Windows yet"
    if attribute in OUR_COMMANDS:
        return precedence.absent(attribute, reason) if reason else _added(attribute)
    stock = _stock(_REPLACED[attribute], embedder)
    if reason is not None:
        return precedence.without_ours(stock)
    if attribute == "run":
        from buildkit.cli.run import Run

        return Run
    from buildkit.cli import stock as commands

    return commands.make(_REPLACED[attribute], stock)


def _fast_answer() -> Any:
    """Return a command that prints what is known to be the answer, where doit was called for just that."""
    # The `buildkit` script has asked already.
    if os.path.basename(sys.argv[0]) == "buildkit" or sys.platform == "win32":
        return None
    from buildkit.cli import fast, invocation

    arguments = invocation.plain_arguments()
    found = fast.look(arguments) if arguments is not None else None
    if found is None:
        return None
    if fast.to_be_checked():
        from buildkit.cli import selfcheck

        return selfcheck.Compared.of(found)
    return fast.Answered.of(found)


def _added(name: str) -> Any:
    from importlib import import_module

    from buildkit.cli import precedence

    module = import_module(f"buildkit.cli.{_MODULES.get(name, name)}")
    return precedence.task_first(getattr(module, name.capitalize()))


def _stands_aside(attribute: str) -> bool:
    from buildkit.core.config import switched_off
    from buildkit.core.errors import ConfigError

    if sys.platform == "win32":
        if attribute == "run":  # doit asks for it once
            sys.stderr.write("buildkit: does not run on Windows yet; stock doit runs instead\n")
        return True
    try:
        return switched_off(os.environ, os.getcwd())
    except (ConfigError, OSError):
        return False  # the command itself says what is wrong with the settings


def _embedding_program() -> Any:
    """Return the DoitMain object that is asking, if it is not doit's own; None otherwise.

    doit resolves plug-ins by name and tells them nothing of who asks, so the caller has to be looked for.
    """
    from doit.doit_cmd import DoitMain

    frame = sys._getframe(1)
    while frame is not None:
        asking = frame.f_locals.get("self")
        if isinstance(asking, DoitMain):
            return None if type(asking) is DoitMain else asking
        main = frame.f_locals.get("main")  # doit.api.run_tasks
        if isinstance(main, DoitMain):
            return None if type(main) is DoitMain else main
        frame = frame.f_back  # type: ignore[assignment] # None ends the loop
    return None


def _brings_commands(program: Any) -> bool:
    """Whether a DoitMain subclass has commands of its own, or its own way to find them."""
    from doit.doit_cmd import DoitMain

    return tuple(program.DOIT_CMDS) != tuple(DoitMain.DOIT_CMDS) or (
        type(program).get_cmds is not DoitMain.get_cmds
    )


def _stock(name: str, program: Any) -> Any:
    from doit.doit_cmd import DoitMain

    commands = program.DOIT_CMDS if program is not None else DoitMain.DOIT_CMDS
    # Later ones win, as they do in DoitMain.get_cmds.
    return {command.get_name(): command for command in commands}.get(name) or {
        command.get_name(): command for command in DoitMain.DOIT_CMDS
    }[name]
