"""What would become of a task, and why: as data, and as JSON.

What belongs here: the record that `doit explain` prints. It is filled in by who can judge tasks, and put
into words by `explain_text.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from buildkit.core.difference import Difference, Part
from buildkit.core.execution import Execution, Reason


class Would(StrEnum):
    """What would become of a task if doit were called now."""

    SKIP = "up to date"  # its record holds
    RESTORE = "would be restored"  # not up to date, but the cache has a result under its key
    RUN = "would run"
    UNKNOWN = "known later"  # a task that it waits for has to make or say something first
    IGNORED = "ignored"  # the user said `doit ignore`, for it or for a task that it waits for
    BLOCKED = "cannot start"  # an input is missing, a check fails, or that is so upstream
    GROUP = "group"  # has no actions; its members say it

    @property
    def acts(self) -> bool:
        """Whether the task would, or may, do something."""
        return self in (Would.RUN, Would.RESTORE, Would.UNKNOWN)


class CacheAnswer(StrEnum):
    """What the cache can do for a task."""

    HAS_RESULT = "has a result"
    NO_RESULT = "has no result"
    NOT_ASKED = "is not asked"  # what made the task due is not in its key
    NO_KEY = "cannot be asked yet"  # what the key is made of does not exist yet
    UNCACHEABLE = "does not keep it"  # see `Explanation.uncacheable`
    OFF = "is switched off"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A task that has to end first."""

    task: str
    would: Would
    supplies: tuple[str, ...] = ()  # inputs that it makes, values that it returns; empty: order only


@dataclass(frozen=True, slots=True)
class Brief:
    """One task in a table."""

    task: str
    would: Would
    reasons: tuple[Reason, ...] = ()
    message: str = ""  # what reasons cannot say: an error, or what has to happen first
    awaited: str | None = None  # a task upstream that would act, and with it the answer may change


@dataclass(frozen=True, slots=True)
class LastTime:
    """The last execution in the history that was not a skip."""

    run_id: int
    execution: Execution


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that there is to say about one task."""

    brief: Brief
    location: str = ""
    differences: tuple[Difference, ...] = ()  # to the last success; empty where there is no record of one
    parts: tuple[Part, ...] = ()  # of the key as it is now
    key: str | None = None
    recorded_key: str | None = None
    cache: CacheAnswer = CacheAnswer.OFF
    uncacheable: str | None = None
    waits: tuple[Upstream, ...] = ()
    setup: tuple[Upstream, ...] = ()  # run first if this one has to run
    may_change: tuple[str, ...] = ()  # tasks that would act, and with them the answer may change
    members: tuple[Brief, ...] = ()  # of a group: the tasks in it, groups within it resolved
    last: LastTime | None = None


def counts(briefs: tuple[Brief, ...] | list[Brief]) -> dict[Would, int]:
    """Return how many tasks there are of each kind, most active first, groups left out."""
    found = {would: sum(brief.would is would for brief in briefs) for would in INTEREST}
    return {would: number for would, number in found.items() if number}


INTEREST = (Would.BLOCKED, Would.RUN, Would.RESTORE, Would.UNKNOWN, Would.IGNORED, Would.SKIP)


def brief_json(brief: Brief) -> dict[str, Any]:
    """Return one task of a table for JSON."""
    return {
        "task": brief.task,
        "would": brief.would.value,
        "reasons": [reason.as_json() for reason in brief.reasons],
        "message": brief.message or None,
        "awaits": brief.awaited,
    }


def explanation_json(explanation: Explanation, *, parts: bool) -> dict[str, Any]:
    """Return all that is known of one task for JSON; `parts` adds the whole key."""
    found: dict[str, Any] = {
        **brief_json(explanation.brief),
        "location": explanation.location or None,
        "differences": [
            {"kind": one.kind.value, "name": one.name, "old": one.old, "new": one.new}
            for one in explanation.differences
        ],
        "key": explanation.key,
        "recorded_key": explanation.recorded_key,
        "cache": explanation.cache.value,
        "uncacheable": explanation.uncacheable,
        "waits": [_upstream_json(one) for one in explanation.waits],
        "setup": [_upstream_json(one) for one in explanation.setup],
        "may_change": list(explanation.may_change),
        "members": [brief_json(member) for member in explanation.members],
        "last": None if explanation.last is None else _last_json(explanation.last),
    }
    if parts:
        found["components"] = [
            {"kind": part.kind.value, "name": part.name, "value": part.value} for part in explanation.parts
        ]
    return found


def _upstream_json(upstream: Upstream) -> Mapping[str, Any]:
    return {"task": upstream.task, "would": upstream.would.value, "supplies": list(upstream.supplies)}


def _last_json(last: LastTime) -> Mapping[str, Any]:
    execution = last.execution
    return {
        "run_id": last.run_id,
        "outcome": execution.decision.value,
        "wall_ns": execution.cost.wall_ns,
        "exit_code": execution.exit_code,
        "signal": execution.signal,
        "log_path": execution.log_path,
    }
