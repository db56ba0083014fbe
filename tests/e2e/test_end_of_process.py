"""The process of a run ends like any other of Python, though most of what it holds is not taken apart."""

from __future__ import annotations

import pytest

from .harness import Project

COMMANDS = "'actions': ['cp src out'], 'file_dep': ['src'], 'targets': ['out']"
PYTHON = "'actions': [keep]"


@pytest.mark.parametrize("task", [COMMANDS, PYTHON], ids=["commands", "python"])
def test_what_was_left_to_the_end_of_the_process_is_done(project: Project, task: str) -> None:
    project.write("src", "x")
    project.dodo(f"""
        import atexit, os

        kept = open('kept', 'w')

        def keep(file=kept):
            file.write('from a task')

        kept.write('from the dodo.py')

        class Last:
            def __del__(self, write=os.write, fd=os.dup(1)):
                write(fd, b'the last\\n')

        last = Last()
        process = os.getpid()
        atexit.register(lambda: os.getpid() == process and print('registered'))

        def task_t():
            return {{{task}}}
    """)
    ran = project.run("-n", "0")
    assert ran.exit_code == 0
    assert "registered" in ran.stdout
    assert "the last" in ran.stdout
    assert project.read("kept").startswith("from the dodo.py")
    if task == PYTHON:
        assert project.read("kept").endswith("from a task")


def test_functions_that_wait_for_the_end_are_called_where_the_process_ends_at_once(project: Project) -> None:
    project.write("src", "x")
    project.dodo(f"""
        import atexit, os

        process = os.getpid()
        atexit.register(lambda: os.getpid() == process and print('registered'))

        def task_t():
            return {{{COMMANDS}}}
    """)
    assert "registered" in project.run("-n", "2").stdout


@pytest.mark.parametrize("width", ["0", "1", "2"])
@pytest.mark.parametrize("kind", ["command", "python"])
def test_a_run_whose_reader_is_gone_when_a_task_begins_does_not_wait_for_the_task(
    project: Project, width: str, kind: str
) -> None:
    action = "'sleep 300'" if kind == "command" else "lambda: time.sleep(300)"
    project.dodo(f"""
        import time

        def task_long():
            for number in range(3):
                yield {{'name': str(number), 'actions': [{action}]}}
    """)
    process = project.start("run", "-n", width)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) != 0
