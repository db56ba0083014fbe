"""doit's other commands on our state: the same classes, asked through the same questions.

What belongs here: what each of them needs beside the mixin. What they print is doit's.
"""

from __future__ import annotations

import dbm
import functools
import json
import os
import pprint
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from doit.cmd_info import Info as DoitInfo

from buildkit.cli.output import exit_code_of, print_lines, print_result
from buildkit.cli.precedence import OUR_COMMANDS, OUR_SCRIPT, OurNamesAllowed
from buildkit.cli.tasks import TaskCommand
from buildkit.core.errors import UsageError
from buildkit.frontend.workspace import Workspace

_WRITERS = frozenset({"forget", "ignore", "reset-dep"})
_NAMES_CHECKED = _WRITERS | {"clean", "info"}


def make(name: str, stock: Any) -> Any:
    """Return the command class for `name`, made from doit's own."""
    if name == "dumpdb":
        return _dumpdb(stock)
    if name == "help":
        return _help(stock)
    mixins: tuple[type, ...] = (TaskCommand,)
    if name == "info":
        mixins = (_InfoReasons, TaskCommand)
    elif name == "forget":
        mixins = (_ForgetAll, TaskCommand)
    elif name in ("strace", "tabcompletion"):
        mixins = (OurNamesAllowed,)
    attributes: dict[str, Any] = {"name": stock.get_name(), "__doc__": stock.__doc__}
    made: Any = type(stock.__name__, (*mixins, stock), attributes)
    if name in _NAMES_CHECKED:
        made._execute = _checked(made, stock, name)
    return made


def _checked(made: Any, stock: Any, name: str) -> Any:
    """Return an `_execute` that looks at the names first, and only then opens the state for writing."""

    @functools.wraps(stock._execute)  # doit reads its parameters
    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        writes = bool(kwargs.get("cleanforget")) if name == "clean" else name in _WRITERS
        if not (self.sel_default_tasks and name in ("ignore", "reset-dep")):
            self.refuse_unknown_names(wildcards=name == "clean")
        if writes:
            self.begin_writing()
        return super(made, self)._execute(*args, **kwargs)

    return execute


class _InfoReasons:
    """`doit info` tells our reasons too."""

    @staticmethod
    def get_reasons(reasons: Any) -> str:
        """Return doit's text with the reasons that only buildkit has."""
        text: str = DoitInfo.get_reasons(reasons)
        ours = reasons.get("buildkit", ())
        return "\n".join([*([text] if text else []), *(f" * {reason}" for reason in ours)])


class _ForgetAll:
    """`doit forget --all` also forgets tasks that have no record here, but may have one in the cache."""

    task_list: Any
    dep_manager: Any
    sel_tasks: Any
    outstream: Any

    def _execute(self, forget_sub: bool, forget_disable_default: bool, forget_all: bool) -> Any:
        if forget_all:
            for task in self.task_list:
                self.dep_manager.remove(task.name)
        elif self.sel_tasks is None:  # nor are there default tasks, where doit says this, too
            self.outstream.write("no tasks specified, pass task name, --enable-default or --all\n")
            return None
        return super()._execute(forget_sub, forget_disable_default, forget_all)  # type: ignore[misc] # doit's


def _help(stock: Any) -> Any:
    """Return doit's help; a task that is called like one of our commands has help of its own."""

    class Help(TaskCommand, stock):  # type: ignore[misc] # doit has no types
        name = stock.get_name()
        __doc__ = stock.__doc__
        _on_task: bool | None = None  # whether there is such a task; None: nobody asked

        def execute(self, params: Any, args: Any) -> Any:
            if len(args) != 1 or args[0] not in OUR_COMMANDS or self.bin_name == OUR_SCRIPT:
                return super().execute(params, args)
            command = self.cmds.pop(args[0])
            self._on_task = True
            failed = super().execute(params, args)
            if failed or not self._on_task:
                print_result(command(cmds=self._cmds, **self.init_kwargs).help())
            return 0

        def print_usage(self, cmds: Any) -> None:
            if self._on_task is None:
                super().print_usage(cmds)
            self._on_task = False  # doit shows all commands when it finds no task

    return Help


def _dumpdb(stock: Any) -> Any:
    """Return a `dumpdb` that shows the records of our state in the form of doit's."""

    class DumpDB(stock):  # type: ignore[misc] # doit has no types
        name = "dumpdb"

        def execute(self, opt_values: Any, pos_args: Any) -> Any:
            return exit_code_of(lambda: self._dump(opt_values, pos_args))

        def _dump(self, opt_values: Any, pos_args: Any) -> Any:
            with closing(Workspace(os.getcwd(), os.environ, read_only=True)) as workspace:
                if workspace.connection is None:
                    if dbm.whichdb(opt_values["dep_file"]) is None:
                        raise UsageError("there is no record of this project yet.")
                    return super().execute(opt_values, pos_args)
                print_lines(_dumped(workspace))
            return None

    return DumpDB


def _dumped(workspace: Workspace) -> Iterator[str]:
    yield "buildkit state '.buildkit/state.db'"
    for task, trace in sorted(workspace.traces.all().items()):
        shown = {
            "status": trace.status,
            "action_key": trace.action_key,
            "ignored": trace.ignored,
            "outputs": json.loads(trace.outputs),
            "_values_:": json.loads(trace.values),
            "result:": json.loads(trace.result),
        }
        yield f"{task} -> {pprint.pformat(shown, indent=4, width=100)}"
