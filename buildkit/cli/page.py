"""The page of a project: from its history to HTML, for `doit report --html` and `doit ui`.

What belongs here: what the page needs besides the report, namely the project's name, where its commits can
be looked at, and what a run does at this moment. How it looks is in `report/page`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from buildkit.cli.history import history_of
from buildkit.core.errors import UsageError
from buildkit.observe.files import ReplacedFile
from buildkit.observe.status import SCHEMA_VERSION, STATUS_FILE
from buildkit.report.collect import Query, collect
from buildkit.report.data import ReportData
from buildkit.report.page import build_page, commit_url_of, page_document
from buildkit.state.database import DATABASE_NAME
from buildkit.state.directory import state_directory
from buildkit.state.lock import current_holder, process_exists
from buildkit.state.pending import PENDING_NAME
from buildkit.state.runs import RunRecord


def write_page(project: str, query: Query, path: str) -> None:
    """Write the page into the file; UsageError where that cannot be, before anything is read."""
    if not path:
        raise UsageError("--html: give the name of a file.")
    file = ReplacedFile(path, "--html")
    page = build_page(_document(project, _data(project, query), commit_url_of(project)))
    try:
        file.write(page.encode())
    except OSError as error:
        raise UsageError(f"--html: '{path}' cannot be written: {error.strerror or error}.") from None


class LivePage:
    """The page of a project as it is at the moment when it is asked for."""

    def __init__(self, project: str, query: Query) -> None:
        self._project = project
        self._query = query
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
        data = _data(self._project, self._query)
        return _document(self._project, data, self._commit_url, live=True, status=_status(self._project))


def _data(project: str, query: Query) -> ReportData:
    with history_of(project) as history:
        if history is None:
            return ReportData(project, time.time())
        return collect(history, query, project=project, is_running=lambda run: is_running(project, run))


def is_running(project: str, run: RunRecord) -> bool:
    """Whether a run without an end goes on. Otherwise it was killed, or the machine went down."""
    # Both, because a process id may be used again, and a run inside a run does not hold the lock itself.
    return current_holder(project) is not None and process_exists(run.info.pid)


def _document(
    project: str,
    data: ReportData,
    commit_url: str | None,
    *,
    live: bool = False,
    status: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    name = os.path.basename(os.path.realpath(project)) or project
    return page_document(data, project=name, commit_url=commit_url, live=live, status=status)


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
