"""A report as text: for a terminal, as Markdown, JSON or CSV.

What belongs here: what goes into which form, and in which order. No file is opened.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from buildkit.core.execution import Decision, Execution
from buildkit.core.humanize import plural, printable
from buildkit.report.compare import Pair
from buildkit.report.compare import as_json as pair_json
from buildkit.report.compare import headline as comparison_headline
from buildkit.report.compare import section as comparison_section
from buildkit.report.data import SCHEMA, ReportData, RunView, to_json
from buildkit.report.last_run import COLUMNS, Order, TaskRow, as_json, cells, ordered
from buildkit.report.sections import Section, sections_of, wrapped
from buildkit.report.summary import summary_line
from buildkit.report.tables import MARKDOWN, SIMPLE
from buildkit.state.runs import RunSummary

_STATES = {"running": "still running", "unfinished": "did not finish: killed, or the machine went down"}


class Style(StrEnum):
    """What a report is written as."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Writing:
    """How it is written."""

    style: Style = Style.TEXT
    table_format: str = SIMPLE  # of tabulate
    limit: int | None = None  # of the table of tasks; None: all
    everything: bool = False  # no table is shortened
    order: Order = Order.INTEREST
    width: int | None = None  # of the terminal; None: any

    @property
    def format_of_tables(self) -> str:
        """The name that tabulate knows it by."""
        return MARKDOWN if self.style is Style.MARKDOWN else self.table_format


def text_of(data: ReportData, writing: Writing) -> str:
    """Return the report for people, as plain text or as Markdown."""
    if data.run is None:
        return f"No runs are recorded in {data.project} yet."
    markdown = writing.style is Style.MARKDOWN
    head = [f"# {_headline(data.run)}" if markdown else _headline(data.run)]
    if data.run.wall_ns is not None:
        head += [""] * markdown + [summary_line(_summary(data.run, data.run.wall_ns))]
    parts = ["\n".join(wrapped(line, writing.width) for line in head)]
    tasks = _tasks(data, writing)
    sections = sections_of(data, everything=writing.everything)
    if tasks is not None:
        # The first table needs no title in a terminal: it is what the lines above it announce.
        text = _section_text(tasks, writing)
        parts.append(text if markdown else text.removeprefix(f"{tasks.title}\n"))
    parts += [_section_text(section, writing) for section in sections]
    return "\n\n".join(parts)


def _section_text(section: Section, writing: Writing) -> str:
    markdown = writing.style is Style.MARKDOWN
    return section.text(writing.width, writing.format_of_tables, markdown=markdown)


def _headline(run: RunView) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started_at))
    state = _STATES.get(run.state, f"exit code {run.exit_code}")
    # Which of several doits it was says less than the room that its path takes.
    words = [os.path.basename(word) if index == 0 else word for index, word in enumerate(run.argv)]
    return f"Run {run.id}, {started}: {printable(' '.join(words))} ({state})"


def _summary(run: RunView, wall_ns: int) -> RunSummary:
    return RunSummary(
        wall_ns=wall_ns,
        exit_code=run.exit_code or 0,
        executed=run.executed,
        restored=run.restored,
        skipped=run.skipped,
        failed=run.failed,
        upstream_failed=run.upstream_failed,
        ignored=run.ignored,
        cancelled=run.cancelled,
        saved_ns=run.saved_ns,
    )


def _tasks(data: ReportData, writing: Writing) -> Section | None:
    if not data.rows:
        return None
    rows = ordered(data.rows, writing.order)
    shown = rows[: writing.limit]
    hidden = len(rows) - len(shown)
    lines = (
        [f"{plural(hidden, 'more task')}; --all shows {'it' if hidden == 1 else 'them'}"] if hidden else []
    )
    return Section("Tasks", COLUMNS, [cells(row) for row in shown], lines)


def json_of(data: ReportData, writing: Writing) -> str:
    """Return all numbers as one JSON document."""
    document: dict[str, Any] = {"schema": SCHEMA, **to_json(data)}
    rows = ordered(data.rows, writing.order)
    shown = rows[: writing.limit]
    del document["rows"]
    document["tasks"] = [as_json(row) for row in shown]
    document["hidden_tasks"] = len(rows) - len(shown)
    return json.dumps(document, indent=2)


def csv_of(data: ReportData, writing: Writing) -> str:
    """Return the tasks of the run as CSV, one row each, with a header."""
    rows = ordered(data.rows, writing.order)[: writing.limit]
    return _csv([_flat(as_json(row)) for row in rows], _CSV_FIELDS)


_CSV_FIELDS = tuple(as_json(TaskRow(Execution("", Decision.SKIPPED))))  # those of the JSON


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    reasons = "; ".join(
        f"{reason['kind']}: {', '.join(reason['names'])}" if reason["names"] else reason["kind"]
        for reason in row["reasons"]
    )
    return {**row, "reasons": reasons}


def _csv(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, list(names), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().rstrip("\n")


_PAIR_FIELDS = (
    "task", "before_wall_ns", "after_wall_ns", "difference_ns", "change_ratio", "before_outcome",
    "after_outcome",
)  # fmt: skip


def comparison_of(before: RunView, after: RunView, pairs: list[Pair], writing: Writing) -> str:
    """Return two runs side by side."""
    if writing.style is Style.CSV:
        return _csv(map(pair_json, pairs[: writing.limit]), _PAIR_FIELDS)
    if writing.style is Style.JSON:
        document = {
            "schema": SCHEMA,
            "before": to_json(before),
            "after": to_json(after),
            "tasks": [pair_json(pair) for pair in pairs[: writing.limit]],
        }
        return json.dumps(document, indent=2)
    head = "\n".join(wrapped(line, writing.width) for line in comparison_headline(before, after))
    return f"{head}\n\n{_section_text(comparison_section(pairs, writing.limit), writing)}"
