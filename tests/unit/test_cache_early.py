"""Outputs that a worker stores, and what the run takes of that."""

from __future__ import annotations

import os

import pytest

from buildkit.cache.capture import SMALL_BYTES, capture
from buildkit.cache.early import EarlyStore, accepted
from buildkit.cache.local import LocalCache
from buildkit.core.digest import digest_bytes


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def cache(tmp_path):
    warnings: list[str] = []
    with_warnings = LocalCache.open(str(tmp_path / "cache"), warn=warnings.append)
    yield with_warnings
    with_warnings.close()
    assert warnings == []


def plain(root, path: str):
    return capture([path], root=str(root), store=None, on_store_error=lambda _error: None)


def test_what_a_worker_kept_is_the_capture_that_the_run_would_make(root, cache) -> None:
    (root / "out").write_bytes(b"made")
    (kept,) = cache.early(root=str(root)).keep(["out"])
    found = cache.accept_early(kept, root=str(root))
    assert (found.output,) == plain(root, "out").outputs
    assert cache.get_bytes(found.output.digest) == b"made"


def test_without_a_cache_a_worker_only_tells_the_digests(root) -> None:
    (root / "out").write_bytes(b"made")
    (kept,) = EarlyStore(None, str(root)).keep(["out", "missing"])
    found = accepted(kept, str(root))
    assert (found.output,) == plain(root, "out").outputs
    assert kept.added_bytes == 0


def test_a_file_that_names_the_project_is_marked(root, cache) -> None:
    (root / "out").write_bytes(b"in /here/project/out")
    (kept,) = cache.early(root=str(root), marks=(b"/here/project",)).keep(["out"])
    assert kept.marked


def rewrite(path) -> None:
    path.write_bytes(b"mAde")


def replace(path) -> None:
    (path.parent / "new").write_bytes(b"made")
    os.rename(path.parent / "new", path)


def change_mode(path) -> None:
    path.chmod(0o700)


def remove(path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [rewrite, replace, change_mode, remove])
def test_a_file_that_is_not_the_same_any_more_is_not_accepted(root, cache, change) -> None:
    path = root / "out"
    path.write_bytes(b"made")
    os.utime(path, ns=(1, 1))  # or a rewrite within a tick of the clock would not show
    (kept,) = cache.early(root=str(root)).keep(["out"])
    change(path)
    assert cache.accept_early(kept, root=str(root)) is None


def test_an_accepted_file_is_read_again_before_the_run_ends(root, cache) -> None:
    path = root / "out"
    path.write_bytes(b"made")
    os.utime(path, ns=(1, 1))  # long ago: what the worker's clock says does not count
    (kept,) = cache.early(root=str(root)).keep(["out"])
    assert cache.accept_early(kept, root=str(root)).fingerprint.racy


def test_only_plain_small_files_are_kept(root, cache) -> None:
    (root / "folder").mkdir()
    (root / "file").write_bytes(b"made")
    (root / "link").symlink_to("file")
    (root / "large").write_bytes(b"x" * (SMALL_BYTES + 1))
    os.mkfifo(root / "pipe")
    names = ["folder", "link", "large", "pipe", "missing", "missing/below", "file"]
    assert [kept.path for kept in cache.early(root=str(root)).keep(names)] == ["file"]


def test_a_task_with_much_output_is_left_to_the_run(root, cache) -> None:
    for number in range(100):
        (root / f"small{number}").write_bytes(b"made")
        (root / f"half{number}").write_bytes(b"x" * (SMALL_BYTES // 2))
    early = cache.early(root=str(root))
    assert len(early.keep([f"half{number}" for number in range(100)])) == 2
    assert len(early.keep([f"small{number}" for number in range(100)])) == 64


def test_a_store_that_cannot_be_written_keeps_nothing_and_says_nothing(
    root, cache, tmp_path, monkeypatch
) -> None:
    (root / "out").write_bytes(b"made")

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("buildkit.cache.cas.write_all", full)
    assert cache.early(root=str(root)).keep(["out"]) == ()


def test_what_workers_add_to_the_store_counts(root, cache) -> None:
    (root / "out").write_bytes(b"made")
    (kept,) = cache.early(root=str(root)).keep(["out"])
    assert kept.added_bytes == 4
    (again,) = cache.early(root=str(root)).keep(["out"])
    assert again.added_bytes == 0
    assert again.digest == digest_bytes(b"made")
