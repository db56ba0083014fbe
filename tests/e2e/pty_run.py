"""`doit` on a terminal of its own: what a person would see, and what the terminal was told."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from terminal import Terminal

from .harness import Project

PATIENCE_S = 60.0  # a limit for tests that hang, never a time that a test waits


class PtyRun:
    """One run; leave the `with` block to end it."""

    def __init__(
        self,
        project: Project,
        *args: str,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
        reflow: bool = False,
    ) -> None:
        self.terminal = Terminal(columns, rows, reflow=reflow)
        self.raw = b""
        # The terminal on paper wraps nothing anew unless it is told to; xterm is the one that says so.
        term = {"TERM": "xterm-256color"} | ({} if reflow else {"XTERM_VERSION": "XTerm(1)"})
        environ = project._environment() | project.env | term | dict(env or {})
        command = [*project._command("doit"), *args]
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(project.root)
                os.execvpe(command[0], command, environ)
            finally:
                os._exit(127)
        self._set_size(columns, rows)
        self._exit_code: int | None = None

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window; the kernel sends SIGWINCH."""
        # What was drawn for the old size has to be shown at the old size.
        while select.select([self._fd], [], [], 0)[0] and self.read():
            pass
        self._set_size(columns, rows)
        self.terminal.resize(columns, rows)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._fd, keys)

    def read(self) -> bool:
        """Take in what was written since; return False when the run is over."""
        if not select.select([self._fd], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.raw += data
        self.terminal.feed(data)
        return bool(data)

    @property
    def seen(self) -> list[str]:
        """Return all lines that a person could scroll through."""
        return self.terminal.seen()

    def wait_for(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the screen is as wanted, and return it."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.seen):
            assert time.monotonic() < deadline, "never seen:\n" + "\n".join(self.seen)
            assert self.read() or condition(self.seen), "the run is over:\n" + "\n".join(self.seen)
        return self.seen

    def end(self) -> int:
        """Wait for the end of the run, and return its exit code."""
        while self._exit_code is None:
            if not self.read():
                self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._exit_code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._exit_code is None:
            os.kill(self.pid, 15)
        self.end()
        os.close(self._fd)
