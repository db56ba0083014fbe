"""The report of a project as data, for all that show one: tables, exports, the page, the live page.

What belongs here: where a report's ingredients come from (history, settings, the cache) on this machine.
What it says is made in `report/collect.py`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from buildkit.cache.location import cache_directory
from buildkit.cli.history import history_of, is_running
from buildkit.core.config import Settings
from buildkit.core.errors import UsageError
from buildkit.report.collect import Query, collect
from buildkit.report.data import ReportData
from buildkit.report.forecast import CacheUse
from buildkit.report.gate import with_allowances

if TYPE_CHECKING:
    import datetime


def report_data(project: str, query: Query, settings: Settings) -> ReportData:
    """Return the report; UsageError where there is no such run or task."""
    with history_of(project) as history:
        if history is None:
            if query.run != "last":
                raise UsageError(f"there is no run '{query.run}'. The history is empty.")
            return ReportData(project, time.time())
        data = collect(
            history,
            query,
            project=project,
            is_running=lambda run: is_running(project, run),
            cache=lambda: _cache_use(project, settings),
        )
    return with_allowances(data, settings.report.allow, today()) if settings.report.allow else data


def today() -> datetime.date:
    """Return the date by which allowances expire."""
    import datetime  # where there is a list of what may pass for a while, or a gate

    return datetime.date.today()


def _cache_use(project: str, settings: Settings) -> CacheUse | None:
    """Return what the cache holds; None where there is none, or it cannot be asked."""
    directory = cache_directory(os.environ, settings.cache_dir, root=project)
    if not settings.cache or not os.path.isdir(directory):
        return None
    from buildkit.cache.local import LocalCache  # only with a month of history

    cache = LocalCache.open(directory, warn=lambda _line: None)
    try:
        return CacheUse(cache.stats().bytes, settings.cache_max_size)
    finally:
        cache.close()
