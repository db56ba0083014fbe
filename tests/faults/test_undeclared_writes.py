"""Promise 8: tasks that write what they do not declare are named, and not answered by the cache."""

from __future__ import annotations

import shutil

import pytest
from e2e.harness import Project

TWO_WRITERS = """
def append(word):
    with open('shared', 'a') as file:
        file.write(word)
def task_one(): return {'actions': [(append, ['1'])], 'file_dep': ['a'], 'targets': ['o1']}
def task_two(): return {'actions': [(append, ['2'])], 'file_dep': ['a'], 'task_dep': ['one']}
"""


@pytest.mark.parametrize("width", ["0", "1", "2"])
def test_two_tasks_that_write_one_undeclared_file_are_named(project: Project, width: str) -> None:
    project.write("a", "1")
    project.write("dodo.py", TWO_WRITERS)
    told = project.run("-n", width, check=0).output
    assert "tasks 'one' and 'two' all write 'shared'" in told


def test_overlapping_tasks_are_named_where_their_commands_name_the_file(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "def task_one(): return {'actions': ['echo 1 >> shared; sleep 0.1'], 'file_dep': ['a']}\n"
        "def task_two(): return {'actions': ['echo 2 >> shared; sleep 0.1'], 'file_dep': ['a']}\n"
        "def task_three(): return {'actions': ['sleep 0.2'], 'file_dep': ['a']}\n",
    )
    told = project.run("-n", "3", check=0).output
    assert "'one'" in told and "'two'" in told and "'shared'" in told
    assert "'three'" not in told


@pytest.mark.parametrize("width", ["0", "2"])
def test_a_task_that_writes_into_anothers_target_is_named(project: Project, width: str) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "def task_one(): return {'actions': ['cp a o'], 'file_dep': ['a'], 'targets': ['o']}\n"
        "def task_two(): return {'actions': ['echo more >> o'], 'file_dep': ['a'], 'task_dep': ['one']}\n",
    )
    told = project.run("-n", width, check=0).output
    assert "task 'two' wrote 'o', a target of task 'one'" in told


def test_tasks_that_write_only_what_they_declare_are_not_named(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "def task_one(): return {'actions': ['cp a o1; touch .hidden; mkdir -p d; cp a d/x'],"
        " 'file_dep': ['a'], 'targets': ['o1', 'd']}\n"
        "def task_two(): return {'actions': ['cp o1 o2; touch .hidden'], 'file_dep': ['o1'],"
        " 'targets': ['o2']}\n"
        "def task_three(): return {'actions': ['cp a alone'], 'file_dep': ['a']}\n",
    )
    told = project.run("-n", "2", check=0).output
    assert "buildkit: task" not in told
    project.remove("o1", "o2", "d")
    assert "buildkit: task" not in project.run("-n", "2", check=0).output


def test_a_task_without_targets_that_writes_a_file_is_not_answered_by_the_cache(project: Project) -> None:
    project.write("dodo.py", "def task_t(): return {'actions': ['cp a b'], 'file_dep': ['a']}\n")
    for content in ("1", "2", "1"):
        project.write("a", content)
        project.run(check=0)
        assert project.read("b") == content


def test_a_task_without_targets_that_writes_nothing_is(project: Project) -> None:
    project.dodo(
        "def task_t(): return {'actions': ['say ran; cat a; mkdir -p .cache; cp a .cache/x'],"
        " 'file_dep': ['a']}"
    )
    ran = []
    for content in ("1", "2", "1"):
        project.write("a", content)
        ran.append(project.run(check=0).ran)
    assert ran == [("ran",), ("ran",), ()]


DATABASE = """
def task_create():
    return {'actions': ['test ! -e db || exit 1; cp schema db'], 'file_dep': ['schema'], 'targets': ['db']}
def task_load():
    return {'actions': ['cat data >> db'], 'file_dep': ['data'], 'task_dep': ['create']}
"""


def test_a_file_that_a_later_task_fills_is_not_emptied_by_a_restore(project: Project) -> None:
    project.write("schema", "schema\n")
    project.write("data", "data\n")
    project.write("dodo.py", DATABASE)
    for _ in range(3):
        project.run(check=0)
        assert project.read("db") == "schema\ndata\n"


def test_a_target_that_somebody_else_changed_comes_back(project: Project) -> None:
    project.write("schema", "schema\n")
    project.write("data", "data\n")
    project.write("dodo.py", DATABASE)
    project.run(check=0)
    project.write("db", "edited by hand\n")
    project.run(check=0)
    assert project.read("db").startswith("schema\n")


def test_a_cache_within_the_project_is_nobodys_writing(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "def task_one(): return {'actions': ['sleep 0.1; cp a o1'], 'file_dep': ['a'], 'targets': ['o1']}\n"
        "def task_two(): return {'actions': ['sleep 0.1; grep 1 a'], 'file_dep': ['a'],"
        " 'task_dep': ['one']}\n",
    )
    elsewhere = {"BUILDKIT_CACHE_DIR": str(project.root / "build" / "cache")}
    assert "write" not in project.run("-n", "2", check=0, env=elsewhere).output
    project.remove("o1")
    shutil.rmtree(project.path(".buildkit"))
    assert project.run("-n", "2", check=0, env=elsewhere).restored == ["one", "two"]


def test_outputs_that_are_gone_at_the_end_are_told_of(project: Project) -> None:
    project.write("a", "1")
    project.write(
        "dodo.py",
        "def task_make():\n"
        "    for n in range(12):\n"
        "        yield {'name': str(n), 'actions': [f'cp a o{n}'], 'file_dep': ['a'], 'targets': [f'o{n}']}\n"
        "def task_remove(): return {'actions': ['sleep 0.1; rm o*'],\n"
        "    'task_dep': ['make']}\n",
    )
    told = project.run("-n", "2", check=0).output
    assert told.count("was changed by something else while the run went on") == 10
    assert "so were 2 more outputs" in told
