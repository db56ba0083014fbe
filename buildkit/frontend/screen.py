"""A region of lines at the bottom of a terminal that is redrawn in place, and output that scrolls above it.

What belongs here: the terminal. Everything that this process prints goes through one `Screen` while it is
open, so that nothing is written into the region and the region overwrites nothing. What the lines say is
`live.py`'s.

Each change is one write: back to the first line of the region, each line over the old one, the rest of the
screen cleared. The cursor is never hidden, so there is nothing to restore after a kill.
"""

from __future__ import annotations

import io
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, TextIO, cast

_ERASE_BELOW = b"\x1b[J"
_ERASE_RIGHT = "\x1b[K"
_RESET = b"\x1b[0m"
# Terminals that know it show all of an update at once; others ignore it.
# https://gist.github.com/christianparpart/d8a62cc1ab659194337d73e399004036
_BEGIN_UPDATE = b"\x1b[?2026h"
_END_UPDATE = b"\x1b[?2026l"
_HOLD_S = 0.05  # output that comes faster than this is shown together
_HOLD_BYTES = 64 * 1024
_STYLE = re.compile("\x1b\\[[0-9;]*m")
_STYLES_AT_END = re.compile(rb"(?:\x1b\[[0-9;]*m)+\Z")


class Screen:
    """The terminal behind standard error, and behind standard output where that is the same one."""

    def __init__(
        self,
        fd: int,
        *,
        size: Callable[[int], tuple[int, int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        reflows: bool = True,
    ) -> None:
        """`size` returns (columns, rows) of a terminal; `reflows`: see `terminal_reflows`."""
        self._fd = fd
        self._size = size or os.get_terminal_size
        self._clock = clock
        self._reflows = reflows
        self._pid = os.getpid()
        self._lines: Sequence[str] = ()  # what the region should show
        self._shown: list[int] = []  # printed widths of the lines that are on the terminal now
        self._held = bytearray()  # output that is not on the terminal yet
        self._last_s = 0.0
        self._line_open = False  # what scrolls above ends within a line: no place for the region
        self._hidden = 0
        self._previous_cont: Any = None
        self._installed: list[tuple[str, TextIO, ScreenStream]] = []
        # Threads print too: task code with `-P thread` reaches the real streams in odd ways.
        self._lock = threading.RLock()

    # --- the streams of this process

    def install(self) -> None:
        """Stand in for those of sys.stdout and sys.stderr that are this terminal."""
        here = os.fstat(self._fd)
        for name in ("stdout", "stderr"):
            stream: TextIO = getattr(sys, name)
            try:
                there = os.fstat(stream.fileno())
            except (OSError, ValueError, AttributeError, io.UnsupportedOperation):
                continue
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                stream.flush()
                own = ScreenStream(self, stream)
                self._installed.append((name, stream, own))
                setattr(sys, name, own)
        if threading.current_thread() is threading.main_thread():
            self._previous_cont = signal.signal(signal.SIGCONT, self._continued)

    def stream(self, real: TextIO) -> TextIO:
        """Return the stand-in for a stream of this terminal, any other stream as it is."""
        for _, stream, own in self._installed:
            if real is stream:
                return cast(TextIO, own)
        return real

    def close(self) -> None:
        """Take the region away, show what is held, and put the streams back. May be called twice."""
        if os.getpid() == self._pid:
            self.show(())
        for name, stream, own in self._installed:
            own.close_screen()
            if getattr(sys, name) is own:
                setattr(sys, name, stream)
        self._installed = []
        if self._previous_cont is not None:
            signal.signal(signal.SIGCONT, self._previous_cont)
            self._previous_cont = None

    # --- drawing

    def size(self) -> tuple[int, int]:
        """Return (columns, rows)."""
        try:
            columns, rows = self._size(self._fd)
        except OSError:
            return 80, 24
        return columns or 80, rows or 24  # a terminal that was never told says 0

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines below all output; none takes the region away. They must fit the width."""
        with self._lock:
            self._lines = lines
            self._emit()

    def write(self, data: bytes) -> None:
        """Let bytes scroll by above the region, soon and in order."""
        if os.getpid() != self._pid:  # in a forked worker there is no region
            _write_all(self._fd, data)
            return
        with self._lock:
            self._held += data
            if not self._shown or len(self._held) > _HOLD_BYTES or self._clock() - self._last_s >= _HOLD_S:
                self._emit()

    def hide(self) -> None:
        """Give the terminal to somebody who writes to it directly, until `unhide` was called as often."""
        with self._lock:
            self._hidden += 1
            self._emit()

    def unhide(self) -> None:
        """Take the terminal back."""
        with self._lock:
            self._hidden -= 1
            if not self._hidden:
                self._line_open = True  # perhaps it is: the region waits for the end of the next line

    def _emit(self) -> None:
        self._last_s = self._clock()
        output = bytes(self._held)
        self._held.clear()
        if output:
            visible = _STYLES_AT_END.sub(b"", output)
            self._line_open = not visible.endswith(b"\n") if visible else self._line_open
        wanted: Sequence[str] = ()
        if self._lines and not (self._hidden or self._line_open) and self._in_foreground():
            wanted = self._lines
        if not output and not wanted and not self._shown:
            return
        parts = [_BEGIN_UPDATE] if self._shown or wanted else []
        if self._shown:
            rows = self._rows_up()
            parts.append(b"\r" + (b"\x1b[%dA" % rows if rows else b""))
            if output or not wanted:
                parts.append(_ERASE_BELOW)
        parts.append(output)
        if wanted:
            parts.append(_RESET)
            text = "\r\n".join(line + _ERASE_RIGHT for line in wanted)
            parts.append(text.encode("utf-8", "replace"))
            # The cursor rests at the left of the last line: a ^C that the terminal echoes cannot wrap there.
            parts.append(_ERASE_BELOW + b"\r")
        self._shown = [printed_width(line) for line in wanted]
        if parts and parts[0] is _BEGIN_UPDATE:
            parts.append(_END_UPDATE)
        try:
            _write_all(self._fd, b"".join(parts))
        except OSError:
            self._shown = []  # the terminal has gone away; the build goes on

    def _rows_up(self) -> int:
        """Return how many rows above the cursor the region begins, on a terminal that may be narrower now."""
        columns, rows = self.size()
        if not self._reflows:
            return len(self._shown) - 1
        above = sum(max(1, -(-width // columns)) for width in self._shown[:-1])
        return min(above, rows - 1)

    def _in_foreground(self) -> bool:
        """Whether the terminal is ours: after Ctrl-Z and `bg` it is the shell's."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # not our controlling terminal: nobody else claims it either

    def _continued(self, _signum: int, _frame: FrameType | None) -> None:
        # What the shell has printed meanwhile stands where the region was: leave that, and begin below.
        self._shown = []


class ScreenStream(io.TextIOBase):
    """Stands in for a text stream of the terminal; after the screen is closed it is that stream again."""

    def __init__(self, screen: Screen, real: TextIO) -> None:
        self._screen: Screen | None = screen
        self._real = real

    def close_screen(self) -> None:
        """Write to the real stream from now on."""
        self._screen = None

    @property
    def encoding(self) -> str:  # type: ignore[override] # read-only, as in a real text stream
        """Return that of the real stream."""
        return self._real.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override] # as above
        """Return how the real stream treats characters that it lacks."""
        return self._real.errors

    @property
    def buffer(self) -> Any:
        """Return the binary stream underneath."""
        return self._real.buffer if self._screen is None else _ScreenBuffer(self._screen)

    def fileno(self) -> int:
        """Return the descriptor of the real stream."""
        return self._real.fileno()

    def isatty(self) -> bool:
        """Return whether the real stream is a terminal."""
        return self._real.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Let text scroll by above the region."""
        if self._screen is None:
            return self._real.write(text)
        self._screen.write(text.encode(self._real.encoding or "utf-8", self._real.errors or "strict"))
        return len(text)

    def flush(self) -> None:
        """Do nothing while the screen is open: it shows what it holds by itself."""
        if self._screen is None:
            self._real.flush()


class _ScreenBuffer(io.RawIOBase):
    """The bytes underneath."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._screen.write(bytes(data))
        return len(data)


def printed_width(line: str) -> int:
    """Return how many columns a line takes; wide characters count two, styles and combining marks none."""
    plain = _STYLE.sub("", line)
    if plain.isascii():
        return len(plain)
    from unicodedata import combining, east_asian_width  # only where a name needs it

    return sum(
        0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in plain
    )


def terminal_reflows(environ: Mapping[str, str]) -> bool:
    """Return whether lines that are too long for a narrower window are wrapped, as most terminals do.

    xterm, the console of Linux and GNU screen cut them instead.
    """
    term = environ.get("TERM", "")
    if environ.get("TMUX"):
        return True
    return not (environ.get("XTERM_VERSION") or term.startswith(("linux", "screen")))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # a process that shares the terminal made it non-blocking
            select.select([], [fd], [])
