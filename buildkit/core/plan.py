"""The Plan: what the dodo.py asks for, as plain data that the engine can run without doit.

What belongs here: the immutable description of tasks, their actions and checks, and the table that
holds them. Whether a task has to run is decided in `core/decide.py`; how a dodo.py becomes a Plan, in
the frontend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import IntEnum

from buildkit.core.config import DEFAULT_TASK_SETTINGS, TaskSettings
from buildkit.core.record import Record


class TaskKind(IntEnum):
    """Who can run the actions of a task."""

    GROUP = 0  # no actions: it only waits for others
    COMMANDS = 1  # plain commands: the engine starts them itself
    HOSTED = 2  # Python functions, or actions with behaviour of their own: the frontend runs them


class CheckKind(IntEnum):
    """What an item of a task's `uptodate` list says, in terms of the action key."""

    CONSTANT = 0  # `value` is "1" or "0": known since the dodo.py was loaded
    CONFIG = 1  # `value` is the digest of a configuration; part of the key
    RESULT = 2  # `value` names a task whose result is part of the key
    ONCE = 3  # up to date as soon as the task has succeeded once
    OPAQUE = 4  # a callable or a command: has to be asked, every time


class Check(Record):
    """One item of `uptodate`. `name` is how it is called in messages."""

    kind: CheckKind
    name: str
    value: str


class CommandAction(Record):
    """One command, as the dodo.py wrote it; `Expansion` says how placeholders are filled."""

    text: str | None  # a command line for the shell, or None when it is a list of words
    words: tuple[str, ...]  # the words of a list action
    shell: bool
    expansion: str  # "": take it literally; else doit's action_string_formatting: old, new, both
    cwd: str | None
    env: tuple[tuple[str, str], ...] | None  # the whole environment of the command; None: inherited
    save_out: str | None
    encoding: str
    decode_errors: str
    unbuffered: bool  # doit's `buffering`: ask Python children not to buffer


class GetArg(Record):
    """One entry of `getargs`: argument `name` is value `key` of `task` (all its values for None)."""

    name: str
    task: str
    key: str | None


class Task(Record):
    """A task. Names, paths and digests only: nothing here refers to doit."""

    name: str
    kind: TaskKind = TaskKind.GROUP
    inputs: tuple[str, ...] = ()  # sorted
    outputs: tuple[str, ...] = ()  # in the order of the definition
    waits: tuple[str, ...] = ()  # tasks that finish before this one is judged
    setup: tuple[str, ...] = ()  # tasks that run first if, and only if, this one has to run
    calc_deps: tuple[str, ...] = ()  # tasks whose values name further dependencies
    getargs: tuple[GetArg, ...] = ()
    checks: tuple[Check, ...] = ()
    actions: tuple[CommandAction, ...] = ()  # of COMMANDS
    options: tuple[tuple[str, str], ...] = ()  # name and text of what %(name)s becomes
    parts: tuple[tuple[str, str], ...] = ()  # key components that the definition fixes, sorted by label
    environment: tuple[str, ...] = ()  # environment variables that the key holds
    programs: tuple[str, ...] = ()  # programs whose executables the key holds
    settings: TaskSettings = DEFAULT_TASK_SETTINGS
    verbosity: int | None = None
    capture: bool | None = True  # doit's io.capture
    title: str | None = None  # None: the name
    subtask_of: str | None = None
    subtasks: tuple[str, ...] = ()  # of a group, in the order of the definition
    uncacheable: str | None = None  # why the result cannot be stored, for `doit explain`
    uses_changed: bool = False  # the actions see which inputs changed
    dynamic: bool = False  # calc_dep or delayed creation: the frontend extends the Plan when it is reached
    teardown: bool = False
    location: str = ""  # "dodo.py:14"

    @property
    def hidden(self) -> bool:
        """Whether consoles leave it out: the name starts with an underscore."""
        return self.name.startswith("_")


class Plan:
    """All tasks by name, in the order of their definition, and which ones this run was asked for.

    A task is never changed; dynamic parts of a dodo.py add tasks, or replace a placeholder, during the
    run (`extend`).
    """

    def __init__(self, tasks: Iterable[Task], selected: Iterable[str]) -> None:
        self._tasks: dict[str, Task] = {task.name: task for task in tasks}
        self.selected: tuple[str, ...] = tuple(selected)
        self._makers: dict[str, str] | None = None
        self.grown = False  # whether the run has found out more than loading had said

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __getitem__(self, name: str) -> Task:
        return self._tasks[name]

    def get(self, name: str) -> Task | None:
        """Return the task of that name, or None."""
        return self._tasks.get(name)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """All tasks by name."""
        return self._tasks

    def extend(self, tasks: Iterable[Task]) -> None:
        """Add tasks, or put a task in the place of the one with its name."""
        self.grown = True
        for task in tasks:
            self._tasks[task.name] = task
        self._makers = None

    @property
    def makers(self) -> Mapping[str, str]:
        """Which task makes which output: path -> task name."""
        if self._makers is None:
            self._makers = {path: task.name for task in self._tasks.values() for path in task.outputs}
        return self._makers

    @property
    def output_count(self) -> int:
        """How many outputs are declared."""
        return len(self.makers)

    @property
    def programs(self) -> Collection[str]:
        """The names of all programs that keys hold."""
        return {name for task in self._tasks.values() for name in task.programs}
