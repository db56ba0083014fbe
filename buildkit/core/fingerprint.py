"""Fingerprints: a file's digest together with the stat signature that it was read under.

What belongs here: when a signature may stand in for reading the file, and one table that asks the
file system once per path. What a changed fingerprint means for a task is decided elsewhere.
"""

from __future__ import annotations

import os
import stat as stat_module
import time
from collections.abc import Callable
from enum import Enum

from buildkit.core.digest import Digest, digest_fd
from buildkit.core.record import Record

# A file written within one clock tick of the moment it was read can change again without its
# timestamps moving (git calls such an entry racy). Linux ticks every 1-10 ms; file systems that keep
# whole seconds or two (FAT, some network mounts) show timestamps without a sub-second part.
TICK_NS = 20_000_000
_COARSE_TICK_NS = 2_000_000_000
_SECOND_NS = 1_000_000_000

PERMISSION_BITS = 0o777
_SHARED: dict[int, int] = {}  # devices and modes: the same few numbers in the fingerprints of all files


class Fingerprint(Record):
    """What is known of a regular file: its content, and the stat signature it was read under."""

    digest: Digest
    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    device: int
    mode: int  # permission bits only
    hashed_at_ns: int  # wall clock, taken before the first byte was read

    def matches(self, st: os.stat_result) -> bool:
        """Return whether `st` is the signature that this fingerprint was read under."""
        return (
            st.st_mtime_ns == self.mtime_ns
            and st.st_ctime_ns == self.ctime_ns
            and st.st_size == self.size
            and st.st_ino == self.inode
            and st.st_dev == self.device
            and st.st_mode & PERMISSION_BITS == self.mode
        )

    @property
    def racy(self) -> bool:
        """Whether the file may have changed since without its signature showing it."""
        return is_racy(self.mtime_ns, self.ctime_ns, self.hashed_at_ns)


def is_racy(mtime_ns: int, ctime_ns: int, hashed_at_ns: int) -> bool:
    """Return whether a file with these times, read at `hashed_at_ns`, could change unseen.

    Both times have to lie at least one tick before the reading: a later write then has to move one of
    them. A clock that was set back makes files look as if they came from the future; those are racy
    until the clock has caught up, which costs time but never correctness.
    """
    newest = mtime_ns if mtime_ns > ctime_ns else ctime_ns
    tick = _COARSE_TICK_NS if mtime_ns % _SECOND_NS == 0 and ctime_ns % _SECOND_NS == 0 else TICK_NS
    return newest > hashed_at_ns - tick


class Movement(Enum):
    """What became of a file since it was fingerprinted."""

    NONE = "none"  # nobody wrote to it
    REWRITTEN = "rewritten"  # written or replaced, with the same content as before at the end
    CHANGED = "changed"  # other content, another mode, gone, or nothing that can be read


class NotRegularFileError(OSError):
    """An input is a directory, a socket, a device: nothing that has content to fingerprint."""


class FileChangedError(OSError):
    """A file changed while it was being read."""


