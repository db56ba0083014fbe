"""Promise 3: SIGKILL of the run at any moment; the next one succeeds, with the bytes of a clean build.

The child counts its calls into C (each system call and each SQL statement is one) and kills itself at a
chosen one, so moments are spread over what it does, not over the time that it takes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builds import Build, ended
from inprocess import restorers_at_once
from tally import tried


def mine(
    at: int, counted: Path | None = None, *, before: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    """Return what makes a child kill itself at its `at`-th call; it writes their number to `counted`.

    `before` is called in the child first.
    """

    def prepare() -> None:
        before()
        own, calls = os.getpid(), 0

        def count(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal calls
            if event == "c_call" and os.getpid() == own:
                calls += 1
                if calls == at:
                    os.kill(own, signal.SIGKILL)

        if counted is not None:
            leave = os._exit

            def told(code: int) -> None:
                sys.setprofile(None)
                if os.getpid() == own:
                    counted.write_text(str(calls))
                leave(code)

            os._exit = told  # type: ignore[assignment]
        sys.setprofile(count)

    return prepare


def calls_of(build: Build, *arguments: str, before: Callable[[], None]) -> int:
    """Return how many calls a whole run makes."""
    counted = build.base / "calls"
    assert build.run(*arguments, prepare=mine(0, counted, before=before)).code == 0
    return int(counted.read_text())


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "what", ["first run", "edit", "restore", "restore beside", "collection", "migration"]
)
def test_after_a_kill_the_next_run_ends_in_a_clean_build(tmp_path: Path, rounds: int, what: str) -> None:
    rng = random.Random(what)
    build = Build(tmp_path)
    state, cache = build.root / ".buildkit", tmp_path / "cache"
    arguments = ["cache", "gc", "--max-size", "2kb"] if what == "collection" else ["run", "-n", "2"]
    before = restorers_at_once if what == "restore beside" else lambda: None

    def prepare() -> None:
        if what == "first run":
            shutil.rmtree(state, ignore_errors=True)
            shutil.rmtree(cache, ignore_errors=True)
        elif what.startswith("restore"):
            shutil.rmtree(state, ignore_errors=True)
            shutil.rmtree(build.root / "out", ignore_errors=True)
            (build.root / "out").mkdir()
        elif what == "migration":
            old_state(state)
        else:
            build.change(rng)

    build.assert_sound(build.run("run"))
    prepare()
    most = calls_of(build, *arguments, before=before)
    killed = 0
    for _ in range(6 * rounds):
        prepare()
        pid = build.start(*arguments, prepare=mine(rng.randint(1, most), before=before))
        killed += ended(pid, build.printed).code == -signal.SIGKILL
        build.assert_sound(build.run("run", "-n", rng.choice(["0", "2", "8"])))
        assert not build.leftovers()
        tried()
    assert killed, "no run was killed: the mine is too late"


def old_state(state: Path) -> None:
    """Replace the state by that of the first schema, as an earlier version would have left it."""
    import sqlite3

    from sqlite_utils import Database

    from buildkit.state import schema

    for path in state.glob("state.db*"):
        path.unlink()
    connection = sqlite3.connect(state / "state.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    schema.MIGRATIONS[0](Database(connection))
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_what_a_killed_run_left_running_is_ended_before_the_next_run_writes(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    os.mkfifo(root / "started")
    (root / "a").write_text("1")
    (root / "dodo.py").write_text(
        "def task_t():\n"
        "    return {'actions': ['test -e calm && echo right > o || "
        "{ echo yes > started; sleep 300; echo late > o; }'], 'file_dep': ['a'], 'targets': ['o']}\n"
    )
    import inprocess

    env = {"PATH": "/usr/bin:/bin", "BUILDKIT_CACHE_DIR": str(tmp_path / "cache")}
    pid = inprocess.start((), cwd=root, env=env, output=tmp_path / "printed")
    assert (root / "started").read_text() == "yes\n"
    os.kill(pid, signal.SIGKILL)
    inprocess.wait(pid)
    (root / "calm").touch()
    done = inprocess.run((), cwd=root, env=env, output=tmp_path / "printed")
    assert done.code == 0
    assert f"run {pid} was killed" in done.output
    assert (root / "o").read_text() == "right\n"
    from buildkit.engine.leftovers import processes_of

    assert processes_of(pid, str((root / ".buildkit").resolve())) == []


def test_a_python_action_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    os.mkfifo(root / "lifeline")
    (root / "a").write_text("1")
    (root / "dodo.py").write_text(
        "def act():\n"
        "    import os, time\n"
        "    os.open('lifeline', os.O_WRONLY)\n"
        "    time.sleep(300)\n"
        "def task_t(): return {'actions': [act], 'file_dep': ['a'], 'targets': ['o']}\n"
    )
    import inprocess

    env = {"PATH": "/usr/bin:/bin", "BUILDKIT_CACHE_DIR": str(tmp_path / "cache")}
    pid = inprocess.start(("-n", "2"), cwd=root, env=env, output=tmp_path / "printed")
    with (root / "lifeline").open("rb") as lifeline:
        os.kill(pid, signal.SIGKILL)
        inprocess.wait(pid)
        assert lifeline.read() == b""  # the end of the file comes when the worker is gone
