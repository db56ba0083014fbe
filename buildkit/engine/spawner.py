"""Starting many commands without standing still: posix_spawn in a thread that does not hold the interpreter.

A spawning thread is suspended until the child has executed its program, 0.6 ms for a trivial one, and
`os.posix_spawn` keeps the interpreter's lock all that time. Called through ctypes the same function of the C
library gives it away. What cannot be started is started again the direct way, which knows what to say.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from buildkit.engine.loop import EventLoop
from buildkit.engine.spawn import RESET, Launch

if TYPE_CHECKING:
    import queue

FEW = 16  # commands of a run that are started directly: threads and ctypes cost 10 ms
_SETPGROUP, _SETSIGDEF = 0x02, 0x04  # <spawn.h> of glibc and musl
_SWITCH_S = 1e-4  # how long the loop may keep the interpreter from the thread; 5 ms are ten commands
_ROOM = 1024  # bytes for a structure that is opaque here; the largest is an attribute of 336

Started = Callable[[int], None]  # called in the loop's thread with the pid, or 0 where nothing was started


class Spawner:
    """Starts commands in one thread of its own (Linux)."""

    def __init__(self, loop: EventLoop, *, few: int = FEW) -> None:
        self._loop = loop
        self._few = few
        self._started = 0
        self._libc: _Libc | None = None
        self._queue: queue.SimpleQueue[tuple[_Prepared, Started] | None] | None = None
        self._thread: Any = None
        self._interval_before = 0.0

    @staticmethod
    def for_width(loop: EventLoop, width: int) -> Spawner | None:
        """Return a spawner where it is of use: side by side, on Linux."""
        return Spawner(loop) if width > 1 and sys.platform.startswith("linux") else None

    def submit(self, launch: Launch, started: Started) -> bool:
        """Have the command started, and `started` called; False where it must be started directly."""
        self._started += 1
        if self._started <= self._few or launch.cwd is not None or not launch.argv:
            return False
        if "/" not in launch.argv[0] and launch.env.get(b"PATH") != os.environb.get(b"PATH"):
            return False
        if self._queue is None and not self._begin():
            return False
        assert self._libc is not None  # noqa: S101 - `_begin` has seen to it
        assert self._queue is not None  # noqa: S101
        try:
            prepared = self._libc.prepare(launch)
        except ValueError:
            return False  # a word that the system cannot take: the direct way says so
        self._queue.put((prepared, started))
        return True

    def close(self) -> None:
        """End the thread; what was submitted has been started by then."""
        if self._queue is not None:
            self._queue.put(None)
            self._thread.join()
            self._queue = None
            sys.setswitchinterval(self._interval_before)

    def _begin(self) -> bool:
        import queue
        import threading

        try:
            self._libc = _Libc()
        except (ImportError, OSError, AttributeError):
            self._started = -sys.maxsize  # a C library without it: never ask again
            return False
        self._interval_before = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, args=(self._libc, self._queue), daemon=True)
        self._thread.start()
        return True

    def _serve(self, libc: _Libc, jobs: queue.SimpleQueue[tuple[_Prepared, Started] | None]) -> None:
        while (job := jobs.get()) is not None:
            prepared, started = job
            self._loop.call_soon_threadsafe(partial(started, libc.spawn(prepared)))


_Prepared = tuple[Any, bytes, Any, Any, Any, Any]  # function, program, file actions, attribute, argv, envp


class _Libc:
    """posix_spawn(3) of the C library, and what it takes."""

    def __init__(self) -> None:
        import ctypes

        self._ctypes = ctypes
        self._libc = libc = ctypes.CDLL(None)
        for name in ("posix_spawn", "posix_spawnp"):
            getattr(libc, name).argtypes = [ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_void_p] * 4]
        # These two do nothing that waits: PyDLL keeps the lock and is cheaper.
        quick = ctypes.PyDLL(None)
        self._init = quick.posix_spawn_file_actions_init
        self._destroy = quick.posix_spawn_file_actions_destroy
        self._dup2 = quick.posix_spawn_file_actions_adddup2
        self._open = quick.posix_spawn_file_actions_addopen
        self._open.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
        self._attributes = {own: self._attribute(quick, own_group=own) for own in (True, False)}

    def _attribute(self, libc: Any, *, own_group: bool) -> Any:
        ctypes = self._ctypes
        attribute, signals = ctypes.create_string_buffer(_ROOM), ctypes.create_string_buffer(_ROOM)
        libc.posix_spawnattr_init(attribute)
        libc.sigemptyset(signals)
        for signum in RESET:
            libc.sigaddset(signals, int(signum))
        libc.posix_spawnattr_setsigdefault(attribute, signals)
        libc.posix_spawnattr_setpgroup(attribute, 0)
        flags = _SETSIGDEF | (_SETPGROUP if own_group else 0)
        libc.posix_spawnattr_setflags(attribute, ctypes.c_short(flags))
        return attribute

    def prepare(self, launch: Launch) -> _Prepared:
        """Return the arguments of the call; ValueError for what the system cannot take."""
        ctypes = self._ctypes
        argv = [os.fsencode(word) for word in launch.argv]
        envp = [name + b"=" + value for name, value in launch.env.items()]
        if b"\0" in b"".join(argv) or b"\0" in b"".join(envp):
            raise ValueError("embedded null byte")
        actions = ctypes.create_string_buffer(_ROOM)
        self._init(actions)
        if launch.stdin_null:
            self._open(actions, 0, b"/dev/null", os.O_RDONLY, 0)
        if launch.stdout is not None:
            self._dup2(actions, launch.stdout, 1)
        if launch.stderr is not None:
            self._dup2(actions, launch.stderr, 2)
        run = self._libc.posix_spawn if b"/" in argv[0] else self._libc.posix_spawnp
        return (
            run,
            argv[0],
            actions,
            self._attributes[launch.own_group],
            (ctypes.c_char_p * (len(argv) + 1))(*argv, None),
            (ctypes.c_char_p * (len(envp) + 1))(*envp, None),
        )

    def spawn(self, prepared: _Prepared) -> int:
        """Return the pid, or 0 where nothing was started."""
        run, program, actions, attribute, argv, envp = prepared
        pid = self._ctypes.c_int()
        failed = run(self._ctypes.byref(pid), program, actions, attribute, argv, envp)
        self._destroy(actions)
        return 0 if failed else pid.value
