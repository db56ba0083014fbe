"""What all commands share that load a dodo.py: our state behind doit's questions, errors in one line.

What belongs here: the mixin for doit's command classes. What a command does with the tasks is its own.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from doit.cmdparse import CmdParseError
from doit.control import TaskControl
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask
from doit.globals import Globals

from buildkit.cli.arguments import ReadableOptions
from buildkit.cli.output import UNREAD, discard_output, interrupted, print_error, unwritable_output
from buildkit.cli.precedence import allow_our_names
from buildkit.cli.waiting import end_what_was_left, tell_wait
from buildkit.core.errors import BuildkitError, ExitCode, did_you_mean
from buildkit.frontend.bytecode import fresh_modules
from buildkit.frontend.definitions import Definitions, loading_error, unknown_task
from buildkit.frontend.dependency import BuildkitDependency
from buildkit.frontend.inspect import Inspector
from buildkit.frontend.workspace import Workspace, project_root
from buildkit.state.directory import FULL
from buildkit.state.lock import ProjectLock


class TaskCommand(ReadableOptions):
    """Mixin ahead of a `DoitCmdBase`: doit's dep_manager is ours, and user errors are one line.

    A project may have tasks that are called like commands which only buildkit adds: installing it must
    not break them.
    """

    loader: Any
    task_list: list[Any]  # set by doit when it has loaded the tasks
    sel_tasks: Any  # names on the command line; set by doit
    _dependency: BuildkitDependency | None = None
    _workspace: Workspace | None = None
    _lock: ProjectLock | None = None
    _loaded = False

    @property
    def dep_manager(self) -> Any:
        """What doit calls its dep_manager; made when doit first asks, which is after the loader's chdir."""
        if self._dependency is None:
            self._dependency = self._open_dependency()
        return self._dependency

    @dep_manager.setter
    def dep_manager(self, value: Any) -> None:
        if value is not None:
            self._dependency = value

    def _open_dependency(self) -> BuildkitDependency:
        """Answer what a dodo.py asks while it loads; nothing is created before all is known to be right."""
        self._workspace = Workspace(project_root(), os.environ, read_only=True)
        return self._dependency_of(self._workspace)

    def begin_writing(self) -> None:
        """Take the lock of the project, and open its state for writing."""
        self._close()
        root = project_root()
        self._lock = ProjectLock(root)
        self._lock.acquire(wait=True, on_wait=tell_wait, argv=tuple(sys.argv))
        end_what_was_left(self._lock)
        self._workspace = Workspace(root, os.environ, read_only=False)
        self._dependency = Globals.dep_manager = self._dependency_of(self._workspace)

    def refuse_unknown_names(self, *, wildcards: bool) -> None:
        """Raise doit's error for a name on the command line that no task has, with a suggestion."""
        known = {task.name for task in self.task_list}
        for name in self.sel_tasks or ():
            if name not in known and not (wildcards and "*" in name):
                raise InvalidCommand(f"'{name}' is not a task.{did_you_mean(name, known)}")

    def select(self, *, auto_delayed_regex: bool = False) -> TaskControl:
        """Return the tasks, those selected that the command line names; an unknown name gets a suggestion."""
        control = TaskControl(list(self.task_list), auto_delayed_regex=auto_delayed_regex)
        try:
            control.process(self.sel_tasks)
        except InvalidCommand as error:
            raise unknown_task(error, control) from None
        return control

    def _dependency_of(self, workspace: Workspace) -> BuildkitDependency:
        def flush() -> None:
            workspace.traces.learn(workspace.table.take_dirty())
            workspace.traces.flush()

        dependency = BuildkitDependency(workspace.traces, flush=flush)

        def inspect(control: TaskControl | None = None) -> Inspector:
            inspector = Inspector(
                workspace,
                self.task_list,
                dependency=dependency,
                definitions=self.definitions(),
                expansion=action_expansion(),
                control=control,
            )
            dependency.judge = inspector.status_of
            dependency.record = inspector.record
            return inspector

        dependency.judge = lambda task, tasks: inspect().status_of(task, tasks)
        dependency.record = lambda task, tasks: inspect().record(task, tasks)
        self.inspect = inspect
        return dependency

    def definitions(self) -> Definitions:
        """Return where the loaded tasks are defined."""
        return Definitions(getattr(self.loader, "namespace", None), project_root())

    def execute(self, params: Any, args: Any) -> Any:
        """Run the command; what a user can put right becomes one line and exit code 3."""
        allow_our_names(self.loader)
        self._watch_loading()
        try:
            with fresh_modules():
                answer = super().execute(params, args)  # type: ignore[misc] # DoitCmdBase.execute
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is told here, not while Python ends
            return answer
        except BuildkitError as error:
            print_error(error)
            return int(error.exit_code)
        except (InvalidTask, InvalidDodoFile) as error:
            raise type(error)(
                self.definitions().with_places(str(error)) + self._suggestion(str(error))
            ) from error
        except (InvalidCommand, CmdParseError):
            raise
        except BrokenPipeError:
            discard_output()  # `| head` has seen enough
            return UNREAD
        except KeyboardInterrupt:
            return interrupted()
        except Exception as error:
            if self._loaded and isinstance(error, OSError) and _is_of_a_stream(error):
                discard_output()
                print_error(unwritable_output(error))
                return int(ExitCode.USAGE)
            if self._loaded or getattr(self, "pdb", False):
                raise
            print_error(loading_error(error, project_root()))
            return int(ExitCode.USAGE)
        finally:
            self._close()

    def _suggestion(self, message: str) -> str:
        missing = re.search(r"dependency '(.+)' does not exist", message)
        if missing is None:
            return ""
        tasks = getattr(self, "task_list", None) or ()
        return did_you_mean(missing[1], [task.name for task in tasks])

    def _watch_loading(self) -> None:
        """Note when the tasks are loaded: exceptions before that moment are the dodo.py's."""
        load = self.loader.load_tasks

        def load_tasks(*args: Any, **kwargs: Any) -> Any:
            tasks = load(*args, **kwargs)
            self._loaded = True
            return tasks

        self.loader.load_tasks = load_tasks

    def _close(self) -> None:
        if self._workspace is not None:
            try:
                self._workspace.close()
            except KeyboardInterrupt:  # a second Ctrl-C, when the run is over
                interrupted()
            self._workspace = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _is_of_a_stream(error: OSError) -> bool:
    """Whether a full disk stopped what doit prints: errors about files name them."""
    return error.errno in FULL and error.filename is None


def action_expansion() -> str:
    """Return doit's action_string_formatting, where doit keeps it."""
    from doit.action import CmdAction

    return str(CmdAction.STRING_FORMAT)
