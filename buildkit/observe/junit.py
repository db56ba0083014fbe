"""A run as JUnit XML, which CI services show as a list of tests: `--junit FILE`.

What belongs here: the format (the schema of Jenkins' xunit plug-in). A task is a test case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

from buildkit.core.execution import Decision
from buildkit.core.humanize import first_line
from buildkit.engine.events import FailureKind
from buildkit.observe.executions import Ended, FinishedRun
from buildkit.observe.files import ReplacedFile

# XML 1.0, 2.2: all other control characters may not even be written as references.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SKIPPED = {
    Decision.UPSTREAM_FAILED: "not started: a task that it waits for failed",
    Decision.IGNORED: "ignored by the user",
    Decision.CANCELLED: "cancelled: the run ended before it could finish",
}


def write_junit(file: ReplacedFile, run: FinishedRun) -> None:
    """Write the report of a run."""
    text = junit_xml(
        run.executions.ended,
        name=run.context.project,
        elapsed_s=run.elapsed_s,
        started_at=run.context.started_at,
        properties={"run": run.context.info.uid, "exit_code": str(run.exit_code)},
    )
    file.write(text.encode("utf-8", "xmlcharrefreplace"))


def junit_xml(
    ended: list[Ended], *, name: str, elapsed_s: float, started_at: float, properties: Mapping[str, str]
) -> str:
    """Return the document. Tasks that are up to date or restored have passed: their success is on record."""
    cases = [_case(each) for each in sorted(ended, key=lambda each: each.execution.started_ns)]
    failures = sum(1 for each in ended if _verdict(each) == "failure")
    errors = sum(1 for each in ended if _verdict(each) == "error")
    skipped = sum(1 for each in ended if each.execution.decision in _SKIPPED)
    counts = f'tests="{len(ended)}" failures="{failures}" errors="{errors}"'
    when = datetime.fromtimestamp(started_at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="doit" {counts} time="{elapsed_s:.3f}">',
        f'<testsuite name={_attribute(name)} {counts} skipped="{skipped}" time="{elapsed_s:.3f}"'
        f' timestamp="{when}">',
        _properties(properties),
        *cases,
        "</testsuite>",
        "</testsuites>",
        "",
    ]
    return "\n".join(lines)


def _case(each: Ended) -> str:
    execution = each.execution
    group = execution.task.partition(":")[0]
    wall_s = execution.cost.wall_ns / 1e9
    head = f'<testcase classname={_attribute(group)} name={_attribute(execution.task)} time="{wall_s:.3f}"'
    path, _, line = each.location.rpartition(":")
    if path and line.isdecimal():
        head += f' file={_attribute(path)} line="{line}"'
    body = [_properties({"decision": str(execution.decision)})]
    verdict = _verdict(each)
    if verdict is not None:
        message = each.failure.message if each.failure is not None else str(execution.decision)
        kind = each.failure.kind if each.failure is not None else FailureKind.ERROR
        opening = f"{verdict} message={_attribute(first_line(message))} type={_attribute(str(kind))}"
        body.append(f"<{opening}>{_text(message)}</{verdict}>")
    elif execution.decision in _SKIPPED:
        body.append(f"<skipped message={_attribute(_SKIPPED[execution.decision])}/>")
    if each.output:
        body.append(f"<system-out>{_text(each.output)}</system-out>")
    return "\n".join([head + ">", *body, "</testcase>"])


def _verdict(each: Ended) -> str | None:
    """Return the element that says what went wrong: an action said no, or something could not be done."""
    if each.execution.decision is not Decision.FAILED:
        return None
    failed = each.failure is not None and each.failure.kind is FailureKind.FAILED
    return "failure" if failed else "error"


def _properties(properties: Mapping[str, str]) -> str:
    inner = "".join(
        f"<property name={_attribute(name)} value={_attribute(value)}/>" for name, value in properties.items()
    )
    return f"<properties>{inner}</properties>"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


def _text(text: str) -> str:
    return escape(_clean(text))


def _attribute(text: str) -> str:
    return quoteattr(_clean(text))
