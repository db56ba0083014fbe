"""One run at a time in a project: an advisory lock on `.buildkit/lock` that says who holds it.

`flock` belongs to the open file, so the kernel releases it when the holder dies, however it dies. The
content of the file is only for messages; whether the lock is held is never read from it. A run that a task
of the holder starts in the same project goes ahead without the lock: it could only wait for itself.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from buildkit.core.errors import LockHeldError, StateError
from buildkit.core.record import Record
from buildkit.state.directory import ensure_state_directory, state_directory, unusable

LOCK_NAME = "lock"
# JSON list of [pid, state directory], one for each project that an ancestor of a process holds.
LOCK_VARIABLE = "BUILDKIT_LOCK"

_RETRIES = 40  # for the moment between taking the lock and having written one's name
_RETRY_S = 0.005
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})


class Holder(Record):
    """The run that holds a project; its `pid` is None where it died before it could write who it is."""

    pid: int | None = None
    argv: tuple[str, ...] = ()
    started_at: float | None = None  # Unix seconds

    def __str__(self) -> str:
        """Return for instance `process 4711 (doit -n 4), since 12:03:59`."""
        if self.pid is None:
            return "another process"
        command = f" ({' '.join(self.argv)})" if self.argv else ""
        since = time.strftime(", since %H:%M:%S", time.localtime(self.started_at)) if self.started_at else ""
        return f"process {self.pid}{command}{since}"


class ProjectLock:
    """The lock of the project at `project`, from `acquire` to `release` or to the death of this process."""

    def __init__(self, project: str, *, environ: Mapping[str, str] | None = None) -> None:
        self._project = project
        self._directory = os.path.realpath(state_directory(project))
        self._environ = os.environ if environ is None else environ
        self._fd: int | None = None
        self.nested = False  # an ancestor holds the lock, and this run belongs to it
        self.killed: int | None = None  # the run that held it before us and died without letting go

    def acquire(self, *, wait: bool, on_wait: Callable[[Holder], None], argv: tuple[str, ...] = ()) -> None:
        """Take the lock; return at once where an ancestor of this process holds it.

        Where another run holds it: calls `on_wait` once and waits (signals still reach Python's handlers,
        and what they raise ends the wait), or, with `wait` false, raises LockHeldError that names the
        holder. Raises StateError where the lock file cannot be written or locked. `argv` is what others
        are told when they have to wait for us.
        """
        ensure_state_directory(self._project)
        path = os.path.join(self._directory, LOCK_NAME)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(path, error) from error
        try:
            self.nested = not self._lock(fd, path, wait, on_wait)
            if not self.nested:
                self.killed = _read_holder(fd).pid
                _write_holder(fd, argv)
        except BaseException:
            os.close(fd)
            raise
        if self.nested:
            os.close(fd)
        else:
            self._fd = fd

    def release(self) -> None:
        """Let the next run in; without effect where the lock is not held."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = None

    def close_in_child(self) -> None:
        """Forget the lock in a forked child, which must not keep it from being free when the parent dies."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def directory(self) -> str:
        """The project's state directory, links followed: what `BUILDKIT_LOCK` calls the project."""
        return self._directory

    def variable_for_children(self) -> str:
        """Return the value of `BUILDKIT_LOCK` for the processes that this run starts."""
        held = _ancestors(self._environ)
        if not self.nested:
            held = [entry for entry in held if entry[1] != self._directory]
            held.append((os.getpid(), self._directory))
        return json.dumps(held)

    def _lock(self, fd: int, path: str, wait: bool, on_wait: Callable[[Holder], None]) -> bool:
        """Return True with the lock taken, False where an ancestor holds it."""
        if _try_lock(fd, path):
            return True
        holder = _read_holder(fd)
        for _ in range(_RETRIES):
            # A name that is missing or of a dead process is on its way: that run has just taken the lock.
            if process_exists(holder.pid):
                break
            time.sleep(_RETRY_S)
            if _try_lock(fd, path):
                return True
            holder = _read_holder(fd)
        if holder.pid is not None and self._is_ancestor(holder.pid):
            return False
        if not wait:
            raise LockHeldError(
                f"{self._project}: {holder} is building this project, and --no-wait was given."
            )
        on_wait(holder)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return True

    def _is_ancestor(self, pid: int) -> bool:
        # The variable alone proves nothing: a shell that outlived its run still carries it. Together with
        # the name in the held lock it does. Our own pid: a Python action that runs in this very process.
        return pid == os.getpid() or (pid, self._directory) in _ancestors(self._environ)


def current_holder(project: str) -> Holder | None:
    """Return who holds the project at `project`, None where nobody does. Takes nothing, creates nothing."""
    try:
        fd = os.open(os.path.join(state_directory(project), LOCK_NAME), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # By name first: a probe holds a shared lock for a moment, which a run that will not wait could meet.
        holder = _read_holder(fd)
        if not process_exists(holder.pid):
            return None
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return holder
    else:
        return None
    finally:
        os.close(fd)


def _try_lock(fd: int, path: str) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise StateError(
                f"{path}: this file system has no file locks ({error.strerror}). "
                f"Build on a local disk, or set BUILDKIT=0 to run stock doit."
            ) from error
        raise
    return True


def _write_holder(fd: int, argv: tuple[str, ...]) -> None:
    content = json.dumps({"pid": os.getpid(), "argv": argv, "started_at": time.time()}).encode()
    os.ftruncate(fd, 0)
    with suppress(OSError):  # a full disk costs those who wait the name, and nobody the build
        os.pwrite(fd, content, 0)


def _read_holder(fd: int) -> Holder:
    try:
        content = json.loads(os.pread(fd, 65536, 0))
        return Holder(int(content["pid"]), tuple(map(str, content["argv"])), float(content["started_at"]))
    except (ValueError, KeyError, TypeError):  # being written, or left by a killed process
        return Holder()


def process_exists(pid: int | None) -> bool:
    """Tell whether there is a process with that id, whoever owns it."""
    if pid is None or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's, and alive
        return True
    return True


def _ancestors(environ: Mapping[str, str]) -> list[tuple[int, str]]:
    try:
        return [(int(pid), str(path)) for pid, path in json.loads(environ.get(LOCK_VARIABLE, "[]"))]
    except (ValueError, TypeError):  # set by something else
        return []
