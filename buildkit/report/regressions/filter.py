"""The detector as a filter: JSON lines of series in, JSON lines of verdicts out.

What belongs here: reading, checking and writing. A line that cannot be read is told with its number, and the
others are judged nevertheless; what a run does not say is unknown.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from buildkit.report.regressions.detector import judge
from buildkit.report.regressions.series import Run, Verdict

USAGE = """usage: python -m buildkit.regressions < series.jsonl > verdicts.jsonl

Reads one series of runs per line, writes one verdict per executed, successful run.
The format and the method: docs/regressions.md
"""


class InputError(ValueError):
    """A line is not a series; the message says what is wrong with it."""


def main(arguments: list[str], source: IO[str], sink: IO[str], problems: IO[str]) -> int:
    """Run the filter; return 0, or 3 where a line or the usage is wrong."""
    if arguments:
        asked = arguments[0] in ("-h", "--help")
        print(USAGE, end="", file=sink if asked else problems)
        return 0 if asked else 3
    code = 0
    try:
        for number, line in enumerate(source, start=1):
            if not line.strip():
                continue
            try:
                name, runs = parse(line)
            except InputError as error:
                code = 3
                print(f"regressions: line {number}: {error}", file=problems)
                continue
            for verdict in judge(runs):
                sink.write(json.dumps(as_json(name, verdict)) + "\n")
            sink.flush()
    except BrokenPipeError:
        # `| head` has seen enough. Python would complain again when it flushes at exit: give it
        # nowhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def parse(line: str) -> tuple[Any, list[Run]]:
    """Return the name of a series and its runs in order; raise `InputError` if the line is not a series."""
    try:
        data = json.loads(line, parse_constant=lambda _: None)
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from None
    except RecursionError:
        raise InputError("nested too deeply for a series") from None
    if not isinstance(data, Mapping) or not isinstance(data.get("runs"), list):
        raise InputError('not an object with a list "runs"')
    name = data.get("series")
    return None if isinstance(name, float) and not math.isfinite(name) else name, list(_runs(data["runs"]))


def _runs(items: Iterable[Any]) -> Iterator[Run]:
    for position, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise InputError(f"run {position} is not an object")
        index = item.get("i")
        if isinstance(index, bool) or not isinstance(index, int):
            index = _number(index)
        worker, jobs = item.get("worker"), _number(item.get("jobs"))
        wall = _number(item.get("wall"))
        yield Run(
            i=position if index is None else int(index),
            wall=math.nan if wall is None else wall,
            cpu=_number(item.get("cpu")),
            ok=item.get("ok") is None or bool(item["ok"]),
            cache=str(item.get("cache") or "miss").lower(),
            worker=None if worker is None else str(worker),
            load=_number(item.get("load")),
            jobs=None if jobs is None else int(jobs),
            t=_number(item.get("t")),
        )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_json(series: Any, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as the object that an output line holds."""
    return {
        "series": series,
        "i": verdict.i,
        "regressed": verdict.regressed,
        "confidence": verdict.confidence,
        "effect": verdict.effect,
        "since": verdict.since,
        "state": verdict.state.value,
    }
