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
