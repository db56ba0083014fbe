"""The files that tasks of a run have written: whether they still are what was read right afterwards.

What belongs here: looking at them again, while the run goes on and at its end. A file that was read within a
tick of the clock of being written may have been written once more without its times showing it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from buildkit.core.fingerprint import Fingerprint, FingerprintTable, is_racy


class WrittenOutputs:
    """Outputs that are files, each with the task that made it."""

    def __init__(self, table: FingerprintTable) -> None:
        self._table = table
        self._makers: dict[str, str] = {}
        self._too_soon: deque[str] = deque()  # what has to be read again, in the order of reading

    def add(self, path: str, task: str, seen: Fingerprint) -> None:
        """Take note of an output that a task has made, and that was read just now."""
        self._makers[path] = task
        if seen.racy:
            self._too_soon.append(path)

    def remove(self, path: str) -> None:
        """Take note that an output is no file any more."""
        self._makers.pop(path, None)

    def look_again(self) -> None:
        """Read again what can be trusted after that: while tasks run, a second processor helps with it."""
        now_ns = time.time_ns()
        while self._too_soon:
            seen = self._table.last_seen(self._too_soon[0])
            if seen is not None and is_racy(seen.mtime_ns, seen.ctime_ns, now_ns):
                return  # and so are those behind it
            path = self._too_soon.popleft()
            if seen is not None and seen.racy:
                # Another content may be that of a task which is still writing: the end will tell.
                self._table.confirm(path, seen)

    def changed(self) -> Iterator[tuple[str, str]]:
        """Look at all of them, and yield those that are others than they were, each with its task."""
        table = self._table
        for path, task in self._makers.items():
            before = table.last_seen(path)
            if before is None:
                continue
            try:
                after = table.recheck(path) if before.racy else table.current(path)
            except OSError:
                after = None
            if after is not before and (after is None or after.digest != before.digest):
                yield path, task
