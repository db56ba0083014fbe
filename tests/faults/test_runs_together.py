"""Promise 6: twenty runs in one project, eight worktrees on one cache, and who must not wait."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import inprocess
import pytest
from builds import Build, ended
from e2e.harness import Project
from tally import tried

TOGETHER = 20
WORKTREES = 8


@pytest.mark.timeout(600)
def test_twenty_runs_at_once_execute_each_task_once(tmp_path: Path, rounds: int) -> None:
    build = Build(tmp_path)
    rng = random.Random(6)
    for _ in range(rounds):
        build.change(rng)
        build.world.expected()  # what is answered by earlier rounds
        (tmp_path / "journal").unlink(missing_ok=True)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        shutil.rmtree(build.root / ".buildkit", ignore_errors=True)
        env = build.world.environment(tmp_path)
        outputs = [tmp_path / f"printed{number}" for number in range(TOGETHER)]
        for output in outputs:
            output.unlink(missing_ok=True)
        pids = [
            inprocess.start(("-n", str(number % 3)), cwd=build.root, env=env, output=output)
            for number, output in enumerate(outputs)
        ]
        runs = [ended(pid, output) for pid, output in zip(pids, outputs, strict=True)]
        for run in runs:
            build.assert_sound(run)
        ran = Counter((tmp_path / "journal").read_text().split())
        assert ran == Counter({job.name: 1 for job in build.jobs})
        tried(TOGETHER)


@pytest.mark.timeout(1200)
def test_worktrees_share_a_cache_while_it_is_collected(tmp_path: Path, rounds: int) -> None:
    """Eight worktrees build, a ninth process deletes what it can: all of them end in a clean build."""
    steps = 4 * rounds

    def worktree(number: int) -> None:
        rng = random.Random(number)
        build = Build(tmp_path, f"tree{number}")
        for _ in range(steps):
            build.change(rng)
            build.assert_sound(build.run("-n", rng.choice(["0", "2"])))

    def collector() -> None:
        from buildkit.cache.local import LocalCache

        rng = random.Random("collector")
        while True:
            cache = LocalCache.open(str(tmp_path / "cache"), warn=print)
            cache.collect(
                max_bytes=rng.choice([0, 500, 5000]), max_age_s=None, grace_s=rng.choice([0.2, 2.0])
            )
            cache.close()

    from test_cache_race import in_processes

    stopper = os.fork()
    if stopper == 0:
        try:
            collector()
        finally:
            os._exit(1)
    try:
        problems = in_processes(worktree)
    finally:
        os.kill(stopper, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(stopper, 0)[1])
    assert problems == []
    assert status == -signal.SIGKILL, "the collector fell over"
    tried(WORKTREES * steps)


def held(project: Project) -> None:
    """Make a project whose only task waits for a pipe."""
    project.write("in", "1")
    for pipe in ("started", "go-on"):
        os.mkfifo(project.path(pipe))
    project.dodo("""
        def task_slow():
            return {'actions': ['echo yes > started; cat go-on > out'], 'file_dep': ['in'],
                    'targets': ['out']}
    """)


def test_no_wait_fails_at_once_and_names_pid_command_and_start(project: Project) -> None:
    held(project)
    first = project.start("run", "-n", "2")
    try:
        assert project.read("started") == "yes\n"
        refused = project.run("--no-wait")
        assert refused.exit_code == 3
        assert f"process {first.pid}" in refused.output
        assert "run -n 2" in refused.output
        assert re.search(r"since \d\d:\d\d:\d\d", refused.output)
        project.path("go-on").write_text("done")
        assert first.wait() == 0
    finally:
        first.kill()
        first.communicate()
    assert project.run("--no-wait").exit_code == 0


def test_no_lock_is_left_by_a_killed_run(project: Project) -> None:
    held(project)
    first = project.start()
    assert project.read("started") == "yes\n"
    first.kill()
    first.communicate()
    project.write("dodo.py", "def task_slow(): return {'actions': ['true']}\n")
    assert project.run("--no-wait").exit_code == 0
