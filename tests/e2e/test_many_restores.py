"""Many restores at once: they are done beside the run, and nothing else about them is different."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from .harness import FileState, Project

COUNT = 700  # enough for processes of their own

DODO = """
    import os

    def make(number, targets):
        say(f'job{number}')
        print(f'output of {number}')
        os.makedirs(targets[0].rpartition('/')[0], exist_ok=True)
        if number %% 50 == 0:
            os.makedirs(targets[0] + '/deep', exist_ok=True)
            os.symlink('deep', targets[0] + '/link')
            path = targets[0] + '/deep/file'
        else:
            path = targets[0]
        with open(path, 'w') as file:
            file.write(f'{number}')
        os.chmod(path, 0o600 | number %% 8)
        return {'number': number}

    def task_make():
        for number in range(%d):
            yield {'name': str(number), 'actions': [(make, [number])], 'file_dep': ['in'],
                   'targets': [f'out/{number %% 10}/{number}']}
"""


@pytest.fixture
def built(project: Project) -> Project:
    project.write("in", "text")
    project.dodo(DODO % COUNT)
    project.run("-n", "2", check=0)
    return project


def outputs(project: Project) -> dict[str, FileState]:
    return {name: state for name, state in project.files().items() if name.startswith("out")}


def test_all_outputs_come_back_as_they_were(built: Project):
    before = outputs(built)
    shutil.rmtree(built.path("out"))
    result = built.run("-v", "2", "-n", "2", check=0)
    assert result.ran == ()
    assert len(result.restored) == COUNT
    assert outputs(built) == before
    assert "output of 7\n" in result.stdout
    again = built.run("-n", "2", check=0)
    assert len(again.skipped) == COUNT


def blobs(project: Project, content: bytes) -> list[Path]:
    """Return the blobs of the cache that hold this."""
    found = []
    for folder, _, names in os.walk(project.cache):
        if "cas" in folder:
            found += [Path(folder, name) for name in names if Path(folder, name).read_bytes() == content]
    return found


def test_what_is_damaged_or_lost_runs_again_and_all_else_comes_back(built: Project):
    for number in (123, 456):
        (blob,) = blobs(built, str(number).encode())
        blob.chmod(0o600)
        blob.write_bytes(b"damage")
    (blob,) = blobs(built, b"234")
    blob.unlink()
    before = outputs(built)
    shutil.rmtree(built.path("out"))
    result = built.run("-n", "2", check=0)
    assert Counter(result.ran) == Counter(["job123", "job234", "job456"])
    assert len(result.restored) == COUNT - 3
    assert outputs(built) == before


def test_an_output_in_whose_place_something_of_the_users_stands_is_left_alone(built: Project):
    shutil.rmtree(built.path("out"))
    built.write("out/3/333/precious", "mine")
    result = built.run("-n", "2", "--continue", check=None)
    assert built.read("out/3/333/precious") == "mine"
    assert result.ran == ("job333",)  # and failed, as it would in doit
    assert len(result.restored) == COUNT - 1
