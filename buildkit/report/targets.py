"""Targets: how near tasks came to the seconds that they were given.

A target is the user's promise (an SLA), per task or for all; the run records with each execution the one
that it was held to.
"""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.core.execution import Execution
from buildkit.report.data import SlaLevel, SlaRow
from buildkit.report.samples import Samples

WARNING_FROM = 0.8  # of the target


def level_of(share: float) -> SlaLevel:
    """Return how near `share` of the target is to breaking it."""
    if share >= 1:
        return SlaLevel.VIOLATION
    return SlaLevel.WARNING if share >= WARNING_FROM else SlaLevel.OK


def sla_rows(samples: Samples) -> tuple[SlaRow, ...]:
    """Return the tasks of the window that have a target, as they were measured last, worst first."""
    rows = []
    for task, measured in samples.measured.items():
        share = measured.wall_ns / (measured.target_s * 1e9)
        rows.append(
            SlaRow(
                task,
                measured.target_s,
                measured.run_id,
                measured.wall_ns,
                share,
                level_of(share),
                measured.violations,
                measured.executions,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.share, row.task)))


def rows_of_run(executions: Iterable[Execution], run_id: int = 0) -> tuple[SlaRow, ...]:
    """Return the executions of one run that were held to a target, worst first."""
    rows = []
    for execution in executions:
        if execution.sla_s:
            share = execution.cost.wall_ns / (execution.sla_s * 1e9)
            rows.append(
                SlaRow(execution.task, execution.sla_s, run_id, execution.cost.wall_ns, share,
                       level_of(share), int(share >= 1), 1)
            )  # fmt: skip
    return tuple(sorted(rows, key=lambda row: (-row.share, row.task)))
