"""Runs that wait in a file for the database."""

import os
import subprocess
import sys

import pytest
from history_maker import append_run

from buildkit.state.directory import ensure_state_directory
from buildkit.state.pending import drain


@pytest.fixture
def project(tmp_path):
    ensure_state_directory(str(tmp_path))
    return str(tmp_path)


def pending_path(project):
    return os.path.join(project, ".buildkit", "pending.jsonl")


def test_runs_come_out_once_and_in_order(project):
    append_run(project, {"uid": "a"})
    append_run(project, {"uid": "b"})
    seen = []
    assert drain(project, seen.extend) == 2
    assert seen == [{"uid": "a"}, {"uid": "b"}]
    assert drain(project, seen.extend) == 0


def test_nothing_waiting_creates_nothing(project):
    assert drain(project, pytest.fail) == 0
    assert not os.path.exists(pending_path(project))


def test_a_damaged_line_costs_only_itself(project):
    append_run(project, {"uid": "a"})
    with open(pending_path(project), "ab") as file:
        file.write(b'\xff\xfe\n[1, 2]\n{"uid": "cut sh')
    append_run(project, {"uid": "b"})
    seen = []
    drain(project, seen.extend)
    assert seen == [{"uid": "a"}, {"uid": "b"}]


def test_runs_stay_where_the_import_failed(project):
    append_run(project, {"uid": "a"})

    def fail(runs):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        drain(project, fail)
    seen = []
    drain(project, seen.extend)
    assert seen == [{"uid": "a"}]


def test_many_writers_and_a_reader_lose_nothing(project):
    writer = (
        "import sys; from buildkit.state.snapshot import append_line\n"
        'for i in range(200): append_line(sys.argv[1], b\'{"uid": "%s%d"}\' % (sys.argv[2].encode(), i))\n'
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", writer, pending_path(project), name]) for name in "ab"
    ]
    seen = []
    while any(process.poll() is None for process in processes):
        drain(project, seen.extend)
    drain(project, seen.extend)
    assert sorted(run["uid"] for run in seen) == sorted(f"{name}{i}" for name in "ab" for i in range(200))


def test_appending_imports_no_database():
    code = "import sys, buildkit.state.pending, buildkit.state.runs; print('sqlite3' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
