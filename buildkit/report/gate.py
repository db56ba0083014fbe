"""The gate: which findings of a report make a CI job fail.

What belongs here: what `--fail-on` can ask for, the list of what may pass for a while, and the verdict.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from buildkit.core.config import Allowance
from buildkit.core.errors import UsageError, did_you_mean
from buildkit.core.execution import Decision
from buildkit.core.humanize import change, duration, plural, printable
from buildkit.report.data import Regression, ReportData, SlaLevel, Unit

CHECKS = ("regression", "sla", "flaky")
_SUSPECT = "suspect"


@dataclass(frozen=True, slots=True)
class Gate:
    """What to fail on."""

    checks: frozenset[str]
    confidence: float = 0.95
    effect: float = 1.2

    @property
    def needs_all_verdicts(self) -> bool:
        """Whether every series has to be judged."""
        return "regression" in self.checks


def parse_gate(text: str) -> Gate:
    """Return what `regression:confidence=0.99,effect=1.5,sla,flaky` asks for; UsageError where it is no such.

    Settings of a check follow it, divided by commas like the checks themselves: a word with `=` is a
    setting of the check before it.
    """
    checks: list[str] = []
    settings: dict[str, float] = {}
    for item in text.replace(":", ",").split(","):
        word = item.strip()
        name, equals, value = word.partition("=")
        if not equals:
            if word not in CHECKS:
                raise UsageError(
                    f"--fail-on: there is no check '{word}'.{did_you_mean(word, CHECKS)} "
                    f"Known: {', '.join(CHECKS)}."
                )
            checks.append(word)
        elif not checks or checks[-1] != "regression" or name not in ("confidence", "effect"):
            raise UsageError(
                f"--fail-on: '{word}' is no setting; regression takes confidence=0.95,effect=1.2."
            )
        else:
            settings[name] = _number(name, value)
    return Gate(frozenset(checks), **settings)


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if name == "confidence" and not 0 < number < 1:
        raise UsageError(f"--fail-on: confidence={value}: give a number between 0 and 1.")
    if name == "effect" and not 1 <= number < 1000:
        raise UsageError(f"--fail-on: effect={value}: give the ratio of new to old, 1 or more.")
    return number


def with_allowances(data: ReportData, allow: Iterable[Allowance], today: datetime.date) -> ReportData:
    """Return the report with what the allow-list says of its regressions, and of its own expired entries."""
    entries = list(allow)
    live = [entry for entry in entries if entry.until >= today]
    regressions = tuple(replace(one, allowed=_allowed(one.task, live)) for one in data.regressions)
    notes = [
        f"the allowance for '{printable(entry.task)}' ({printable(entry.reason)}) expired on {entry.until}"
        for entry in entries
        if entry.until < today
    ]
    return replace(data, regressions=regressions, notes=(*data.notes, *notes))


def _allowed(task: str, live: Sequence[Allowance]) -> str | None:
    for entry in live:
        if fnmatchcase(task, entry.task):
            return f"{entry.reason}, until {entry.until}"
    return None


def failures_of(data: ReportData, gate: Gate, allow: Iterable[Allowance], today: datetime.date) -> list[str]:
    """Return what the gate fails on, one line each; none: it passes."""
    live = [entry for entry in allow if entry.until >= today]
    found: list[str] = []
    if "regression" in gate.checks:
        found += [_regression(one) for one in data.regressions if _fails(one, gate)]
    ran = {
        row.execution.task
        for row in data.rows
        if row.execution.decision in (Decision.EXECUTED, Decision.FAILED)
    }
    if "sla" in gate.checks and data.run is not None:
        found += [
            f"sla: '{printable(one.task)}' took {duration(one.wall_ns)}, "
            f"its target is {duration(round(one.target_s * 1e9))}"
            for one in data.slas
            if one.level is SlaLevel.VIOLATION and one.run_id == data.run.id and not _allowed(one.task, live)
        ]
    if "flaky" in gate.checks:
        found += [
            f"flaky: '{printable(one.task)}' failed in {one.failed} of "
            f"{plural(one.failed + one.succeeded, 'execution')} with nothing changed"
            for one in data.flaky
            if one.task in ran and not _allowed(one.task, live)
        ]
    return found


def _fails(one: Regression, gate: Gate) -> bool:
    return (
        one.allowed is None
        and one.state != _SUSPECT
        and one.confidence >= gate.confidence
        and one.effect >= gate.effect
    )


def _regression(one: Regression) -> str:
    what = "slower" if one.unit is Unit.WALL else "hungrier"
    commit = f", commit {one.since_commit[:10]}" if one.since_commit else ""
    return (
        f"regression: '{printable(one.task)}' is {what} by {change(one.effect)} since run {one.since_run}"
        f"{commit} (confidence {one.confidence:.0%})"
    )
