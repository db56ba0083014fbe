"""Synthetic histories: runs of named tasks with given times, in a real database."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

import pytest

from buildkit.core.execution import Cost, Decision, Execution, Reason, ReasonKind
from buildkit.state.database import open_database
from buildkit.state.history import History
from buildkit.state.runs import RunInfo, RunSummary
from buildkit.state.snapshot import PENDING, append_line

SECOND = 10**9
START = 1_767_225_600.0  # 2026-01-01
CHANGED = (Reason(ReasonKind.INPUT_CHANGED, ("a.c",)),)


def executed(task: str, wall_s: float = 1.0, **fields: object) -> Execution:
    """Return a successful execution that took so many seconds, nine tenths of them on the processor."""
    wall_ns = int(wall_s * SECOND)
    rss = fields.pop("rss_bytes", 2**20)
    cost = Cost(wall_ns, wall_ns * 8 // 10, wall_ns // 10, rss)
    return Execution(task, Decision.EXECUTED, **{"reasons": CHANGED, "cost": cost, **fields})


def failed(task: str, wall_s: float = 1.0, exit_code: int | None = 1, **fields: object) -> Execution:
    """Return a failed execution."""
    cost = Cost(int(wall_s * SECOND))
    return Execution(
        task, Decision.FAILED, **{"reasons": CHANGED, "cost": cost, "exit_code": exit_code, **fields}
    )


def append_run(project: str, run: Mapping[str, object]) -> None:
    """Leave a run in the file where those wait that had nothing to do, as the fast start does."""
    append_line(os.path.join(project, PENDING), json.dumps(run).encode())


class HistoryMaker:
    """Records runs an hour apart, unless said otherwise."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.history = History(open_database(project, warn=pytest.fail))
        self.at = START

    def run(
        self,
        *executions: Execution,
        skipped: Sequence[str] = (),
        finish: bool = True,
        wall_s: float | None = None,
        at: float | None = None,
        hours: float = 1.0,
        path: Sequence[str] = (),
        saved_s: float = 0.0,
        **info: object,
    ) -> int:
        """Record a run and return its id."""
        self.at = self.at + hours * 3600 if at is None else at
        about = {"machine": "m", "cores": 4.0, "width": 4, "git_commit": f"{int(self.at):040x}", **info}
        run_id = self.history.begin_run(RunInfo(self.at, ("doit",), "/p", **about))
        self.history.add_executions(run_id, executions)
        if not finish:
            return run_id
        count = [execution.decision for execution in executions].count
        total_ns = sum(execution.cost.wall_ns for execution in executions)
        self.history.finish_run(
            run_id,
            RunSummary(
                wall_ns=total_ns if wall_s is None else int(wall_s * SECOND),
                exit_code=int(count(Decision.FAILED) > 0),
                executed=count(Decision.EXECUTED),
                restored=count(Decision.RESTORED),
                failed=count(Decision.FAILED),
                skipped=len(skipped),
                skipped_tasks=skipped,
                critical_path=tuple(path),
                saved_ns=int(saved_s * SECOND),
                bytes_stored=sum(execution.bytes_stored for execution in executions),
            ),
        )
        return run_id

    def series(self, task: str, walls_s: Sequence[float], **fields: object) -> list[int]:
        """Record one run for each time of a task."""
        return [self.run(executed(task, wall_s, **fields)) for wall_s in walls_s]


def noisy(count: int, level: float = 1.0, seed: int = 1, noise: float = 0.03) -> list[float]:
    """Return `count` times around a level."""
    import random

    rng = random.Random(seed)
    return [level * rng.lognormvariate(0, noise) for _ in range(count)]
