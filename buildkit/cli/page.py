"""The page of a project: from its report to HTML, for `doit report --html` and `doit ui`.

What belongs here: what the page needs besides the report, namely the project's name, where its commits can
be looked at, and what a run does at this moment. How it looks is in `report/page`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from buildkit.observe.status import SCHEMA_VERSION, STATUS_FILE
from buildkit.report.data import ReportData
from buildkit.report.page import build_page, commit_url_of, page_document
from buildkit.state.database import DATABASE_NAME
from buildkit.state.directory import state_directory
from buildkit.state.pending import PENDING_NAME


def page_of(project: str, data: ReportData) -> str:
    """Return the report on the project as a page that needs nothing but a browser."""
    return build_page(page_document(data, project=_name(project), commit_url=commit_url_of(project)))


class LivePage:
    """The page of a project as it is at the moment when it is asked for; `report` reads its history."""

    def __init__(self, project: str, report: Callable[[], ReportData]) -> None:
        self._project = project
        self._report = report
        self._commit_url = commit_url_of(project)

    def html(self) -> str:
        """Return the page."""
        return build_page(self._now())

    def json(self) -> str:
        """Return the data of the page."""
        return json.dumps(self._now(), allow_nan=False, separators=(",", ":"))

    def version(self) -> object:
        """Return what is different after something was recorded, or a running task went on."""
        directory = state_directory(self._project)
        # Readers touch the index of the log (-shm); only runs write these.
        names = (DATABASE_NAME, f"{DATABASE_NAME}-wal", PENDING_NAME, STATUS_FILE)
        return tuple(_signature(os.path.join(directory, name)) for name in names)

    def _now(self) -> dict[str, Any]:
        return page_document(
            self._report(),
            project=_name(self._project),
            commit_url=self._commit_url,
            live=True,
            status=_status(self._project),
        )


def _name(project: str) -> str:
    return os.path.basename(os.path.realpath(project)) or project


def _status(project: str) -> Mapping[str, Any] | None:
    """Return what the status file says, None where there is none that this release understands."""
    try:
        with open(os.path.join(state_directory(project), STATUS_FILE), encoding="utf-8") as file:
            status = json.load(file)
    except (OSError, ValueError):
        return None
    understood = isinstance(status, dict) and status.get("v") == SCHEMA_VERSION
    return status if understood and status.get("state") == "running" else None


def _signature(path: str) -> tuple[int, int]:
    try:
        seen = os.stat(path)
    except OSError:
        return 0, 0
    return seen.st_mtime_ns, seen.st_size
