"""Temporary files: what dead processes left is swept, what living ones use is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from buildkit.cache.scratch import Scratch, is_restore_temporary

DIE = """
import os, signal, sys
from buildkit.cache.scratch import Scratch
scratch = Scratch(sys.argv[1])
fd, path = scratch.create()
beside = scratch.path_beside(sys.argv[2] + "/target")
open(beside, "w").close()
scratch.directory_apart()
if len(sys.argv) > 3:  # the same in a child
    child = os.fork()
    if child:
        sys.exit(os.waitpid(child, 0)[1])
    open(scratch.path_beside(sys.argv[2] + "/target"), "w").close()
print(beside)
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def left_behind(tmp_path: Path) -> Path:
    """A scratch directory and a project directory in which a process was killed; returns its output file."""
    (tmp_path / "project").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DIE, tmp_path / "tmp", tmp_path / "project"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == -9
    return Path(done.stdout.strip())


def test_files_of_a_killed_process_are_swept_at_once(left_behind: Path, tmp_path: Path) -> None:
    (tmp_path / "project" / "target").write_text("kept")
    assert left_behind.exists()
    swept = Scratch(str(tmp_path / "tmp")).sweep(time.time())
    assert swept == 4  # half a blob, half an output, the journal that led there, an empty directory
    assert os.listdir(tmp_path / "tmp") == []
    assert os.listdir(tmp_path / "project") == ["target"]


def test_files_of_a_forked_child_are_swept_as_well(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    paths = (tmp_path / "tmp", tmp_path / "project")
    subprocess.run([sys.executable, "-c", DIE, *paths, "fork"], stdout=subprocess.PIPE, check=False)
    assert len(os.listdir(tmp_path / "project")) == 2
    Scratch(str(tmp_path / "tmp")).sweep(time.time())
    assert os.listdir(tmp_path / "project") == []
    assert os.listdir(tmp_path / "tmp") == []


def test_files_of_a_living_process_stay(tmp_path: Path) -> None:
    mine = Scratch(str(tmp_path / "tmp"))
    fd, path = mine.create()
    os.close(fd)
    beside = mine.path_beside(str(tmp_path / "target"))
    Path(beside).write_text("half")
    apart = mine.directory_apart()
    assert Scratch(str(tmp_path / "tmp")).sweep(time.time() + 2 * 3600) == 0
    assert os.path.isdir(apart)
    assert os.path.exists(path)
    assert os.path.exists(beside)


def test_files_of_another_machine_stay_for_an_hour(tmp_path: Path) -> None:
    foreign = tmp_path / "0123456789abcdef-1-7f00-1"
    foreign.write_text("half")
    scratch = Scratch(str(tmp_path))
    assert scratch.sweep(time.time()) == 0
    assert scratch.sweep(time.time() + 3700) == 1
    assert not foreign.exists()


def test_strangers_in_the_directory_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert Scratch(str(tmp_path)).sweep(time.time() + 1e6) == 0
    assert (tmp_path / "notes.txt").exists()


def test_sweeping_follows_the_journal_only_to_files_of_that_process(
    left_behind: Path, tmp_path: Path
) -> None:
    other = tmp_path / "project" / f".target.bk-{os.getpid()}-1.tmp"
    other.write_text("half")
    (tmp_path / "project" / ".x.bk-1-1.tmp.txt").write_text("a user's file")
    Scratch(str(tmp_path / "tmp")).sweep(time.time())
    assert not left_behind.exists()
    assert other.exists()
    assert (tmp_path / "project" / ".x.bk-1-1.tmp.txt").exists()


def test_close_removes_the_journal(tmp_path: Path) -> None:
    scratch = Scratch(str(tmp_path / "tmp"))
    scratch.path_beside(str(tmp_path / "target"))
    assert len(os.listdir(tmp_path / "tmp")) == 1
    scratch.close()
    assert os.listdir(tmp_path / "tmp") == []


def test_two_scratches_of_one_process_never_share_a_file(tmp_path: Path) -> None:
    one, two = Scratch(str(tmp_path)), Scratch(str(tmp_path))
    made = [scratch.create() for scratch in (one, two, one, two)]
    for fd, _ in made:
        os.close(fd)
    paths = {path for _, path in made}
    assert len(paths) == 4
    assert paths.isdisjoint({one.unused_path(), two.unused_path()})


@pytest.mark.parametrize("base", ["x", "é" * 120, "\U0001f600" * 60, "\udcff" * 250, "with\nnewline"])
def test_names_beside_any_target_fit_and_are_recognized(tmp_path: Path, base: str) -> None:
    path = Scratch(str(tmp_path / "tmp")).path_beside(f"{tmp_path}/{base}")
    Path(path).write_text("fits")
    assert is_restore_temporary(os.path.basename(path))


@pytest.mark.parametrize("name", ["a.tmp", ".x.bk-1.tmp", "x.bk-1-2.tmp", ".x.bk-a-2.tmp", ".x.bk-1-2.tmp~"])
def test_names_of_users_are_not_taken_for_ours(name: str) -> None:
    assert not is_restore_temporary(name)
