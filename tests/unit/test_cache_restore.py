"""Restoring outputs: the same bytes and modes, all or none."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from restore_place import Place, remove, without_unnamed_files, write

from buildkit.cache import birthplace
from buildkit.cache.errors import RestoreFailed, RestoreMiss
from buildkit.cache.result import ActionResult, OutputKind
from buildkit.cache.transfer import copy_file
from buildkit.cache.unnamed import give_name
from buildkit.core.digest import Digest, digest_bytes
from buildkit.core.fingerprint import FingerprintTable


@pytest.fixture(params=[True, False], ids=["unnamed", "named"])
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    if not request.param:
        without_unnamed_files(monkeypatch)
    return Place(tmp_path)


@pytest.mark.parametrize("size", [0, 7, 1024 * 1024, 1024 * 1024 + 1, 3_000_000])
@pytest.mark.parametrize("mode", [0o644, 0o755, 0o400, 0o666])
def test_a_deleted_output_comes_back_with_bytes_and_mode(place: Place, size: int, mode: int) -> None:
    data = os.urandom(size)
    write(place.root / "out" / "f", data, mode)
    result = place.record("out/f")
    (place.root / "out" / "f").unlink()
    (place.root / "out").rmdir()
    restored = place.restore(result)
    assert (place.root / "out" / "f").read_bytes() == data
    assert stat.S_IMODE((place.root / "out" / "f").stat().st_mode) == mode
    assert restored.size == size


def test_an_altered_output_is_replaced_and_not_written_into(place: Place) -> None:
    write(place.root / "f", b"good")
    result = place.record("f")
    os.link(place.root / "f", place.root / "other name")
    (place.root / "f").write_bytes(b"edited")
    place.restore(result)
    assert (place.root / "f").read_bytes() == b"good"
    assert (place.root / "other name").read_bytes() == b"edited"


def test_an_edit_of_a_restored_output_leaves_the_store_alone(place: Place) -> None:
    for size in (5, 2_000_000):
        write(place.root / "f", b"x" * size)
        result = place.record("f")
        place.restore(result)
        with (place.root / "f").open("r+b") as file:
            file.write(b"y")
        place.restore(result)
        assert (place.root / "f").read_bytes() == b"x" * size


def test_the_fingerprints_returned_match_the_disk(place: Place) -> None:
    write(place.root / "f", b"x")
    write(place.root / "d" / "g", b"y")
    for entry in place.restore(place.record("f", "d")).entries:
        fingerprint = entry.fingerprint
        if entry.output.kind is OutputKind.FILE:
            assert fingerprint is not None
            assert fingerprint.matches(os.stat(place.root / entry.output.path))


@pytest.fixture
def slow_copy(place: Place, monkeypatch: pytest.MonkeyPatch) -> ActionResult:
    """Return a result with one file, `f`, which takes more than two ticks of the clock to be copied."""
    fd = birthplace.create_unnamed(str(place.root), 0o600)
    if fd is None:
        pytest.skip("files without a name cannot be had here")
    os.close(fd)

    def slowly(*arguments: Any, **named: Any) -> Digest:
        time.sleep(0.05)  # the slowness of the copy itself
        return copy_file(*arguments, **named)

    write(place.root / "f", os.urandom(2_500_000))
    result = place.record("f")
    (place.root / "f").unlink()
    monkeypatch.setattr("buildkit.cache.restore.copy_file", slowly)
    return result


def test_a_file_that_takes_its_time_need_not_be_read_again_and_an_edit_of_it_shows(
    place: Place, slow_copy: ActionResult
) -> None:
    path = place.root / "f"
    (entry,) = place.restore(slow_copy).entries
    seen = entry.fingerprint
    assert seen is not None
    assert not seen.racy
    edit(path)  # at once, and of the same size
    assert not seen.matches(path.stat())
    now = FingerprintTable({str(path): seen}).current(str(path))
    assert now is not None
    assert now.digest != seen.digest


def edit(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"edited")


def test_a_file_that_is_edited_as_soon_as_it_has_its_name_is_to_be_read_again(
    place: Place, slow_copy: ActionResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.root / "f"

    def named_and_edited(fd: int, name: str) -> bool:
        assert give_name(fd, name)
        edit(path)
        time.sleep(0.05)  # so that the change of the mode is later by more than a tick
        path.chmod(slow_copy.outputs[0].mode)
        return True

    monkeypatch.setattr("buildkit.cache.restore.give_name", named_and_edited)
    (entry,) = place.restore(slow_copy).entries
    assert entry.fingerprint is not None
    assert entry.fingerprint.racy


def test_a_file_that_is_written_in_an_instant_is_to_be_read_again(place: Place) -> None:
    write(place.root / "f", b"x")
    result = place.record("f")
    (place.root / "f").unlink()
    (entry,) = place.restore(result).entries
    assert entry.fingerprint is not None
    assert entry.fingerprint.racy


def test_the_log_comes_back_with_the_outputs(place: Place) -> None:
    place.store.add(b"said", digest_bytes(b"said"))
    assert place.restore(ActionResult(task="t", log=digest_bytes(b"said"), log_size=4)).log == b"said"


def test_a_lost_log_is_a_miss_that_touches_nothing(place: Place) -> None:
    write(place.root / "f", b"old")
    result = place.record("f")
    write(place.root / "f", b"new")
    lost = ActionResult(task="t", roots=result.roots, outputs=result.outputs, log=digest_bytes(b"lost"))
    with pytest.raises(RestoreMiss) as caught:
        place.restore(lost)
    assert caught.value.stale
    assert (place.root / "f").read_bytes() == b"new"


# --- all or none


@pytest.mark.parametrize("size", [10, 2_000_000])
@pytest.mark.parametrize("how", ["missing", "flipped", "truncated", "longer", "empty"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_bad_blob_and_nothing_is_touched(place: Place, size: int, how: str, which: int) -> None:
    contents = [bytes([65 + n]) * size for n in range(3)]
    for n, content in enumerate(contents):
        write(place.root / "new" / "sub" / f"f{n}", content)
    result = place.record(*[f"new/sub/f{n}" for n in range(3)])
    for n in range(3):
        (place.root / "new" / "sub" / f"f{n}").unlink()
    (place.root / "new" / "sub").rmdir()
    write(place.root / "new" / "mine", b"kept")
    digest = result.outputs[which].digest
    if how == "missing":
        assert digest is not None
        place.store.discard(digest)
    else:
        content = contents[which]
        damaged = {
            "flipped": content[:-1] + b"!",
            "truncated": content[:-1],
            "longer": content + b"!",
            "empty": b"",
        }
        place.damage(digest, damaged[how])
    before = place.snapshot()
    with pytest.raises(RestoreMiss) as caught:
        place.restore(result)
    assert caught.value.stale
    assert place.snapshot() == before
    assert digest is not None
    assert place.store.open(digest) is None, "a damaged blob has to be deleted"


def test_a_name_that_cannot_be_given_is_told_and_leaves_no_temporary_files(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write(place.root / name, name.encode())
    result = place.record("a", "b", "c")
    for name in "abc":
        (place.root / name).unlink()
    rename, link = os.rename, os.link

    def rename_but_b(source: str, target: str) -> None:
        if target.endswith("/b"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    def link_but_b(source: str, target: str, *, src_dir_fd: int, follow_symlinks: bool) -> None:
        if target.endswith("/b"):
            raise OSError(5, "Input/output error")
        link(source, target, src_dir_fd=src_dir_fd, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "rename", rename_but_b)
    monkeypatch.setattr(os, "link", link_but_b)
    with pytest.raises(RestoreFailed):
        place.restore(result)
    assert place.snapshot() == {"a": (0o644, b"a")}


def test_what_comes_into_the_place_of_an_output_meanwhile_is_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place.root / "f", b"good")
    result = place.record("f")
    (place.root / "f").unlink()

    def write_late(fd: int, data: bytes) -> None:
        write(place.root / "f", b"late")
        os.write(fd, data)

    monkeypatch.setattr("buildkit.cache.restore.write_all", write_late)
    restored = place.restore(result)
    assert place.snapshot() == {"f": (0o644, b"good")}
    assert restored.entries[0].status.st_ino == (place.root / "f").stat().st_ino


def test_more_files_come_back_than_are_held_open(place: Place) -> None:
    names = [f"d/{n}" for n in range(40)]
    for name in names:
        write(place.root / name, name.encode())
    result = place.record(*names)
    before = place.snapshot()
    for name in names:
        (place.root / name).unlink()
    restored = place.restore(result)
    assert place.snapshot() == before
    for entry in restored.entries:
        assert entry.fingerprint is not None
        assert entry.fingerprint.matches(os.stat(place.root / entry.output.path))


def test_a_full_disk_while_writing_leaves_the_outputs_as_they_were(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place.root / "a", b"1")
    write(place.root / "b", b"2")
    result = place.record("a", "b")
    write(place.root / "a", b"mine")

    def no_space(fd: int, data: bytes) -> None:
        if data == b"2":
            raise OSError(28, "No space left on device")
        os.write(fd, data)

    monkeypatch.setattr("buildkit.cache.restore.write_all", no_space)
    before = place.snapshot()
    with pytest.raises(RestoreFailed):
        place.restore(result)
    assert place.snapshot() == before


def test_modes_of_parents_that_nobody_declared_follow_the_umask(place: Place) -> None:
    write(place.root / "a" / "f", b"1")
    result = place.record("a/f")
    remove(place.root / "a")
    old = os.umask(0o027)
    try:
        place.restore(result)
    finally:
        os.umask(old)
    assert stat.S_IMODE((place.root / "a").stat().st_mode) == 0o750
    assert stat.S_IMODE((place.root / "a" / "f").stat().st_mode) == 0o644


def test_a_large_file_survives_short_reads_and_writes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(2_500_000)
    write(place.root / "f", data)
    result = place.record("f")
    (place.root / "f").unlink()
    write_some = os.write
    monkeypatch.setattr(os, "write", lambda fd, chunk: write_some(fd, chunk[:100_001]))
    read_some = os.preadv
    at = iter(range(0, 10**9, 70_003))
    monkeypatch.setattr(os, "readv", lambda fd, to: read_some(fd, [memoryview(to[0])[:70_003]], next(at)))
    place.restore(result)
    assert (place.root / "f").read_bytes() == data
