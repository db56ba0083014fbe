"""Restoring outputs: the same bytes and modes, all or none, never outside, never over what is not ours."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildkit.cache.capture import capture
from buildkit.cache.cas import LocalBlobStore
from buildkit.cache.errors import RestoreError, RestoreFailed, RestoreMiss, RestoreRefused
from buildkit.cache.restore import Restored, restore
from buildkit.cache.result import ActionResult, OutputFile, OutputKind
from buildkit.cache.scratch import Scratch
from buildkit.core.digest import Digest, digest_bytes


class Place:
    """A project and a store beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "project"
        self.root.mkdir()
        self.scratch = Scratch(str(base / "tmp"))
        self.store = LocalBlobStore(str(base / "cas"), self.scratch)

    def record(self, *paths: str) -> ActionResult:
        def fail(error: OSError) -> None:
            raise error

        taken = capture(paths, root=str(self.root), store=self.store, on_store_error=fail)
        assert taken.stored
        return ActionResult(task="t", roots=taken.roots, outputs=taken.outputs)

    def restore(self, result: ActionResult, **options: object) -> Restored:
        return restore(result, store=self.store, scratch=self.scratch, root=str(self.root), **options)  # type: ignore[arg-type]

    def snapshot(self) -> dict[str, object]:
        """Everything below the project: kind, mode, content."""
        seen: dict[str, object] = {}
        for directory, directories, files in os.walk(self.root):
            for name in directories + files:
                path = Path(directory, name)
                mode = stat.S_IMODE(path.lstat().st_mode)
                key = str(path.relative_to(self.root))
                if path.is_symlink():
                    seen[key] = os.readlink(path)
                elif path.is_dir():
                    seen[key] = mode
                else:
                    seen[key] = (mode, path.read_bytes())
        return seen

    def damage(self, digest: Digest | None, data: bytes) -> None:
        assert digest is not None
        path = Path(self.store.path(digest))
        path.chmod(0o600)
        path.write_bytes(data)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


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


