"""One run at a time in a project, with real processes and real kills."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from buildkit.core.errors import LockHeldError, StateError
from buildkit.state import lock as lock_module
from buildkit.state.lock import LOCK_VARIABLE, Holder, ProjectLock, current_holder, process_exists

# Says what happens to it, one line each, and holds the lock until its input ends.
RUN = """
import sys
from buildkit.state.lock import ProjectLock
lock = ProjectLock(sys.argv[1])
def on_wait(holder): print("waits for", holder, flush=True)
lock.acquire(wait=True, on_wait=on_wait, argv=("doit", sys.argv[2]))
print("nested" if lock.nested else "holds", flush=True)
sys.stdin.read()
lock.release()
print("released", flush=True)
"""


def refuse_to_wait(holder):
    raise AssertionError(f"waited for {holder}")


@pytest.fixture
def project(tmp_path):
    return str(tmp_path)


@pytest.fixture
def start(project):
    processes = []

    def start_run(name, **environ):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, project, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environ},
        )
        processes.append(process)
        return process

    yield start_run
    for process in processes:
        with process:
            process.kill()


def test_a_second_run_waits_and_says_for_whom(project, start):
    first = start("all")
    assert first.stdout.readline() == "holds\n"
    second = start("lint")
    line = second.stdout.readline()
    assert line.startswith(f"waits for process {first.pid} (doit all), since ")

    first.stdin.close()

    assert second.stdout.readline() == "holds\n"
    assert first.stdout.readline() == "released\n"


def test_a_killed_run_frees_the_project(project, start):
    first = start("all")
    first.stdout.readline()
    second = start("lint")
    assert second.stdout.readline().startswith("waits for")

    first.kill()

    assert second.stdout.readline() == "holds\n"


def test_a_run_can_be_interrupted_while_it_waits(project, start):
    first = start("all")
    first.stdout.readline()
    second = start("lint")
    assert second.stdout.readline().startswith("waits for")

    second.send_signal(signal.SIGINT)

    assert second.wait(timeout=30) == -signal.SIGINT
    assert second.stdout.read() == ""


def test_a_run_that_will_not_wait_fails_with_the_holder(project, start):
    first = start("all")
    first.stdout.readline()
    with pytest.raises(LockHeldError, match=rf"process {first.pid} \(doit all\), since \d\d:\d\d:\d\d"):
        ProjectLock(project).acquire(wait=False, on_wait=refuse_to_wait)


def test_a_task_of_the_running_build_goes_ahead(project, start):
    outer = ProjectLock(project, environ={})
    outer.acquire(wait=False, on_wait=refuse_to_wait)
    inner = start("inner", **{LOCK_VARIABLE: outer.variable_for_children()})
    assert inner.stdout.readline() == "nested\n"


def test_a_build_in_the_same_process_goes_ahead(project):
    outer = ProjectLock(project, environ={})
    outer.acquire(wait=False, on_wait=refuse_to_wait)
    inner = ProjectLock(project, environ={})
    inner.acquire(wait=True, on_wait=refuse_to_wait)
    assert inner.nested
    inner.release()
    assert current_holder(project) is not None


def test_a_variable_that_outlived_its_run_does_not_open_the_project(project, start):
    ended = ProjectLock(project, environ={})
    ended.acquire(wait=False, on_wait=refuse_to_wait)
    variable = ended.variable_for_children()
    ended.release()
    other = start("other")
    other.stdout.readline()
    late = start("late", **{LOCK_VARIABLE: variable})
    assert late.stdout.readline().startswith(f"waits for process {other.pid}")


def test_a_variable_that_outlived_its_run_does_not_stand_in_for_the_lock(project):
    stale = {
        LOCK_VARIABLE: json.dumps([[os.getppid(), os.path.join(os.path.realpath(project), ".buildkit")]])
    }
    lock = ProjectLock(project, environ=stale)
    lock.acquire(wait=False, on_wait=refuse_to_wait)
    assert not lock.nested


def test_projects_that_build_each_other_do_not_deadlock(tmp_path, start, project):
    other = str(tmp_path / "other")
    os.mkdir(other)
    outer = ProjectLock(project, environ={})
    outer.acquire(wait=False, on_wait=refuse_to_wait)
    middle = ProjectLock(other, environ={LOCK_VARIABLE: outer.variable_for_children()})
    middle.acquire(wait=False, on_wait=refuse_to_wait)
    innermost = start("inner", **{LOCK_VARIABLE: middle.variable_for_children()})
    assert innermost.stdout.readline() == "nested\n"


def test_a_variable_with_other_content_is_no_ancestor(project, start):
    holder = start("all")
    holder.stdout.readline()
    for content in ("", "yes", "7", "[[1]]", '{"a": 1}'):
        with pytest.raises(LockHeldError):
            ProjectLock(project, environ={LOCK_VARIABLE: content}).acquire(wait=False, on_wait=refuse_to_wait)


def test_the_holder_is_known_while_it_holds_and_not_afterwards(project):
    assert current_holder(project) is None
    lock = ProjectLock(project, environ={})
    lock.acquire(wait=False, on_wait=refuse_to_wait, argv=("doit", "-n", "4"))
    holder = current_holder(project)
    assert (holder.pid, holder.argv) == (os.getpid(), ("doit", "-n", "4"))
    assert holder.started_at == pytest.approx(time.time(), abs=60)
    lock.release()
    assert current_holder(project) is None


def test_a_killed_holder_holds_nothing(project, start):
    first = start("all")
    first.stdout.readline()
    assert current_holder(project).pid == first.pid
    first.kill()
    first.wait()
    assert current_holder(project) is None


def test_only_processes_that_exist_exist():
    with subprocess.Popen(["true"]) as ended:
        assert process_exists(ended.pid)
    assert not process_exists(ended.pid)
    for pid in (None, 0, -1, 10**30):
        assert not process_exists(pid)
    assert process_exists(1)


def test_a_forked_worker_does_not_keep_the_project_after_its_parent_died(project):
    read_end, write_end = os.pipe()
    ready_read, ready_write = os.pipe()
    parent = os.fork()
    if parent == 0:
        lock = ProjectLock(project, environ={})
        lock.acquire(wait=False, on_wait=refuse_to_wait)
        if os.fork() == 0:
            lock.close_in_child()
            os.close(write_end)
            os.write(ready_write, b".")
            os.read(read_end, 1)  # lives on until the test is over
            os._exit(0)
        signal.pause()
    os.read(ready_read, 1)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)

    ProjectLock(project, environ={}).acquire(wait=False, on_wait=refuse_to_wait)

    for fd in (read_end, write_end, ready_read, ready_write):
        os.close(fd)


def test_a_release_without_the_lock_does_nothing(project):
    ProjectLock(project).release()
    assert os.listdir(project) == []


def test_a_file_system_without_locks_is_an_error_that_says_so(project, monkeypatch):
    def no_locks(fd, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StateError, match="no file locks"):
        ProjectLock(project).acquire(wait=True, on_wait=refuse_to_wait)


def test_a_lock_that_names_nobody_yet_is_waited_for_all_the_same(project, monkeypatch):
    monkeypatch.setattr(lock_module, "_RETRIES", 1)
    with open(os.path.join(lock_module.ensure_state_directory(project), "lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LockHeldError, match="another process"):
            ProjectLock(project).acquire(wait=False, on_wait=refuse_to_wait)


def test_a_holder_without_command_or_time_is_still_described():
    assert str(Holder(7)) == "process 7"
    assert str(Holder()) == "another process"
