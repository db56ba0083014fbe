"""What all commands share that load a dodo.py: our state behind doit's questions, errors in one line.

What belongs here: the mixin for doit's command classes. What a command does with the tasks is its own.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from doit.cmdparse import CmdParseError
from doit.control import TaskControl
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

from buildkit.core.errors import BuildkitError, ExitCode
from buildkit.frontend.definitions import Definitions, loading_error
from buildkit.frontend.dependency import BuildkitDependency
from buildkit.frontend.inspect import Inspector
from buildkit.frontend.workspace import Workspace, project_root, warn_on_stderr
from buildkit.state.lock import Holder, ProjectLock

OUR_COMMANDS = frozenset({"report", "explain", "graph", "cache"})


class TaskCommand:
    """Mixin ahead of a `DoitCmdBase`: doit's dep_manager is ours, and user errors are one line.

    A project may have tasks that are called like commands which only buildkit adds: installing it must
    not break them.
    """

    writes_state = False  # whether the command changes the record

    loader: Any
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
        root = project_root()
        if self.writes_state:
            self._lock = ProjectLock(root)
            self._lock.acquire(wait=True, on_wait=tell_wait, argv=tuple(sys.argv))
        self._workspace = Workspace(root, os.environ, read_only=not self.writes_state)
        return self._dependency_of(self._workspace)

    def _dependency_of(self, workspace: Workspace) -> BuildkitDependency:
        def flush() -> None:
            workspace.traces.learn(workspace.table.take_dirty())
            workspace.traces.flush()

        dependency = BuildkitDependency(workspace.traces, flush=flush)

        def inspect(control: TaskControl | None = None) -> Inspector:
            inspector = Inspector(
                workspace,
                self.task_list,  # type: ignore[attr-defined] # set by doit when it has loaded the tasks
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
        if self.loader is not None and getattr(self.loader, "cmd_names", None):
            self.loader.cmd_names = [name for name in self.loader.cmd_names if name not in OUR_COMMANDS]
        self._watch_loading()
        try:
            return super().execute(params, args)  # type: ignore[misc] # DoitCmdBase.execute
        except BuildkitError as error:
            sys.stderr.write(f"ERROR: {error}\n")
            return int(error.exit_code)
        except (InvalidTask, InvalidDodoFile) as error:
            raise type(error)(self.definitions().with_places(str(error))) from error
        except (InvalidCommand, CmdParseError):
            raise
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            return int(ExitCode.INTERRUPTED)
        except Exception as error:
            if self._loaded or getattr(self, "pdb", False):
                raise
            sys.stderr.write(f"ERROR: {loading_error(error, project_root())}\n")
            return int(ExitCode.USAGE)
        finally:
            self._close()

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
            self._workspace.close()
        if self._lock is not None:
            self._lock.release()


def action_expansion() -> str:
    """Return doit's action_string_formatting, where doit keeps it."""
    from doit.action import CmdAction

    return str(CmdAction.STRING_FORMAT)


def tell_wait(holder: Holder) -> None:
    """Say for whom this process waits."""
    warn_on_stderr(f"waiting for {holder} to finish with this project (--no-wait fails instead)")
