"""Capturing outputs: every kind of thing on disk, and outputs that will not hold still."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from buildkit.cache import capture as capture_module
from buildkit.cache.capture import Capture, capture
from buildkit.cache.cas import LocalBlobStore
from buildkit.cache.errors import OutputChanged, OutputMissing, OutputUnstorable
from buildkit.cache.result import OutputKind
from buildkit.cache.scratch import Scratch
from buildkit.core.digest import Digest, digest_bytes
from buildkit.core.fingerprint import read_fingerprint


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(str(tmp_path / "cas"), Scratch(str(tmp_path / "tmp")))


def fail(error: OSError) -> None:
    raise AssertionError(error)


def take(root: Path, *paths: str, store: LocalBlobStore | None = None) -> Capture:
    return capture(paths, root=str(root), store=store, on_store_error=fail)


def test_a_file_is_hashed_and_stored(root: Path, store: LocalBlobStore) -> None:
    (root / "out").write_bytes(b"hello")
    (root / "out").chmod(0o751)
    taken = take(root, "out", store=store)
    (entry,) = taken.entries
    assert entry.output == capture_module.OutputFile("out", OutputKind.FILE, digest_bytes(b"hello"), 0o751)
    assert store.read(digest_bytes(b"hello")) == b"hello"
    assert (taken.stored, taken.roots, taken.size) == (True, ("out",), 5)


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1, 3_000_000])
def test_files_of_every_size_are_stored_whole(root: Path, store: LocalBlobStore, size: int) -> None:
    data = os.urandom(size)
    (root / "out").write_bytes(data)
    digest = take(root, "out", store=store).outputs[0].digest
    assert digest == digest_bytes(data)
    assert store.read(digest) == data


def test_without_a_store_the_digest_is_the_same(root: Path, store: LocalBlobStore) -> None:
    (root / "small").write_bytes(b"hello")
    (root / "large").write_bytes(b"x" * 2_000_000)
    hashed = take(root, "small", "large")
    assert not hashed.stored
    assert hashed.outputs == take(root, "small", "large", store=store).outputs


def test_the_fingerprint_is_the_one_that_reading_the_file_gives(root: Path) -> None:
    (root / "out").write_bytes(b"hello")
    taken = take(root, "out").entries[0].fingerprint
    read = read_fingerprint(str(root / "out"))
    assert taken is not None
    assert taken._replace(hashed_at_ns=0) == read._replace(hashed_at_ns=0)
    assert taken.matches(os.stat(root / "out"))


def test_set_uid_bits_are_not_recorded(root: Path) -> None:
    (root / "out").write_bytes(b"")
    (root / "out").chmod(0o6755)
    assert take(root, "out").outputs[0].mode == 0o755


def test_absolute_outputs_keep_their_path(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    path = str(tmp_path / "elsewhere")
    assert take(root, path).outputs[0].path == path


def test_an_output_declared_twice_is_taken_once(root: Path) -> None:
    (root / "d").mkdir()
    taken = take(root, "d", "d/", "d")
    assert taken.roots == ("d",)
    assert len(taken.entries) == 1


def test_a_directory_becomes_a_sorted_list_with_its_modes(root: Path, store: LocalBlobStore) -> None:
    (root / "d" / "b" / "empty").mkdir(parents=True)
    (root / "d" / "b" / "file").write_bytes(b"1")
    (root / "d" / "a").write_bytes(b"2")
    (root / "d" / "link").symlink_to("b/file")
    (root / "d" / "b").chmod(0o750)
    outputs = take(root, "d", store=store).outputs
    assert [(o.path, str(o.kind)) for o in outputs] == [
        ("d", "dir"),
        ("d/a", "file"),
        ("d/b", "dir"),
        ("d/b/empty", "dir"),
        ("d/b/file", "file"),
        ("d/link", "link"),
    ]
    assert outputs[2].mode == 0o750
    assert outputs[5].link == "b/file"


def test_a_directory_tree_of_any_depth_is_taken_without_recursion(root: Path) -> None:
    depth = 600
    directory = root / "d"
    for _ in range(depth):
        directory = directory / "x"
    directory.mkdir(parents=True)
    assert len(take(root, "d").entries) == depth + 1


def test_half_restored_files_of_a_killed_run_are_no_outputs(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / ".x.bk-12-1.tmp").write_bytes(b"half")
    assert [o.path for o in take(root, "d").outputs] == ["d"]


def test_names_that_are_not_utf8_are_kept(root: Path) -> None:
    name = b"caf\xe9"
    Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"x")
    assert os.fsencode(take(root, os.fsdecode(name)).outputs[0].path) == name


def test_a_link_stands_for_the_content_it_leads_to(root: Path, store: LocalBlobStore) -> None:
    (root / "real").write_bytes(b"hello")
    (root / "out").symlink_to("real")
    taken = take(root, "out", store=store)
    (entry,) = taken.entries
    assert (entry.output.kind, entry.output.link) == (OutputKind.LINK, "real")
    assert entry.output.digest == digest_bytes(b"hello")
    assert entry.status.st_ino == (root / "real").stat().st_ino
    assert taken.stored
    assert not store.contains(digest_bytes(b"hello"))


def test_a_link_into_nothing_is_an_output(root: Path) -> None:
    (root / "out").symlink_to("nowhere")
    (entry,) = take(root, "out").entries
    assert (entry.output.link, entry.output.digest, entry.fingerprint) == ("nowhere", None, None)


def test_a_link_to_a_directory_cannot_be_cached(root: Path, store: LocalBlobStore) -> None:
    (root / "real").mkdir()
    (root / "out").symlink_to("real")
    taken = take(root, "out", store=store)
    assert not taken.stored
    assert taken.uncacheable is not None
    assert "link" in taken.uncacheable


@pytest.mark.parametrize("path", ["out", "d/out", "file/out"])
def test_a_missing_output_is_named(root: Path, path: str) -> None:
    (root / "file").write_bytes(b"")
    with pytest.raises(OutputMissing) as caught:
        take(root, path)
    assert caught.value.path == path


def test_a_pipe_is_refused_without_waiting_for_a_writer(root: Path) -> None:
    os.mkfifo(root / "out")
    with pytest.raises(OutputUnstorable):
        take(root, "out")


def test_a_socket_inside_a_directory_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "d").mkdir()
    monkeypatch.chdir(root / "d")  # the path of a socket may have 108 bytes only
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(OutputUnstorable) as caught:
            take(root, "d")
    assert caught.value.path == "d/s"


@pytest.mark.parametrize("change", ["append", "rewrite", "truncate", "chmod"])
def test_a_small_file_that_changes_while_it_is_read_is_not_captured(
    root: Path, store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = root / "out"
    out.write_bytes(b"hello")
    os.utime(out, ns=(0, 0))
    read_exactly = capture_module.read_exactly

    def read_and_change(fd: int, size: int) -> bytes:
        data = read_exactly(fd, size)
        if change == "append":
            with out.open("ab") as file:
                file.write(b"!")
        elif change == "rewrite":
            out.write_bytes(b"HELLO")
        elif change == "truncate":
            os.truncate(out, 1)
        else:
            out.chmod(0o600)
        return data

    monkeypatch.setattr(capture_module, "read_exactly", read_and_change)
    with pytest.raises(OutputChanged):
        take(root, "out", store=store)
    assert not list(store.scan())


def test_a_large_file_that_changes_while_it_is_copied_is_not_captured(
    root: Path, store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = root / "out"
    out.write_bytes(b"x" * 2_000_000)
    os.utime(out, ns=(0, 0))
    add_file = store.add_file

    def add_and_change(fd: int) -> Digest:
        with out.open("r+b") as file:
            file.write(b"y")
        return add_file(fd)

    monkeypatch.setattr(store, "add_file", add_and_change)
    with pytest.raises(OutputChanged):
        take(root, "out", store=store)


def test_a_directory_that_gains_a_file_while_it_is_read_is_not_captured(
    root: Path, store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "d").mkdir()
    (root / "d" / "a").write_bytes(b"1")
    os.utime(root / "d", ns=(0, 0))
    add = store.add

    def add_and_change(data: bytes, digest: Digest) -> None:
        (root / "d" / "late").write_bytes(b"2")
        add(data, digest)

    monkeypatch.setattr(store, "add", add_and_change)
    with pytest.raises(OutputChanged):
        take(root, "d", store=store)


@pytest.mark.parametrize("size", [5, 2_000_000])
def test_a_store_that_fails_costs_the_blob_and_not_the_hash(
    root: Path, store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def no_space(*_: object) -> Digest:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "add", no_space)
    monkeypatch.setattr(store, "add_file", no_space)
    (root / "a").write_bytes(b"a" * size)
    (root / "b").write_bytes(b"b" * size)
    errors: list[OSError] = []
    taken = capture(["a", "b"], root=str(root), store=store, on_store_error=errors.append)
    assert not taken.stored
    assert [o.digest for o in taken.outputs] == [digest_bytes(b"a" * size), digest_bytes(b"b" * size)]
    assert len(errors) == 1
