"""Outputs that background processes of finished jobs still hold open: read and thrown away.

Closing them would end such a process with SIGPIPE at its next line; not reading would block it.
"""

from __future__ import annotations

import os

from buildkit.engine.loop import EventLoop

READ_BYTES = 64 * 1024


class Drains:
    """Descriptors that are read until their end, or until the run ends."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._fds: set[int] = set()

    def add(self, fd: int) -> None:
        """Take over a non-blocking descriptor that nobody else watches."""
        self._fds.add(fd)
        self._loop.watch_reads(fd, lambda: self._discard(fd))

    def close(self) -> None:
        """Stop reading, and close all of them."""
        for fd in list(self._fds):
            self._release(fd)

    def _discard(self, fd: int) -> None:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._release(fd)

    def _release(self, fd: int) -> None:
        self._fds.discard(fd)
        self._loop.unwatch(fd)
        os.close(fd)
