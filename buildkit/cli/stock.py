"""doit's other commands on our state: the same classes, asked through the same questions.

What belongs here: what each of them needs beside the mixin. What they print is doit's.
"""

from __future__ import annotations

import json
import os
import pprint
from typing import Any

from doit.cmd_info import Info as DoitInfo

from buildkit.cli.tasks import OUR_COMMANDS, TaskCommand
from buildkit.core.errors import BuildkitError
from buildkit.frontend.workspace import Workspace

_WRITERS = frozenset({"forget", "ignore", "reset-dep", "clean"})


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
    elif name == "clean":
        mixins = (_CleanWritesOnlyToForget, TaskCommand)
    elif name in ("strace", "tabcompletion"):
        mixins = (_Untouched,)
    attributes = {"name": stock.get_name(), "writes_state": name in _WRITERS, "__doc__": stock.__doc__}
    return type(stock.__name__, (*mixins, stock), attributes)


class _Untouched:
    """Commands that judge nothing: only our names must not forbid tasks of the same names."""

    loader: Any

    def execute(self, params: Any, args: Any) -> Any:
        """Run the command as it is."""
        self.loader.cmd_names = [name for name in self.loader.cmd_names if name not in OUR_COMMANDS]
        return super().execute(params, args)  # type: ignore[misc] # doit's command


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

    def _execute(self, forget_sub: bool, forget_disable_default: bool, forget_all: bool) -> Any:
        if forget_all:
            for task in self.task_list:
                self.dep_manager.remove(task.name)
        return super()._execute(forget_sub, forget_disable_default, forget_all)  # type: ignore[misc] # doit's


class _CleanWritesOnlyToForget:
    """`doit clean` touches the record only with `--forget`."""

    writes_state = True

    def execute(self, params: Any, args: Any) -> Any:
        """Open the state for writing only where something is to be forgotten."""
        self.writes_state = bool(params.get("cleanforget"))
        return super().execute(params, args)  # type: ignore[misc] # TaskCommand.execute


def _help(stock: Any) -> Any:
    """Return doit's help; a task that is called like one of our commands keeps its own help."""
    return type(stock.__name__, (_Untouched, stock), {"name": stock.get_name(), "__doc__": stock.__doc__})


def _dumpdb(stock: Any) -> Any:
    """Return a `dumpdb` that shows the records of our state in the form of doit's."""

    class DumpDB(stock):  # type: ignore[misc] # doit has no types
        name = "dumpdb"

        def execute(self, opt_values: Any, pos_args: Any) -> Any:
            try:
                workspace = Workspace(os.getcwd(), os.environ, read_only=True)
            except BuildkitError as error:
                import sys  # only on the way to an error message

                sys.stderr.write(f"ERROR: {error}\n")
                return int(error.exit_code)
            if workspace.connection is None:
                return super().execute(opt_values, pos_args)
            print("buildkit state '.buildkit/state.db'")
            for task, trace in sorted(workspace.traces.all().items()):
                shown = {
                    "status": trace.status,
                    "action_key": trace.action_key,
                    "ignored": trace.ignored,
                    "outputs": json.loads(trace.outputs),
                    "_values_:": json.loads(trace.values),
                    "result:": json.loads(trace.result),
                }
                print(f"{task} -> {pprint.pformat(shown, indent=4, width=100)}")
            workspace.close()
            return None

    return DumpDB
