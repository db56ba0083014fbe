"""Runs as data: how one begins, how it ends, how the history tells it.

What belongs here: the records only. Storing and finding them is `state/history.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from buildkit.core.execution import Decision
from buildkit.core.record import Fields, Record


def new_run_uid() -> str:
    """Return 16 random hexadecimal digits."""
    return os.urandom(8).hex()


class RunInfo(Fields):
    """What is known of a run when it begins."""

    __slots__ = (
        "argv",
        "buildkit",
        "ci",
        "cores",
        "cwd",
        "git_commit",
        "git_dirty",
        "lane",
        "machine",
        "parallel",
        "pid",
        "platform",
        "python",
        "started_at",
        "uid",
        "width",
    )

    def __init__(
        self,
        started_at: float,  # Unix seconds
        argv: tuple[str, ...],
        cwd: str,
        width: int | None = None,
        parallel: str | None = None,  # 'process', 'thread', or None in sequence
        machine: str | None = None,  # its class: runs of one class are comparable
        cores: float | None = None,  # that this run may use, fractions from cgroup limits included
        python: str | None = None,
        platform: str | None = None,
        buildkit: str | None = None,
        git_commit: str | None = None,
        git_dirty: bool | None = None,
        ci: str | None = None,  # which service
        lane: str | None = None,
        pid: int | None = None,  # tells a run that goes on from one that was killed
        uid: str | None = None,
    ) -> None:
        self.started_at = started_at
        self.argv = argv
        self.cwd = cwd
        self.width = width
        self.parallel = parallel
        self.machine = machine
        self.cores = cores
        self.python = python
        self.platform = platform
        self.buildkit = buildkit
        self.git_commit = git_commit
        self.git_dirty = git_dirty
        self.ci = ci
        self.lane = lane
        self.pid = os.getpid() if pid is None else pid
        self.uid = new_run_uid() if uid is None else uid


class RunSummary(Record):
    """What is known of a run when it ends."""

    wall_ns: int
    exit_code: int
    executed: int = 0
    restored: int = 0
    skipped: int = 0
    failed: int = 0
    upstream_failed: int = 0
    ignored: int = 0
    cancelled: int = 0
    saved_ns: int = 0  # recorded wall time of what was restored and skipped instead
    bytes_stored: int = 0
    bytes_restored: int = 0
    # Skipped tasks by name, or as ranges of task ids (state/ranges.py) where the caller has them at hand.
    skipped_tasks: Sequence[str] | str = ()
    # Executed tasks, each waited for by the next, the last of which ended last: the chain that made it long.
    critical_path: tuple[str, ...] = ()


class RunRecord(Record):
    """A run as the history keeps it."""

    id: int
    info: RunInfo
    summary: RunSummary | None  # None: still running, or killed before it could say how it ended

    def count(self, decision: Decision) -> int:
        """Return how many tasks ended in `decision`; 0 for a run that did not finish."""
        if self.summary is None:
            return 0
        counted: int = getattr(self.summary, decision.name.lower())
        return counted


# Names of the fields, which are those of the columns of table `runs` as well.
INFO_FIELDS = tuple(name for name in RunInfo.__init__.__annotations__ if name != "return")
_NO_COLUMN = ("skipped_tasks", "critical_path")
SUMMARY_FIELDS = tuple(name for name in RunSummary._fields if name not in _NO_COLUMN)


def line_of_run(info: RunInfo, summary: RunSummary, database_uid: str) -> dict[str, Any]:
    """Return a finished run as a line of `state/pending.py`, which `History.import_runs` reads.

    Skipped tasks are kept where `summary` has them as ranges; the ids in them are those of the database
    with that uid.
    """
    line = {name: getattr(info, name) for name in INFO_FIELDS}
    line.update({name: getattr(summary, name) for name in SUMMARY_FIELDS})
    line["database"] = database_uid
    line["skipped_ranges"] = summary.skipped_tasks if isinstance(summary.skipped_tasks, str) else ""
    return line


def run_from_line(line: Mapping[str, Any], database_uid: str) -> tuple[RunInfo, RunSummary]:
    """Return the run that `line_of_run` kept; KeyError, TypeError or ValueError where it is no such line.

    Ranges of another database are dropped, because their ids name other tasks there.
    """
    info = {name: line[name] for name in INFO_FIELDS}
    summary: dict[str, Any] = {name: int(line[name]) for name in SUMMARY_FIELDS}
    info["started_at"] = float(info["started_at"])
    info["argv"] = tuple(map(str, info["argv"]))
    ranges = line["skipped_ranges"] if line["database"] == database_uid else ""
    return RunInfo(**info), RunSummary(**summary, skipped_tasks=str(ranges))
