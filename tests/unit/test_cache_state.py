"""What `doit cache` says."""

from __future__ import annotations

import pytest

from buildkit.cache.collect import CacheStats, CollectReport, VerifyReport
from buildkit.report.cache_state import (
    age,
    as_json,
    clear_text,
    collect_text,
    hit_share,
    stats_text,
    verify_text,
)

GIB = 2**30


def told(stats: CacheStats, *, used: bool = True) -> list[str]:
    return stats_text(stats, max_bytes=10 * GIB, max_age_s=30 * 86400, used=used).splitlines()


def test_an_empty_cache_is_called_empty():
    assert told(CacheStats("/c")) == [
        "Cache:  /c: empty",
        "Limits: 10.0 GiB; results not used for 30 days go",
    ]


def test_all_numbers_of_a_cache():
    stats = CacheStats("/c", entries=1200, blobs=3, bytes=5 * GIB, index_bytes=2048, hits=3, misses=1)
    assert told(stats, used=False) == [
        "Cache:   /c",
        "Results: 1,200",
        "Blobs:   3, 5.00 GiB (50% of the limit)",
        "Index:   2.00 KiB",
        "Hits:    3 of 4 questions (75%)",
        "Limits:  10.0 GiB; results not used for 30 days go",
        "Note:    this project keeps nothing in it (cache = false)",
    ]


def test_nobody_asked_is_no_share():
    assert hit_share(CacheStats("/c")) is None
    assert "nobody asked yet" in "\n".join(told(CacheStats("/c", entries=1)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(86400, "1 day"), (2 * 86400, "2 days"), (90 * 60, "90 minutes"), (7200, "2 hours"), (61, "61 seconds")],
)
def test_ages(seconds: int, text: str):
    assert age(seconds) == text


def test_a_collection_says_what_it_removed_and_what_it_has_to_leave():
    lines = collect_text(
        CollectReport(2, 1, 3, 1024, 2, 2048, blobs_young=1, bytes_young=10), "/c"
    ).splitlines()
    assert lines[:2] == [
        "Removed 2 results and 3 blobs (1.00 KiB) from /c.",
        "Left: 1 result and 2 blobs (2.00 KiB).",
    ]
    assert lines[2].startswith("Not needed any more, but too young to go: 1 blob (10 B).")
    assert len(collect_text(CollectReport(temporaries_swept=2), "/c").splitlines()) == 2
    assert "and 2 leftovers of killed processes" in collect_text(CollectReport(temporaries_swept=2), "/c")


def test_clearing_an_empty_cache_is_said():
    assert clear_text(CollectReport(), "/c") == "/c was empty already."


def test_damage_is_counted():
    assert verify_text(VerifyReport(5, 10, 0, 2, 0), "/c").endswith("Nothing is damaged.")
    assert "Removed 1 damaged blob and 2 results" in verify_text(VerifyReport(5, 10, 1, 2, 2), "/c")


def test_control_characters_of_a_path_reach_no_terminal():
    assert "\x1b" not in clear_text(CollectReport(), "/c\x1b[31m")


def test_json_has_every_number():
    found = as_json(CollectReport(entries_evicted=1), "/c", {"max_bytes": 5})
    assert (found["location"], found["entries_evicted"], found["max_bytes"]) == ("/c", 1, 5)
