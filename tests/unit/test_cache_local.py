"""The cache as the engine sees it: what it creates, what it says, and that it never fails a build."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from buildkit.cache.errors import RestoreMiss
from buildkit.cache.local import FLUSH_AT, LocalCache
from buildkit.cache.protocols import ActionCache
from buildkit.cache.result import ActionResult
from buildkit.cache.scratch import Scratch
from buildkit.core.digest import Digest, digest_bytes, digest_text

KEY = digest_text("key")
AS_ROOT = os.geteuid() == 0


class Place:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "project"
        self.root.mkdir()
        self.directory = base / "deep" / "cache"
        self.warnings: list[str] = []

    def open(self) -> LocalCache:
        return LocalCache.open(str(self.directory), warn=self.warnings.append)

    def remember(self, cache: LocalCache, name: str = "out", key: Digest = KEY) -> ActionResult:
        (self.root / name).write_bytes(name.encode())
        taken = cache.capture([name], root=str(self.root))
        result = ActionResult(task=name, roots=taken.roots, outputs=taken.outputs, values_json='{"a": 1}')
        if taken.stored:
            cache.put(key, result)
        return result


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_looking_creates_nothing(place: Place) -> None:
    cache: ActionCache = place.open()
    assert cache.get(KEY) is None
    assert cache.has_many([KEY]) == set()
    with_more = place.open()
    assert with_more.get_bytes(digest_bytes(b"x")) is None
    assert with_more.stats().entries == 0
    assert with_more.collect_if_due(max_bytes=1, max_age_s=1) is None
    assert not with_more.capture([], root=str(place.root), store=False).stored
    with_more.close()
    assert not place.directory.parent.exists()
    assert place.warnings == []


def test_another_process_restores_what_was_put(place: Place) -> None:
    with_cache = place.open()
    put = place.remember(with_cache)
    with_cache.close()
    (place.root / "out").unlink()
    cache = place.open()
    got = cache.get(KEY)
    assert got == put
    cache.restore(KEY, got, root=str(place.root), declared=["out"])
    assert (place.root / "out").read_bytes() == b"out"
    cache.close()
    assert place.warnings == []


def test_a_run_that_only_restores_clears_away_what_a_killed_one_left(place: Place) -> None:
    cache = place.open()
    result = place.remember(cache)
    cache.close()
    pid = os.fork()
    if pid == 0:  # half of a restore, then death
        scratch = Scratch(str(place.directory / "tmp"))
        Path(scratch.path_beside(str(place.root / "out"))).write_bytes(b"half")
        os._exit(0)
    os.waitpid(pid, 0)
    assert len(os.listdir(place.root)) == 2
    cache = place.open()
    cache.restore(KEY, result, root=str(place.root))
    cache.close()
    assert os.listdir(place.root) == ["out"]


def test_the_directory_can_be_carried_elsewhere(place: Place) -> None:
    cache = place.open()
    put = place.remember(cache)
    cache.close()
    place.directory.rename(place.base / "moved")
    place.directory = place.base / "moved"
    cache = place.open()
    assert cache.get(KEY) == put
    cache.restore(KEY, put, root=str(place.base))
    assert (place.base / "out").read_bytes() == b"out"


def test_everything_is_private(place: Place) -> None:
    old = os.umask(0)
    try:
        cache = place.open()
        place.remember(cache)
        cache.flush()
        cache.collect(max_bytes=None, max_age_s=None)
    finally:
        os.umask(old)
    for directory, directories, names in os.walk(place.directory):
        for name in [*directories, *names]:
            mode = stat.S_IMODE(os.stat(f"{directory}/{name}").st_mode)
            assert mode & 0o077 == 0, f"{name}: {mode:o}"
    assert stat.S_IMODE(place.directory.stat().st_mode) == 0o700


def test_the_buffer_is_flushed_when_it_is_full(place: Place) -> None:
    cache, other = place.open(), place.open()
    for n in range(FLUSH_AT):
        cache.put(digest_text(str(n)), ActionResult(task=str(n)))
    assert other.get(digest_text("0")) is not None


def test_a_miss_that_cannot_be_cured_forgets_the_result(place: Place) -> None:
    cache = place.open()
    result = place.remember(cache)
    cache.clear()
    cache.put(KEY, result)
    with pytest.raises(RestoreMiss):
        cache.restore(KEY, result, root=str(place.root))
    assert cache.get(KEY) is None


def test_a_result_without_its_blobs_is_not_among_those_that_there_are(place: Place) -> None:
    cache = place.open()
    result = place.remember(cache)
    assert cache.has_many([KEY]) == {KEY}
    cache.clear()
    cache.put(KEY, result)
    assert cache.has_many([KEY]) == set()


def test_asking_what_there_is_counts_as_no_use(place: Place) -> None:
    cache = place.open()
    place.remember(cache)
    cache.flush()
    before = cache.stats()
    cache.has_many([KEY])
    assert cache.stats() == before


def test_questions_from_before_there_was_an_index_count_as_misses(place: Place) -> None:
    cache = place.open()
    assert cache.get(KEY) is None
    place.remember(cache, "one", digest_text("one"))
    assert cache.get(digest_text("one")) is not None
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (1, 1)


def test_an_unfinished_put_is_lost_and_nothing_else(place: Place) -> None:
    cache = place.open()
    place.remember(cache, "one", digest_text("one"))
    cache.flush()
    place.remember(cache, "two", digest_text("two"))
    fresh = place.open()  # the process died before the second flush
    assert fresh.has_many([digest_text("one"), digest_text("two")]) == {digest_text("one")}


@pytest.mark.parametrize("what", ["garbage", "truncated", "newer"])
def test_an_index_that_cannot_be_used_is_said_once(place: Place, what: str) -> None:
    cache = place.open()
    place.remember(cache)
    cache.close()
    index = place.directory / "index.db"
    if what == "garbage":
        index.write_bytes(b"garbage" * 3000)
    elif what == "truncated":
        index.write_bytes(index.read_bytes()[:5000])
    else:
        connection = sqlite3.connect(index)
        connection.execute("PRAGMA user_version = 99")
        connection.execute("UPDATE counter SET value = 99 WHERE name = 'schema'")
        connection.commit()
        connection.close()
    cache = place.open()
    assert cache.get(KEY) is None
    place.remember(cache)
    cache.flush()
    again = cache.get(KEY)
    cache.close()
    assert len(place.warnings) == 1
    if what == "newer":
        assert again is None
        assert "newer" in place.warnings[0]
        assert not list(place.directory.glob("*.damaged-*"))
    else:
        assert again is not None
        assert "index.db.damaged-1" in place.warnings[0]
        assert (place.directory / "index.db.damaged-1").exists()


def test_damage_that_shows_in_the_middle_of_a_run_loses_no_pending_result(place: Place) -> None:
    cache = place.open()
    for n in range(400):
        cache.put(digest_text(str(n)), ActionResult(task="x" * 100))
    cache.close()
    cache = place.open()
    assert cache.get(digest_text("0")) is not None
    cache.put(KEY, ActionResult(task="pending"))
    with (place.directory / "index.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(200_000))
    cache.flush()
    for n in range(400):
        cache.get(digest_text(str(n)))
    cache.flush()
    assert cache.get(KEY) is not None
    assert place.open().get(KEY) is not None
    assert len(place.warnings) == 1


def test_a_directory_that_everybody_may_write_to_is_not_used(place: Place) -> None:
    place.directory.mkdir(parents=True)
    place.directory.chmod(0o777)
    cache = place.open()
    place.remember(cache)
    assert cache.get(KEY) is None
    assert list(place.directory.iterdir()) == []
    assert len(place.warnings) == 1
    assert "chmod o-w" in place.warnings[0]


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_not_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.directory.mkdir(parents=True)
    os.chown(place.directory, 12345, 12345)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    cache = place.open()
    assert cache.get(KEY) is None
    assert not cache.capture([], root=str(place.root)).stored
    assert len(place.warnings) == 1


def test_a_file_in_place_of_the_directory_is_said_once_and_builds_go_on(place: Place) -> None:
    place.directory.parent.mkdir()
    place.directory.write_text("not a directory")
    cache = place.open()
    assert place.remember(cache).outputs[0].digest == digest_bytes(b"out")
    assert cache.put_bytes(b"x") is None
    assert cache.get(KEY) is None
    cache.close()
    assert len(place.warnings) == 1


def test_logs_are_verified_when_they_are_read(place: Place) -> None:
    cache = place.open()
    digest = cache.put_bytes(b"a log")
    assert digest is not None
    assert cache.get_bytes(digest) == b"a log"
    (blob,) = (path for path in (place.directory / "cas").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"A LOG")
    assert cache.get_bytes(digest) is None
    assert not blob.exists()


def test_with_storing_off_outputs_are_hashed_only(place: Place) -> None:
    (place.root / "out").write_bytes(b"x")
    cache = place.open()
    taken = cache.capture(["out"], root=str(place.root), store=False)
    assert (taken.stored, taken.outputs[0].digest) == (False, digest_bytes(b"x"))
    assert not place.directory.exists()


def test_a_blob_that_cannot_be_read_is_a_miss_said_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = place.open()
    result = place.remember(cache)
    (place.root / "out").unlink()

    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("buildkit.cache.cas.LocalBlobStore.open", broken)
    monkeypatch.setattr("buildkit.cache.cas.LocalBlobStore.read", broken)
    for _ in range(3):
        with pytest.raises(RestoreMiss) as caught:
            cache.restore(KEY, result, root=str(place.root))
        assert not caught.value.stale
    assert cache.get_bytes(digest_bytes(b"out")) is None
    assert len(place.warnings) == 1
    assert cache.get(KEY) == result


def test_an_index_held_by_a_stopped_process_costs_no_result(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buildkit.cache.index._BUSY_S", 0.01)
    cache = place.open()
    place.remember(cache)
    cache.flush()
    holder = sqlite3.connect(place.directory / "index.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    place.remember(cache, "two", digest_text("two"))
    cache.flush()
    assert place.warnings == []
    holder.execute("ROLLBACK")
    cache.flush()
    assert place.open().get(digest_text("two")) is not None
    holder.execute("BEGIN IMMEDIATE")
    place.remember(cache, "three", digest_text("three"))
    cache.close()
    assert len(place.warnings) == 1
