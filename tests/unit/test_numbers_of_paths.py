"""Numbers of tracked paths: few are searched for, many are looked up, and both find the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from buildkit.state import facts
from buildkit.state.snapshot import Snapshot


def snapshot_of(paths: list[str]) -> Snapshot:
    ordered, folders = facts.by_folder(paths)
    found = SimpleNamespace(names=facts.names_of(ordered, folders), folders=folders, tracked=len(ordered))
    return cast(Snapshot, found)


@pytest.mark.parametrize("asked", [3, 150, 1000])
def test_each_tracked_path_has_its_own_number(asked: int, tmp_path: Path) -> None:
    paths = [f"out/{n}" for n in range(400)] + [f"{n % 7}/deep/{n}" for n in range(300)]
    paths += [f"{tmp_path}/{n}" for n in range(299)] + ["alone"]
    found = snapshot_of(paths)
    ordered, _folders = facts.by_folder(paths)
    numbers = facts.numbers_of(found, [*paths[:: 1000 // asked], "not tracked", "out/none"])
    assert {path: ordered[number] for path, number in numbers.items()} == {
        path: path for path in paths[:: 1000 // asked]
    }
