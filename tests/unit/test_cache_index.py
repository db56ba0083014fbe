"""The index: what was flushed is there for everybody, and a damaged row is a miss."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from buildkit.cache.index import DamagedIndex, Index, NewerIndex, set_aside
from buildkit.cache.result import ActionResult, OutputFile, OutputKind
from buildkit.core.digest import Digest, digest_bytes, digest_text

KEY = digest_text("key")
BLOB = digest_bytes(b"blob")
RESULT = ActionResult(
    task="t", roots=("out",), outputs=(OutputFile("out", OutputKind.FILE, BLOB, 0o644),), wall_ns=7
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "index.db")


def stored(path: str, *keys: Digest, now_s: float = 1000.0) -> None:
    index = Index.open(path)
    for key in keys:
        index.put(key, RESULT, now_s)
    index.flush()
    index.close()


def test_a_result_is_there_for_another_process_after_a_flush(path: str) -> None:
    one, two = Index.open(path), Index.open(path)
    one.put(KEY, RESULT, 1000)
    assert two.get(KEY, 1000) is None
    assert one.get(KEY, 1000) == RESULT
    one.flush()
    assert two.get(KEY, 1000) == RESULT
    assert (one.pending, two.pending) == (0, 0)


def test_a_later_result_replaces_an_earlier_one(path: str) -> None:
    index = Index.open(path)
    index.put(KEY, RESULT, 1000)
    index.flush()
    index.put(KEY, ActionResult(task="other"), 1001)
    index.flush()
    assert index.get(KEY, 1001) == ActionResult(task="other")


def test_the_blobs_of_flushed_and_buffered_results_are_known(path: str) -> None:
    keys = [digest_text(str(n)) for n in range(1200)]
    stored(path, *keys[:1100:2])
    index = Index.open(path)
    index.put(keys[1], RESULT, 1)
    assert index.blobs_of(keys) == dict.fromkeys([*keys[:1100:2], keys[1]], (BLOB,))


def test_tasks_and_paths_that_are_not_utf8_survive(path: str) -> None:
    name = os.fsdecode(b"caf\xe9")
    result = ActionResult(
        task=name, roots=(name,), outputs=(OutputFile(name, OutputKind.LINK, None, 0o777, name),)
    )
    index = Index.open(path)
    index.put(KEY, result, 1)
    index.flush()
    assert Index.open(path).get(KEY, 1) == result


def test_a_use_is_written_down_once_a_minute(path: str) -> None:
    stored(path, KEY, now_s=1000)
    for now_s, expected in ((1030, 1000), (1100, 1100), (1101, 1100), (500, 500)):
        index = Index.open(path)
        index.get(KEY, now_s)
        index.flush()
        assert [row.used_at for row in index.rows()] == [expected]
        index.close()


def test_rows_come_in_order_of_use_with_their_blobs(path: str) -> None:
    old, new = digest_text("old"), digest_text("new")
    stored(path, new, now_s=2000)
    stored(path, old, now_s=1000)
    assert [(row.key, row.blobs) for row in Index.open(path).rows()] == [(new, (BLOB,)), (old, (BLOB,))]


def test_counters_add_up_over_processes(path: str) -> None:
    for _ in range(2):
        index = Index.open(path)
        index.count("hits", 3)
        index.flush()
        index.close()
    assert Index.open(path).counters()["hits"] == 6


def test_an_entry_that_was_used_since_is_not_evicted(path: str) -> None:
    stored(path, KEY, now_s=1000)
    index = Index.open(path)
    assert index.delete_unused([(KEY, 900)]) == 0
    assert index.delete_unused([(KEY, 1000)]) == 1
    assert index.get(KEY, 1000) is None


@pytest.mark.parametrize(
    "change",
    [
        "body = CAST(replace(CAST(body AS TEXT), 'out', 'etc') AS BLOB)",
        "body = CAST(body AS TEXT)",
        "body = NULL",
        "body = x'00ff'",
        "checksum = ''",
        "checksum = 7",
        "key = (SELECT 'xxh3:' || 'b' || substr(key, 7)), body = body",
    ],
)
def test_a_damaged_row_is_a_miss(path: str, change: str) -> None:
    stored(path, KEY)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE copy AS SELECT * FROM action_result")
    connection.execute("DROP TABLE action_result")
    connection.execute("CREATE TABLE action_result (key UNIQUE, used_at, blobs, body, checksum)")
    connection.execute("INSERT INTO action_result SELECT * FROM copy")
    connection.execute(f"UPDATE action_result SET {change}")
    connection.commit()
    found = connection.execute("SELECT key FROM action_result").fetchone()[0]
    connection.close()
    index = Index.open(path)
    assert index.get(Digest(found), 1000) is None
    assert index.rows() == []


def test_a_newer_index_is_not_touched(path: str) -> None:
    stored(path, KEY)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.execute("UPDATE counter SET value = 99 WHERE name = 'schema'")
    connection.commit()
    connection.close()
    before = Path(path).read_bytes()
    with pytest.raises(NewerIndex, match="99"):
        Index.open(path)
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize("version", [99, -1, 0])
def test_a_flipped_version_is_damage_and_not_a_newer_index(path: str, version: int) -> None:
    stored(path, KEY)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(DamagedIndex) as caught:
        Index.open(path)
    assert caught.value.inode == os.stat(path).st_ino


def test_a_file_that_is_no_database_is_damage(path: str) -> None:
    Path(path).write_bytes(b"no database " * 1000)
    with pytest.raises(DamagedIndex) as caught:
        Index.open(path)
    assert caught.value.inode == os.stat(path).st_ino


def test_an_empty_file_becomes_an_index(path: str) -> None:
    Path(path).write_bytes(b"")
    assert Index.open(path).get(KEY, 1) is None


def test_a_database_of_somebody_else_is_left_alone(path: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (x)")
    connection.commit()
    connection.close()
    with pytest.raises(DamagedIndex):
        Index.open(path)
    tables = sqlite3.connect(path).execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("precious",)]


def test_setting_aside_takes_the_wal_along_and_happens_once(path: str) -> None:
    index = Index.open(path)
    index.put(KEY, RESULT, 1)
    index.flush()
    name = set_aside(path, index.inode)
    assert name == path + ".damaged-1"
    assert sorted(os.listdir(os.path.dirname(path))) == [
        "index.db.damaged-1",
        "index.db.damaged-1-shm",
        "index.db.damaged-1-wal",
        "index.db.lock",
    ]
    fresh = Index.open(path)
    fresh.put(KEY, RESULT, 1)
    fresh.flush()
    assert set_aside(path, index.inode) is None
    index.close()
    assert fresh.get(KEY, 1) == RESULT
    assert Index.open(path).get(KEY, 1) == RESULT


def test_the_files_are_private(path: str) -> None:
    index = Index.open(path)
    index.put(KEY, RESULT, 1)
    index.flush()
    directory = os.path.dirname(path)
    modes = {name: stat.S_IMODE(os.stat(f"{directory}/{name}").st_mode) for name in os.listdir(directory)}
    assert set(modes.values()) == {0o600}, modes
    assert "index.db-wal" in modes


@pytest.mark.parametrize("name", ["a?b#c%20d", "sp ace", os.fsdecode(b"caf\xe9"), "ünï"])
def test_the_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    stored(str(tmp_path / name / "index.db"), KEY)
    assert Index.open(str(tmp_path / name / "index.db")).get(KEY, 1) == RESULT
    assert sorted(os.listdir(tmp_path)) == [name]


def test_deleting_everything_keeps_the_index_usable(path: str) -> None:
    stored(path, KEY)
    index = Index.open(path)
    index.delete_all()
    assert index.rows() == []
    index.close()
    stored(path, KEY)
    assert Index.open(path).get(KEY, 1) == RESULT


def test_rows_that_were_fetched_are_those_that_are_there(path: str) -> None:
    keys = [digest_text(str(n)) for n in range(1200)]
    stored(path, *keys[::2], now_s=1000)
    index, plain = Index.open(path), Index.open(path)
    index.fetch(keys)
    assert [index.get(key, 2000) for key in keys] == [plain.get(key, 2000) for key in keys]
    index.flush()
    assert {row.used_at for row in index.rows()} == {2000}, "a use counts, however the row was read"


def test_a_damaged_row_that_was_fetched_is_a_miss_and_goes(path: str) -> None:
    stored(path, KEY)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE action_result SET body = replace(body, 'out', 'oat')")
    index = Index.open(path)
    index.fetch([KEY])
    assert index.get(KEY, 1) is None
    assert index.rows() == []


def test_what_happens_after_rows_were_fetched_counts(path: str) -> None:
    other = digest_text("other")
    stored(path, KEY)
    index = Index.open(path)
    index.fetch([KEY, other])
    index.put(other, RESULT, 1)
    index.flush()
    index.delete([KEY])
    assert (index.get(KEY, 1), index.get(other, 1)) == (None, RESULT)
