"""`doit report`: what a run did, how that compares with the past, and whether CI should fail on it.

What belongs here: options, and where the report goes. What it says is made in `buildkit/report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doit.cmd_base import Command

from buildkit.cli.arguments import OptionsAnywhere, age_s
from buildkit.cli.history import OPTION_DIR, history_of, is_running, project_of
from buildkit.cli.html import OPTION_HTML, write_html
from buildkit.cli.output import exit_code_of, print_result, print_warning, terminal_width
from buildkit.cli.report_data import report_data, today
from buildkit.core.config import load_settings
from buildkit.core.errors import ExitCode, UsageError
from buildkit.observe.files import ReplacedFile
from buildkit.report.collect import Query, view_of
from buildkit.report.gate import Gate, failures_of, parse_gate
from buildkit.report.last_run import Order, rows_of
from buildkit.report.writing import Style, Writing, comparison_of, csv_of, json_of, text_of

_ROWS = 30

_OPTIONS = (
    {
        "name": "run",
        "long": "run",
        "type": str,
        "default": "last",
        "help": "the run to show: last, its number, or the first digits of its uid",
    },
    {
        "name": "since",
        "long": "since",
        "type": str,
        "default": "30d",
        "metavar": "AGE",
        "help": "how far before that run the past goes that it is compared with: 30d, 12h, 4w",
    },
    {
        "name": "task",
        "long": "task",
        "type": str,
        "default": "",
        "metavar": "GLOB",
        "help": "show only tasks whose name matches, for instance 'test:*'",
    },
    {
        "name": "compare",
        "long": "compare",
        "type": str,
        "default": "",
        "metavar": "A",
        "help": "compare run A with the run that is named after it, or with the last one",
    },
    {
        "name": "limit",
        "long": "limit",
        "type": int,
        "default": None,
        "metavar": "N",
        "help": f"show at most N tasks (tables: {_ROWS} unless said; --json and --csv: all)",
    },
    {"name": "all", "long": "all", "type": bool, "default": False, "help": "show all rows of all tables"},
    {
        "name": "sort",
        "long": "sort",
        "type": str,
        "default": Order.INTEREST.value,
        "choices": [(order.value, "") for order in Order],
        "help": "what the tasks are sorted by",
    },
    {
        "name": "format",
        "long": "format",
        "type": str,
        "default": "",
        "metavar": "NAME",
        "help": "how tables are drawn: simple, grid, github, html, or any other format of tabulate",
    },
    {"name": "json", "long": "json", "type": bool, "default": False, "help": "print all numbers as JSON"},
    {"name": "csv", "long": "csv", "type": bool, "default": False, "help": "print the tasks as CSV"},
    {
        "name": "markdown",
        "long": "markdown",
        "type": bool,
        "default": False,
        "help": "print the report as Markdown",
    },
    OPTION_HTML,
    {
        "name": "output",
        "short": "o",
        "long": "output",
        "type": str,
        "default": "",
        "metavar": "FILE",
        "help": "write the report to a file instead of standard output",
    },
    {
        "name": "fail_on",
        "long": "fail-on",
        "type": str,
        "default": "",
        "metavar": "CHECKS",
        "help": f"end with exit code {int(ExitCode.GATE)} on what is found: regression, sla, flaky, divided "
        "by commas; regression:confidence=0.95,effect=1.2 says how sure and how much",
    },
    OPTION_DIR,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What the options ask for."""

    query: Query
    compare: tuple[str, str] | None
    writing: Writing
    html: str | None
    output: str
    gate: Gate | None

    @classmethod
    def of(cls, options: Mapping[str, Any], arguments: Sequence[str]) -> Request:
        """Return the request; UsageError where it makes no sense."""
        compare = _runs_to_compare(options["compare"], arguments)
        gate = parse_gate(options["fail_on"]) if options["fail_on"] else None
        if compare and (gate or options["html"]):
            raise UsageError("--compare goes with neither --fail-on nor --html.")
        query = Query(
            run=options["run"],
            since_s=_since_s(options["since"]),
            task=options["task"],
            # A page is made once and looked at long after: it may take its time, as a gate must.
            thorough=options["html"] is not None or (gate is not None and gate.needs_all_verdicts),
        )
        return cls(query, compare, _writing(options), options["html"], options["output"], gate)


