"""Runs that had nothing to do, kept as lines until somebody opens the database.

The fast answer to such a run must not even import sqlite3; one line (`snapshot.append_line`) is all it can
afford. The next run, or a report, moves the lines into the history. A line that cannot be read is dropped:
it costs one entry of the history.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from typing import Any

from buildkit.state.directory import state_directory

PENDING_NAME = "pending.jsonl"


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
