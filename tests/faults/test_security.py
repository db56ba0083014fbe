"""Promise 9: private files, restores that stay inside, harmless logs, and data that stays data."""

from __future__ import annotations

import ast
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from e2e.harness import Project

import buildkit

SOURCES = sorted(Path(buildkit.__file__).parent.rglob("*.py"))
COPY = "def task_t(): return {'actions': ['mkdir -p d; cp a d/o'], 'file_dep': ['a'], 'targets': ['d/o']}\n"


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_state_and_cache_are_private_whatever_the_umask(project: Project, umask: int) -> None:
    project.write("dodo.py", COPY)
    project.write("a", "1")
    before = os.umask(umask)
    try:
        project.run(check=0)
        project.write("a", "2")
        project.run(check=0)
    finally:
        os.umask(before)
    for folder in (project.cache, project.path(".buildkit")):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        open_to_others = {name: oct(mode) for name, mode in modes(folder).items() if mode & 0o077}
        assert {k: v for k, v in open_to_others.items() if k != ".gitignore"} == {}


def test_set_id_bits_are_never_restored(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "def task_t(): return {'actions': ['cp a o; chmod 6755 o; mkdir -p d; cp a d/x; chmod 4755 d/x; "
        "chmod 3777 d'],"
        " 'file_dep': ['a'], 'targets': ['o', 'd']}\n",
    )
    project.run(check=0)
    project.remove("o", "d")
    assert "== t" in project.run(check=0).stdout
    assert stat.S_IMODE(project.path("o").stat().st_mode) == 0o755
    assert stat.S_IMODE(project.path("d/x").stat().st_mode) == 0o755
    assert stat.S_IMODE(project.path("d").stat().st_mode) & 0o7000 == 0


def test_a_restore_does_not_follow_a_link_out_of_the_project(project: Project) -> None:
    project.write("dodo.py", COPY)
    project.write("a", "1")
    project.run(check=0)
    outside = project.base / "outside"
    outside.mkdir()
    project.remove("d")
    project.path("d").symlink_to(outside)
    result = project.run(check=0)
    # The action itself may write through the link that the user made; the cache did not.
    assert ".  t" in result.stdout, str(result)


def test_an_entry_of_the_cache_cannot_choose_where_to_write(project: Project) -> None:
    project.write("dodo.py", COPY)
    project.write("a", "1")
    project.run(check=0)
    from buildkit.cache.index import _checksum
    from buildkit.core.digest import Digest

    index = sqlite3.connect(project.cache / "index.db")
    for key, body in index.execute("SELECT key, body FROM action_result").fetchall():
        for there in (b"../outside", b"/etc/outside", b"d/../../outside", b"elsewhere"):
            forged = body.replace(b"d/o", there)
            index.execute(
                "UPDATE action_result SET body = ?, checksum = ? WHERE key = ?",
                (forged, _checksum(Digest(key), forged), key),
            )
            index.commit()
            project.remove("d/o")
            project.run(check=0)
            assert project.read("d/o") == "1"
            assert not (project.base / "outside").exists()
            assert not Path("/etc/outside").exists()
            assert not project.path("elsewhere").exists()
    index.close()


def test_control_characters_of_a_replayed_log_are_harmless(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "def task_t(): return {'actions': [\"printf '\\\\033]0;owned\\\\007\\\\033[2Jtext\\\\b\\\\n'; "
        'cp a o"],'
        " 'file_dep': ['a'], 'targets': ['o'], 'verbosity': 2}\n",
    )
    project.run(check=0)
    project.remove("o")
    replayed = project.run("-v", "2", check=0).output
    assert "== t" in replayed
    assert "text" in replayed
    assert "\x1b" not in replayed and "\x07" not in replayed and "\b" not in replayed


def test_values_of_the_environment_are_in_no_file(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "import os\n"
        "def act(): open('o', 'w').write(str(len(os.environ['TOKEN'])))\n"
        "def task_t(): return {'actions': [act], 'file_dep': ['a'], 'targets': ['o']}\n"
        "def task_u(): return {'actions': ['test -n \"$TOKEN\"'], 'file_dep': ['a']}\n",
    )
    project.run(env={"TOKEN": "s3cr3t-token"}, check=0)
    for folder in (project.cache, project.path(".buildkit")):
        for path in folder.rglob("*"):
            assert path.is_dir() or b"s3cr3t-token" not in path.read_bytes(), path


# --- what the source may not contain

MAY_PICKLE = {
    # From our own parent and children over private sockets; results of tasks never travel like that.
    "engine/command_wire.py",
    "engine/wire.py",
    "engine/worker.py",
    # Private files with a checksum, which is looked at first.
    "state/snapshot.py",
    "state/stored_plan.py",
}
MAY_USE_A_SHELL = {"frontend/checks.py"}  # an uptodate item is a shell command by doit's definition


def names_in(source: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(f"{node.func.id}()")
        if isinstance(node, ast.keyword) and node.arg == "shell":
            found.add("shell=")
        if isinstance(node, ast.Attribute) and node.attr in ("system", "popen"):
            found.add(f".{node.attr}")
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path).partition("buildkit/")[2])
def test_nothing_is_evaluated_unpickled_or_given_to_a_shell(source: Path) -> None:
    place = str(source.relative_to(Path(buildkit.__file__).parent))
    found = names_in(source)
    assert not found & {"eval()", "exec()", "shelve", "dill", "cloudpickle", ".system", ".popen"}
    if place not in MAY_PICKLE:
        assert not found & {"pickle", "marshal"}
    if place not in MAY_USE_A_SHELL:
        assert "shell=" not in found
