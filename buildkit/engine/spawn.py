"""Starting one command, and saying like a shell why it could not be started.

The program is spawned directly (vfork-style), in its own process group, with the signals that Python
ignores set back. Waiting for it and reading from it do not belong here.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping

from buildkit.engine.procfs import JOB_VARIABLE

# What Python ignores at its start; a command must see the defaults (`yes | head` would never end).
RESET = [signal.SIGPIPE, *([signal.SIGXFSZ] if hasattr(signal, "SIGXFSZ") else [])]
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as POSIX shells report them
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_MARK = JOB_VARIABLE.encode()


class StartError(Exception):
    """A command that could not be started; `exit_code` is what a shell would have returned, if anything."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Inherited:
    """The environment that commands inherit: ours, with the mark of their job."""

    def __init__(self) -> None:
        self._seen: dict[bytes, bytes] = {}
        self._encoded: dict[bytes, bytes] = {}

    def marked(self, env: Mapping[str, str] | None, mark: str) -> dict[bytes, bytes]:
        """Return `env`, or ours as it is now, ready to be executed with."""
        if env is not None:
            marked = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
        else:
            # os.environ keeps bytes underneath. Comparing them takes 1 µs, going through its front 15 µs,
            # and in-process actions may change it at any time.
            data = getattr(os.environ, "_data", None)
            if not isinstance(data, dict):
                data = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
            if data != self._seen:
                self._seen = data.copy()
            marked = data.copy()
        marked[_MARK] = mark.encode()
        return marked


class Launch:
    """Everything that starting a process needs."""

    __slots__ = ("argv", "cwd", "env", "our_path", "own_group", "stderr", "stdin_null", "stdout")

    def __init__(
        self,
        argv: tuple[str, ...],
        env: Mapping[bytes, bytes],
        cwd: str | None = None,
        stdin_null: bool = True,
        stdout: int | None = None,  # a descriptor; None: inherit ours
        stderr: int | None = None,
        own_group: bool = True,
        our_path: bool = False,  # `env` is known to have the PATH that we have
    ) -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.stdin_null = stdin_null
        self.stdout = stdout
        self.stderr = stderr
        self.own_group = own_group
        self.our_path = our_path

    def executing(self, argv: tuple[str, ...]) -> Launch:
        """Return the same for other arguments."""
        return Launch(
            argv,
            self.env,
            self.cwd,
            self.stdin_null,
            self.stdout,
            self.stderr,
            self.own_group,
            self.our_path,
        )


def spawn(launch: Launch) -> int:
    """Start a command and return its pid; StartError when that cannot be done."""
    if not launch.argv:
        raise StartError("the command is empty")
    try:
        try:
            return _spawn(launch)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a `#!` line: POSIX shells run it themselves.
            script = _script(launch)
            return _spawn(launch.executing(("/bin/sh", script, *launch.argv[1:])))
    except OSError as error:
        raise _explain(error, launch) from error
    except ValueError as error:  # a NUL byte, or text that the file system's encoding cannot express
        raise StartError(f"{launch.argv[0]!r} cannot be passed to the system: {error}") from error


def _spawn(launch: Launch) -> int:
    if launch.cwd is not None:
        return _popen(launch)
    actions: list[tuple[object, ...]] = []
    if launch.stdin_null:
        actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    if launch.stdout is not None:
        actions.append((os.POSIX_SPAWN_DUP2, launch.stdout, 1))
    if launch.stderr is not None:
        actions.append((os.POSIX_SPAWN_DUP2, launch.stderr, 2))
    program = launch.argv[0]
    search = not launch.our_path and launch.env.get(b"PATH") != os.environb.get(b"PATH")
    if "/" not in program and search:
        found = _find(launch)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
        program = found
    run = os.posix_spawn if "/" in program else os.posix_spawnp
    if launch.own_group:
        return run(program, launch.argv, launch.env, file_actions=actions, setpgroup=0, setsigdef=RESET)
    return run(program, launch.argv, launch.env, file_actions=actions, setsigdef=RESET)


def _popen(launch: Launch) -> int:
    """Start a command in another directory, which `os.posix_spawn` cannot do."""
    import subprocess  # 10 ms: most commands run in the project's directory

    process = subprocess.Popen(
        launch.argv,
        cwd=launch.cwd,
        env=launch.env,
        stdin=subprocess.DEVNULL if launch.stdin_null else None,
        stdout=launch.stdout,
        stderr=launch.stderr,
        close_fds=False,  # as with posix_spawn: ours are not inheritable, others may be so on purpose
        process_group=0 if launch.own_group else None,
    )
    # The event loop reaps it. Without this the Popen object would warn, and reap the child itself.
    process.returncode = 0
    return process.pid


def _find(launch: Launch) -> str | None:
    """Return the path that a shell with this environment would execute, or None."""
    program = launch.argv[0]
    if "/" in program:
        return program
    search = os.fsdecode(launch.env.get(b"PATH", os.fsencode(os.defpath)))
    for directory in search.split(os.pathsep):
        path = os.path.join(directory or ".", program)
        seen = _seen(path, launch)
        if os.access(seen, os.X_OK) and not os.path.isdir(seen):
            return path
    return None


def _seen(path: str, launch: Launch) -> str:
    """Return the path as seen from our directory."""
    return os.path.join(launch.cwd or "", path)


def _script(launch: Launch) -> str:
    """Return the path of a text file to be run by /bin/sh; StartError when it is a binary file."""
    path = _find(launch) or launch.argv[0]
    with open(_seen(path, launch), "rb") as file:
        if b"\0" in file.read(256):
            raise StartError(f"{launch.argv[0]}: not a program of this system", _NOT_EXECUTABLE)
    return path


def _explain(error: OSError, launch: Launch) -> StartError:
    """Return what went wrong, in a shell's words and with a shell's exit code."""
    program = launch.argv[0]
    code: int | None = _NOT_EXECUTABLE
    if launch.cwd is not None and not os.path.isdir(launch.cwd):
        why, code = f"its directory {launch.cwd!r} does not exist", None
    elif error.errno in _ABSENT:
        path = _find(launch)
        if path is None or not os.path.lexists(_seen(path, launch)):
            why, code = f"{program}: not found", _NOT_FOUND
        elif not os.path.exists(_seen(path, launch)):
            why, code = f"{program}: a symbolic link that leads nowhere", _NOT_FOUND
        else:
            why = f"{program}: the interpreter that its first line names does not exist"
    elif error.errno in (errno.EACCES, errno.EPERM):
        is_directory = os.path.isdir(_seen(program, launch))
        why = f"{program}: " + ("is a directory" if is_directory else "permission denied")
    elif error.errno == errno.E2BIG:
        size = sum(len(os.fsencode(word)) + 1 for word in launch.argv)
        why = f"{program}: its arguments are too long for the system ({size:,} bytes)"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        why, code = "too many open files (see `ulimit -n`)", None
    elif error.errno in (errno.EAGAIN, errno.ENOMEM):
        why, code = f"the system has no room for another process ({os.strerror(error.errno)})", None
    else:
        why = f"{program}: {error.strerror or error}"
    return StartError(why, code)
