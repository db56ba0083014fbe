"""Many restores at once: they are done beside the run, and nothing else about them is different."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from buildkit.engine.machine import Machine

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


# Notes each process that is forked for restores.
WITNESS = """
import os, sys

fork = os.fork

def witnessed():
    frame, files = sys._getframe(), set()
    while frame is not None:
        files.add(os.path.basename(frame.f_code.co_filename))
        frame = frame.f_back
    if 'restoring.py' in files:
        with open(os.environ['WITNESS'], 'a') as file:
            file.write('forked\\n')
    return fork()

os.fork = witnessed
"""


def outputs(project: Project) -> dict[str, FileState]:
    return {name: state for name, state in project.files().items() if name.startswith("out")}


def test_all_outputs_come_back_as_they_were_from_processes_beside_the_run(built: Project):
    (built.base / "site").mkdir()
    (built.base / "site" / "sitecustomize.py").write_text(WITNESS)
    witness = built.base / "witness"
    before = outputs(built)
    shutil.rmtree(built.path("out"))
    built.env |= {"PYTHONPATH": str(built.base / "site"), "WITNESS": str(witness)}
    result = built.run("-v", "2", "-n", "2", check=0)
    if Machine.probe().cpus >= 2 and sys.platform == "linux":
        assert witness.exists(), "nothing was restored beside the run"
    assert result.ran == ()
    assert len(result.restored) == COUNT
    assert outputs(built) == before
    assert "output of 7\n" in result.stdout
    again = built.run("-n", "2", check=0)
    assert len(again.skipped) == COUNT


def test_a_failing_task_beside_restores_leaves_each_result_old_or_new(project: Project):
    project.dodo("""
        def task_bad():
            return {'actions': ['sleep 0.1; test ! -e fail'], 'uptodate': [False]}

        def task_make():
            for n in range(12):
                make = f'for o in a b c; do yes "$(cat in)" | head -c 5000000 > out/{n}$o; done'
                yield {'name': str(n), 'actions': [make], 'file_dep': ['in'],
                       'targets': [f'out/{n}{o}' for o in 'abc']}
    """)
    project.path("out").mkdir()
    for content in ("old", "new"):
        project.write("in", content)
        project.run("-n", "2", check=0)
    project.write("in", "old")
    project.run("-n", "2", check=0)
    project.write("in", "new")
    project.write("fail", "")
    project.run("-n", "2", check=1)
    for number in range(12):
        assert len({project.path(f"out/{number}{letter}").read_bytes()[:3] for letter in "abc"}) == 1
    assert [path.name for path in project.path("out").iterdir() if path.name.startswith(".")] == []
    project.remove("fail")
    project.run("-n", "2", check=0)
    assert {project.path(f"out/{number}a").read_bytes()[:3] for number in range(12)} == {b"new"}


def test_a_reader_that_goes_away_ends_a_run_that_restores(project: Project):
    project.dodo("""
        def task_layer():
            for layer in range(20):
                for n in range(100):
                    yield {'name': f'{layer}_{n}', 'actions': [f'echo {layer} {n} > out/{layer}_{n}'],
                           'file_dep': ['in' if layer == 0 else f'out/{layer - 1}_{n}'],
                           'targets': [f'out/{layer}_{n}']}
    """)
    project.path("out").mkdir()
    project.write("in", "")
    project.run("-n", "2", check=0)
    for lines in (900, 1100, 1300):
        shutil.rmtree(project.path("out"))
        process = project.start("run", "-n", "2", env={"BUILDKIT_FAST": "0"})
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) != 0
    assert len(project.run("-n", "2", check=0).skipped) > 0
    assert len(list(project.path("out").iterdir())) == 2000


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
