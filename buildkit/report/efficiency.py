"""How well a run used its slots, and which tasks made it long.

The model behind gains is the lower bound of a schedule: a run can take no less than its critical path, and
no less than all task time divided by its width. What a gain says is by how much that bound would fall.
"""

from __future__ import annotations

from collections.abc import Sequence

from buildkit.core.execution import Decision
from buildkit.report.data import Bottleneck, Efficiency, RunView
from buildkit.report.last_run import TaskRow

OUTSTANDING = 1.5  # times the mean of the run
_SHOWN = 3
_LEAST_TASKS = 3  # a mean of fewer says nothing
_RAN = (Decision.EXECUTED, Decision.FAILED, Decision.CANCELLED)


def efficiency_of(run: RunView, rows: Sequence[TaskRow], path: Sequence[str]) -> Efficiency | None:
    """Return the figures of a finished run; None while it goes on, or where it was killed."""
    if run.wall_ns is None:
        return None
    ran = [row for row in rows if row.execution.decision in _RAN]
    task_ns = sum(row.execution.cost.wall_ns for row in ran)
    cpus = [row.cpu_ns for row in ran]
    wall_ns = max(run.wall_ns, 1)
    width = max(run.width or 1, 1)
    critical_ns = _time_of(path, rows)
    ended = run.executed + run.failed
    return Efficiency(
        wall_ns=run.wall_ns,
        task_ns=task_ns,
        cpu_ns=sum(cpu for cpu in cpus if cpu is not None) if any(c is not None for c in cpus) else None,
        tasks_per_s=run.asked * 1e9 / wall_ns,
        success_rate=run.executed / ended if ended else None,
        utilisation=min(1.0, task_ns / (width * wall_ns)) if task_ns else None,
        speed_up=task_ns / wall_ns if task_ns else None,
        parallel_efficiency=min(1.0, bound_ns(task_ns, width, critical_ns) / wall_ns) if task_ns else None,
        saved_by_parallel_ns=max(0, task_ns - run.wall_ns) if width > 1 else 0,
        saved_by_history_ns=run.saved_ns,
        hit_rate=run.hit_rate,
        bytes_restored=run.bytes_restored,
        bytes_stored=run.bytes_stored,
        critical_path=tuple(path),
        critical_ns=critical_ns,
    )


def bound_ns(task_ns: int, width: int, critical_ns: int) -> int:
    """Return the least time that any order of the tasks could take."""
    return max(task_ns // max(width, 1), critical_ns)


def bottlenecks_of(run: RunView, rows: Sequence[TaskRow], path: Sequence[str]) -> tuple[Bottleneck, ...]:
    """Return the three longest of the executed tasks that are far above their mean, longest first."""
    executed = [row for row in rows if row.execution.decision is Decision.EXECUTED]
    if len(executed) < _LEAST_TASKS:
        return ()
    task_ns = sum(row.execution.cost.wall_ns for row in executed)
    mean_ns = task_ns / len(executed)
    critical_ns = _time_of(path, rows)
    width = max(run.width or 1, 1)
    before = bound_ns(task_ns, width, critical_ns)
    on_path = set(path)
    found = []
    for row in sorted(executed, key=lambda row: -row.execution.cost.wall_ns)[:_SHOWN]:
        task, wall_ns = row.execution.task, row.execution.cost.wall_ns
        if wall_ns <= OUTSTANDING * mean_ns:
            break
        half = wall_ns // 2
        after = bound_ns(task_ns - half, width, critical_ns - (half if task in on_path else 0))
        critical = task in on_path if path else None
        found.append(Bottleneck(task, wall_ns, wall_ns / mean_ns, critical, before - after))
    return tuple(found)


def _time_of(path: Sequence[str], rows: Sequence[TaskRow]) -> int:
    wanted = set(path)
    return sum(row.execution.cost.wall_ns for row in rows if row.execution.task in wanted)