def _runs_to_compare(first: str, arguments: Sequence[str]) -> tuple[str, str] | None:
    if not first:
        if arguments:
            raise UsageError(f"report takes no arguments. Did you mean --task '{arguments[0]}'?")
        return None
    if len(arguments) > 1:
        raise UsageError("--compare takes two runs: --compare A B.")
    return first, arguments[0] if arguments else "last"


def _since_s(text: str) -> float:
    seconds = age_s("--since", text)
    if not 0 < seconds < 10**10:
        raise UsageError(f"--since {text}: give a time that is not 0, such as 12h or 30d.")
    return float(seconds)


def _writing(options: Mapping[str, Any]) -> Writing:
    styles = [name for name in ("json", "csv", "markdown", "format") if options[name]]
    if len(styles) > 1:
        raise UsageError(f"--{styles[0]} and --{styles[1]} exclude each other.")
    style = Style(styles[0]) if styles and styles[0] != "format" else Style.TEXT
    table_format = "simple"
    if options["format"]:
        from buildkit.report.tables import format_named  # imports tabulate

        table_format = format_named(options["format"])
    limit: int | None = options["limit"]
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: give a number of tasks, at least 1, or --all.")
    if options["all"]:
        limit = None
    elif limit is None and style in (Style.TEXT, Style.MARKDOWN):
        limit = _ROWS
    width = None if options["output"] or style is not Style.TEXT else terminal_width()
    return Writing(style, table_format, limit, bool(options["all"]), Order(options["sort"]), width)


class Report(OptionsAnywhere, Command):  # type: ignore[misc]  # doit has no type hints
    """Show what a run did, from the history; needs no dodo.py."""

    name = "report"
    doc_purpose = "show what the last run did, what is slow, what became slower, and what fails"
    doc_usage = "[--run RUN] [--since AGE] [--task GLOB] [--compare A B] [--fail-on CHECKS] [--json]"
    doc_description = None
    cmd_options = _OPTIONS

    def execute(self, opt_values: Mapping[str, Any], pos_args: Sequence[str]) -> int:
        """Print the report and return the exit code."""
        return exit_code_of(lambda: _report(opt_values, pos_args))


def _report(options: Mapping[str, Any], arguments: Sequence[str]) -> int:
    """Write what is asked for and return the exit code; BuildkitError where that cannot be."""
    request = Request.of(options, arguments)
    project = project_of(options)
    settings = load_settings(project)
    if request.compare is not None:
        _write(_comparison(project, request, *request.compare), request.output)
        return int(ExitCode.OK)
    data = report_data(project, request.query, settings)
    if request.html is not None:
        write_html(project, data, request.html)
    if request.html is None or request.output:
        _write(_TEXTS[request.writing.style](data, request.writing), request.output)
    if request.gate is None:
        return int(ExitCode.OK)
    failures = failures_of(data, request.gate, settings.report.allow, today())
    for line in failures:
        print_warning(line)
    return int(ExitCode.GATE if failures else ExitCode.OK)


_TEXTS = {Style.TEXT: text_of, Style.MARKDOWN: text_of, Style.JSON: json_of, Style.CSV: csv_of}


def _comparison(project: str, request: Request, first: str, second: str) -> str:
    from buildkit.report.compare import compare  # only for --compare

    with history_of(project) as history:
        if history is None:
            raise UsageError("there are no runs to compare. The history is empty.")
        runs = [history.find_run(name) for name in (first, second)]
        before, after = (rows_of(history, run) for run in runs)
    views = [view_of(run, lambda run: is_running(project, run)) for run in runs]
    pairs = compare(before, after, request.query.task)
    return comparison_of(views[0], views[1], pairs, request.writing)


def _write(text: str, path: str) -> None:
    if path:
        ReplacedFile(path, "--output").write(f"{text}\n".encode("utf-8", "replace"))
    else:
        print_result(text)
