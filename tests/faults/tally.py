"""How often the running test has tried to break something; the table of `make faults` adds it up."""

from __future__ import annotations

import os
from collections import Counter

_tries: Counter[str] = Counter()


def tried(times: int = 1) -> None:
    """Count tries for the test that runs now."""
    _tries[os.environ.get("PYTEST_CURRENT_TEST", "").partition(" (")[0]] += times


def tries_of(test: str) -> int:
    """Return how often a test has tried; one that does not count has tried once."""
    return _tries[test] or 1
