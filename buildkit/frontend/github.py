"""What GitHub Actions shows beside the log: annotations at lines of files, and the summary of the job.

What belongs here: GitHub's formats. https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import chain

from buildkit.core.execution import Decision
from buildkit.core.humanize import duration, first_line, plural
from buildkit.observe.diagnostics import Diagnostic, Severity, find_diagnostics
from buildkit.observe.executions import Ended, Executions, FinishedRun

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
_MOST_ANNOTATIONS = 10  # of one task; GitHub shows ten errors and ten warnings of a step
_MOST_ROWS = 50
_MOST_MESSAGE = 2000  # characters; GitHub cuts longer ones
_MARKDOWN = frozenset("\\`*_[]<>|~#&")
_SUMMARY_BYTES = 1024 * 1024  # GitHub's limit for a step


def write_for_github(environ: Mapping[str, str], write: Callable[[str], object], run: FinishedRun) -> None:
    """Write annotations with `write`, which prints to the job's log, and append the summary to its file."""
    root = run.context.info.cwd
    base = environ.get("GITHUB_WORKSPACE") or root
    for each in run.executions.ended:
        if each.execution.decision is Decision.FAILED:
            write("".join(annotation_lines(each, root, base)))
    path = environ.get(SUMMARY_VARIABLE)
    if path:
        text = summary(run.executions, run.context.project, run.elapsed_s, run.exit_code)
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            if file.tell() + len(text.encode("utf-8", "backslashreplace")) <= _SUMMARY_BYTES:
                file.write(text)


def annotation_lines(each: Ended, root: str, base: str) -> list[str]:
    """Return the lines that mark what a failed task complains about; paths count from `base`.

    Where its output names no place, the task's definition is marked.
    """
    said = "\n".join([each.output, each.failure.message if each.failure is not None else ""])
    found = [one for one in find_diagnostics(said, root) if one.severity is not Severity.NOTE]
    task = each.execution.task
    if not found:
        path, _, line = each.location.rpartition(":")
        message = each.failure.message if each.failure is not None else "failed"
        if not (path and line.isdecimal()):
            return [_command("error", {"title": f"task {task}"}, message)]
        found = [Diagnostic(path, int(line), None, Severity.ERROR, message)]
    # Errors before warnings: the number that GitHub shows is limited.
    found.sort(key=lambda one: one.severity is not Severity.ERROR)
    return [
        _command(
            str(one.severity),
            {
                "file": os.path.relpath(os.path.join(root, one.path), base),
                "line": str(one.line),
                **({"col": str(one.column)} if one.column is not None else {}),
                "title": f"task {task}",
            },
            one.message,
        )
        for one in found[:_MOST_ANNOTATIONS]
    ]


def _command(name: str, properties: Mapping[str, str], message: str) -> str:
    inner = ",".join(f"{key}={_escaped(value, ':', ',')}" for key, value in properties.items())
    return f"::{name} {inner}::{_escaped(message.strip()[:_MOST_MESSAGE])}\n"


def _escaped(text: str, *more: str) -> str:
    """Return text as the runner's own toolkit escapes it: `%` first, then what would end the command."""
    for character in chain("%\r\n", more):
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def summary(executions: Executions, project: str, elapsed_s: float, exit_code: int) -> str:
    """Return the summary in Markdown: what failed, then what took longest."""
    verdict = "succeeded" if exit_code == 0 else f"failed with exit code {exit_code}"
    counts = [
        f"{executions.count(decision)} {decision}" for decision in Decision if executions.count(decision)
    ]
    saved_ns = sum(each.execution.saved_ns for each in executions.ended)
    lines = [
        f"### doit: {_cell(project)} {verdict}",
        "",
        f"{', '.join(counts) or plural(0, 'task')} in {duration(int(elapsed_s * 1e9))}"
        + (f"; saved {duration(saved_ns)} of task time" if saved_ns >= 1_000_000 else ""),
        "",
    ]
    told = [each for each in executions.ended if each.execution.decision is not Decision.SKIPPED]
    told.sort(key=lambda each: (each.failure is None, -each.execution.cost.wall_ns))
    if told:
        lines += ["| task | outcome | time | CPU | why |", "| --- | --- | ---: | ---: | --- |"]
        lines += [_row(each) for each in told[:_MOST_ROWS]]
        if len(told) > _MOST_ROWS:
            lines += ["", f"and {len(told) - _MOST_ROWS} more."]
        lines.append("")
    return "\n".join(lines) + "\n"


def _row(each: Ended) -> str:
    execution, cost = each.execution, each.execution.cost
    mark = "❌ " if execution.decision is Decision.FAILED else ""
    cpu = "" if cost.cpu_ns is None else duration(cost.cpu_ns)
    why = "; ".join(str(reason) for reason in execution.reasons)
    if each.failure is not None:
        why = first_line(each.failure.message)
    wall = duration(cost.wall_ns) if cost.wall_ns else ""
    return f"| {_cell(execution.task)} | {mark}{execution.decision} | {wall} | {cpu} | {_cell(why[:200])} |"


def _cell(text: str) -> str:
    """Return text that Markdown shows as it is, within a cell of a table."""
    text = " ".join(text.split())
    return "".join(f"&#{ord(character)};" if character in _MARKDOWN else character for character in text)
