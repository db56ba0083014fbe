"""Temporary files of a cache: how they are named, and how those of dead processes are found again.

A killed process leaves two kinds behind: half-written blobs, all in one directory of the cache, and
half-restored outputs, hidden files beside the targets. The directories of the latter are noted in a journal
(one small file per process) before the first such file is made, so that whoever uses the cache next can
clear them away without searching the project.

A name carries the process and its origin (machine, boot and pid namespace): only where the origin is our
own does "there is no such pid" prove anything. A file of another origin is dead after an hour, and one of a
pid that does exist after a day (it may be somebody else's pid by now).
"""

from __future__ import annotations

import array
import fcntl
import os
import re
from contextlib import suppress

from buildkit.core.digest import digest_text

FOREIGN_DEAD_AFTER_S = 3600
OWN_DEAD_AFTER_S = 24 * 3600
_JOURNAL_SUFFIX = ".restoring"
# Compiled where they are needed: when something was left over.
_NAME = r"([0-9a-f]{16})-(\d+)-[0-9a-f]+(-\d+|\.restoring)"
_BESIDE = r"(?s:\..*\.bk-(\d+)-\d+\.tmp)"
# Linux, ioctl_iflags(2): what reads and sets the flags of a file, and the flag that is asked of a directory.
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
_TOP_DIRECTORY = 0x00020000
_BASE_CHARACTERS = 40  # at most 160 bytes: name and suffix stay below the 255 bytes of a file name


def is_restore_temporary(name: str) -> bool:
    """Tell whether a file of this name is a half-restored output, and not a thing that a task made."""
    return name.endswith(".tmp") and re.fullmatch(_BESIDE, name) is not None


def make_private_directories(path: str) -> None:
    """Make a directory and the missing ones above it, all for the user alone; no error if it exists."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    except FileNotFoundError:
        make_private_directories(os.path.dirname(path))
        make_private_directories(path)


class Scratch:
    """The directory of half-written blobs, and the journal of directories that are being restored into."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._prefix = ""
        self._pid = 0
        self._count = 0
        self._journaled: set[str] = set()
        self._apart: list[str] = []  # directories that were made by us

    def create(self) -> tuple[int, str]:
        """Return a new empty file, open for writing and private to the user, and its path."""
        while True:
            self._count += 1
            path = f"{self.directory}/{self._process_prefix()}-{self._count}"
            try:
                # Read-only from birth: a blob is never meant to be written to again.
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400), path
            except FileExistsError:
                continue  # left by a process that had our pid before us
            except FileNotFoundError:
                make_private_directories(self.directory)

    def unused_path(self) -> str:
        """Return a path in the scratch directory that nobody else uses."""
        self._count += 1
        return f"{self.directory}/{self._process_prefix()}-{self._count}"

    def directory_apart(self) -> str:
        """Make a directory whose files get inodes far from those of others, where it depends on that.

        It is there until `close`, or until a sweep where the process ends without, and has to be empty then.
        OSError where it cannot be made.
        """
        make_private_directories(self.directory)
        with suppress(OSError):  # another file system than ext4
            _scatter_directories_in(self.directory)
        path = self.unused_path()
        os.mkdir(path, 0o700)
        self._apart.append(path)
        return path

    def path_beside(self, target: str) -> str:
        """Return a name for a temporary file in the directory of `target`, without creating it."""
        directory, _, base = target.rpartition("/")
        self._process_prefix()  # in a forked child nothing has been noted yet
        if directory not in self._journaled:
            self._note(directory)
        self._count += 1
        return f"{directory}/.{base[:_BASE_CHARACTERS]}.bk-{os.getpid()}-{self._count}.tmp"

    def sweep(self, now_s: float) -> int:
        """Delete what dead processes left, here and where their journals point to; return how many files."""
        swept = 0
        try:
            entries = list(os.scandir(self.directory))
        except OSError:
            return 0  # nothing was ever written, or it cannot be read: nothing to sweep
        for entry in entries:
            match = re.fullmatch(_NAME, entry.name)
            if not match:
                continue
            with suppress(OSError):  # another process sweeps at the same time
                if self._is_dead(match[1], int(match[2]), entry.stat(follow_symlinks=False).st_mtime, now_s):
                    if match[3] == _JOURNAL_SUFFIX:
                        swept += self._sweep_journal(entry.path, match[1], int(match[2]), now_s)
                    (os.rmdir if entry.is_dir(follow_symlinks=False) else os.unlink)(entry.path)
                    swept += 1
        return swept

    def close(self) -> None:
        """Remove this process's journal and directories: no restore of ours is under way any more."""
        if self._pid == os.getpid():
            if self._journaled:
                with suppress(OSError):
                    os.unlink(self._journal_path())
            for directory in self._apart:
                with suppress(OSError):
                    os.rmdir(directory)
        self._journaled.clear()
        self._apart.clear()

    def _process_prefix(self) -> str:
        pid = os.getpid()
        if pid != self._pid:  # first use, or a fork
            # The object's own number keeps two caches of one process from taking each other's files.
            self._prefix = f"{_origin()}-{pid}-{id(self):x}"
            self._pid = pid
            self._journaled = set()
            self._apart = []
        return self._prefix

    def _journal_path(self) -> str:
        return f"{self.directory}/{self._process_prefix()}{_JOURNAL_SUFFIX}"

    def _note(self, directory: str) -> None:
        path = self._journal_path()
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            try:
                fd = os.open(path, flags, 0o600)
            except FileNotFoundError:
                make_private_directories(self.directory)
                fd = os.open(path, flags, 0o600)
            try:
                os.write(fd, os.fsencode(os.path.abspath(directory)) + b"\0")
            finally:
                os.close(fd)
        except OSError:
            pass  # a cache that cannot be written to may still be restored from; only sweeping is lost
        self._journaled.add(directory)

    def _is_dead(self, origin: str, pid: int, mtime_s: float, now_s: float) -> bool:
        if origin != _origin():
            return now_s - mtime_s > FOREIGN_DEAD_AFTER_S
        with suppress(PermissionError):  # it is there, and not ours
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
        return now_s - mtime_s > OWN_DEAD_AFTER_S

    def _sweep_journal(self, journal: str, origin: str, pid: int, now_s: float) -> int:
        swept = 0
        with open(journal, "rb") as file:
            directories = {os.fsdecode(name) for name in file.read().split(b"\0") if name}
        for directory in directories:
            with suppress(OSError):  # the project may be gone
                for entry in list(os.scandir(directory)):
                    match = re.fullmatch(_BESIDE, entry.name)
                    if not match or int(match[1]) != pid or entry.is_dir(follow_symlinks=False):
                        continue
                    mtime_s = entry.stat(follow_symlinks=False).st_mtime
                    if self._is_dead(origin, pid, mtime_s, now_s):
                        os.unlink(entry.path)
                        swept += 1
        return swept


def _scatter_directories_in(path: str) -> None:
    """Have ext4 put each new directory in `path` where there is most room, and not near the others."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = array.array("i", (0, 0))  # the calls are numbered for a long, and take an int
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        if not flags[0] & _TOP_DIRECTORY:
            flags[0] |= _TOP_DIRECTORY
            fcntl.ioctl(fd, _SET_FLAGS, flags)
    finally:
        os.close(fd)


def _origin() -> str:
    """Name the realm in which a pid means something: machine, boot, pid namespace."""
    parts = [os.uname().nodename]
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        parts.append(file.read())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return digest_text("\n".join(parts)).split(":")[1][:16]
