"""Who writes what nobody declared: two tasks that write one file, and a task that writes another's output.

Nothing traces the tasks. The project's files are looked at between tasks, and what is new since the last
look was written by one of the tasks that ran in between; where several did, by those whose commands name
the file. So this sees all in a sequential run of a small project, less the more tasks overlap, and nothing:

- in what the run itself writes, its own standard output and the cache for instance, and in pipes and sockets;
- in hidden files and folders, `__pycache__`, `node_modules` and virtual environments;
- in a project of more than `MOST_ENTRIES` other files, or outside of the project;
- of tasks that passed while no look was due: looking may take `_SHARE` of the time of a run, not more.

What is said is therefore true; what is not said proves nothing.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from buildkit.core.plan import Plan, Task

MOST_ENTRIES = 5000
_FREE_S = 0.01  # of looking in a run, whatever it takes
_SHARE = 0.02
_PASSED_OVER = frozenset({"__pycache__", "node_modules"})
_HOLD_BYTES = frozenset({stat.S_IFREG, stat.S_IFLNK})

_Signature = tuple[int, int, int]  # mtime_ns, size, inode


class _File:
    """An undeclared file that was written during the run."""

    __slots__ = ("maybe", "writers")

    def __init__(self) -> None:
        self.writers: dict[str, None] = {}  # tasks that certainly wrote it
        self.maybe: set[str] = set()  # tasks that ran when it was written


class WriteWatch:
    """Looks at the files of a project while tasks run in it."""

    def __init__(
        self, plan: Plan, root: str, *, clock: Callable[[], float] = time.monotonic, most: int = MOST_ENTRIES
    ) -> None:
        self._plan = plan
        self._root = root
        self._clock = clock
        self._most = most
        self._seen: dict[str, _Signature] | None = None
        self._off = plan.output_count >= most
        self._running: dict[str, None] = {}
        self._since_look: dict[str, None] = {}  # tasks that ran at some time since the last look
        self._began_s = 0.0
        self._spent_s = 0.0
        self._files: dict[str, _File] = {}
        self._foreign: dict[str, dict[str, None]] = {}  # output -> other tasks that wrote it
        self._own: set[tuple[int, int]] = set()  # device and inode of files that are not the tasks'
        self._own_folders: set[str] = set()  # by path from the root

    def pass_over(self, files: Iterable[int | str]) -> None:
        """Leave out these files, open or by path: the run itself writes them."""
        for file in files:
            with suppress(OSError):  # closed, or not there yet
                status = os.stat(file)
                self._own.add((status.st_dev, status.st_ino))

    def pass_over_folder(self, folder: str) -> None:
        """Leave out a folder, which need not be there yet, with all that lies below it."""
        self._own_folders.add(os.path.relpath(os.path.realpath(folder), os.path.realpath(self._root)))

    def begin(self, task: Task) -> None:
        """Take note that the actions of a task are about to start."""
        if self._off:
            return
        if self._seen is None:
            self._began_s = self._clock()
            self._seen = self._scan()
            self._spent_s = self._clock() - self._began_s
            if self._off:
                return
        self._running[task.name] = None
        self._since_look[task.name] = None

    def restoring(self, task: Task) -> None:
        """Take note that we write the outputs of a task ourselves, until `restored`."""
        if not self._off:
            self._running[task.name] = self._since_look[task.name] = None

    def restored(self, task: Task) -> None:
        """Take note that we have written the outputs of a task ourselves."""
        self._running.pop(task.name, None)
        self._since_look[task.name] = None

    def end(self, task: Task) -> None:
        """Take note that the actions of a task are over."""
        if self._running.pop(task.name, self) is self or self._seen is None:
            return
        now = self._clock()
        if self._spent_s > _FREE_S + _SHARE * (now - self._began_s):
            return
        self._look(self._seen)
        self._spent_s += self._clock() - now
        self._since_look = dict(self._running)

    def undeclared(self, task: str) -> str | None:
        """Return a file that a task has written, or may have, without declaring it."""
        for path, file in self._files.items():
            if task in file.writers or (not file.writers and task in file.maybe):
                return path
        return next((path for path, writers in self._foreign.items() if task in writers), None)

    def foreign(self, task: str) -> list[str]:
        """Return the outputs of other tasks that a task has written."""
        return [path for path, writers in self._foreign.items() if task in writers]

    def findings(self) -> list[str]:
        """Return what is to be told at the end of the run, in sentences."""
        told = []
        for path, file in sorted(self._files.items()):
            if len(file.writers) > 1:
                told.append(
                    f"tasks {_named(file.writers)} all write '{path}', and none declares it as a target: "
                    "what it holds depends on their order"
                )
        for path, writers in sorted(self._foreign.items()):
            owner = self._owner(path)
            told.append(
                f"{'tasks' if len(writers) > 1 else 'task'} {_named(writers)} wrote '{path}', "
                f"a target of task '{owner}'"
            )
        return told

    # --- inside

    def _look(self, before: dict[str, _Signature]) -> None:
        after = self._scan()
        if self._off:
            return
        declared = self._declared()
        written = [
            path
            for path, signature in after.items()
            if before.get(path) != signature and path not in declared
        ]
        # All inputs, and who makes what, take a whole plan apart: they are asked for where it has to be.
        inputs = {path for task in self._plan for path in task.inputs} if written else set()
        for path in written:
            self._written(path, inputs)
        self._seen = after

    def _declared(self) -> set[str]:
        """Return the outputs of the tasks that ran at some time since the last look."""
        ran = map(self._plan.get, self._since_look)
        return {path for task in ran if task is not None for path in task.outputs}

    def _written(self, path: str, inputs: set[str]) -> None:
        owner = self._owner(path)
        if owner is not None and owner in self._since_look:
            return
        if owner is None and path in inputs:
            return  # the tasks that read it tell of a change; it may have been an editor
        candidates = list(self._since_look)
        if len(candidates) > 1:
            naming = [name for name in candidates if self._names(name, path)]
            candidates = naming or candidates
        certain = len(candidates) == 1 or self._names(candidates[0], path)
        if owner is not None:
            if certain:
                self._foreign.setdefault(path, {}).update(dict.fromkeys(candidates))
            return
        file = self._files.setdefault(path, _File())
        if certain:
            file.writers.update(dict.fromkeys(candidates))
        else:
            file.maybe.update(candidates)

    def _owner(self, path: str) -> str | None:
        """Return the task whose output a path is, or lies in."""
        makers = self._plan.makers
        while path:
            for declared in (path, path + "/"):
                if declared in makers:
                    return makers[declared]
            path = path.rpartition("/")[0]
        return None

    def _names(self, task: str, path: str) -> bool:
        name = path.rpartition("/")[2]
        found = self._plan.get(task)
        return found is not None and any(
            name in (action.text or "") or any(name in word for word in action.words)
            for action in found.actions
        )

    def _scan(self) -> dict[str, _Signature]:
        found: dict[str, _Signature] = {}
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                entries = os.scandir(os.path.join(self._root, folder))
            except OSError:
                continue  # gone, or not ours to read
            with entries:
                for entry in entries:
                    if len(found) >= self._most:
                        self._off = True
                        return {}
                    name = entry.name
                    if name[0] == "." or name in _PASSED_OVER:
                        continue
                    self._note(entry, f"{folder}/{name}" if folder else name, found, pending)
        return found

    def _note(
        self, entry: os.DirEntry[str], path: str, found: dict[str, _Signature], pending: list[str]
    ) -> None:
        try:
            if entry.is_dir(follow_symlinks=False):
                ours = path in self._own_folders
                if not ours and not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                    pending.append(path)
                return
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return  # gone since it was listed
        if (status.st_dev, status.st_ino) in self._own:
            return
        if stat.S_IFMT(status.st_mode) not in _HOLD_BYTES:
            return  # a pipe or a socket holds nothing
        found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)


def _named(tasks: Iterable[str]) -> str:
    names = [f"'{name}'" for name in tasks]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
