"""A lock between processes that dies with its holder (`flock`)."""

from __future__ import annotations

import errno
import fcntl
import os


class FileLock:
    """An exclusive lock on a file, as a context manager.

    Where the file system knows no locks (some network mounts), the lock is granted: everything that it
    guards is also correct without it, only slower or less tidy.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; False only if another process holds it and `wait` is false. OSError as `open`."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                os.close(fd)
                raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def file_time_s(self) -> float:
        """Return the file system's own idea of now (it may be a server with another clock)."""
        os.utime(self.path)
        return os.stat(self.path).st_mtime

    def __enter__(self) -> FileLock:
        """Wait for the lock."""
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
        self.release()
