"""Promise 4: full and failing disks: results stand, the cache degrades, exit codes tell the truth."""

from __future__ import annotations

import errno
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import Build
from tally import tried
from test_cache_full_disk import MS_RDONLY, MS_REMOUNT, mount, small_disk

__all__ = ["small_disk"]  # a fixture


def fill(disk: Path, leave: int) -> None:
    """Fill a disk but for about `leave` bytes."""
    free = os.statvfs(disk)
    size = free.f_bavail * free.f_frsize - leave
    (disk / "ballast").write_bytes(b"x" * max(0, size))


LEAVE = [0, 4096, 20_000, 100_000]


@pytest.mark.parametrize("leave", LEAVE)
def test_a_full_cache_costs_the_cache_and_nothing_else(tmp_path: Path, small_disk: Path, leave: int) -> None:
    (tmp_path / "cache").symlink_to(small_disk)
    small_disk.chmod(0o700)
    build = Build(tmp_path)
    fill(small_disk, leave)
    done = build.run("-n", "2")
    build.assert_sound(done)
    assert done.output.count("buildkit: the cache") <= 1, done.output
    (small_disk / "ballast").unlink()
    build.assert_sound(build.run("-n", "2"))
    build.change(random.Random(leave))
    build.assert_sound(build.run("-n", "2"))


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("when", ["from the start", "later"])
def test_a_full_state_costs_the_record_and_nothing_else(
    tmp_path: Path, small_disk: Path, leave: int, when: str
) -> None:
    build = Build(tmp_path)
    (build.root / ".buildkit").symlink_to(small_disk)
    small_disk.chmod(0o700)
    if when == "later":
        build.assert_sound(build.run("-n", "2"))
        build.change(random.Random(leave))
    fill(small_disk, leave)
    done = build.run("-n", "2")
    if done.code == 3:  # there was no room to begin: said in one line, nothing was run
        assert "Traceback" not in done.output, done.output
        assert len([line for line in done.output.splitlines() if "ERROR" in line]) == 1, done.output
    else:
        build.assert_sound(done)
    (small_disk / "ballast").unlink()
    build.assert_sound(build.run("-n", "2"))
    again = build.run("-n", "2")
    build.assert_sound(again)


@pytest.mark.parametrize("leave", LEAVE)
def test_a_full_disk_of_targets_fails_the_task_and_is_overcome(
    tmp_path: Path, small_disk: Path, leave: int
) -> None:
    build = Build(tmp_path)
    (build.root / "out").rmdir()
    (build.root / "out").symlink_to(small_disk)
    for name in ("in0", "in1", "in2", "in3"):
        (build.root / name).write_bytes(b"x" * 8_000)
    fill(small_disk, leave)
    done = build.run("-n", "2")
    assert done.code in (1, 2), done.output
    (small_disk / "ballast").unlink()
    build.assert_sound(build.run("-n", "2"))
    # And a restore into a full disk: all or nothing, then the task runs and fails, or fits.
    expected = build.world.expected()
    for path in small_disk.rglob("*"):
        if path.is_file():
            path.unlink()
    fill(small_disk, leave)
    assert build.run("-n", "2").code in (0, 1, 2)
    (small_disk / "ballast").unlink()
    build.assert_sound(build.run("-n", "2"), expected)
    assert not build.leftovers()


def test_a_read_only_cache_is_one_warning(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "cache").symlink_to(small_disk)
    small_disk.chmod(0o700)
    build = Build(tmp_path)
    build.assert_sound(build.run())
    mount("tmpfs", small_disk, "tmpfs", MS_REMOUNT | MS_RDONLY, "")
    for seed in range(3):
        build.change(random.Random(seed))
        done = build.run("-n", "2")
        build.assert_sound(done)
        assert done.output.count("buildkit: the cache") <= 1, done.output


def test_too_few_descriptors_end_in_the_truth(tmp_path: Path, rounds: int) -> None:
    rng = random.Random(24)
    build = Build(tmp_path)
    for _ in range(10 * rounds):
        build.change(rng)
        limit = rng.randint(12, 60)

        def prepare(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        done = build.run("-n", "8", prepare=prepare)
        if done.code == 0:
            build.assert_sound(done)
        build.assert_sound(build.run("-n", "8"))
        tried()


def failing(calls: dict[str, float], seed: int, below: tuple[str, ...]) -> Callable[[], None]:
    """Let calls of `os` on files below some folders fail with EIO now and then."""

    def prepare() -> None:
        rng, own = random.Random(seed), os.getpid()
        for name, share in calls.items():
            real = getattr(os, name)

            def broken(
                *args: object, _real: object = real, _share: float = share, **options: object
            ) -> object:
                first = args[0]
                path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else os.fspath(first)  # type: ignore[arg-type]
                if os.getpid() == own and str(path).startswith(below) and rng.random() < _share:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
                return _real(*args, **options)  # type: ignore[operator]

            setattr(os, name, broken)

    return prepare


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to know which file is meant")
def test_input_and_output_errors_of_the_cache_never_reach_the_build(tmp_path: Path, rounds: int) -> None:
    rng = random.Random(5)
    build = Build(tmp_path)
    calls = dict.fromkeys(["open", "read", "write", "rename", "stat", "unlink", "utime"], 0.1)
    for number in range(10 * rounds):
        build.change(rng)
        done = build.run("-n", "2", prepare=failing(calls, number, (str(tmp_path / "cache"),)))
        build.assert_sound(done)
        assert done.output.count("buildkit: the cache") <= 1, done.output
        tried()
    build.assert_sound(build.run("-n", "2"))
