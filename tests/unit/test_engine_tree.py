from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from buildkit.engine.procfs import (
    JOB_VARIABLE,
    Process,
    list_processes,
    peak_rss_bytes,
    process_clock,
    read_job_mark,
)
from buildkit.engine.tree import Root, marks_prefix, members

OURS = Process(pid=1000, ppid=1, pgid=1000, sid=900, started=10.0, zombie=False)


def process(
    pid: int, ppid: int, *, pgid: int = 0, sid: int = 900, started: float = 60.0, zombie: bool = False
):
    return Process(pid, ppid, pgid or pid, sid, started, zombie)


def pids(
    root: Root, *table: Process, marks: dict[int, str] | None = None, kept: tuple[int, ...] = ()
) -> list[int]:
    found = members(root, [OURS, *table], OURS.pid, lambda pid: (marks or {}).get(pid, ""), kept.__contains__)
    return sorted(found_process.pid for found_process in found)


JOB = Root(pid=2000, started=50.0, mark="1000.1")
FIRST = process(2000, 1000)


def test_descendants_belong_however_deep_and_in_whatever_group() -> None:
    chain = [process(2000 + n, 1999 + n) for n in range(1, 40)]
    assert pids(JOB, FIRST, *reversed(chain)) == [2000 + n for n in range(40)]


def test_orphans_in_the_group_or_session_belong() -> None:
    assert pids(JOB, process(2001, 1, pgid=2000), process(2002, 1, sid=2000)) == [2001, 2002]


def test_a_daemon_is_known_by_its_mark_and_so_are_its_children() -> None:
    table = (process(2001, 1, sid=2001), process(2002, 2001, sid=2001), process(2003, 1, sid=2003))
    assert pids(JOB, *table, marks={2001: "1000.1", 2003: "1000.11"}) == [2001, 2002]


def test_the_mark_of_a_run_within_the_job_counts() -> None:
    assert pids(
        JOB, process(2001, 1), process(2002, 1), marks={2001: "1000.1/2500.7", 2002: "9.1/1000.1"}
    ) == [2001]


def test_what_is_older_than_the_job_does_not_belong() -> None:
    recycled = process(2001, 1, pgid=2000, started=40.0)
    assert pids(JOB, FIRST, recycled) == [2000]


def test_a_worker_is_older_than_its_job_and_belongs_nevertheless() -> None:
    worker = process(2000, 1000, started=20.0)
    left_by_an_earlier_job = process(2001, 2000, started=30.0)
    assert pids(JOB, worker, left_by_an_earlier_job, process(2002, 2000)) == [2000, 2002]


def test_in_our_own_group_only_descent_and_mark_count() -> None:
    root = Root(pid=2000, started=50.0, mark="1000.1", own_group=False)
    neighbour = process(2001, 1000, pgid=1000)
    assert pids(root, process(2000, 1000, pgid=1000), process(2002, 2000, pgid=1000), neighbour) == [
        2000,
        2002,
    ]


def test_an_orphan_without_a_mark_belongs_to_the_only_job_there_was() -> None:
    adopted = process(2001, OURS.pid, sid=2001)
    alone = Root(pid=2000, started=50.0, mark="1000.1", alone=True)
    assert pids(JOB, adopted) == []
    assert pids(alone, adopted, process(2002, 2001)) == [2001, 2002]


def test_our_workers_marked_orphans_and_children_of_code_in_our_process_are_spared() -> None:
    alone = Root(pid=2000, started=50.0, mark="1000.1", alone=True)
    worker, of_another_job = process(2001, OURS.pid), process(2002, OURS.pid)
    in_process = process(2003, OURS.pid, pgid=OURS.pgid)
    assert pids(alone, worker, of_another_job, in_process, marks={2002: "1000.2"}, kept=(2001,)) == []


def test_we_never_belong_to_our_own_job() -> None:
    assert OURS.pid not in pids(Root(pid=OURS.pid, started=0.0))


def test_marks_are_nested(monkeypatch) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    assert marks_prefix() == f"{os.getpid()}."
    monkeypatch.setenv(JOB_VARIABLE, "12.3")
    assert marks_prefix() == f"12.3/{os.getpid()}."


def test_the_table_tells_of_real_processes() -> None:
    began = process_clock()
    environment = {**os.environ, JOB_VARIABLE: "a-test.1"}
    with subprocess.Popen(
        (sys.executable, "-S", "-c", "print(flush=True); input()"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it is past its exec now
        seen = next(found for found in list_processes() if found.pid == child.pid)
        assert (seen.ppid, seen.pgid, seen.sid, seen.zombie) == (os.getpid(), child.pid, child.pid, False)
        assert abs(seen.started - began) < 5
        assert read_job_mark(child.pid) == "a-test.1"
        if sys.platform.startswith("linux"):
            assert 1_000_000 < (peak_rss_bytes(child.pid) or 0) < 100_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_memory_of_a_tree_is_that_of_all_its_processes() -> None:
    fill = "held = b'x' * 40_000_000; print(flush=True); input()"
    grown = f"import subprocess, sys; one = subprocess.Popen([sys.executable, '-S', '-c', {fill!r}]); {fill}"
    with subprocess.Popen(
        (sys.executable, "-c", grown), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None
        for _ in range(2):
            child.stdout.readline()  # each says when it has its memory
        assert 80_000_000 < (peak_rss_bytes(child.pid) or 0) < 160_000_000
        os.killpg(child.pid, signal.SIGKILL)


def test_a_process_that_does_not_exist_says_nothing() -> None:
    assert read_job_mark(2**22 + 1) == ""
    assert peak_rss_bytes(2**22 + 1) is None
