"""Promise 2: an input edited while its task runs: not recorded, not cached, told, and executed again."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from e2e.harness import Project

WIDTHS = ("0", "1", "2")


def overwrite(project: Project) -> None:
    project.write("a", "2\n")


def overwrite_unseen(project: Project) -> None:
    before = project.path("a").stat()
    project.write("a", "2\n")
    os.utime(project.path("a"), ns=(before.st_atime_ns, before.st_mtime_ns))


def move_over(project: Project) -> None:
    project.write("new", "2\n")
    os.rename(project.path("new"), project.path("a"))


def delete(project: Project) -> None:
    project.remove("a")


def chmod(project: Project) -> None:
    project.path("a").chmod(0o755)


def replace_by_directory(project: Project) -> None:
    project.remove("a")
    project.write("a/x", "2\n")


def edit_and_edit_back(project: Project) -> None:
    project.write("a", "2\n")
    project.write("a", "1\n")


EDITS = [
    overwrite, overwrite_unseen, move_over, delete, chmod, replace_by_directory, edit_and_edit_back,
]  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("python", [False, True])
def test_an_input_that_is_edited_while_its_task_runs_is_not_recorded(
    project: Project, width: str, edit: Callable[[Project], None], python: bool
) -> None:
    project.write("a", "1\n")
    for pipe in ("started", "go-on"):
        os.mkfifo(project.path(pipe))
    action = "act" if python else "'cat a > o; echo yes > started; cat go-on > /dev/null'"
    project.dodo(f"""
        def act():
            with open('a') as file, open('o', 'w') as out:
                out.write(file.read())
            with open('started', 'w') as pipe:
                pipe.write('yes')
            with open('go-on') as pipe:
                pipe.read()
        def task_t():
            return {{'actions': [{action}], 'file_dep': ['a'], 'targets': ['o']}}
    """)
    import inprocess

    printed = project.base / "printed"
    env = project._environment()
    pid = inprocess.start(("-n", width), cwd=project.root, env=env, output=printed)
    assert project.read("started").strip() == "yes"
    edit(project)
    project.path("go-on").write_text("")
    assert inprocess.wait(pid) == 0
    told = printed.read_text()
    assert "input 'a'" in told
    assert "not recorded" in told
    # The next run executes, and another clone gets nothing from the cache.
    if not project.path("a").is_file():
        if project.path("a").exists():
            project.remove("a")
        project.write("a", "1\n")
    wanted = project.read("a")
    project.write(
        "dodo.py", "def task_t(): return {'actions': ['cat a > o'], 'file_dep': ['a'], 'targets': ['o']}\n"
    )
    project.run(check=0)
    assert project.read("o") == wanted


def test_the_task_runs_again_although_nothing_else_changed(project: Project) -> None:
    """As above, with the definition left alone: it is the missing record that makes the task run."""
    project.write("a", "1\n")
    project.write("edit", "")
    project.dodo("""
        def task_t():
            return {'actions': ['say ran; cat a > o; test -e edit && { echo 2 > a; rm edit; }; true'],
                    'file_dep': ['a'], 'targets': ['o']}
    """)
    assert "not recorded" in project.run(check=0).output
    other = project.clone("other")
    other.write("dodo.py", project.read("dodo.py"))
    other.write("a", "1\n")
    assert other.run(check=0).ran == ("ran",)
    assert other.read("o") == "1\n"
    assert project.run(check=0).ran == ("ran",)
    assert project.read("o") == "2\n"
    assert project.run(check=0).ran == ()
