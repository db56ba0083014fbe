"""How often each test has tried to break something; as a plugin of pytest (`-p tally`) it reports that."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest

_tries: Counter[str] = Counter()


def tried(times: int = 1) -> None:
    """Count tries for the test that runs now."""
    _tries[os.environ.get("PYTEST_CURRENT_TEST", "").partition(" (")[0]] += times


def tries_of(test: str) -> int:
    """Return how often a test has tried; one that does not count has tried once."""
    return _tries[test] or 1


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append one line for each finished test to BUILDKIT_FAULT_REPORT, for `table.py`."""
    path = os.environ.get("BUILDKIT_FAULT_REPORT")
    if path and (report.when == "call" or report.outcome != "passed"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        with open(path, "a", encoding="utf-8") as file:
            json.dump([report.nodeid, report.outcome, tries_of(report.nodeid), reason], file)
            file.write("\n")
