"""Output that a CI service folds: the lines around the output of a task, in the service's own language.

What belongs here: the markers. Which output is put between them is decided where it is printed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Protocol

from buildkit.core.humanize import printable


class Folding(Protocol):
    """Makes the markers. Text in between stays as it is."""

    def begin(self, task: str, title: str, /) -> str:
        """Return the lines before the output of a task."""

    def end(self, task: str, /) -> str:
        """Return the lines after it."""


class GitHubFolding:
    """https://docs.github.com/actions/reference/workflow-commands-for-github-actions: grouping log lines."""

    def begin(self, _task: str, title: str) -> str:
        """Return the beginning of a group."""
        return f"::group::{printable(title)}\n"

    def end(self, _task: str) -> str:
        """Return the end of a group."""
        return "::endgroup::\n"


class GitLabFolding:
    """https://docs.gitlab.com/ci/jobs/job_logs/: custom collapsible sections."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._numbers: dict[str, int] = {}

    def begin(self, task: str, title: str) -> str:
        """Return the beginning of a section; a task that has several gets a new name for each."""
        self._numbers[task] = self._numbers.get(task, 0) + 1
        head = f"section_start:{int(self._clock())}:{self._name(task)}[collapsed=true]"
        return f"\x1b[0K{head}\r\x1b[0K{printable(title)}\n"

    def end(self, task: str) -> str:
        """Return the end of the section that was begun last for the task."""
        return f"\x1b[0Ksection_end:{int(self._clock())}:{self._name(task)}\r\x1b[0K\n"

    def _name(self, task: str) -> str:
        # Letters, digits, '_', '.' and '-' only.
        return f"task_{re.sub(r'[^A-Za-z0-9_.-]', '_', task)}_{self._numbers.get(task, 0)}"


class Fold:
    """The output of one task on its way to one stream: markers around it, if there is any output."""

    def __init__(self, folding: Folding, task: str, title: str, write: Callable[[int, bytes], None]) -> None:
        """`write` takes a stream (1 or 2) and bytes."""
        self._folding = folding
        self._task = task
        self._title = title
        self._write = write
        self._stream: int | None = None  # that the markers go to; None: nothing was written yet
        self._line_open = False

    def write(self, stream: int, data: bytes) -> None:
        """Pass output on; the first of it begins the fold."""
        if not data:
            return
        if self._stream is None:
            self._stream = stream
            self._write(stream, self._folding.begin(self._task, self._title).encode())
        self._line_open = not data.endswith(b"\n")
        self._write(stream, data)

    def close(self) -> None:
        """End the fold, on a line of its own."""
        if self._stream is not None:
            newline = b"\n" if self._line_open else b""
            self._write(self._stream, newline + self._folding.end(self._task).encode())
            self._stream = None
