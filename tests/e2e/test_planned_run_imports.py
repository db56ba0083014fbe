"""What a run from the stored plan imports: with each module more, somebody waits longer for one command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .fast_lab import Scripts, age
from .harness import BOTH_STOCK, Project, World

DODO = """
    def task_copy():
        for name in 'ab':
            yield {'name': name, 'file_dep': [f'{name}.txt'], 'targets': [f'{name}.out'],
                   'actions': [f'cp {name}.txt {name}.out']}
"""
OURS = {
    "": "__main__ cache cli core engine frontend observe report state",
    "cache": (
        "birthplace capture cas errors index local location lock result scratch transfer tree trouble unnamed"
    ),
    "cli": "epilogue fast output planned_run recheck waiting",
    "core": (
        "command config decide digest errors execution fingerprint humanize interpreters key plan quantiles"
        " record tools"
    ),
    "engine": (
        "capture drain events expansion host job judge log loop machine outputs parts place process procfs"
        " recorder run scheduler slots spawn teardown tree values writes written"
    ),
    "frontend": (
        "answer ci commands_only git heartbeat observing plain_console session task_output workspace"
    ),
    "observe": "context files forecast observer options progress status",
    "report": "summary",
    "state": (
        "commit database directory facts history lock names pending ranges retention rows runs schema"
        " snapshot stored_plan traces"
    ),
}
# What takes long, or brings a lot along.
NEVER = {
    "ast", "asyncio", "concurrent", "dataclasses", "dis", "doit", "email", "hashlib", "importlib.metadata",
    "inspect", "logging", "multiprocessing", "pathlib", "pickle", "psutil", "queue", "random", "shutil",
    "socket", "sqlite_utils", "subprocess", "tabulate", "tempfile", "tokenize", "urllib",
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project whose next run executes one command."""
    if os.environ.get(BOTH_STOCK):
        pytest.skip("says what buildkit adds to doit")
    project = Scripts(tmp_path, World.BUILDKIT)
    project.dodo(DODO)
    project.write("a.txt", "a")
    project.write("b.txt", "b")
    age(project)
    for _ in range(2):
        assert project._run("buildkit", ("-n", "2"), {}, ".", 0, False).exit_code == 0
    project.write("a.txt", "changed")
    return project


def imported(project: Project, script: str, *arguments: str) -> set[str]:
    """Return the names of the modules that a script imports."""
    result = project._run(script, arguments, {"PYTHONPROFILEIMPORTTIME": "1"}, ".", 0, False)
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


def test_no_module_is_imported_that_one_command_does_without(project: Project) -> None:
    more = imported(project, "buildkit", "-n", "2") - imported(project, "python", "-c", "pass")
    assert project.read("a.out") == "changed"
    assert "buildkit.cli.planned_run" in more
    ours = {"buildkit"} | {
        ".".join(filter(None, ("buildkit", folder, name)))
        for folder, names in OURS.items()
        for name in names.split()
    }
    assert {name for name in more if name.startswith("buildkit")} <= ours
    assert not more & NEVER
