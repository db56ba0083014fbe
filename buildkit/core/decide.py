"""Does a task have to run, may it be restored, and why: functions from data to data.

What belongs here: the rule itself. Stat calls, key building and asking the cache are done by the
engine's judge, which brings the facts.
"""

from __future__ import annotations

from enum import Enum

from buildkit.core.execution import Reason, ReasonKind
from buildkit.core.record import Record


class Course(Enum):
    """What is to be done with a task."""

    SKIP = "skip"  # the record holds: nothing is touched
    REUSE = "reuse"  # not up to date, but any result that the cache has under its key is as good as running
    RUN = "run"  # has to run, whatever the cache has


class RecordStatus(Enum):
    """What is known of the last time."""

    NONE = "none"  # never succeeded here
    OK = "ok"  # succeeded; key and outputs were recorded
    FAILED = "failed"  # did not succeed the last time
    FORGOTTEN = "forgotten"  # the user asked to forget it


class Facts(Record):
    """Everything that the rule looks at."""

    status: RecordStatus
    key_is_recorded: bool = False
    differences: tuple[Reason, ...] = ()  # between the recorded key and this one, where they differ
    outputs_missing: tuple[str, ...] = ()
    outputs_changed: tuple[str, ...] = ()
    failed_checks: tuple[str, ...] = ()  # uptodate items that said no
    has_dependencies: bool = True  # inputs, or uptodate items with an opinion
    always: bool = False  # doit -a
    outputs_are_the_users: bool = False  # only run_once or True say when it runs: edits of outputs stay
    vouched: bool = False  # no inputs, and every check says yes: doit then needs no record


class Verdict(Record):
    """The course, with its reasons, most telling first."""

    course: Course
    reasons: tuple[Reason, ...]


_UP_TO_DATE = Verdict(Course.SKIP, (Reason(ReasonKind.UP_TO_DATE),))
_NEVER_RUN = Verdict(Course.REUSE, (Reason(ReasonKind.NEVER_RUN),))


def decide(facts: Facts) -> Verdict:
    """Return what to do with a task.

    A check that says no, and a task that nothing can make up to date, have to run: what they know is not
    in the key, so a cached result would be a guess. Everything else may come from the cache.
    """
    must_run: list[Reason] = []
    if facts.failed_checks:
        must_run.append(Reason(ReasonKind.NOT_UPTODATE, facts.failed_checks))
    if not facts.has_dependencies:
        must_run.append(Reason(ReasonKind.NO_DEPENDENCIES))
    if facts.always:
        must_run.append(Reason(ReasonKind.ALWAYS))
    if facts.status is RecordStatus.FORGOTTEN:
        must_run.append(Reason(ReasonKind.FORGOTTEN))
    if must_run:
        return Verdict(Course.RUN, tuple(must_run))
    recorded = facts.status is RecordStatus.OK
    if facts.vouched and not recorded and not facts.outputs_missing:
        return _UP_TO_DATE
    if facts.status is RecordStatus.NONE:
        return _NEVER_RUN
    if facts.status is RecordStatus.FAILED:
        return Verdict(Course.REUSE, (Reason(ReasonKind.FAILED_BEFORE),))
    reasons: list[Reason] = []
    if not facts.key_is_recorded:
        reasons.extend(facts.differences or (Reason(ReasonKind.SCHEMA_CHANGED),))
    if facts.outputs_missing:
        reasons.append(Reason(ReasonKind.OUTPUT_MISSING, facts.outputs_missing))
    if facts.outputs_changed and not facts.outputs_are_the_users:
        reasons.append(Reason(ReasonKind.OUTPUT_CHANGED, facts.outputs_changed))
    return Verdict(Course.REUSE, tuple(reasons)) if reasons else _UP_TO_DATE
