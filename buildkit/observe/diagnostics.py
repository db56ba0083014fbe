"""Places in files that the output of a tool complains about: `src/app.py:3:5: error: ...`.

What belongs here: recognising the formats that compilers, linters, test runners and tracebacks share. What
is made of a place (an annotation, say) is for others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

_MOST_COLUMNS = 1000  # longer lines are data, not messages


class Severity(StrEnum):
    """How bad the tool says it is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One complaint; the path counts from the project."""

    path: str
    line: int
    column: int | None
    severity: Severity
    message: str


_PATH = r"(?P<path>[^\s:\"'(<\[|][^:\"()<>|]*?)"
_SEVERITY = r"(?:(?P<severity>(?:fatal )?error|warning|note|info)\b(?:\[[\w-]+\])?[: ]*)?"
# gcc, clang, go, mypy, ruff, flake8, pytest, shellcheck, eslint (unix), tsc (pretty, with " - ")
_COLONS = re.compile(
    rf"^\s*(?:[EF]\s+)?{_PATH}:(?P<line>\d+)(?::(?P<column>\d+))?(?::|\s-)\s*{_SEVERITY}(?P<message>.*)$",
    re.I,
)
# tsc, msbuild
_PARENTHESES = re.compile(
    rf"^\s*{_PATH}\((?P<line>\d+)(?:,(?P<column>\d+))?\)\s*:\s*{_SEVERITY}(?P<message>.*)$", re.I
)
# the shells
_WORD = re.compile(rf"^{_PATH}: line (?P<line>\d+): (?P<message>.+)$")
# rustc, ruff: the message stands above
_ARROW = re.compile(rf"^\s*--> {_PATH}:(?P<line>\d+)(?::(?P<column>\d+))?\s*$")
# Python: the message stands below the last frame
_FRAME = re.compile(r'^\s+File "(?P<path>[^"]+)", line (?P<line>\d+)')
_SEVERITY_FIRST = re.compile(_SEVERITY + r"(?P<message>.*)$", re.I)


def find_diagnostics(
    text: str, root: str, *, is_file: Callable[[str], bool] = os.path.isfile
) -> list[Diagnostic]:
    """Return the complaints in a tool's output about files of the project, each once, in order.

    What looks like a place but names no file below `root` (times of day, addresses) is none.
    """
    found: dict[tuple[str, int, str], Diagnostic] = {}
    for diagnostic in _scan(text.splitlines()):
        path = _in_project(diagnostic.path, root, is_file)
        if path is None:
            continue
        kept = Diagnostic(
            path, diagnostic.line, diagnostic.column, diagnostic.severity, diagnostic.message or "see the log"
        )
        found.setdefault((path, kept.line, kept.message), kept)
    return list(found.values())


def _scan(lines: list[str]) -> Iterator[Diagnostic]:
    frame: re.Match[str] | None = None
    above = ""
    for line in lines:
        if len(line) > _MOST_COLUMNS:
            continue
        traced = _FRAME.match(line)
        if traced is not None:
            frame = traced
        elif frame is not None and line.strip() and not line[0].isspace():
            yield _diagnostic(frame, "error", line)
            frame = None
            continue
        arrow = _ARROW.match(line)
        if arrow is not None:
            stated = _SEVERITY_FIRST.match(above)
            severity = stated["severity"] if stated is not None else None
            message = stated["message"] if stated is not None else above
            yield _diagnostic(arrow, severity, message)
            continue
        for pattern in (_COLONS, _PARENTHESES):
            match = pattern.match(line)
            if match is not None:
                yield _diagnostic(match, match["severity"], match["message"])
                break
        else:
            match = _WORD.match(line)
            if match is not None:
                yield _diagnostic(match, "error", match["message"])
        if line.strip():
            above = line.strip()


def _diagnostic(match: re.Match[str], severity: str | None, message: str) -> Diagnostic:
    column = match.groupdict().get("column")
    return Diagnostic(
        match["path"].strip(),
        int(match["line"]),
        int(column) if column else None,
        _severity(severity),
        message.strip(),
    )


def _severity(word: str | None) -> Severity:
    if word is None or word.lower().endswith("error"):
        return Severity.ERROR
    return Severity.WARNING if word.lower() == "warning" else Severity.NOTE


def _in_project(path: str, root: str, is_file: Callable[[str], bool]) -> str | None:
    full = os.path.normpath(os.path.join(root, path))
    inside = os.path.relpath(full, root)
    if inside.startswith(os.pardir) or not is_file(full):
        return None
    return inside
