"""Restoring links and below links: never outside the project, never through what is not ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from restore_place import Place, without_unnamed_files, write

from buildkit.cache.errors import RestoreError, RestoreMiss, RestoreRefused
from buildkit.cache.result import ActionResult, OutputFile, OutputKind
from buildkit.core.digest import digest_bytes


@pytest.fixture(params=[True, False], ids=["unnamed", "named"])
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    if not request.param:
        without_unnamed_files(monkeypatch)
    return Place(tmp_path)


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
