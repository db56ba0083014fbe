"""Facts and snapshots: what is stored is what is found again, and damage is as good as nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from snapshot_maker import snapshot_of

from buildkit.core import fingerprint
from buildkit.state import database, directory, facts, lock, pending, snapshot


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the project that is the current directory, with a record."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".buildkit").mkdir()
    (tmp_path / snapshot.DATABASE).write_text("")
    return tmp_path


def of_record() -> tuple[int, int]:
    status = os.stat(snapshot.DATABASE)
    return status.st_dev, status.st_ino


def test_names_are_those_of_the_modules_that_cost_too_much_to_import() -> None:
    assert os.path.join(directory.STATE_DIRECTORY, database.DATABASE_NAME) == snapshot.DATABASE
    assert os.path.join(directory.STATE_DIRECTORY, lock.LOCK_NAME) == snapshot.LOCK
    assert os.path.join(directory.STATE_DIRECTORY, pending.PENDING_NAME) == snapshot.PENDING


@pytest.mark.parametrize("mtime_ns", [10**18, 10**18 + 5])
@pytest.mark.parametrize("later_ns", [0, 19_999_999, 20_000_001, 1_999_999_999, 2_000_000_001])
def test_racy_is_what_the_fingerprints_call_racy(tmp_path: Path, mtime_ns: int, later_ns: int) -> None:
    class Status:
        st_mtime_ns = mtime_ns
        st_ctime_ns = mtime_ns

    expected = fingerprint.is_racy(mtime_ns, mtime_ns, mtime_ns + later_ns)
    assert facts.racy(Status(), mtime_ns + later_ns) == expected  # type: ignore[arg-type]


def test_a_snapshot_comes_back_as_it_was_written(project: Path) -> None:
    kept = snapshot_of(kinds=(("/x", True, facts.ABSENT),), listings=((".", 1, b"2", frozenset({"a"})),))
    snapshot.write("", "name", kept)
    found = snapshot.read("", "name")
    assert found is not None
    assert found.values() == kept.values()


def test_every_damaged_byte_makes_a_snapshot_unreadable(project: Path) -> None:
    snapshot.write("", "name", snapshot_of())
    (path,) = (project / snapshot.DIRECTORY).glob("*.snapshot")
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert snapshot.read("", "name") is None, position


def test_a_reason_takes_the_place_of_a_snapshot_and_the_other_way_round(project: Path) -> None:
    snapshot.write("", "name", snapshot_of())
    snapshot.write_reason("", "name", "doit -n 2", "it started a process")
    assert snapshot.read("", "name") is None
    assert snapshot.reason("", "name") == "it started a process"
    assert snapshot.reasons("") == [("doit -n 2", "it started a process")]
    snapshot.write("", "name", snapshot_of())
    assert snapshot.reasons("") == []


def test_old_snapshots_make_room_for_new_ones(project: Path) -> None:
    for number in range(40):
        snapshot.write("", f"{number:02}", snapshot_of(), plan=[b"pl", b"an"])
    assert len(list((project / snapshot.DIRECTORY).iterdir())) == 64
    assert snapshot.exists("", "39")
    assert snapshot.read_plan("", "39") == b"plan"


def test_discard_leaves_no_snapshot(project: Path) -> None:
    snapshot.discard("")
    snapshot.write("", "name", snapshot_of())
    snapshot.discard("")
    assert not snapshot.exists("", "name")


def test_paths_are_found_again_from_their_folders() -> None:
    paths = [f"in/{i}" for i in range(20)] + [
        "a",
        "b/c",
        "/usr/bin/cp",
        "/etc",
        *(f"x/y/{i}" for i in range(9)),
    ]
    ordered, folders = facts.by_folder(paths)
    kept = snapshot_of(folders=tuple(folders), names=facts.names_of(ordered, folders))
    assert sorted(ordered) == sorted(paths)
    assert [os.fsdecode(path) for path in facts.paths_of(kept)] == ordered
    assert len(folders) == 3


def test_changed_and_missing_files_are_told_by_number(project: Path) -> None:
    paths = [f"in/{i}" for i in range(12)] + ["single"]
    (project / "in").mkdir()
    for path in paths:
        (project / path).write_text(path)
    ordered, folders = facts.by_folder(paths)
    signatures = facts.packed([facts.signature(os.stat(path)) for path in ordered])
    names = facts.names_of(ordered, folders)
    kept = snapshot_of(folders=tuple(folders), names=names, signatures=signatures)
    assert facts.files_changed(kept) == []
    os.utime("in/3")
    os.utime("single")
    assert facts.files_changed(kept) == [ordered.index("in/3"), ordered.index("single")]
    assert os.getcwd() == str(project)
    os.remove("in/5")
    gone = ("in/3", "in/5", "single")
    assert facts.files_changed(kept) == sorted(ordered.index(path) for path in gone)
    assert os.getcwd() == str(project)


def test_each_kind_of_fact_is_looked_at(project: Path) -> None:
    (project / "file").write_text("")
    (project / "folder").mkdir()
    os.symlink("file", "link")
    salt = b"salt"
    environ = {"A": "1"}
    good = {
        "database": of_record(),
        "environment": (("A", facts.variable_digest(environ, "A", salt)), ("B", None)),
        "whole_environment": facts.environment_digest(environ, salt),
        "kinds": (("file", True, facts.FILE), ("link", False, facts.LINK), ("none", True, facts.ABSENT)),
        "links": (("link", "file"),),
        "accesses": (("file", os.X_OK, False),),
        "listings": (("folder", 0, facts.listing_of("folder", None), None),),
    }

    def changed(**values: object) -> str | None:
        return facts.what_changed(snapshot_of(**{**good, **values}), ("-n", "2"), environ)

    assert changed() is None
    assert changed(arguments=()) == "the command line"
    assert changed(stamp=("other", *snapshot.stamp()[1:])) == "Python, buildkit or the machine"
    assert changed(database=(1, 1)) == "the record of the project"
    assert changed(environment=(("A", None),)) == "environment variable A"
    assert changed(whole_environment=b"other") == "the environment"
    assert changed(kinds=(("file", True, facts.FOLDER),)) == "file"
    assert changed(links=(("link", "elsewhere"),)) == "link"
    assert changed(accesses=(("file", os.R_OK, False),)) == "file"
    assert changed(listings=(("folder", 0, b"other", None),)) == "folder"
    (project / snapshot.LOCK).write_text("{}")
    assert changed() == "another run holds the project"


@pytest.mark.parametrize("part", range(8))
def test_each_part_of_the_stamp_counts(project: Path, part: int) -> None:
    stamp = list(snapshot.stamp())
    stamp[part] = "other"
    assert (
        facts.what_changed(snapshot_of(database=of_record(), stamp=tuple(stamp)), ("-n", "2"), {}) is not None
    )


def test_a_listing_for_imports_knows_only_what_could_be_imported(project: Path) -> None:
    names = frozenset({"json"})
    before = facts.listing_of(".", names)
    (project / "notes.txt").write_text("")
    (project / "build").mkdir()
    assert facts.listing_of(".", names) == before
    (project / "json").mkdir()
    assert facts.listing_of(".", names) != before


def test_the_value_of_a_variable_is_not_in_the_file(project: Path) -> None:
    environ = {"TOKEN": "very-secret-value"}
    kept = snapshot_of(environment=(("TOKEN", facts.variable_digest(environ, "TOKEN", b"salt")),))
    snapshot.write("", "name", kept)
    (path,) = (project / snapshot.DIRECTORY).glob("*.snapshot")
    assert b"very-secret-value" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("idle", [True, False])
def test_many_files_are_looked_at_by_two_as_by_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    monkeypatch.setattr(facts, "idle_processor", lambda: idle)
    monkeypatch.setattr(facts, "_WORTH_SHARING", 10)
    monkeypatch.setattr(facts, "_PART", 3)
    paths = [f"{folder}/{i}" for folder in ("in", "out") for i in range(20)]
    for path in paths:
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text(path)
    ordered, folders = facts.by_folder(paths)
    signatures = facts.packed([facts.signature(os.stat(path)) for path in ordered])
    kept = snapshot_of(folders=tuple(folders), names=facts.names_of(ordered, folders), signatures=signatures)
    assert facts.files_changed(kept) == []
    for path in ("in/0", "out/19"):
        os.utime(path)
    assert facts.files_changed(kept) == [0, 39]
    os.remove("out/18")
    assert facts.files_changed(kept) == [0, 38, 39]
    assert os.getcwd() == str(project)


def shared(monkeypatch: pytest.MonkeyPatch, project: Path, first: int, second: int) -> snapshot.Snapshot:
    """Return facts about one file, as often as that, that two processes look at: `in/0` and `out/0`."""
    monkeypatch.setattr(facts, "idle_processor", lambda: True)
    monkeypatch.setattr(facts, "_WORTH_SHARING", 10)
    monkeypatch.setattr(facts, "_PART", max(first, second))
    for folder in ("in", "out"):
        (project / folder).mkdir()
        (project / folder / "0").write_text("")
    names = b"\0".join([b"0"] * (first + second))
    seen = [facts.signature(os.stat("in/0"))] * first + [facts.signature(os.stat("out/0"))] * second
    folders = ((b"in", first), (b"out", second))
    return snapshot_of(folders=folders, names=names, signatures=facts.packed(seen))


def test_what_a_child_has_seen_is_not_looked_at_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = shared(monkeypatch, project, 10, 20_000)  # more than a pipe holds
    os.utime("out/0", (1, 1))
    looks = []
    look = facts._look
    monkeypatch.setattr(facts, "_look", lambda parts: looks.append(parts) or look(parts))
    assert facts.files_changed(kept) == list(range(10, 20_010))
    assert len(looks) == 1


def test_two_look_at_as_many_files_each_however_many_folders_there_are(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = shared(monkeypatch, project, 600, 400)
    for number in range(300):
        (project / f"f{number}").mkdir()
        (project / f"f{number}" / "0").write_text("")
    kept.folders += tuple((f"f{number}".encode(), 1) for number in range(300))
    kept.names += b"\0" + b"\0".join([b"0"] * 300)
    kept.signatures += facts.packed([facts.signature(os.stat(f"f{number}/0")) for number in range(300)])
    monkeypatch.setattr(facts, "_PART", 100)
    looks = []
    look = facts._look
    monkeypatch.setattr(facts, "_look", lambda parts: looks.append(parts) or look(parts))
    assert facts.files_changed(kept) == []
    assert [sum(len(names) for _folder, names in parts) for parts in looks] == [700]


def test_a_child_that_nobody_listens_to_ends(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = shared(monkeypatch, project, 10, 20_000)
    os.utime("out/0", (1, 1))
    os.remove("in/0")
    assert facts.files_changed(kept) == list(range(20_010))


def test_a_fingerprint_gives_the_signature_of_its_file(project: Path) -> None:
    (project / "file").write_text("content")
    seen = fingerprint.read_fingerprint("file")
    parts = (seen.mtime_ns, seen.ctime_ns, seen.size, seen.inode)
    assert facts.signature_of_parts(*parts) == facts.signature(os.stat("file"))
