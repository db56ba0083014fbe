"""Tasks come before our commands: installing buildkit must not break a project that has a task `report`.

doit knows a command by its name before it has loaded a dodo.py, and forbids tasks of that name. What
belongs here: asking the project first, and running the task as `doit run NAME` would. The `buildkit` script
is ours, and there the commands come first.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from doit.cmd_base import Command
from doit.exceptions import InvalidCommand, InvalidDodoFile

from buildkit.cli.output import print_error
from buildkit.core.errors import ExitCode

OUR_COMMANDS = frozenset({"report", "explain", "graph", "cache", "ui", "history", "accept"})
OUR_SCRIPT = "buildkit"


def without_ours(stock: Any) -> Any:
    """Return doit's own command for where buildkit stands aside: as if our commands were not there."""
    mixin = _KnowsNotOurs if stock.get_name() in ("help", "tabcompletion") else OurNamesAllowed
    return type(stock.__name__, (mixin, stock), {"name": stock.get_name(), "__doc__": stock.__doc__})


class OurNamesAllowed:
    """Mixin ahead of a command of doit: a task may be called like a command which only buildkit adds."""

    loader: Any

    def execute(self, params: Any, args: Any) -> Any:
        """Run the command as it is."""
        allow_our_names(self.loader)
        return super().execute(params, args)  # type: ignore[misc] # doit's command


class _KnowsNotOurs(OurNamesAllowed):
    cmds: dict[str, Any]

    def execute(self, params: Any, args: Any) -> Any:
        """Tell of doit's own commands only; our names mean tasks."""
        self.cmds = {name: command for name, command in self.cmds.items() if name not in OUR_COMMANDS}
        return super().execute(params, args)


def allow_our_names(loader: Any) -> None:
    """Let doit's loader take tasks that are called like our commands."""
    names = getattr(loader, "cmd_names", None)
    if names:
        loader.cmd_names = [name for name in names if name not in OUR_COMMANDS]


def task_first(command: Any) -> Any:
    """Return the command class, made to give way to a task or target of its name."""
    return type(
        command.__name__, (_TaskFirst, command), {"name": command.get_name(), "__doc__": command.__doc__}
    )


def absent(name: str, why: str) -> Any:
    """Return what stands where our command would be if it were not `why`: only a task can be meant."""
    purpose = {"name": name, "doc_purpose": f"(of buildkit; {why})", "doc_usage": ""}
    return type(name.capitalize(), (_Absent, Command), purpose)


class _ForNobody(BaseException):
    """The name belongs to no task. Not an Exception, so that nothing on the way reports it as one."""


class _KnowsDoit:
    """What a command needs to hand its arguments to `run`."""

    name: str
    bin_name: str

    def __init__(self, **kwargs: Any) -> None:
        """Keep what DoitMain gives to each command."""
        self._given = kwargs
        super().__init__(**kwargs)

    def _run(self, arguments: Sequence[str]) -> int:
        """Do what `doit NAME ...` does where there is no such command."""
        run = self._given["cmds"].get_plugin("run")(**self._given)
        try:
            return int(run.parse_execute([self.name, *arguments]) or 0)
        except InvalidCommand as error:
            # DoitMain believes that a command was named, and would say so.
            error.cmd_used, error.bin_name = None, self.bin_name
            print_error(error)
            return int(ExitCode.USAGE)


class _Absent(_KnowsDoit):
    def parse_execute(self, arguments: Sequence[str]) -> int:
        """Run the task of that name; doit says so where there is none."""
        return self._run(arguments)


class _TaskFirst(_KnowsDoit):
    def parse_execute(self, arguments: Sequence[str]) -> Any:
        """Run the task of our name if the project has one, ourselves otherwise."""
        if self._given.get("cmds") is None or self.bin_name == OUR_SCRIPT:
            return super().parse_execute(arguments)  # type: ignore[misc] # Command.parse_execute
        loader = self._given["task_loader"]
        with _Gate(loader, self.name) as gate:
            try:
                return self._run(arguments)
            except _ForNobody:
                pass
        with gate.tasks_known():
            return super().parse_execute(arguments)  # type: ignore[misc] # Command.parse_execute


class _Gate:
    """Stands at doit's loader, and stops a run that loads tasks of which none is meant by the name."""

    def __init__(self, loader: Any, name: str) -> None:
        self._loader = loader
        self._name = name
        self._setup: Callable[[Any], Any] = loader.setup
        self._load: Callable[..., Any] = loader.load_tasks
        self._directory = os.getcwd()
        self._printed = io.StringIO()
        self._tasks: list[Any] | None = None
        self._dodo: str | None = None

    def __enter__(self) -> _Gate:
        self._loader.setup, self._loader.load_tasks = self._setting_up, self._loading
        return self

    def __exit__(self, *_: object) -> None:
        self._loader.setup, self._loader.load_tasks = self._setup, self._load

    def _setting_up(self, options: Any) -> Any:
        self._dodo = options.get("dodoFile")
        self._dodo = self._dodo and os.path.abspath(self._dodo)
        try:
            with self._told_later():
                return self._setup(options)
        except InvalidDodoFile:  # no dodo.py
            self._turn_away()
        except Exception:
            self._let_fail()
            raise

    def _loading(self, cmd: Any, pos_args: Sequence[str]) -> Any:
        try:
            with self._told_later():
                tasks = self._load(cmd, pos_args)
        except Exception:
            self._let_fail()
            raise
        if not any(_is_meant(task, self._name) for task in tasks):
            if getattr(cmd, "execute_tasks", False) and not any(task.creator_params for task in tasks):
                self._tasks = tasks
            self._turn_away()
        self._tell(sys.stdout)
        return tasks

    def _turn_away(self) -> None:
        # The dodo.py may print, and what a command prints may be read by a program.
        self._tell(sys.stderr)
        # doit's loader goes to the project's directory, and takes the way from here once more.
        os.chdir(self._directory)
        raise _ForNobody

    def _let_fail(self) -> None:
        """Stop here too where a dodo.py that cannot be loaded does not as much as mention our name.

        Without this, a project with a task of that name would see our command succeed in its place.
        """
        if not _mentions(self._dodo, self._name):
            self._turn_away()
        self._tell(sys.stdout)

    @contextlib.contextmanager
    def _told_later(self) -> Iterator[None]:
        with contextlib.redirect_stdout(self._printed):
            yield

    def _tell(self, stream: Any) -> None:
        stream.write(self._printed.getvalue())
        self._printed = io.StringIO()

    @contextlib.contextmanager
    def tasks_known(self) -> Iterator[None]:
        """Within, a command that would load the same tasks once more gets those that are there."""

        def load_tasks(cmd: Any, pos_args: Sequence[str]) -> Any:
            if self._tasks is not None and cmd.execute_tasks:
                return self._tasks
            return self._load(cmd, pos_args)

        self._loader.load_tasks = load_tasks
        try:
            yield
        finally:
            self._loader.load_tasks = self._load


def _is_meant(task: Any, name: str) -> bool:
    """Whether `doit run NAME` would find this task: by its name, a target, or a pattern for targets."""
    if task.name == name or name in task.targets:
        return True
    pattern = getattr(task.loader, "target_regex", None)
    return bool(pattern and re.match(pattern, name))


def _mentions(path: str | None, name: str) -> bool:
    """Whether a file has the name as a word of its own, or behind an underscore as in `task_report`."""
    try:
        with open(path or "", encoding="utf-8", errors="replace") as file:
            return re.search(rf"(?<![A-Za-z0-9]){name}(?![A-Za-z0-9])", file.read()) is not None
    except OSError:
        return False
