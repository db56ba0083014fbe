"""Files are made in another directory where their own is slow, and nothing else about them changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from restore_place import Place, write

from buildkit.cache.birthplace import Birthplaces
from buildkit.cache.errors import RestoreFailed
from buildkit.cache.restore import restore
from buildkit.cache.unnamed import create_unnamed

FAST_NS, SLOW_NS = 10_000, 1_000_000


class Disk:
    """A disk on which making a file takes long in some directories."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slow: set[Path] = set()
        self.all_slow = False
        self.made_in: list[Path] = []
        self._now_ns = 0
        monkeypatch.setattr("buildkit.cache.birthplace.create_unnamed", self._create)

    def clock_ns(self) -> int:
        return self._now_ns

    def _create(self, directory: str, mode: int) -> int | None:
        self._now_ns += SLOW_NS if self.all_slow or Path(directory) in self.slow else FAST_NS
        self.made_in.append(Path(directory))
        return create_unnamed(directory, mode)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def births(place: Place, disk: Disk) -> Birthplaces:
    return Birthplaces(clock_ns=disk.clock_ns)


@pytest.fixture
def scattered(place: Place, disk: Disk) -> Birthplaces:
    """The same with directories of its own."""
    return Birthplaces(place.scratch.directory_apart, clock_ns=disk.clock_ns)


def restore_again(place: Place, births: Birthplaces, times: int) -> None:
    """Record `out/f`, and let it come back many times after it was deleted."""
    write(place.root / "out" / "f", b"content", 0o640)
    result = place.record("out/f")
    for _ in range(times):
        (place.root / "out" / "f").unlink()
        restore(result, store=place.store, scratch=place.scratch, root=str(place.root), birthplaces=births)
        assert place.snapshot()["out/f"] == (0o640, b"content")
    assert sorted(place.snapshot()) == ["out", "out/f"]


def test_files_of_a_slow_directory_are_made_in_the_one_above(
    place: Place, disk: Disk, births: Birthplaces
) -> None:
    disk.slow = {place.root / "out"}
    restore_again(place, births, 20)
    assert disk.made_in[-10:] == [place.root] * 10


def test_files_of_a_fast_directory_are_made_there(place: Place, disk: Disk, births: Birthplaces) -> None:
    restore_again(place, births, 20)
    assert set(disk.made_in) - {place.base / "tmp"} == {place.root / "out"}  # the other one is the blob's


def test_a_place_that_becomes_slow_is_left(place: Place, disk: Disk, births: Birthplaces) -> None:
    disk.slow = {place.root / "out"}
    restore_again(place, births, 20)
    disk.slow |= {place.root}
    restore_again(place, births, 20)
    assert disk.made_in[-1] not in disk.slow


def test_a_directory_of_its_own_comes_before_those_above(
    place: Place, disk: Disk, scattered: Birthplaces
) -> None:
    disk.slow = {place.root / "out"}
    restore_again(place, scattered, 20)
    apart = disk.made_in[-1]
    assert apart.parent == Path(place.scratch.directory)
    assert disk.made_in[-10:] == [apart] * 10
    disk.slow.add(apart)
    restore_again(place, scattered, 20)
    assert disk.made_in[-1] not in disk.slow
    assert disk.made_in[-1].parent == Path(place.scratch.directory)
    place.scratch.close()
    assert os.listdir(place.scratch.directory) == []


@pytest.mark.parametrize("own", [False, True])
def test_where_all_is_slow_the_search_ends(
    place: Place, disk: Disk, own: bool, births: Birthplaces, scattered: Birthplaces
) -> None:
    disk.all_slow = True
    restore_again(place, scattered if own else births, 300)
    assert disk.made_in[-40:] == [place.root / "out"] * 40


def test_a_directory_that_gives_its_group_to_files_keeps_them(
    place: Place, disk: Disk, births: Birthplaces
) -> None:
    (place.root / "out").mkdir()
    (place.root / "out").chmod(0o755 | stat.S_ISGID)
    disk.slow = {place.root / "out"}
    restore_again(place, births, 20)
    assert set(disk.made_in) - {place.base / "tmp"} == {place.root / "out"}  # the other one is the blob's


def test_another_place_that_goes_away_is_done_without(
    place: Place, disk: Disk, scattered: Birthplaces
) -> None:
    disk.slow = {place.root / "out", *Path(place.root / "out").parents}
    restore_again(place, scattered, 10)
    assert disk.made_in[-1] not in disk.slow
    disk.made_in[-1].rmdir()
    fd = scattered.create(str(place.root / "out"), 0o600, lambda path: path + ".try")
    assert fd is not None
    os.close(fd)


def test_an_output_that_stands_there_is_replaced_by_one_from_elsewhere(
    place: Place, disk: Disk, births: Birthplaces
) -> None:
    disk.slow = {place.root / "out"}
    restore_again(place, births, 20)
    result = place.record("out/f")
    write(place.root / "out" / "f", b"edited")
    restore(result, store=place.store, scratch=place.scratch, root=str(place.root), birthplaces=births)
    assert place.snapshot() == {"out": 0o755, "out/f": (0o640, b"content")}
    assert disk.made_in[-1] == place.root


def test_where_no_name_can_be_given_one_restore_fails_and_the_next_does_without(
    place: Place, births: Birthplaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place.root / "f", b"content")
    result = place.record("f")
    (place.root / "f").unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(RestoreFailed):
        restore(result, store=place.store, scratch=place.scratch, root=str(place.root), birthplaces=births)
    assert place.snapshot() == {}
    restore(result, store=place.store, scratch=place.scratch, root=str(place.root), birthplaces=births)
    assert place.snapshot() == {"f": (0o644, b"content")}
