"""The live view on a real terminal: it is there while tasks run, never in the way, and gone at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

import pytest

from .harness import Project
from .pty_run import PtyRun

# `wait` runs until the test lets it; `talk` prints when `wait` is over.
DODO = """
    def task_wait():
        return {'actions': ['read x < gate'], 'uptodate': [False]}

    def task_talk():
        return {'actions': ['for n in 1 2 3; do echo "line $n"; done'], 'task_dep': ['wait'],
                'verbosity': 2, 'uptodate': [False]}
"""
TALKED = [".  wait", ".  talk", "line 1", "line 2", "line 3"]


def has_bar(seen: list[str]) -> bool:
    return any("/2  1 running" in line for line in seen)


@pytest.fixture
def open_gate(project: Project) -> Iterator[Callable[[], None]]:
    """A FIFO that tasks read, and the function that lets one of them through."""
    path = project.root / "gate"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    yield lambda: os.write(fd, b"go\n") and None  # type: ignore[func-returns-value]
    os.close(fd)


@pytest.fixture
def waiting(project: Project, open_gate: Callable[[], None]) -> Project:
    project.dodo(DODO)
    return project


def test_shows_what_runs_and_leaves_only_output(waiting: Project, open_gate: Callable[[], None]):
    with PtyRun(waiting, "-n", "2") as run:
        seen = run.wait_for(has_bar)
        assert seen[0] == ".  wait"
        assert re.fullmatch(r"  wait \d+s", seen[1])
        assert re.search(r"0/2  1 running$", seen[2])
        open_gate()
        assert run.end() == 0
    assert run.seen[:-1] == TALKED
    assert run.seen[-1].startswith("buildkit: 2 executed in ")


def test_predicts_from_history(waiting: Project, open_gate: Callable[[], None]):
    open_gate()
    waiting.run("-n", "2", check=0)
    with PtyRun(waiting, "-n", "2") as run:
        seen = run.wait_for(lambda seen: any(" left" in line for line in seen))
        assert any(re.fullmatch(r"  wait \d+s of \d+s", line) for line in seen)
        open_gate()
        assert run.end() == 0


@pytest.mark.parametrize("reflow", [True, False])
def test_follows_the_size_of_the_window(waiting: Project, open_gate: Callable[[], None], reflow: bool):
    with PtyRun(waiting, "-n", "2", columns=100, reflow=reflow) as run:
        run.wait_for(has_bar)
        run.resize(30, 10)
        run.wait_for(lambda seen: has_bar(seen) and max(map(len, seen)) < 30)
        run.resize(120, 40)
        run.wait_for(lambda seen: has_bar(seen) and max(map(len, seen)) >= 40)
        assert run.seen[0] == ".  wait"
        assert len(run.seen) == 3
        open_gate()
        assert run.end() == 0
    assert run.seen[:-1] == TALKED


def test_ctrl_c_leaves_nothing_of_it(waiting: Project):
    with PtyRun(waiting, "-n", "2") as run:
        run.wait_for(has_bar)
        run.type(b"\x03")
        assert run.end() == 130
    assert run.seen[0] == ".  wait"
    assert run.seen[1] == "buildkit: SIGINT: ending 1 running task"
    assert re.fullmatch(r"buildkit: 1 cancelled in .*|buildkit: 2 cancelled in .*", run.seen[2])
    assert len(run.seen) == 3


def test_many_lines_of_output_stay_whole_and_in_order(project: Project, open_gate: Callable[[], None]):
    project.dodo("""
        def task_wait():
            return {'actions': ['read x < gate'], 'uptodate': [False]}

        def task_flood():
            return {'actions': ['i=0; while [ $i -lt 2000 ]; do echo "line $i"; i=$((i+1)); done'],
                    'verbosity': 2, 'task_dep': ['wait']}

        def task_wait_again():
            return {'actions': ['while [ ! -e done ]; do sleep 0.02; done'], 'uptodate': [False]}
    """)
    with PtyRun(project, "-n", "2") as run:
        run.wait_for(lambda seen: any("/3  2 running" in line for line in seen))
        open_gate()
        run.wait_for(lambda seen: "line 1999" in seen and any("2/3" in line for line in seen))
        project.write("done", "")  # a gate of its own: who is let through by the other one is chance
        assert run.end() == 0
    assert [line for line in run.seen if line.startswith("line")] == [f"line {n}" for n in range(2000)]
    assert not any("\u2588" in line or "\u2591" in line for line in run.seen)


def test_a_task_that_writes_to_the_terminal_itself_is_left_alone(
    project: Project, open_gate: Callable[[], None]
):
    project.dodo("""
        def task_wait():
            return {'actions': ['read x < gate'], 'uptodate': [False]}

        def task_direct():
            return {'actions': ['echo "direct 1"; read x < gate; echo "direct 2"'], 'io': {'capture': False},
                    'task_dep': ['wait'], 'verbosity': 2}
    """)
    with PtyRun(project, "-n", "2") as run:
        run.wait_for(has_bar)
        open_gate()
        seen = run.wait_for(lambda seen: "direct 1" in seen)
        assert seen == [".  wait", ".  direct", "direct 1"]
        open_gate()
        assert run.end() == 0
    assert run.seen[:-1] == [".  wait", ".  direct", "direct 1", "direct 2"]


def test_colours_are_left_out_on_request(waiting: Project, open_gate: Callable[[], None]):
    with PtyRun(waiting, "-n", "2", env={"NO_COLOR": "1"}) as run:
        run.wait_for(has_bar)
        open_gate()
        run.end()
    # Resetting what a task has left switched on is not a colour.
    assert set(re.findall(rb"\x1b\[[0-9;]*m", run.raw)) <= {b"\x1b[0m"}


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (["-n", "2", "--no-live"], {}),
        (["-n", "0"], {}),
        (["-n", "2"], {"TERM": "dumb"}),
        (["-n", "2"], {"CI": "true"}),
        (["-n", "2", "-r", "executed-only"], {}),
        (["-n", "2", "-r", "json"], {}),
    ],
    ids=" ".join,
)
def test_draws_nothing_where_it_is_not_wanted(project: Project, args: list[str], env: dict[str, str]):
    project.dodo("""
        def task_long():  # enough for several frames
            return {'actions': ['sleep 1'], 'uptodate': [False]}
    """)
    with PtyRun(project, *args, env=env) as run:
        assert run.end() == 0
    assert "long" in "".join(run.seen)
    assert b"\x1b" not in run.raw


def test_a_short_run_is_not_drawn(project: Project):
    project.dodo("""
        def task_quick():
            return {'actions': ['true']}
    """)
    with PtyRun(project, "-n", "2") as run:
        assert run.end() == 0
    assert run.seen[0] == ".  quick"
    assert b"\x1b" not in run.raw
