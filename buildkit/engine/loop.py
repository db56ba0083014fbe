"""The event loop of a run: file descriptors, timers, child processes, signals; one thread, no magic.

Children are reaped one by one, by their own pid and with their resource usage, and only those that the loop
was told of: code in the same process may have children of its own.
What an event means does not belong here.
"""

from __future__ import annotations

import heapq
import math
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from resource import struct_rusage
from types import FrameType, TracebackType
from typing import Any, Self

Callback = Callable[[], object]
_Watch = tuple[Callback, Callback | None]  # who reads, and who writes
# Status as `os.wait4` gives it. Both None: other code in this process took the child's status away.
ChildCallback = Callable[[int | None, struct_rusage | None], None]

RUN_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAFETY_SCAN_S = 1.0  # children are looked at this often even if code in our process stole SIGCHLD
# `selectors` has the same for all systems, and takes five times as long to add and remove a descriptor.
_IN_SECONDS = hasattr(select, "epoll")  # the unit of the timeout; elsewhere milliseconds
_READ, _WRITE = select.POLLIN, select.POLLOUT  # epoll has the same numbers
_POLL_S = 0.02  # where neither SIGCHLD nor pidfds can be had


def _new_poller() -> Any:
    return select.epoll() if _IN_SECONDS else select.poll()


def _close_poller(poller: Any) -> None:
    if _IN_SECONDS:
        poller.close()


