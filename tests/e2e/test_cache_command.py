"""`doit cache` tells what the cache holds, keeps it within limits, checks it and empties it."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import Any

import pytest

from .harness import Project

TASKS = """
    def task_make():
        for name in ('a', 'b', 'c'):
            yield {'name': name, 'actions': [f'head -c 1000 in > {name}; echo {name} >> {name}'],
                   'file_dep': ['in'], 'targets': [name]}
"""


@pytest.fixture
def made(project: Project) -> Project:
    project.write("in", "x" * 2000)
    project.dodo(TASKS)
    project.run(check=0)
    return project


def document(project: Project, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.run("cache", *arguments, "--json", check=0).stdout)
    return found


def age_blobs(project: Project, seconds: int = 3600) -> None:
    """Make all blobs as old as if nobody had written or found them for a while."""
    for folder, _, names in os.walk(project.cache / "cas"):
        for name in names:
            path = os.path.join(folder, name)
            then = os.stat(path).st_mtime - seconds
            os.utime(path, (then, then))


def test_stats_count_what_is_there_and_how_often_it_helped(made: Project):
    stats = document(made, "stats")
    assert (stats["entries"], stats["blobs"], stats["bytes"]) == (3, 3, 3 * 1002)
    assert (stats["hits"], stats["misses"], stats["hit_share"]) == (0, 3, 0.0)
    made.remove("a", "b", "c")
    made.run(check=0)
    stats = document(made, "stats")
    assert (stats["hits"], stats["misses"], stats["hit_share"]) == (3, 3, 0.5)
    text = made.run("cache", "stats", check=0).stdout
    assert "Results:" in text
    assert "3, 2.94 KiB (0% of the limit)" in text
    assert "3 of 6 questions (50%)" in text


def test_limits_come_from_the_settings(made: Project):
    made.write("pyproject.toml", "[tool.buildkit]\ncache_max_size = '6KB'\ncache_max_age = '2d'\n")
    text = made.run("cache", "stats", check=0).stdout
    assert "(50% of the limit)" in text
    assert "5.86 KiB; results not used for 2 days go" in text


@pytest.mark.parametrize("command", ["stats", "gc", "verify", "clear"])
def test_without_a_cache_nothing_is_created(project: Project, command: str):
    project.dodo(TASKS)
    before = project.everything()
    assert project.run("cache", command, check=0).stdout != ""
    assert document(project, command)["command"] == command
    assert project.everything() == before
    assert not project.cache.exists()


def test_no_dodo_is_needed(made: Project):
    made.remove("dodo.py")
    assert document(made, "stats")["entries"] == 3


def test_gc_removes_what_was_used_least_recently(made: Project):
    age_blobs(made)
    report = document(made, "gc", "--max-size", "2KB")
    assert (report["entries_evicted"], report["blobs_deleted"], report["entries_left"]) == (2, 2, 1)
    assert report["bytes_left"] == 1002
    assert document(made, "verify")["entries_removed"] == 0
    made.remove("a", "b", "c")
    assert len(made.run(check=0).restored) == 1


def test_gc_by_age(made: Project):
    assert document(made, "gc", "--max-age", "1d")["entries_evicted"] == 0
    with sqlite3.connect(made.cache / "index.db") as connection:
        connection.execute("UPDATE action_result SET used_at = used_at - 7200")
    connection.close()
    age_blobs(made)
    text = made.run("cache", "gc", "--max-age", "1h", check=0).stdout
    assert text.startswith("Removed 3 results and 3 blobs (2.94 KiB) from <base>/cache.")
    assert "Left: 0 results and 0 blobs (0 B)." in text


def test_gc_says_what_it_leaves_for_a_build_that_may_be_running(made: Project):
    text = made.run("cache", "gc", "--max-size", "0", check=0).stdout
    assert "Removed 3 results and 0 blobs" in text
    assert "too young to go: 3 blobs (2.94 KiB)" in text


def test_verify_removes_what_is_damaged(made: Project):
    sound = made.run("cache", "verify", check=0).stdout
    assert "Read 3 blobs (2.94 KiB) and 3 results" in sound
    assert "Nothing is damaged." in sound
    blob = next(path for path in (made.cache / "cas").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"y" * 1002)
    assert "Removed 1 damaged blob and 1 result" in made.run("cache", "verify", check=0).stdout
    assert "Nothing is damaged." in made.run("cache", "verify", check=0).stdout
    made.remove("a", "b", "c")
    result = made.run(check=0)
    assert len(result.restored) == 2
    assert made.read("a") == "x" * 1000 + "a\n"


def test_clear_asks_for_nothing_and_says_what_it_removed(made: Project):
    text = made.run("cache", "clear", check=0).stdout
    assert text == "Removed 3 results and 3 blobs (2.94 KiB) from <base>/cache; nothing is left.\n"
    assert "was empty already" in made.run("cache", "clear", check=0).stdout
    assert document(made, "stats")["entries"] == 0
    made.remove("a")
    assert made.run(check=0).restored == []


def test_a_lost_index_does_not_hide_blobs(made: Project):
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (made.cache / name).unlink(missing_ok=True)
    stats = document(made, "stats")
    assert (stats["entries"], stats["blobs"]) == (0, 3)
    assert document(made, "clear")["blobs_deleted"] == 3


def test_a_damaged_index_is_set_aside_and_said(made: Project):
    (made.cache / "index.db").write_bytes(b"no database" * 1000)
    result = made.run("cache", "stats", check=0)
    assert "set aside as" in result.stderr
    assert "Blobs:   3," in result.stdout


def test_an_index_of_a_newer_version_is_refused_in_one_line(made: Project):
    connection = sqlite3.connect(made.cache / "index.db")
    connection.execute("PRAGMA user_version = 999")
    connection.execute("UPDATE counter SET value = 999 WHERE name = 'schema'")
    connection.commit()
    connection.close()
    for command in ("stats", "gc", "verify", "clear"):
        result = made.run("cache", command, check=3)
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert "written by a newer buildkit" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "stats, gc, verify, clear"),
        (["stat"], "Did you mean 'stats'?"),
        (["stats", "gc"], "takes no further arguments; got 'gc'"),
        (["stats", "--max-size", "1GB"], "is an option of `cache gc`"),
        (["gc", "--max-size", "much"], "--max-size much: give a size such as 500MB"),
        (["gc", "--max-size", "-1"], "give a size"),
        (["gc", "--max-age", "old"], "--max-age old: give an age such as 12h"),
        (["gc", "--nosuch"], "nosuch"),
        (["stats", "--dir", "nowhere"], "there is no directory 'nowhere'"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_message_and_creates_nothing(project: Project, arguments: list[str], message: str):
    project.dodo(TASKS)
    before = project.everything()
    result = project.run("cache", *arguments, check=3)
    assert result.stdout == ""
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert project.everything() == before
    assert not project.cache.exists()


@pytest.mark.parametrize("command", ["stats", "gc", "verify", "clear"])
def test_a_cache_that_cannot_be_used_is_not_called_empty(made: Project, command: str):
    there = {"BUILDKIT_CACHE_DIR": str(made.root / "in")}
    assert "is not a directory" in made.run("cache", command, env=there, check=3).stderr
    assert made.read("in") == "x" * 2000
    made.cache.chmod(0o777)
    error = made.run("cache", command, check=3).stderr
    made.cache.chmod(0o700)
    assert error == (
        "ERROR: the cache in <base>/cache is not used: "
        "everybody may write to it (chmod o-w would make it usable).\n"
    )


def test_a_wrong_setting_is_named(project: Project):
    project.dodo(TASKS)
    project.write("pyproject.toml", "[tool.buildkit]\ncache_max_sise = 1\n")
    assert "Did you mean 'cache_max_size'?" in project.run("cache", "stats", check=3).stderr


def test_another_directory(made: Project):
    made.write("pyproject.toml", "[tool.buildkit]\ncache_max_age = '5d'\n")
    here = made.run("cache", "stats", check=0).stdout
    made.write("below/empty", "")
    assert made.run("cache", "stats", "--dir", "..", cwd="below", check=0).stdout == here
