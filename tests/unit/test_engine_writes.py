"""Who is said to have written what: looks between tasks, without processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildkit.core.plan import CommandAction, Plan, Task, TaskKind
from buildkit.engine.writes import WriteWatch


def task(name: str, *, outputs: tuple[str, ...] = (), inputs: tuple[str, ...] = (), text: str = "") -> Task:
    action = CommandAction(text, (), True, "", None, None, None, "utf-8", "replace", False)
    return Task(name, TaskKind.COMMANDS, outputs=outputs, inputs=inputs, actions=(action,))


class Bench:
    """A folder, a plan, and a clock that stands still unless it is told."""

    def __init__(self, root: Path, *tasks: Task, most: int = 100) -> None:
        self.root = root
        self.now = 0.0
        self.tasks = {one.name: one for one in tasks}
        self.watch = WriteWatch(Plan(tasks, self.tasks), str(root), clock=lambda: self.now, most=most)

    def write(self, path: str, text: str = "x") -> None:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        size = full.stat().st_size if full.exists() else 0
        full.write_text("x" * size + text)  # another size: no test depends on the clock of the file system

    def run(self, name: str, *paths: str) -> None:
        self.watch.begin(self.tasks[name])
        for path in paths:
            self.write(path)
        self.watch.end(self.tasks[name])


def test_two_tasks_in_sequence_that_write_one_file_are_named(tmp_path: Path):
    bench = Bench(tmp_path, task("one"), task("two"))
    bench.run("one", "shared")
    bench.run("two", "shared")
    (told,) = bench.watch.findings()
    assert told.startswith("tasks 'one' and 'two' all write 'shared'")


def test_one_task_that_writes_a_file_is_not_told_but_known(tmp_path: Path):
    bench = Bench(tmp_path, task("one"), task("two"))
    bench.run("one", "log")
    bench.run("two")
    assert bench.watch.findings() == []
    assert bench.watch.undeclared("one") == "log"
    assert bench.watch.undeclared("two") is None


def test_a_declared_output_is_no_finding(tmp_path: Path):
    bench = Bench(tmp_path, task("one", outputs=("o", "d/")), task("two"))
    bench.run("one", "o", "d/x")
    bench.run("two")
    assert bench.watch.findings() == []
    assert bench.watch.undeclared("one") is None


@pytest.mark.parametrize("path", ["o", "d/x"])
def test_a_task_that_writes_an_output_of_another_is_named(tmp_path: Path, path: str):
    bench = Bench(tmp_path, task("one", outputs=("o", "d")), task("two"))
    bench.run("one", "o", "d/x")
    bench.run("two", path)
    assert bench.watch.foreign("two") == [path]
    assert bench.watch.findings() == [f"task 'two' wrote '{path}', a target of task 'one'"]


def test_of_overlapping_tasks_those_are_named_whose_commands_name_the_file(tmp_path: Path):
    bench = Bench(tmp_path, task("one", text="echo >> shared"), task("two", text="x shared"), task("three"))
    for one in bench.tasks.values():
        bench.watch.begin(one)
    bench.write("shared")
    for one in bench.tasks.values():
        bench.watch.end(one)
    (told,) = bench.watch.findings()
    assert "'one' and 'two'" in told
    assert bench.watch.undeclared("three") is None


def test_of_overlapping_tasks_that_nothing_tells_apart_each_may_have_written_it(tmp_path: Path):
    bench = Bench(tmp_path, task("one"), task("two"))
    for one in bench.tasks.values():
        bench.watch.begin(one)
    bench.write("log")
    for one in bench.tasks.values():
        bench.watch.end(one)
    assert bench.watch.findings() == []
    assert bench.watch.undeclared("one") == bench.watch.undeclared("two") == "log"


@pytest.mark.parametrize(
    "path", [".cache/x", ".coverage", "__pycache__/m.pyc", "node_modules/x", "venv/lib/x"]
)
def test_private_folders_of_tools_are_passed_over(tmp_path: Path, path: str):
    bench = Bench(tmp_path, task("one"), task("two"))
    bench.write("venv/pyvenv.cfg")
    bench.run("one", path)
    bench.run("two", path)
    assert bench.watch.findings() == []
    assert bench.watch.undeclared("one") is None


def test_an_edited_source_is_left_to_those_who_read_it(tmp_path: Path):
    bench = Bench(tmp_path, task("one", inputs=("source",)), task("two"))
    bench.write("source")
    bench.run("one", "source")
    bench.run("two", "source")
    assert bench.watch.findings() == []


def test_outputs_that_were_restored_are_nobodys_writes(tmp_path: Path):
    bench = Bench(tmp_path, task("one", outputs=("o",)), task("two"))
    bench.watch.begin(bench.tasks["two"])
    bench.write("o")
    bench.watch.restored(bench.tasks["one"])
    bench.watch.end(bench.tasks["two"])
    assert bench.watch.findings() == []


def test_outputs_that_are_being_restored_are_nobodys_writes(tmp_path: Path):
    bench = Bench(tmp_path, task("one"), task("other"), task("restored", outputs=("o", "p")))
    bench.run("other")
    bench.watch.restoring(bench.tasks["restored"])
    bench.run("one", "o")  # which somebody else has written meanwhile
    bench.run("other", "p")
    assert bench.watch.undeclared("one") is None
    bench.watch.restored(bench.tasks["restored"])
    bench.run("one")
    bench.run("one", "o")
    assert bench.watch.undeclared("one") == "o"


def test_a_large_project_is_not_looked_at(tmp_path: Path):
    bench = Bench(tmp_path, task("one"), task("two"), most=3)
    for number in range(5):
        bench.write(f"f{number}")
    bench.run("one", "shared")
    bench.run("two", "shared")
    assert bench.watch.findings() == []


def test_looking_takes_a_small_share_of_the_time(tmp_path: Path):
    bench = Bench(tmp_path, task("one"))
    looks = 0
    real = os.scandir

    def slow(path: str) -> object:
        nonlocal looks
        looks += 1
        bench.now += 1.0
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", slow)
        for _ in range(1000):
            bench.run("one")
            bench.now += 0.1
    assert looks <= 5
