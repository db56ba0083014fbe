"""Runs that had nothing to do, kept as lines until somebody opens the database.

The fast answer to such a run must not even import sqlite3; one appended line is all it can afford. The next
run, or a report, moves the lines into the history. A line that cannot be read is dropped: it costs one
entry of the history.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from buildkit.state.directory import state_directory

PENDING_NAME = "pending.jsonl"


def append_run(project: str, run: Mapping[str, Any]) -> int:
    """Add `run` (see `History.import_run` for its keys), and return how many bytes are waiting now.

    OSError as `open` raises it: whether that matters is for the caller to say.
    """
    # The leading newline ends a line that a full disk or a kill may have cut short.
    line = b"\n" + json.dumps(run, separators=(",", ":")).encode() + b"\n"
    path = os.path.join(state_directory(project), PENDING_NAME)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Shared: writers do not disturb each other (O_APPEND), but must not write between the reading
        # and the truncating of `drain`.
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.write(fd, line)
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def drain(project: str, import_runs: Callable[[list[dict[str, Any]]], None]) -> int:
    """Give all waiting runs to `import_runs`, remove them when it returned, and return their number.

    `import_runs` may see a run again after a kill between the two, and must know it by its `uid`.
    """
    path = os.path.join(state_directory(project), PENDING_NAME)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        if os.fstat(fd).st_size == 0:
            return 0
        fcntl.flock(fd, fcntl.LOCK_EX)
        with os.fdopen(os.dup(fd), "rb") as file:
            runs = [run for line in file if (run := _parse(line)) is not None]
        import_runs(runs)
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)
    return len(runs)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        run = json.loads(line)
    except ValueError:  # blank, cut short, or damaged
        return None
    return run if isinstance(run, dict) else None
