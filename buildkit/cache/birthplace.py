"""Where files are made that get their name later: in another directory where their own is slow.

ext4 without a journal gives no inode out again within minutes of the deletion of its file, and looks through
all of these for each new file: after `rm -r out`, a file takes a millisecond in `out` and ten microseconds in
a directory whose inodes lie elsewhere. A file without a name may come from any directory of its file system.
What it would inherit from its own must be nothing, then: no group, no access list, no label.
Directories that are used every day have their share of what was deleted; new ones are where there is room.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from buildkit.cache.unnamed import create_unnamed, give_name

_SLOW_NS = 150_000  # of processor time
_SLOW_IN_A_ROW = 4
_MOST_MOVES = 64  # from one directory, in one run: a group of ext4 has some thousand inodes


class Birthplaces:
    """Finds out by itself where a new file takes long, and where it does not."""

    def __init__(
        self,
        directory_apart: Callable[[], str] | None = None,
        *,
        clock_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """`directory_apart` makes a new directory far from others, see `Scratch.directory_apart`.

        Where it does not help, or is not given, those above a target are asked.
        """
        self._directory_apart = directory_apart
        self._clock_ns = clock_ns
        self._places: dict[str, str] = {}  # directory of a target: where its files are made instead
        self._slow: dict[str, int] = {}  # how many in a row took long
        self._moves: dict[str, int] = {}
        self._refused: set[str] = set()  # directories in which a file did not get its name

    def elsewhere(self, directory: str) -> bool:
        """Whether the files of a directory are made in another one."""
        return directory in self._places

    def refused(self, directory: str) -> None:
        """Take note that a file could not be given a name in a directory; there are no more for that one."""
        self._refused.add(directory)

    def create(self, directory: str, mode: int, unused_name: Callable[[str], str]) -> int | None:
        """Open a new file that can be given a name in `directory`; see `create_unnamed`.

        `unused_name` returns a name beside the path that it is given, for a try.
        """
        if directory in self._refused:
            return None
        started_ns = self._clock_ns()
        try:
            fd = create_unnamed(self._places.get(directory, directory), mode)
        except FileNotFoundError:
            if self._places.pop(directory, None) is None:
                raise
            fd = create_unnamed(directory, mode)  # the other place is gone
        if fd is None or self._clock_ns() - started_ns < _SLOW_NS:
            self._slow.pop(directory, None)
            return fd
        slow = self._slow[directory] = self._slow.get(directory, 0) + 1
        if slow >= _SLOW_IN_A_ROW and self._moves.get(directory, 0) < _MOST_MOVES:
            self._slow[directory] = 0
            self._moves[directory] = self._moves.get(directory, 0) + 1
            self._move(directory, unused_name)
        return fd

    def _move(self, directory: str, unused_name: Callable[[str], str]) -> None:
        """Look for a directory where files for this one are made faster."""
        if not _leaves_nothing(directory):
            return
        device = os.stat(directory).st_dev
        for place in self._candidates(directory):
            with suppress(OSError):
                alike = os.stat(place).st_dev == device and _leaves_nothing(place)
                if alike and self._is_fast(place, unused_name(f"{directory}/try")):
                    self._places[directory] = place
                    return

    def _candidates(self, directory: str) -> Iterator[str]:
        if self._directory_apart is not None:
            with suppress(OSError):
                yield self._directory_apart()
        now = self._places.get(directory, directory)
        above = os.path.dirname(directory)
        while above != os.path.dirname(above):
            if above != now:
                yield above
            above = os.path.dirname(above)

    def _is_fast(self, place: str, name: str) -> bool:
        """Whether a file is made fast at a place, and can be given a name that is meant for another one."""
        started_ns = self._clock_ns()
        fd = create_unnamed(place, 0o600)
        took_ns = self._clock_ns() - started_ns
        if fd is None:
            return False
        try:
            if took_ns >= _SLOW_NS or not give_name(fd, name):
                return False
            os.unlink(name)
        finally:
            os.close(fd)
        return True


def _leaves_nothing(directory: str) -> bool:
    """Whether new files in a directory get nothing from it."""
    try:
        return not os.stat(directory).st_mode & stat.S_ISGID and not os.listxattr(directory)
    except OSError:
        return False
