"""The blob store: whole blobs or none, verified when read, private to the user."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from buildkit.cache.cas import LocalBlobStore
from buildkit.cache.protocols import BlobStore
from buildkit.cache.scratch import Scratch
from buildkit.core.digest import SHA256, Digest, digest_bytes


@pytest.fixture(params=["unnamed", "named", "nameless"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBlobStore:
    """A store where files without a name can be had, where they cannot, and where they never get one."""

    def refuse(*_: object) -> bool:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "named":
        monkeypatch.setattr("buildkit.cache.birthplace.create_unnamed", lambda *_: None)
    elif request.param == "nameless":
        monkeypatch.setattr("buildkit.cache.cas.give_name", refuse)
    return LocalBlobStore(str(tmp_path / "cas"), Scratch(str(tmp_path / "tmp")))


def put(store: BlobStore, data: bytes) -> Digest:
    digest = digest_bytes(data, store.function)
    store.add(data, digest)
    return digest


def test_what_is_added_can_be_read(store: LocalBlobStore) -> None:
    digest = put(store, b"hello")
    assert store.contains(digest)
    assert store.read(digest) == b"hello"


def test_the_empty_blob_is_a_blob(store: LocalBlobStore) -> None:
    assert store.read(put(store, b"")) == b""


def test_an_unknown_blob_is_a_miss(store: LocalBlobStore) -> None:
    digest = digest_bytes(b"never stored")
    assert not store.contains(digest)
    assert store.read(digest) is None
    assert store.open(digest) is None


def test_blobs_are_read_only_and_private(store: LocalBlobStore) -> None:
    digest = put(store, b"secret")
    path = store.path(digest)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o400
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_adding_twice_writes_once_and_renews_the_mtime(store: LocalBlobStore) -> None:
    digest = put(store, b"hello")
    os.utime(store.path(digest), (1, 1))
    inode = os.stat(store.path(digest)).st_ino
    assert store.contains(digest)
    put(store, b"hello")
    status = os.stat(store.path(digest))
    assert status.st_ino == inode
    assert status.st_mtime > 1
    assert store.added_bytes == 5


@pytest.mark.parametrize("damage", [b"hellO", b"hell", b"hello!", b""])
def test_a_damaged_blob_is_a_miss_and_deleted(store: LocalBlobStore, damage: bytes) -> None:
    digest = put(store, b"hello")
    os.chmod(store.path(digest), 0o600)
    Path(store.path(digest)).write_bytes(damage)
    assert store.read(digest) is None
    assert not os.path.exists(store.path(digest))


@pytest.mark.parametrize("damage", [b"hellO", b"hell", b"hello!", b""])
def test_adding_over_a_damaged_blob_repairs_it(store: LocalBlobStore, damage: bytes) -> None:
    digest = put(store, b"hello")
    os.chmod(store.path(digest), 0o600)
    Path(store.path(digest)).write_bytes(damage)
    put(store, b"hello")
    assert store.read(digest) == b"hello"


def test_adding_a_file_over_a_damaged_blob_repairs_it(store: LocalBlobStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"hello")
    digest = put(store, b"hello")
    os.chmod(store.path(digest), 0o600)
    Path(store.path(digest)).write_bytes(b"hellO")
    with (tmp_path / "source").open("rb") as file:
        store.add_file(file.fileno())
    assert store.read(digest) == b"hello"


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_verify_deletes_what_is_damaged(store: LocalBlobStore, damage: str) -> None:
    digest = put(store, b"hello")
    assert store.verify(digest)
    os.chmod(store.path(digest), 0o600)
    Path(store.path(digest)).write_bytes(b"hellO" if damage == "flipped" else b"hel")
    assert not store.verify(digest)
    assert not store.verify(digest)
    assert not os.path.exists(store.path(digest))


def test_a_link_in_place_of_a_blob_is_not_followed(store: LocalBlobStore, tmp_path: Path) -> None:
    digest = put(store, b"hello")
    (tmp_path / "other").write_bytes(b"hello")
    os.unlink(store.path(digest))
    os.symlink(tmp_path / "other", store.path(digest))
    with pytest.raises(OSError, match="symbolic links"):
        store.read(digest)


def test_a_file_is_stored_under_the_digest_of_its_copy(store: LocalBlobStore, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    source = tmp_path / "large"
    source.write_bytes(data)
    fd = os.open(source, os.O_RDONLY)
    digest = store.add_file(fd)
    again = store.add_file(os.dup(fd)) if os.lseek(fd, 0, os.SEEK_SET) == 0 else None
    os.close(fd)
    assert digest == again == digest_bytes(data)
    assert store.read(digest) == data
    assert os.listdir(tmp_path / "tmp") == []


def test_a_blob_is_not_a_hard_link_of_its_source(store: LocalBlobStore, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(b"x" * 2_000_000)
    with source.open("rb") as file:
        digest = store.add_file(file.fileno())
    with source.open("r+b") as file:
        file.write(b"y")
    assert store.read(digest) == b"x" * 2_000_000


def test_functions_never_mix(tmp_path: Path) -> None:
    scratch = Scratch(str(tmp_path / "tmp"))
    shared = LocalBlobStore(str(tmp_path / "cas"), scratch, SHA256)
    local = LocalBlobStore(str(tmp_path / "cas"), scratch)
    digest = put(shared, b"hello")
    assert digest.startswith("sha256:")
    assert local.read(digest) == b"hello"
    assert local.read(digest_bytes(b"hello")) is None


def test_scan_finds_every_blob_and_nothing_else(store: LocalBlobStore, tmp_path: Path) -> None:
    digests = {put(store, bytes([n]) * n) for n in range(20)}
    (tmp_path / "cas" / "README").write_text("stray")
    (tmp_path / "cas" / "xxh3" / "stray").write_text("stray")
    Path(store.path(digest_bytes(b""))).with_name("no blob").write_text("stray")
    assert {blob.digest for blob in store.scan()} == digests


def test_an_old_blob_is_removed(store: LocalBlobStore) -> None:
    digest = put(store, b"hello")
    os.utime(store.path(digest), (1, 1))
    (blob,) = store.scan()
    assert store.remove_if_older(blob, cutoff_s=2)
    assert not store.contains(digest)


def test_a_blob_that_was_touched_after_the_listing_survives(store: LocalBlobStore) -> None:
    digest = put(store, b"hello")
    os.utime(store.path(digest), (1, 1))
    (blob,) = store.scan()
    put(store, b"hello")  # a writer finds it there and relies on it
    assert not store.remove_if_older(blob, cutoff_s=2)
    assert store.read(digest) == b"hello"


def test_removing_what_another_collector_removed_is_no_error(store: LocalBlobStore) -> None:
    put(store, b"hello")
    (blob,) = store.scan()
    os.unlink(blob.path)
    assert not store.remove_if_older(blob, cutoff_s=float("inf"))


def test_a_failed_write_leaves_nothing_behind(
    store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(fd: int, data: bytes) -> None:
        os.write(fd, data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("buildkit.cache.cas.write_all", no_space)
    with pytest.raises(OSError, match="No space"):
        put(store, b"hello")
    assert os.listdir(tmp_path / "tmp") == []
    assert list(store.scan()) == []
