"""A cache that fails: what is switched off, and the one warning that says so.

A build never fails because of its cache. The first problem of a run is told to the user, the later ones
are not; a problem that will not go away (disk full, read-only, no permission) also ends storing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

# Trying again for each of the next ten thousand tasks would cost time and change nothing.
_LASTING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ENOTDIR,
        errno.EFBIG,
    }
)


class Trouble:
    """What has gone wrong with one cache in this run."""

    def __init__(self, directory: str, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._warn = warn
        self.told = False
        self.storing = True  # whether blobs and results may still be written
        self.reading = True  # whether the index can be asked
        self.problem = ""  # the last one, without what it means for a build

    def writing_failed(self, error: OSError) -> None:
        """Take note that a blob could not be written."""
        if error.errno in _LASTING:
            self.storing = False
        self._tell(f"cannot be written: {error.strerror or error}", "results of this run may not be cached")

    def reading_failed(self, error: BaseException) -> None:
        """Take note that something that is there could not be read."""
        self._tell(f"cannot be read: {error}", "tasks run instead of being restored")

    def index_failed(self, error: Exception, *, reading: bool) -> None:
        """Take note that the index could not be written, or (`reading` false) not even asked."""
        self.storing = False
        self.reading = self.reading and reading
        self._tell(f"has an index that cannot be used: {error}", "results of this run may not be cached")

    def unusable(self, problem: str) -> None:
        """Leave the whole cache alone in this run."""
        self.storing = self.reading = False
        self._tell(f"is not used: {problem}")

    def rebuilt(self, set_aside: str) -> None:
        """Take note that the index was damaged and has been replaced by an empty one."""
        self._tell("had a damaged index", f"it was set aside as {set_aside} and rebuilt empty")

    def _tell(self, problem: str, consequence: str = "") -> None:
        self.problem = problem
        problem += f"; {consequence}" if consequence else ""
        if not self.told:
            self.told = True
            self._warn(f"the cache in {self._directory} {problem}")
