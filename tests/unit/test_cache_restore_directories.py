"""Restoring directories: never over what is not ours, and any tree turns into any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from restore_place import Place, remove, without_unnamed_files, write

from buildkit.cache.errors import RestoreMiss, RestoreRefused


@pytest.fixture(params=[True, False], ids=["unnamed", "named"])
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    if not request.param:
        without_unnamed_files(monkeypatch)
    return Place(tmp_path)


def test_a_directory_comes_back_as_it_was(place: Place) -> None:
    write(place.root / "d" / "a", b"1", 0o600)
    write(place.root / "d" / "sub" / "b", b"2", 0o755)
    (place.root / "d" / "sub" / "empty").mkdir()
    (place.root / "d" / "sub").chmod(0o750)
    (place.root / "d" / "to").symlink_to("sub/b")
    result = place.record("d")
    before = place.snapshot()
    for path in ("d/a", "d/sub/b", "d/to"):
        (place.root / path).unlink()
    (place.root / "d" / "sub" / "empty").rmdir()
    (place.root / "d" / "sub").rmdir()
    (place.root / "d").rmdir()
    place.restore(result)
    assert place.snapshot() == before


def test_a_read_only_directory_is_filled_before_it_is_closed(place: Place) -> None:
    write(place.root / "d" / "a", b"1")
    (place.root / "d").chmod(0o555)
    result = place.record("d")
    (place.root / "d").chmod(0o755)
    (place.root / "d" / "a").unlink()
    (place.root / "d").rmdir()
    place.restore(result)
    assert place.snapshot() == {"d": 0o555, "d/a": (0o644, b"1")}


def test_files_of_an_earlier_state_go_and_files_of_others_stay(place: Place) -> None:
    write(place.root / "d" / "same", b"1")
    new = place.record("d")
    write(place.root / "d" / "old" / "gone", b"2")
    previous = [output.path for output in place.record("d").outputs]
    write(place.root / "d" / "users", b"3")
    place.restore(new, expected_previous=previous)
    assert sorted(place.snapshot()) == ["d", "d/same", "d/users"]


def test_a_directory_of_an_earlier_state_stays_while_a_user_file_is_in_it(place: Place) -> None:
    write(place.root / "d" / "same", b"1")
    new = place.record("d")
    write(place.root / "d" / "old" / "gone", b"2")
    previous = [output.path for output in place.record("d").outputs]
    write(place.root / "d" / "old" / "users", b"3")
    place.restore(new, expected_previous=previous)
    assert sorted(place.snapshot()) == ["d", "d/old", "d/old/users", "d/same"]


def test_nothing_outside_the_declared_outputs_is_ever_deleted(place: Place) -> None:
    write(place.root / "d" / "a", b"1")
    write(place.root / "precious", b"2")
    write(place.base / "outside", b"3")
    result = place.record("d")
    place.restore(
        result, expected_previous=["precious", "d/../precious", "../outside", str(place.base / "outside")]
    )
    assert (place.root / "precious").exists()
    assert (place.base / "outside").exists()


def test_stale_entries_are_not_deleted_through_a_link(place: Place) -> None:
    write(place.root / "d" / "a", b"1")
    result = place.record("d")
    write(place.base / "elsewhere" / "precious", b"2")
    (place.root / "d" / "sub").symlink_to(place.base / "elsewhere")
    place.restore(result, expected_previous=["d/sub/precious"])
    assert (place.base / "elsewhere" / "precious").exists()


def test_a_file_becomes_a_directory_and_back(place: Place) -> None:
    write(place.root / "d" / "x", b"a file")
    as_file = place.record("d")
    (place.root / "d" / "x").unlink()
    write(place.root / "d" / "x" / "y", b"below")
    as_directory = place.record("d")
    place.restore(as_file, expected_previous=[o.path for o in as_directory.outputs])
    assert (place.root / "d" / "x").read_bytes() == b"a file"
    place.restore(as_directory, expected_previous=[o.path for o in as_file.outputs])
    assert (place.root / "d" / "x" / "y").read_bytes() == b"below"


def test_a_declared_file_becomes_a_directory_and_back(place: Place) -> None:
    write(place.root / "x", b"a file")
    as_file = place.record("x")
    (place.root / "x").unlink()
    write(place.root / "x" / "y", b"below")
    as_directory = place.record("x")
    place.restore(as_file, expected_previous=["x", "x/y"])
    assert (place.root / "x").read_bytes() == b"a file"
    place.restore(as_directory)
    assert (place.root / "x" / "y").read_bytes() == b"below"


def test_what_is_in_the_way_stays_when_a_blob_is_bad(place: Place) -> None:
    write(place.root / "x" / "y", b"below")
    as_directory = place.record("x")
    (place.root / "x" / "y").unlink()
    (place.root / "x").rmdir()
    write(place.root / "x", b"a file")
    place.damage(as_directory.outputs[1].digest, b"BELOW")
    with pytest.raises(RestoreMiss):
        place.restore(as_directory)
    assert (place.root / "x").read_bytes() == b"a file"


def test_an_empty_directory_gives_way_to_a_file(place: Place) -> None:
    write(place.root / "x", b"1")
    result = place.record("x")
    (place.root / "x").unlink()
    (place.root / "x" / "empty").mkdir(parents=True)
    with pytest.raises(RestoreRefused):
        place.restore(result)
    (place.root / "x" / "empty").rmdir()
    place.restore(result)
    assert (place.root / "x").read_bytes() == b"1"


def test_a_directory_with_unknown_files_does_not_give_way(place: Place) -> None:
    write(place.root / "x", b"1")
    result = place.record("x")
    (place.root / "x").unlink()
    write(place.root / "x" / "precious", b"2")
    before = place.snapshot()
    with pytest.raises(RestoreRefused):
        place.restore(result)
    assert place.snapshot() == before


def test_an_unknown_file_in_a_directory_output_does_not_give_way(place: Place) -> None:
    write(place.root / "d" / "sub" / "a", b"1")
    result = place.record("d")
    (place.root / "d" / "sub" / "a").unlink()
    (place.root / "d" / "sub").rmdir()
    write(place.root / "d" / "sub", b"precious")
    before = place.snapshot()
    with pytest.raises(RestoreRefused):
        place.restore(result)
    assert place.snapshot() == before


# --- any tree at all

node = st.recursive(
    st.binary(max_size=6),
    lambda children: st.dictionaries(st.sampled_from(["a", "b", "c"]), children, max_size=3),
    max_leaves=8,
)


def build(path: Path, what: object) -> None:
    if isinstance(what, bytes):
        path.write_bytes(what)
        return
    assert isinstance(what, dict)
    path.mkdir()
    for name, child in what.items():
        build(path / name, child)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(first=node, second=node, data=st.data())
def test_any_tree_turns_into_any_other_and_back(
    tmp_path_factory: pytest.TempPathFactory, first: object, second: object, data: st.DataObject
) -> None:
    place = Place(tmp_path_factory.mktemp("trees"))
    build(place.root / "out", first)
    one, one_seen = place.record("out"), place.snapshot()
    remove(place.root / "out")
    build(place.root / "out", second)
    two, two_seen = place.record("out"), place.snapshot()
    place.restore(one, expected_previous=[o.path for o in two.outputs])
    assert place.snapshot() == one_seen
    place.restore(two, expected_previous=[o.path for o in one.outputs])
    assert place.snapshot() == two_seen
    remove(place.root / "out")
    place.restore(data.draw(st.sampled_from([one, two])))
    assert place.snapshot() in (one_seen, two_seen)
