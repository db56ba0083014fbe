"""What fails: tasks that fail at times without a change, and failures by how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from buildkit.core.execution import Reason, ReasonKind
from buildkit.core.humanize import ending, first_line
from buildkit.report.data import FailureGroup, FlakyTask
from buildkit.report.samples import FailedExecution, Samples

_LENGTH = 100  # of a message that stands for a group


def flaky_tasks(samples: Samples) -> tuple[FlakyTask, ...]:
    """Return the tasks that failed and succeeded under one action key, most often failing first."""
    by_task: dict[str, list[tuple[list[int], list[int]]]] = {}
    for (task, _key), outcomes in samples.keys.items():
        if outcomes.failed and outcomes.succeeded:
            by_task.setdefault(task, []).append((outcomes.failed, outcomes.succeeded))
    found = []
    for task, pairs in by_task.items():
        failed = [run for runs, _ in pairs for run in runs]
        succeeded = [run for _, runs in pairs for run in runs]
        runs = (*failed, *succeeded)
        found.append(FlakyTask(task, len(pairs), len(failed), len(succeeded), min(runs), max(runs)))
    return tuple(sorted(found, key=lambda flaky: (-flaky.failed, flaky.task)))


def failure_groups(
    failures: Iterable[FailedExecution], reasons: Mapping[int, tuple[Reason, ...]]
) -> tuple[FailureGroup, ...]:
    """Return failures by how they ended, most frequent first; `reasons` are those that failures refer to."""
    groups: dict[str, list[FailedExecution]] = {}
    for failure in failures:
        of_failure = reasons.get(failure.reasons_id, ()) if failure.reasons_id is not None else ()
        groups.setdefault(_how(failure, of_failure), []).append(failure)
    found = [
        FailureGroup(
            how,
            len(members),
            tuple(task for task, _count in Counter(member.task for member in members).most_common()),
            max(member.run_id for member in members),
        )
        for how, members in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: (-group.count, group.reason)))


def _how(failure: FailedExecution, reasons: tuple[Reason, ...]) -> str:
    if how := ending(failure.exit_code, failure.signal):
        return how
    for reason in reasons:
        if reason.kind is ReasonKind.ERROR and reason.names:
            return f"could not start: {first_line(reason.names[0])[:_LENGTH]}"
    return "a Python action failed" if failure.started else "could not start"