def test_a_rename_that_fails_is_told_and_leaves_no_temporary_files(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write(place.root / name, name.encode())
    result = place.record("a", "b", "c")
    for name in "abc":
        (place.root / name).unlink()
    rename = os.rename

    def fail_at_b(source: str, target: str) -> None:
        if target.endswith("/b"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_at_b)
    with pytest.raises(RestoreFailed):
        place.restore(result)
    assert place.snapshot() == {"a": (0o644, b"a")}


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


# --- directories


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


# --- links


def test_a_link_comes_back_as_a_link(place: Place) -> None:
    write(place.root / "real", b"1")
    (place.root / "out").symlink_to("real")
    result = place.record("out")
    (place.root / "out").unlink()
    place.restore(result)
    assert os.readlink(place.root / "out") == "real"


def test_a_link_that_would_lead_to_other_content_is_a_miss(place: Place) -> None:
    write(place.root / "real", b"1")
    (place.root / "out").symlink_to("real")
    result = place.record("out")
    (place.root / "out").unlink()
    write(place.root / "real", b"2")
    with pytest.raises(RestoreMiss) as caught:
        place.restore(result)
    assert not caught.value.stale
    assert not os.path.lexists(place.root / "out")
    write(place.root / "real", b"1")
    place.restore(result)
    assert (place.root / "out").read_bytes() == b"1"


def test_a_link_to_another_output_of_the_task_comes_back_with_it(place: Place) -> None:
    write(place.root / "lib.so.1", b"1")
    (place.root / "lib.so").symlink_to("lib.so.1")
    result = place.record("lib.so", "lib.so.1")
    (place.root / "lib.so").unlink()
    (place.root / "lib.so.1").unlink()
    place.restore(result)
    assert (place.root / "lib.so").read_bytes() == b"1"


def test_a_link_in_place_of_an_output_is_replaced_and_not_written_through(place: Place) -> None:
    write(place.root / "out", b"1")
    result = place.record("out")
    (place.root / "out").unlink()
    write(place.base / "precious", b"2")
    (place.root / "out").symlink_to(place.base / "precious")
    place.restore(result)
    assert not (place.root / "out").is_symlink()
    assert (place.base / "precious").read_bytes() == b"2"


# --- never outside


def refusal(place: Place, result: ActionResult) -> None:
    outside = {p: p.read_bytes() for p in (place.base / "elsewhere").rglob("*") if p.is_file()}
    with pytest.raises(RestoreRefused):
        place.restore(result)
    assert {p: p.read_bytes() for p in (place.base / "elsewhere").rglob("*") if p.is_file()} == outside


@pytest.mark.parametrize("link_at", ["a", "a/b"])
def test_a_parent_that_leads_out_of_the_project_is_refused(place: Place, link_at: str) -> None:
    write(place.root / "a" / "b" / "f", b"1")
    result = place.record("a/b/f")
    (place.root / link_at).rename(place.base / "elsewhere")
    (place.root / link_at).symlink_to(place.base / "elsewhere")
    refusal(place, result)


def test_a_parent_that_leads_elsewhere_inside_the_project_is_followed(place: Place) -> None:
    write(place.root / "a" / "f", b"1")
    result = place.record("a/f")
    (place.root / "a").rename(place.root / "moved")
    (place.root / "a").symlink_to("moved")
    write(place.root / "moved" / "f", b"2")
    place.restore(result)
    assert (place.root / "moved" / "f").read_bytes() == b"1"


def test_a_link_inside_a_directory_output_is_not_followed(place: Place) -> None:
    write(place.root / "d" / "sub" / "f", b"1")
    result = place.record("d")
    (place.root / "d" / "sub").rename(place.base / "elsewhere")
    (place.root / "d" / "sub").symlink_to(place.base / "elsewhere")
    refusal(place, result)


def test_a_link_inside_an_absolute_directory_output_is_not_followed(place: Place) -> None:
    declared = place.base / "declared"
    write(declared / "sub" / "f", b"1")
    result = place.record(str(declared))
    (declared / "sub").rename(place.base / "elsewhere")
    (declared / "sub").symlink_to(place.base / "elsewhere")
    refusal(place, result)


def test_an_entry_below_a_link_of_the_same_result_is_refused(place: Place) -> None:
    (place.base / "elsewhere").mkdir()
    digest = digest_bytes(b"evil")
    place.store.add(b"evil", digest)
    forged = ActionResult(
        task="t",
        roots=("d",),
        outputs=(
            OutputFile("d", OutputKind.DIR, None, 0o755),
            OutputFile("d/l", OutputKind.LINK, None, 0o777, str(place.base / "elsewhere")),
            OutputFile("d/l/f", OutputKind.FILE, digest, 0o644),
        ),
    )
    with pytest.raises(RestoreError):
        place.restore(forged)
    assert list((place.base / "elsewhere").iterdir()) == []


def test_an_entry_below_a_link_that_stands_there_already_is_refused(place: Place) -> None:
    declared = place.base / "declared"
    declared.mkdir()
    write(place.base / "elsewhere" / "precious", b"1")
    (declared / "sub").symlink_to(place.base / "elsewhere")
    digest = digest_bytes(b"evil")
    place.store.add(b"evil", digest)
    entry = OutputFile(f"{declared}/sub/precious", OutputKind.FILE, digest, 0o644)
    refusal(place, ActionResult(task="t", roots=(str(declared),), outputs=(entry,)))


def test_a_result_that_names_other_outputs_than_the_task_is_a_miss(place: Place) -> None:
    write(place.root / "out", b"1")
    result = place.record("out")
    with pytest.raises(RestoreMiss) as caught:
        place.restore(result, declared=["another"])
    assert not caught.value.stale
    place.restore(result, declared=["out/"])


def test_outputs_outside_the_project_come_back_if_they_were_declared_there(place: Place) -> None:
    write(place.base / "abs" / "f", b"1")
    write(place.base / "up" / "g", b"2")
    result = place.record(str(place.base / "abs" / "f"), "../up/g")
    (place.base / "abs" / "f").unlink()
    (place.base / "up" / "g").unlink()
    place.restore(result)
    assert (place.base / "abs" / "f").read_bytes() == b"1"
    assert (place.base / "up" / "g").read_bytes() == b"2"


def test_a_parent_that_is_a_file_is_refused(place: Place) -> None:
    write(place.root / "a" / "f", b"1")
    result = place.record("a/f")
    (place.root / "a" / "f").unlink()
    (place.root / "a").rmdir()
    write(place.root / "a", b"precious")
    with pytest.raises(RestoreRefused):
        place.restore(result)
    assert (place.root / "a").read_bytes() == b"precious"


def test_a_leftover_of_a_process_with_our_pid_does_not_stop_a_restore(place: Place) -> None:
    write(place.root / "f", b"1")
    (place.root / "l").symlink_to("nowhere")
    result = place.record("f", "l")
    for n in range(1, 6):
        for base in ("f", "l"):
            write(place.root / f".{base}.bk-{os.getpid()}-{n}.tmp", b"half")
    (place.root / "f").unlink()
    place.restore(result)
    assert (place.root / "f").read_bytes() == b"1"


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


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            remove(child)
        path.rmdir()
    else:
        path.unlink()


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


def test_a_failed_copy_range_falls_back_to_reading_and_writing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(2_500_000)
    write(place.root / "f", data)
    real: Callable[..., int] = os.copy_file_range

    def once(source: int, target: int, count: int) -> int:
        monkeypatch.setattr(os, "copy_file_range", refuse)
        return real(source, target, 1_000_000)

    def refuse(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", once)
    result = place.record("f")
    (place.root / "f").unlink()
    monkeypatch.setattr(os, "copy_file_range", once)
    place.restore(result)
    assert (place.root / "f").read_bytes() == data
