"""The list of tasks whose record has changed: whatever happens to it, no snapshot passes a task over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from snapshot_maker import snapshot_of

from buildkit.state import snapshot


@pytest.fixture
def project(tmp_path: Path) -> str:
    (tmp_path / ".buildkit").mkdir()
    snapshot.write(str(tmp_path), "name", snapshot_of())
    return str(tmp_path)


def the_list(project: str) -> Path:
    return Path(project, ".buildkit", "touched")


def test_only_tasks_since_the_mark_are_named(project: str) -> None:
    snapshot.touch(project, ["before"])
    mark = snapshot.touched_so_far(project)
    assert snapshot.touched_since(project, mark) == ()
    snapshot.touch(project, ["a", "\u00fc:\udcff"])
    snapshot.touch(project, ["a", "b"])
    assert snapshot.touched_since(project, mark) == ("a", "\u00fc:\udcff", "b")


def test_a_mark_can_be_had_before_anything_was_touched(project: str) -> None:
    mark = snapshot.touched_so_far(project)
    snapshot.touch(project, ["a"])
    assert snapshot.touched_since(project, mark) == ("a",)


@pytest.mark.parametrize("harm", ["gone", "anew", "shorter"])
def test_a_list_that_is_another_one_says_nothing(project: str, harm: str) -> None:
    snapshot.touch(project, ["a"])
    mark = snapshot.touched_so_far(project)
    if harm == "shorter":
        os.truncate(the_list(project), mark[1] - 1)
    else:
        the_list(project).unlink()
    if harm == "anew":
        snapshot.touch(project, ["a", "b"])
    assert snapshot.touched_since(project, mark) is None


def test_a_name_that_was_cut_short_takes_no_other_one_along(project: str) -> None:
    mark = snapshot.touched_so_far(project)
    with the_list(project).open("ab") as file:
        file.write(b"\0hal")
    snapshot.touch(project, ["b"])
    assert "b" in (snapshot.touched_since(project, mark) or ())


def test_a_list_that_has_become_long_begins_anew_and_no_snapshot_stays(
    project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = snapshot.touched_so_far(project)
    monkeypatch.setattr(snapshot, "_MOST_TOUCHED", 1000)
    for number in range(200):
        snapshot.touch(project, [f"task {number}"])
    assert the_list(project).stat().st_size < 1100
    assert snapshot.touched_since(project, mark) is None
    assert not snapshot.exists(project, "name")


def test_where_nothing_can_be_added_no_snapshot_stays(project: str) -> None:
    the_list(project).mkdir()
    snapshot.touch(project, ["a"])
    assert not snapshot.exists(project, "name")
