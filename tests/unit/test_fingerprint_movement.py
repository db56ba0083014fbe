"""What became of a file since it was read: nothing, rewritten with the same content, or changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.core.fingerprint import Fingerprint, FingerprintTable, Movement


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("content")
    os.utime(file, (1_600_000_000, 1_600_000_000.5))
    return file


def seen(table: FingerprintTable, path: Path) -> Fingerprint:
    found = table.current(str(path))
    assert found is not None
    return found


def test_a_file_that_nobody_touched_has_not_moved(path: Path):
    table = FingerprintTable({})
    assert table.movement(str(path), seen(table, path)) is Movement.NONE


def test_a_file_with_a_new_link_has_not_moved(path: Path):
    table = FingerprintTable({})
    before = seen(table, path)
    os.link(path, path.with_name("other"))
    assert table.movement(str(path), before) is Movement.NONE


@pytest.mark.parametrize("how", ["touch", "rewrite", "replace"])
def test_a_file_that_was_written_with_the_same_content_was_rewritten(path: Path, how: str):
    table = FingerprintTable({})
    before = seen(table, path)
    if how == "touch":
        os.utime(path)
    elif how == "rewrite":
        path.write_text("content")
    else:
        path.with_name("new").write_text("content")
        path.with_name("new").rename(path)
    assert table.movement(str(path), before) is Movement.REWRITTEN


@pytest.mark.parametrize("how", ["edit", "edit unseen", "chmod", "delete", "directory"])
def test_a_file_that_is_another_one_has_changed(path: Path, how: str):
    table = FingerprintTable({})
    before = seen(table, path)
    if how == "chmod":
        path.chmod(0o711)
    elif how in ("delete", "directory"):
        path.unlink()
        if how == "directory":
            path.mkdir()
    else:
        path.write_text("CONTENT")
        if how == "edit unseen":
            os.utime(path, (1_600_000_000, 1_600_000_000.5))
    assert table.movement(str(path), before) is Movement.CHANGED


def test_a_look_is_trusted_until_a_task_may_have_written(path: Path):
    table = FingerprintTable({})
    before = seen(table, path)
    path.write_text("other")
    assert seen(table, path) == before
    table.look_again()
    assert seen(table, path).digest != before.digest
    assert table.last_seen(str(path)) == seen(table, path)


def test_a_file_that_was_read_too_soon_is_confirmed_by_reading_it_again(path: Path):
    table = FingerprintTable({})
    path.write_text("content")
    early = seen(table, path)._replace(hashed_at_ns=path.stat().st_mtime_ns)
    table.learn(str(path), early)
    os.utime(path, (1_600_000_000, 1_600_000_000.5))
    assert table.confirm(str(path), early)
    now = table.last_seen(str(path))
    assert now is not None
    assert now.hashed_at_ns > early.hashed_at_ns


@pytest.mark.parametrize("how", ["content", "mode", "gone"])
def test_a_file_that_is_another_one_by_now_is_not_confirmed(path: Path, how: str):
    table = FingerprintTable({})
    before = seen(table, path)
    if how == "content":
        path.write_text("other")
    elif how == "mode":
        path.chmod(0o600)
    else:
        path.unlink()
    assert not table.confirm(str(path), before)
    assert table.last_seen(str(path)) == before


def settled_and_not(path: Path) -> tuple[Fingerprint, Fingerprint]:
    """Return the fingerprint of a file as of a reading long after it was written, and right then."""
    found = seen(FingerprintTable({}), path)
    written_ns = max(found.mtime_ns, found.ctime_ns)
    return found._replace(hashed_at_ns=written_ns + 10**10), found._replace(hashed_at_ns=written_ns)


def test_what_was_read_too_soon_is_written_down_at_the_end_alone(path: Path):
    settled, racy = settled_and_not(path)
    table = FingerprintTable({})
    table.learn("late", settled)
    table.learn("soon", racy)
    assert table.take_dirty(meanwhile=True) == [("late", settled)]
    assert table.take_dirty(meanwhile=True) == []
    assert table.take_dirty() == [("soon", racy)]
    assert table.take_dirty() == []


def test_what_was_read_again_meanwhile_is_written_down_once(path: Path):
    settled, racy = settled_and_not(path)
    table = FingerprintTable({})
    table.learn("file", racy)
    assert table.take_dirty(meanwhile=True) == []
    table.learn("file", settled)
    assert table.take_dirty(meanwhile=True) == [("file", settled)]
    assert table.take_dirty() == []
