"""What a run did not have to do, measured by what it took when it was last done.

The sum is time of tasks, not of the clock: tasks that would have run side by side count each for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from buildkit.core.execution import Decision, Execution


def saved_ns(
    executions: Iterable[Execution], skipped: Iterable[str], expected_wall_ns: Mapping[str, int]
) -> int:
    """Return the time that restored and skipped tasks would have taken, less what restoring took.

    A task counts with what its record says it took (`Execution.saved_ns`), else with its expected time, else
    not at all: nothing is claimed for what nobody measured. A restore that was slower counts as zero.
    """
    restored = sum(
        max(0, (execution.saved_ns or expected_wall_ns.get(execution.task, 0)) - execution.cost.wall_ns)
        for execution in executions
        if execution.decision is Decision.RESTORED
    )
    return restored + sum(expected_wall_ns.get(task, 0) for task in skipped)
