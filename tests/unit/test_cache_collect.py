"""Limits: what goes first, what stays, and what verify, clear and stats say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildkit.cache.collect import choose_evictions
from buildkit.cache.index import IndexRow
from buildkit.cache.local import LocalCache
from buildkit.cache.lock import FileLock
from buildkit.cache.result import ActionResult, OutputFile, OutputKind
from buildkit.core.digest import Digest, digest_bytes, digest_text

KB = digest_bytes(b"x" * 1000)
KB2 = digest_bytes(b"y" * 1000)


def row(name: str, used_at: int, *blobs: Digest) -> IndexRow:
    return IndexRow(name, used_at, blobs, 0)


def evicted(rows: list[IndexRow], max_bytes: int | None, max_age_s: float | None) -> list[str]:
    chosen = choose_evictions(rows, max_bytes=max_bytes, max_age_s=max_age_s, now_s=1000)
    return [r.key for r in chosen]


def test_no_limit_evicts_nothing() -> None:
    assert evicted([row("a", 1, KB), row("b", 0, KB2)], None, None) == []


def test_the_least_recently_used_goes_first() -> None:
    assert evicted([row("new", 900, KB), row("old", 800, KB2)], 1500, None) == ["old"]


def test_a_shared_blob_counts_once() -> None:
    assert evicted([row("new", 900, KB), row("old", 800, KB)], 1500, None) == []


def test_everything_older_than_the_first_that_does_not_fit_goes() -> None:
    rows = [row("new", 900), row("large", 850, KB, KB2), row("small but older", 800)]
    assert evicted(rows, 1500, None) == ["large", "small but older"]


def test_age_evicts_without_regard_to_size() -> None:
    assert evicted([row("new", 900, KB), row("old", 100)], None, 300) == ["old"]


def test_a_clock_that_was_set_back_evicts_nothing() -> None:
    assert evicted([row("from the future", 10**9, KB)], None, 300) == []


# --- with a real store


@dataclass
class Clock:
    now_s: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Place:
    def __init__(self, base: Path) -> None:
        self.root = base / "project"
        self.root.mkdir()
        self.clock = Clock()
        self.warnings: list[str] = []
        self.cache = LocalCache.open(str(base / "cache"), warn=self.warnings.append, clock=self.clock)

    def remember(self, name: str, content: bytes) -> Digest:
        (self.root / name).write_bytes(content)
        taken = self.cache.capture([name], root=str(self.root))
        self.cache.put(digest_text(name), ActionResult(task=name, roots=taken.roots, outputs=taken.outputs))
        self.cache.flush()
        assert taken.outputs[0].digest is not None
        return taken.outputs[0].digest

    def blob(self, digest: Digest) -> Path:
        function, hexadecimal, size = digest.split(":")
        return Path(self.cache.directory, "cas", function, hexadecimal[:2], f"{hexadecimal[2:]}-{size}")

    def grow_old(self) -> None:
        """Let all blobs be older than the grace period."""
        for directory, _, names in os.walk(f"{self.cache.directory}/cas"):
            for name in names:
                os.utime(f"{directory}/{name}", (1, 1))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_size_limit_evicts_the_entry_used_longest_ago_with_its_blobs(place: Place) -> None:
    first = place.remember("first", b"1" * 5000)
    place.clock.now_s += 100
    second = place.remember("second", b"2" * 5000)
    place.clock.now_s += 100
    assert place.cache.get(digest_text("first")) is not None  # used again: now the younger one
    place.cache.flush()
    place.grow_old()
    report = place.cache.collect(max_bytes=7000, max_age_s=None)
    assert (report.entries_evicted, report.blobs_deleted, report.bytes_left) == (1, 1, 5000)
    assert place.cache.has_many([digest_text("first"), digest_text("second")]) == {digest_text("first")}
    assert place.blob(first).exists()
    assert not place.blob(second).exists()


def test_an_age_limit_evicts_what_was_not_used_since(place: Place) -> None:
    place.remember("old", b"1")
    place.clock.now_s += 1000
    place.remember("new", b"2")
    place.grow_old()
    assert place.cache.collect(max_bytes=None, max_age_s=500).entries_evicted == 1
    assert place.cache.get(digest_text("old")) is None
    assert place.cache.get(digest_text("new")) is not None


def test_a_blob_that_another_entry_needs_stays(place: Place) -> None:
    digest = place.remember("old", b"shared")
    place.clock.now_s += 1000
    place.remember("new", b"shared")
    place.grow_old()
    report = place.cache.collect(max_bytes=None, max_age_s=500)
    assert (report.entries_evicted, report.blobs_deleted) == (1, 0)
    assert place.blob(digest).exists()


def test_a_young_blob_without_an_entry_stays_for_its_writer(place: Place) -> None:
    (place.root / "out").write_bytes(b"being stored")
    digest = place.cache.capture(["out"], root=str(place.root)).outputs[0].digest
    place.remember("other", b"1")
    assert digest is not None
    assert place.cache.collect(max_bytes=0, max_age_s=None).blobs_deleted == 0
    assert place.blob(digest).exists()
    place.grow_old()
    assert place.cache.collect(max_bytes=0, max_age_s=None).blobs_deleted == 2


def test_a_collection_makes_way_for_another_one(place: Place) -> None:
    place.remember("a", b"1")
    with FileLock(f"{place.cache.directory}/collect.lock"):
        assert place.cache.collect(max_bytes=0, max_age_s=None, wait=False).busy
    assert not place.cache.collect(max_bytes=0, max_age_s=None, wait=False).busy


def test_a_collection_happens_by_itself_only_above_the_limit(place: Place) -> None:
    place.remember("a", b"1" * 5000)
    assert place.cache.collect_if_due(max_bytes=10_000, max_age_s=None) is None
    place.clock.now_s += 10
    place.remember("b", b"2" * 8000)
    report = place.cache.collect_if_due(max_bytes=10_000, max_age_s=None)
    assert report is not None
    assert report.entries_evicted == 1
    assert place.cache.get(digest_text("b")) is not None


def test_a_collection_happens_by_itself_at_most_once_an_hour(place: Place) -> None:
    place.remember("a", b"1" * 5000)
    assert place.cache.collect_if_due(max_bytes=10, max_age_s=None) is not None
    place.remember("b", b"2" * 5000)
    assert place.cache.collect_if_due(max_bytes=10, max_age_s=None) is None
    place.clock.now_s += 3601
    assert place.cache.collect_if_due(max_bytes=10, max_age_s=None) is not None
    place.remember("c", b"3" * 5000)
    place.clock.now_s -= 86400
    assert place.cache.collect_if_due(max_bytes=10, max_age_s=None) is not None


def test_a_collection_happens_by_itself_when_something_is_too_old(place: Place) -> None:
    place.remember("a", b"1")
    assert place.cache.collect_if_due(max_bytes=None, max_age_s=5000) is None
    place.clock.now_s += 5001
    report = place.cache.collect_if_due(max_bytes=None, max_age_s=5000)
    assert report is not None
    assert report.entries_evicted == 1


def test_verify_removes_damaged_blobs_and_the_results_that_needed_them(place: Place) -> None:
    good = place.remember("good", b"good")
    flipped = place.remember("flipped", b"flip me")
    missing = place.remember("missing", b"unlink me")
    place.blob(flipped).chmod(0o600)
    place.blob(flipped).write_bytes(b"flip mE")
    place.blob(missing).unlink()
    report = place.cache.verify()
    assert (report.blobs_checked, report.blobs_damaged) == (2, 1)
    assert (report.entries_checked, report.entries_removed) == (3, 2)
    assert place.blob(good).exists()
    assert not place.blob(flipped).exists()
    again = place.cache.verify()
    assert (again.blobs_damaged, again.entries_removed, again.entries_checked) == (0, 0, 1)


def test_verify_leaves_blobs_of_unknown_functions_alone(place: Place) -> None:
    place.remember("a", b"1")
    stray = Path(place.cache.directory, "cas", "blake9", "ab", "cdef-3")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"123")
    assert place.cache.verify().blobs_damaged == 0
    assert stray.exists()


def test_clear_leaves_nothing(place: Place) -> None:
    digest = place.remember("a", b"1")
    report = place.cache.clear()
    assert (report.entries_evicted, report.blobs_deleted) == (1, 1)
    assert not place.blob(digest).exists()
    stats = place.cache.stats()
    assert (stats.entries, stats.blobs, stats.bytes) == (0, 0, 0)
    place.remember("a", b"1")
    assert place.cache.get(digest_text("a")) is not None


def test_stats_count_what_is_there(place: Place) -> None:
    place.remember("a", b"1" * 10)
    place.clock.now_s += 100
    place.remember("b", b"2" * 20)
    place.cache.get(digest_text("a"))
    place.cache.get(digest_text("nothing"))
    stats = place.cache.stats()
    assert (stats.entries, stats.blobs, stats.bytes) == (2, 2, 30)
    assert (stats.hits, stats.misses) == (1, 1)
    assert stats.oldest_used_at == 1_700_000_100
    assert stats.newest_used_at == 1_700_000_100
    assert stats.location == place.cache.directory
    assert stats.collected_at is None


def test_a_directory_entry_with_files_keeps_all_its_blobs(place: Place) -> None:
    (place.root / "d").mkdir()
    for n in range(5):
        (place.root / "d" / str(n)).write_bytes(bytes([n]))
    taken = place.cache.capture(["d"], root=str(place.root))
    log = place.cache.put_bytes(b"log")
    assert log is not None
    key = digest_text("d")
    place.cache.put(
        key, ActionResult(task="d", roots=taken.roots, outputs=taken.outputs, log=log, log_size=3)
    )
    place.cache.flush()
    place.grow_old()
    assert place.cache.collect(max_bytes=10**9, max_age_s=None).blobs_left == 6
    result = place.cache.get(key)
    assert result is not None
    assert sum(o.kind is OutputKind.FILE for o in result.outputs) == 5
    assert place.cache.restore(key, result, root=str(place.root)).log == b"log"


def test_an_entry_is_lost_with_a_blob_that_cannot_come_back(place: Place) -> None:
    key = digest_text("a")
    outputs = (OutputFile("a", OutputKind.FILE, digest_bytes(b"never stored"), 0o644),)
    place.cache.put(key, ActionResult(task="a", roots=("a",), outputs=outputs))
    assert place.cache.verify().entries_removed == 1