class InterruptedBySignal(KeyboardInterrupt):
    """A signal that ends the run arrived while task code ran in this thread."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Timer:
    """A callback that is due at a moment of the monotonic clock, unless cancelled."""

    __slots__ = ("_callback", "due_s")

    def __init__(self, due_s: float, callback: Callback) -> None:
        self.due_s = due_s
        self._callback: Callback | None = callback

    def cancel(self) -> None:
        """Forget the callback; harmless when it ran already."""
        self._callback = None

    @property
    def cancelled(self) -> bool:
        """Return whether nothing will be called any more."""
        return self._callback is None

    def fire(self) -> None:
        """Call back once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class EventLoop:
    """Waits for what happens next and calls back.

    In the main thread SIGCHLD tells of children; elsewhere pidfds do, or short polling. A loop that was made
    in a thread must be driven by that thread.
    """

    def __init__(self) -> None:
        self._poller = _new_poller()
        self._watches: dict[int, _Watch] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._soon: deque[Callback] = deque()
        self._from_threads: deque[Callback] = deque()
        self._children: dict[int, ChildCallback] = {}
        self._pidfds: dict[int, int] = {}
        self._child_exited = False
        self._signals: deque[int] = deque()
        self._on_signal: Callable[[int], None] | None = None
        self._raise_signals = False
        self._closed = False
        self._mask: set[int | signal.Signals] | None = None  # blocked signals, as they were before a fork
        self._wake_lock = threading.Lock()
        self.thread_id = threading.get_ident()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.watch_reads(self._wake_read, self._empty_wake_pipe)
        self._previous: dict[int, Any] = {}
        self._previous_wakeup = -1
        self._uses_signals = threading.current_thread() is threading.main_thread()
        if self._uses_signals:
            self._previous_wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
            self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._note_signal)

    # -- file descriptors

    def watch_reads(self, fd: int, callback: Callback) -> None:
        """Call back whenever `fd` can be read or is at its end."""
        if fd in self._watches:
            raise KeyError(f"{fd} is watched already")
        self._poller.register(fd, _READ)
        self._watches[fd] = callback, None

    def watch_writes(self, fd: int, callback: Callback) -> None:
        """Call back, besides an existing watch for reads, while `fd` can be written."""
        reader = self._watches[fd][0]
        self._poller.modify(fd, _READ | _WRITE)
        self._watches[fd] = reader, callback

    def unwatch_writes(self, fd: int) -> None:
        """Go back to watching for reads only."""
        reader = self._watches[fd][0]
        self._poller.modify(fd, _READ)
        self._watches[fd] = reader, None

    def unwatch(self, fd: int) -> None:
        """Stop watching `fd`; call it before closing."""
        del self._watches[fd]
        with suppress(OSError):  # it was closed too early, and is gone from there by itself
            self._poller.unregister(fd)

    # -- time and order

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call back once after `delay_s` seconds."""
        timer = Timer(time.monotonic() + delay_s, callback)
        self._sequence += 1
        heapq.heappush(self._timers, (timer.due_s, self._sequence, timer))
        if not self._sequence & 0xFFF:
            # Long timeouts that were cancelled would stay until they are due.
            self._timers = [entry for entry in self._timers if not entry[2].cancelled]
            heapq.heapify(self._timers)
        return timer

    def call_soon(self, callback: Callback) -> None:
        """Call back in the next round of the loop."""
        self._soon.append(callback)

    def call_soon_threadsafe(self, callback: Callback) -> None:
        """Call back in the loop's thread; may be called from any thread."""
        self._from_threads.append(callback)
        with self._wake_lock:  # a closed descriptor's number may belong to somebody else by now
            if not self._closed:
                with suppress(BlockingIOError):  # full: the loop wakes up anyway
                    os.write(self._wake_write, b"\0")

    # -- children

    def watch_child(self, pid: int, callback: ChildCallback) -> None:
        """Reap the child `pid` when it exits and call back with its status and resource usage."""
        self._children[pid] = callback
        if not self._uses_signals and hasattr(os, "pidfd_open"):
            try:
                pidfd = os.pidfd_open(pid)
                self._pidfds[pid] = pidfd
                self.watch_reads(pidfd, lambda: self._reap(pid))
            except OSError:
                pass  # an old kernel, or no descriptors left: polling finds the child

    def is_watched_child(self, pid: int) -> bool:
        """Return whether `pid` is a child that was not reaped yet."""
        return pid in self._children

    def _reap(self, pid: int) -> None:
        try:
            reaped, status, usage = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            self._forget_child(pid)(None, None)
            return
        if reaped:
            self._forget_child(pid)(status, usage)

    def _forget_child(self, pid: int) -> ChildCallback:
        pidfd = self._pidfds.pop(pid, -1)
        if pidfd >= 0:
            self.unwatch(pidfd)
            os.close(pidfd)
        return self._children.pop(pid)

    def _scan_children(self) -> None:
        self._child_exited = False
        for pid in list(self._children):
            if pid in self._children:
                self._reap(pid)

    # -- signals

    def deliver_signals(self, callback: Callable[[int], None]) -> None:
        """Call back, from now until `close`, when SIGINT, SIGTERM or SIGHUP arrives (main thread only).

        A signal that the process ignores stays ignored: that is what `nohup` and background jobs ask for.
        """
        self._on_signal = callback
        if not self._uses_signals:
            return
        for signum in RUN_SIGNALS:
            if signum not in self._previous and signal.getsignal(signum) is not signal.SIG_IGN:
                self._previous[signum] = signal.signal(signum, self._note_signal)

    def redeliver(self, signum: int) -> None:
        """Tell of a signal that `interruptible` raised into task code in the next round."""
        self._signals.append(signum)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """While task code runs in this thread, let signals raise `InterruptedBySignal` in it.

        Afterwards the loop's own handlers are put back: task code may have replaced them.
        """
        self._raise_signals = True
        try:
            yield
        finally:
            self._raise_signals = False
            self._reassert_signals()

    def _reassert_signals(self) -> None:
        if self._uses_signals:
            signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
            for signum in self._previous:
                if signal.getsignal(signum) != self._note_signal:
                    signal.signal(signum, self._note_signal)
            self._child_exited = True

    def _note_signal(self, signum: int, _frame: FrameType | None) -> None:
        if signum == signal.SIGCHLD:
            self._child_exited = True
        elif self._raise_signals:
            self._raise_signals = False  # a second one must not hit the code that cleans up
            raise InterruptedBySignal(signum)
        else:
            self._signals.append(signum)

    # -- running

    def run_once(self, timeout_s: float | None = None) -> None:
        """Wait until something happens, at most `timeout_s` seconds, and call back for all of it."""
        # Reads come before exits, so that the output of a child is known when its end is told.
        happened = self._poll(self._patience(timeout_s))
        due = [(fd, events, self._watches[fd]) for fd, events in happened if fd in self._watches]
        for fd, events, (reader, writer) in due:
            # An earlier callback of this round may have dropped the watch, and the number be in new hands.
            current = self._watches.get(fd)
            if current is None or current[0] is not reader:
                continue
            if events & ~_WRITE:  # an error or the end counts as something to read, which tells of it
                reader()
            if events & _WRITE and writer is not None:
                writer()
        while self._signals:
            signum = self._signals.popleft()
            if self._on_signal is not None:
                self._on_signal(signum)
        if self._children and (self._child_exited or (not happened and timeout_s != 0)):
            self._scan_children()
        if self._timers:
            self._fire_timers()
        for queue in (self._from_threads, self._soon):
            for _ in range(len(queue)):
                queue.popleft()()

    def run_until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Run until `condition()` holds or the time is over; return whether it holds."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not condition():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self.run_once(left)
        return True

    def _poll(self, timeout_s: float | None) -> list[tuple[int, int]]:
        if timeout_s is not None and not _IN_SECONDS:
            timeout_s = math.ceil(timeout_s * 1000)
        happened: list[tuple[int, int]] = self._poller.poll(timeout_s)
        return happened

    def _patience(self, timeout_s: float | None) -> float | None:
        """Return how long `select` may wait."""
        if self._soon or self._from_threads or self._signals or (self._child_exited and self._children):
            return 0
        limits = [] if timeout_s is None else [max(timeout_s, 0)]
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if self._timers:
            limits.append(max(self._timers[0][0] - time.monotonic(), 0))
        if self._children:
            told = self._uses_signals or len(self._pidfds) == len(self._children)
            limits.append(_SAFETY_SCAN_S if told else _POLL_S)
        return min(limits, default=None)

    def _fire_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].fire()

    def _empty_wake_pipe(self) -> None:
        try:
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    # -- the end

    def close(self) -> None:
        """Put the signal handlers back and close what the loop opened; watched descriptors stay open."""
        with self._wake_lock:
            if self._closed:
                return
            self._closed = True
        if self._uses_signals:
            for signum, handler in self._previous.items():
                # None: it was installed by C code and cannot be put back from Python
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)
            signal.set_wakeup_fd(self._previous_wakeup)
        for pid in list(self._children):
            self._forget_child(pid)
        _close_poller(self._poller)
        with self._wake_lock:
            os.close(self._wake_read)
            os.close(self._wake_write)

    @contextmanager
    def forking(self) -> Iterator[None]:
        """Around a fork: signals wait in the child until `abandon_in_child`. Our handlers would lose them."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, RUN_SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def abandon_in_child(self) -> None:
        """In a forked child: default signals, and every descriptor of the loop closed. Never runs again."""
        self._closed = True
        if self._uses_signals:
            signal.set_wakeup_fd(-1)
        for signum in (*RUN_SIGNALS, signal.SIGCHLD):
            # A signal that the user asked to ignore stays ignored, as over an exec.
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, signal.SIG_DFL)
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        fds = list(self._watches)
        _close_poller(self._poller)
        for fd in (*fds, self._wake_write):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
