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
_THIS_RUN = 0  # stands for a run whose number does not matter


def level_of(share: float) -> SlaLevel:
    """Return how near `share` of the target is to breaking it."""
    if share >= 1:
        return SlaLevel.VIOLATION
    return SlaLevel.WARNING if share >= WARNING_FROM else SlaLevel.OK


def sla_rows(samples: Samples) -> tuple[SlaRow, ...]:
    """Return the tasks of the window that have a target, as they were measured last, worst first."""
    return _worst_first(
        _row(task, one.target_s, one.run_id, one.wall_ns, one.violations, one.executions)
        for task, one in samples.measured.items()
    )


def rows_of_run(executions: Iterable[Execution]) -> tuple[SlaRow, ...]:
    """Return the executions of one run that were held to a target, worst first."""
    return _worst_first(
        _row(one.task, one.sla_s, _THIS_RUN, one.cost.wall_ns, int(one.cost.wall_ns >= one.sla_s * 1e9), 1)
        for one in executions
        if one.sla_s
    )


def _row(task: str, target_s: float, run_id: int, wall_ns: int, violations: int, executions: int) -> SlaRow:
    share = wall_ns / (target_s * 1e9)
    return SlaRow(task, target_s, run_id, wall_ns, share, level_of(share), violations, executions)


def _worst_first(rows: Iterable[SlaRow]) -> tuple[SlaRow, ...]:
    return tuple(sorted(rows, key=lambda row: (-row.share, row.task)))
