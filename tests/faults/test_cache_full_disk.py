"""Disks that are full, read-only or forbidden, and too few descriptors: the build goes on, told once."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildkit.cache.errors import RestoreFailed
from buildkit.cache.local import LocalCache
from buildkit.cache.result import ActionResult
from buildkit.core.digest import digest_bytes, digest_text

AS_ROOT = os.geteuid() == 0
MS_RDONLY, MS_REMOUNT = 1, 32


def mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount("tmpfs", disk, "tmpfs", 0, "size=1m,mode=755")
    except (OSError, AttributeError) as error:
        pytest.skip(f"a small tmpfs cannot be mounted here ({error}); needs root on Linux")
    yield disk
    ctypes.CDLL(None).umount2(os.fsencode(disk), 2)  # lazily: a failing test may hold files open


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def build(cache: LocalCache, root: Path, number: int, size: int) -> bool:
    """What the engine does after a task ran; tells whether the result was stored."""
    (root / f"out{number}").write_bytes(bytes([number]) * size)
    taken = cache.capture([f"out{number}"], root=str(root))
    assert taken.outputs[0].digest == digest_bytes(bytes([number]) * size)
    if taken.stored:
        cache.put(digest_text(str(number)), ActionResult(str(number), taken.roots, taken.outputs))
        cache.flush()
    return taken.stored


def restorable(cache: LocalCache, root: Path, number: int, size: int) -> bool:
    key = digest_text(str(number))
    result = cache.get(key)
    if result is None:
        return False
    cache.restore(key, result, root=str(root))
    assert (root / f"out{number}").read_bytes() == bytes([number]) * size
    return True


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a child, for limits and identities that cannot be taken back."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # nothing of the test runner may run in the child
            os.write(writer, traceback.format_exc().encode()[-4000:])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    assert (told, os.waitpid(pid, 0)[1]) == ("", 0)


@pytest.mark.parametrize("size", [30_000, 400_000, 2_000_000])
def test_a_cache_on_a_full_disk_stores_what_fits_and_says_so_once(
    small_disk: Path, root: Path, size: int
) -> None:
    warnings: list[str] = []
    cache = LocalCache.open(str(small_disk / "cache"), warn=warnings.append)
    stored = [build(cache, root, number, size) for number in range(60)]
    assert not all(stored)
    cache.close()
    assert len(warnings) == 1
    assert "cannot be" in warnings[0]
    quiet: list[str] = []
    again = LocalCache.open(str(small_disk / "cache"), warn=quiet.append)
    for number in range(60):
        restorable(again, root, number, size)
    assert again.verify().blobs_damaged == 0
    assert not any((small_disk / "cache" / "tmp").glob("*-*-*-*"))


def test_a_cache_works_again_when_there_is_space_again(small_disk: Path, root: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * 900_000)
    warnings: list[str] = []
    cache = LocalCache.open(str(small_disk / "cache"), warn=warnings.append)
    for number in range(10):
        build(cache, root, number, 50_000)
    cache.close()
    assert len(warnings) == 1
    (small_disk / "ballast").unlink()
    fresh = LocalCache.open(str(small_disk / "cache"), warn=pytest.fail)
    for number in range(10):
        if not restorable(fresh, root, number, 50_000):
            assert build(fresh, root, number, 50_000)
    fresh.close()
    for number in range(10):
        assert restorable(LocalCache.open(str(small_disk / "cache"), warn=pytest.fail), root, number, 50_000)


def test_a_disk_without_any_space_costs_the_cache_and_nothing_else(small_disk: Path, root: Path) -> None:
    with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    warnings: list[str] = []
    cache = LocalCache.open(str(small_disk / "cache"), warn=warnings.append)
    for number in range(5):
        build(cache, root, number, 10)
        assert not restorable(cache, root, number, 10)
    cache.collect(max_bytes=1, max_age_s=1)
    cache.close()
    assert len(warnings) == 1


@pytest.mark.parametrize("size", [200_000, 1_500_000])
def test_a_restore_onto_a_full_disk_leaves_the_outputs_as_they_were(
    small_disk: Path, tmp_path: Path, size: int
) -> None:
    cache = LocalCache.open(str(tmp_path / "cache"), warn=pytest.fail)
    root = tmp_path / "project"
    root.mkdir()
    for number in range(8):
        (root / f"out{number}").write_bytes(bytes([number]) * size)
    taken = cache.capture([f"out{number}" for number in range(8)], root=str(root))
    (small_disk / "out0").write_bytes(b"as it was")
    result = ActionResult("t", taken.roots, taken.outputs)
    with pytest.raises(RestoreFailed, match="No space"):
        cache.restore(digest_text("t"), result, root=str(small_disk))
    assert os.listdir(small_disk) == ["out0"]
    assert (small_disk / "out0").read_bytes() == b"as it was"


def test_a_read_only_cache_is_said_once(small_disk: Path, root: Path) -> None:
    cache = LocalCache.open(str(small_disk / "cache"), warn=pytest.fail)
    assert build(cache, root, 1, 10)
    cache.close()
    mount("tmpfs", small_disk, "tmpfs", MS_REMOUNT | MS_RDONLY, "")
    warnings: list[str] = []
    cache = LocalCache.open(str(small_disk / "cache"), warn=warnings.append)
    assert not build(cache, root, 2, 10)
    restorable(cache, root, 1, 10)
    cache.collect(max_bytes=0, max_age_s=None)
    cache.clear()
    cache.close()
    assert len(warnings) == 1


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody who may not write")
def test_a_forbidden_cache_is_said_once(tmp_path: Path) -> None:
    for folder in tmp_path.parents:  # others must get to it
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    tmp_path.chmod(0o777)
    cache = LocalCache.open(str(tmp_path / "cache"), warn=pytest.fail)
    (tmp_path / "project").mkdir(mode=0o777)
    (tmp_path / "project").chmod(0o777)
    build(cache, tmp_path / "project", 1, 10)
    cache.close()
    (tmp_path / "project" / "out1").chmod(0o666)

    def work() -> None:
        os.setgid(65534)
        os.setuid(65534)
        warnings: list[str] = []
        cache = LocalCache.open(str(tmp_path / "cache"), warn=warnings.append)
        assert not build(cache, tmp_path / "project", 2, 10)
        assert not restorable(cache, tmp_path / "project", 1, 10)
        cache.collect(max_bytes=0, max_age_s=None)
        cache.close()
        assert len(warnings) == 1, warnings

    in_child(work)


def test_a_limit_on_file_sizes_is_said_once(tmp_path: Path, root: Path) -> None:
    (root / "large").write_bytes(b"x" * 3_000_000)

    def work() -> None:
        warnings: list[str] = []
        cache = LocalCache.open(str(tmp_path / "cache"), warn=warnings.append)
        assert build(cache, root, 1, 10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        taken = cache.capture(["large"], root=str(root))
        assert not taken.stored
        assert taken.outputs[0].digest == digest_bytes(b"x" * 3_000_000)
        assert restorable(cache, root, 1, 10)
        cache.close()
        assert len(warnings) == 1, warnings

    in_child(work)
    cache = LocalCache.open(str(tmp_path / "cache"), warn=pytest.fail)
    assert cache.verify().blobs_damaged == 0
    assert os.listdir(tmp_path / "cache" / "tmp") == []


def test_too_few_descriptors_cost_the_cache_and_nothing_else(tmp_path: Path, root: Path) -> None:
    for number in range(3):
        (root / f"out{number}").write_bytes(bytes([number]) * 10)

    def work() -> None:
        gc.collect()  # or what earlier tests left open might be closed in the middle of this one
        free = os.open("/dev/null", os.O_RDONLY)
        os.close(free)
        warnings: list[str] = []
        cache = LocalCache.open(str(tmp_path / "cache"), warn=warnings.append)
        # One descriptor is left: enough to read an output, too few to store it or to open an index.
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))
        taken = cache.capture(["out0", "out1"], root=str(root))
        assert not taken.stored
        assert [o.digest for o in taken.outputs] == [digest_bytes(bytes([n]) * 10) for n in range(2)]
        cache.put(digest_text("x"), ActionResult("x"))
        assert cache.get(digest_text("x")) is None
        cache.close()
        assert len(warnings) == 1, warnings

    in_child(work)