def read_fingerprint(path: str) -> Fingerprint:
    """Read the file and return its fingerprint; OSError as `open` raises it.

    The signature is taken from the open descriptor before and after reading: a file that is being
    written meanwhile is read again, and FileChangedError is raised when it does not come to rest.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        for _ in range(3):
            st = os.fstat(fd)
            if not stat_module.S_ISREG(st.st_mode):
                raise NotRegularFileError(0, "is not a regular file", path)
            hashed_at_ns = time.time_ns()
            digest = digest_fd(fd, size=st.st_size)
            after = os.fstat(fd)
            if (after.st_mtime_ns, after.st_ctime_ns, after.st_size) == (
                st.st_mtime_ns,
                st.st_ctime_ns,
                st.st_size,
            ):
                return fingerprint_from(digest, st, hashed_at_ns)
            os.lseek(fd, 0, os.SEEK_SET)
    finally:
        os.close(fd)
    raise FileChangedError(0, "changes while it is being read", path)


def fingerprint_from(digest: Digest, st: os.stat_result, hashed_at_ns: int) -> Fingerprint:
    """Return the fingerprint of a file whose digest was taken under the signature `st`."""
    mtime_ns, ctime_ns, mode = st.st_mtime_ns, st.st_ctime_ns, st.st_mode & PERMISSION_BITS
    return Fingerprint(
        digest,
        mtime_ns,
        ctime_ns if ctime_ns != mtime_ns else mtime_ns,  # one number for both, where they are equal
        st.st_size,
        st.st_ino,
        _SHARED.setdefault(st.st_dev, st.st_dev),
        _SHARED.setdefault(mode, mode),
        hashed_at_ns,
    )


class FingerprintTable:
    """The fingerprints of this run: recorded ones, checked against the disk once per path.

    `known` is what earlier runs recorded. A path is looked at once, until somebody says that files may be
    others now: `forget` and `learn` for one path, `look_again` for all.
    """

    def __init__(
        self,
        known: dict[str, Fingerprint],
        *,
        read: Callable[[str], Fingerprint] = read_fingerprint,
        stat: Callable[[str], os.stat_result] = os.stat,
    ) -> None:
        self._known = known
        self._checked: dict[str, Fingerprint | None] = {}
        self._dirty: set[str] = set()
        self._postponed: set[str] = set()  # of those, what cannot be trusted as it is
        self._read = read
        self._stat = stat
        self.files_read = 0

    def current(self, path: str) -> Fingerprint | None:
        """Return the fingerprint of the file as it is now, or None when there is no such file.

        NotRegularFileError for a directory or a device; other OSErrors (permission, I/O) as they come.
        """
        try:
            return self._checked[path]
        except KeyError:
            pass
        known = self._known.get(path)
        if known is not None and not known.racy:  # else it is read anyway, and its signature is taken then
            try:
                st = self._stat(path)
            except (FileNotFoundError, NotADirectoryError):
                self._checked[path] = None
                return None
            if known.matches(st):
                self._checked[path] = known
                return known
        try:
            fresh = self._read(path)
        except (FileNotFoundError, NotADirectoryError):
            self._checked[path] = None
            return None
        self.files_read += 1
        self._store(path, fresh)
        return fresh

    def recheck(self, path: str) -> Fingerprint | None:
        """Look at the disk again, whatever was seen before in this run."""
        seen = self._checked.pop(path, None)
        if seen is not None:
            self._known[path] = seen
        return self.current(path)

    def confirm(self, path: str, seen: Fingerprint) -> bool:
        """Read a file again that was read too soon; take that over, and return True, if it says the same."""
        try:
            fresh = self._read(path)
        except OSError:
            return False
        if fresh.digest != seen.digest or fresh.mode != seen.mode:
            return False
        self._store(path, fresh)
        return True

    def movement(self, path: str, seen: Fingerprint) -> Movement:
        """Return what became of a file since `seen`; reads it again only where the stat can lie."""
        try:
            st = self._stat(path)
        except OSError:
            return Movement.CHANGED
        if seen.matches(st) and not seen.racy:
            return Movement.NONE
        try:
            fresh = self._read(path)
        except OSError:
            return Movement.CHANGED
        self._store(path, fresh)
        if fresh.digest != seen.digest or fresh.mode != seen.mode:
            return Movement.CHANGED
        # A new ctime alone is a new link to the file, or its mode changed and changed back.
        same_writing = fresh.mtime_ns == seen.mtime_ns and fresh.inode == seen.inode
        return Movement.NONE if same_writing and fresh.device == seen.device else Movement.REWRITTEN

    def learn(self, path: str, fingerprint: Fingerprint) -> None:
        """Take over a fingerprint that somebody else has just read (captured or restored outputs)."""
        self._store(path, fingerprint)

    def forget(self, path: str) -> None:
        """Look again at the next question: a task may have written this path."""
        self._checked.pop(path, None)

    def look_again(self) -> None:
        """Trust no earlier look: a task has run, and may have written more than it declares."""
        self._checked.clear()

    def let_go(self) -> None:
        """Forget everything: nobody asks any more."""
        for each in (self._known, self._checked, self._dirty, self._postponed):
            each.clear()

    def last_seen(self, path: str) -> Fingerprint | None:
        """Return what was last known of a file, without looking at the disk."""
        return self._known.get(path)

    def _store(self, path: str, fingerprint: Fingerprint) -> None:
        self._checked[path] = fingerprint
        self._known[path] = fingerprint
        self._dirty.add(path)

    def take_dirty(self, *, meanwhile: bool = False) -> list[tuple[str, Fingerprint]]:
        """Return the fingerprints that are new since the last call, to be written to the state.

        `meanwhile`: those of files that have to be read again are left for later, when they may be better.
        """
        known = self._known
        if meanwhile:
            dirty = [(path, seen) for path in self._dirty if not (seen := known[path]).racy]
            self._postponed |= self._dirty
            self._postponed.difference_update([path for path, _seen in dirty])
        else:
            dirty = [(path, known[path]) for path in self._dirty | self._postponed]
            self._postponed.clear()
        self._dirty.clear()
        return dirty
