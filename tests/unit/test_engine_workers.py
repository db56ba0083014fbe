from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from engine_rig import Rig, commands, gate

from buildkit.cache.early import EarlyOutput
from buildkit.engine.job import JobStatus, PythonJob, RunnerReply
from buildkit.engine.workers import WorkerPool


def call(payload, out, err):
    """Stand in for the runner: the payload names a function of this module and its arguments."""
    name, *arguments = payload
    return globals()[name](*arguments)


def job(*payload: object, timeout_s: float | None = None) -> PythonJob:
    return PythonJob(payload, timeout_s)


@pytest.fixture
def rig():
    with Rig(lambda loop: WorkerPool(loop, call, 2)) as made:
        yield made


def whoami() -> int:
    return os.getpid()


def test_a_job_runs_in_another_process_with_everything_that_is_loaded(rig) -> None:
    outcome = rig.run(job("whoami"))
    assert outcome.status is JobStatus.OK
    assert outcome.extra != os.getpid()
    assert outcome.worker == f"worker:{outcome.extra}"


def test_a_worker_serves_many_jobs(rig) -> None:
    assert len({rig.run(job("whoami")).extra for _ in range(20)}) == 1


def meet(mine: str, other: str) -> None:
    """Return only if the other job runs at the same time."""
    with open(mine, "w") as writer:
        writer.write("here")
    with open(other) as reader:
        reader.read()


def test_jobs_run_side_by_side_up_to_the_width(rig, tmp_path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    os.mkfifo(one)
    os.mkfifo(two)
    first, second = rig.start(job("meet", one, two)), rig.start(job("meet2", one, two))
    assert rig.wait(first).status is rig.wait(second).status is JobStatus.OK


def meet2(other: str, mine: str) -> None:
    with open(other) as reader:
        reader.read()
    with open(mine, "w") as writer:
        writer.write("here")


def test_more_jobs_than_workers_wait_in_order(rig) -> None:
    jobs = [rig.start(job("whoami")) for _ in range(10)]
    assert len({rig.wait(number).extra for number in jobs}) <= 2


def reply() -> RunnerReply:
    return RunnerReply(
        JobStatus.FAILED,
        "said so",
        exit_code=3,
        failed_action=1,
        outs=["a", None],
        errs=["b", None],
        values={"x": 1},
    )


def test_what_the_runner_replies_is_the_outcome(rig) -> None:
    outcome = rig.run(job("reply"))
    assert (outcome.status, outcome.message, outcome.exit_code) == (JobStatus.FAILED, "said so", 3)
    assert (outcome.failed_action, outcome.outs, outcome.errs) == (1, ["a", None], ["b", None])
    assert outcome.values == {"x": 1}


def speak() -> None:
    print("out")
    print("no newline", end="")
    sys.stdout.buffer.write(b" bytes\n")
    print("err", file=sys.stderr)
    subprocess.run(("/bin/echo", "from a child"), check=True)
    os.write(1, b"by descriptor\n")
    print("end", end="")


def test_everything_a_job_writes_is_its_output(rig) -> None:
    outcome = rig.run(job("speak"))
    assert outcome.outs == ["out\nno newline bytes\nfrom a child\nby descriptor\nend"]
    assert outcome.errs == ["err\n"]
    assert outcome.log.data(1).decode() == outcome.outs[0]
    assert b"from a child" in rig.live[1]


def say(word: str) -> None:
    print(word * 1000)


def test_output_of_jobs_side_by_side_does_not_mix(rig) -> None:
    jobs = {rig.start(job("say", word)): word for word in "abcdefgh"}
    for number, word in jobs.items():
        assert rig.wait(number).outs == [word * 1000 + "\n"]


def spoil() -> None:
    os.chdir("/")
    os.environ["SPOILT"] = "yes"
    sys.stdout = None
    sys.stderr.close()


def look() -> tuple[str, bool]:
    print("still here")
    return os.getcwd(), sys.stderr.closed


def test_what_a_job_does_to_its_streams_and_directory_ends_with_it(rig) -> None:
    assert rig.run(job("spoil")).status is JobStatus.OK
    outcome = rig.run(job("look"))
    assert (outcome.extra, outcome.outs) == ((os.getcwd(), False), ["still here\n"])


def close_outputs() -> int:
    os.close(1)
    os.close(2)
    return os.getpid()


def test_a_job_that_closes_its_outputs_costs_the_next_one_nothing(rig) -> None:
    assert rig.run(job("close_outputs")).status is JobStatus.OK
    assert rig.run(job("look")).outs == ["still here\n"]


def read_stdin() -> str:
    return sys.stdin.read()


def test_stdin_of_a_job_is_empty(rig) -> None:
    assert rig.run(job("read_stdin")).extra == ""


# --- what goes wrong inside


def explode() -> None:
    raise LookupError("no such thing")


def leave() -> None:
    sys.exit("enough")


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_exception_is_an_error_with_its_traceback_and_costs_no_worker(rig) -> None:
    before = rig.run(job("whoami")).extra
    outcome = rig.run(job("explode"))
    assert outcome.status is JobStatus.ERROR
    assert outcome.message.startswith(
        "Python action raised LookupError: no such thing\nTraceback (most recent"
    )
    assert "in explode" in outcome.message
    assert rig.run(job("leave")).message == "Python action called sys.exit('enough')"
    assert rig.run(job("interrupt")).message.startswith("Python action raised KeyboardInterrupt")
    assert rig.run(job("whoami")).extra == before


def unpicklable(where: str) -> object:
    value = threading.Lock()
    return RunnerReply(values={"handle": value}) if where == "values" else value


def test_a_value_that_cannot_leave_the_worker_is_named(rig) -> None:
    outcome = rig.run(job("unpicklable", "values"))
    assert outcome.status is JobStatus.ERROR
    assert outcome.message.startswith(
        "Python action returned 'handle' of type lock, which cannot leave its worker process (cannot pickle"
    )
    assert "its return value of type lock" in rig.run(job("unpicklable", "result")).message


class Trap:
    """Can be pickled, and cannot be unpickled."""

    def __reduce__(self):
        return (explode, ())


def trap() -> Trap:
    return Trap()


def test_what_cannot_be_unpickled_is_an_error_of_the_job_on_either_side(rig) -> None:
    assert "the result of a Python action cannot be read" in rig.run(job("trap")).message
    assert "the job cannot be read by its worker" in rig.run(job("whoami", Trap())).message
    assert "cannot be sent to a worker process" in rig.run(job("whoami", threading.Lock())).message


def large(size: int) -> bytes:
    return b"r" * size


def size_of(data: bytes) -> int:
    return len(data)


def test_large_payloads_and_results_pass(rig) -> None:
    assert rig.run(job("size_of", b"p" * 5_000_000)).extra == 5_000_000
    assert rig.run(job("large", 5_000_000)).extra == b"r" * 5_000_000


def chatter(size: int) -> bytes:
    print("x" * size)
    return b"r" * size


def test_large_output_and_a_large_result_at_the_same_time_pass(rig) -> None:
    outcome = rig.run(job("chatter", 500_000))
    assert len(outcome.outs[0] or "") == 500_001
    assert outcome.extra == b"r" * 500_000


# --- workers come and go


def test_retired_workers_take_no_more_jobs(rig, tmp_path) -> None:
    before = rig.run(job("whoami")).extra
    rig.executor.retire_all()
    assert rig.run(job("whoami")).extra != before


def wait_at(path: str) -> int:
    with open(path, "rb", buffering=0) as file:
        file.read(3)  # one "go\n", and not that of the next
    return os.getpid()


def test_a_job_that_runs_while_its_worker_is_retired_finishes(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        waiting = rig.start(job("wait_at", path))
        rig.executor.retire_all()
        fresh = rig.run(job("whoami")).extra
        open_gate()
        assert rig.wait(waiting).status is JobStatus.OK
        assert rig.wait(waiting).extra != fresh
    assert rig.run(job("whoami")).extra == fresh


def test_code_loaded_after_a_fork_is_seen_by_fresh_workers(rig) -> None:
    rig.run(job("whoami"))
    globals()["new_function"] = lambda: "made later"
    try:
        assert rig.run(job("new_function")).status is JobStatus.ERROR
        rig.executor.retire_all()
        assert rig.run(job("new_function")).extra == "made later"
    finally:
        del globals()["new_function"]


def test_after_fork_is_called_once_in_each_worker(tmp_path) -> None:
    def note() -> None:
        (tmp_path / str(os.getpid())).touch()

    with Rig(lambda loop: WorkerPool(loop, call, 1, note)) as rig:
        pids = {rig.run(job("whoami")).extra for _ in range(3)}
        assert set(os.listdir(tmp_path)) == {str(pid) for pid in pids}


def test_handlers_of_the_parents_exit_do_not_run_in_workers(tmp_path) -> None:
    program = """
import atexit, sys
sys.path[:0] = %r
from engine_rig import Rig
from buildkit.engine.job import PythonJob
from buildkit.engine.workers import WorkerPool
atexit.register(print, "exit handler")
print("unflushed", end=" ")
with Rig(lambda loop: WorkerPool(loop, lambda payload, out, err: payload, 2)) as rig:
    assert rig.run(PythonJob(1)).extra == 1
"""
    done = subprocess.run(
        (sys.executable, "-c", program % ([os.path.dirname(__file__)],)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "unflushed exit handler\n"


def handlers() -> list[str]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    return [str(signal.getsignal(number)) for number in numbers] + [str(signal.set_wakeup_fd(-1))]


def test_a_worker_has_default_signals_and_none_of_the_loops_descriptors(rig) -> None:
    rig.loop.deliver_signals(lambda _: None)
    rig.start(commands_job := job("whoami"))
    assert rig.run(job("handlers")).extra == [str(signal.SIG_DFL)] * 4 + ["-1"]
    assert commands_job.timeout_s is None


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_later_workers_hold_no_line_of_earlier_ones(tmp_path) -> None:
    with Rig(lambda loop: WorkerPool(loop, call, 4)) as rig, gate(tmp_path) as (path, open_gate):
        counts = []
        for _ in range(3):
            counts.append(rig.run(job("descriptors")).extra)
            rig.start(job("wait_at", path))  # keeps this worker busy
        assert counts[0] == counts[1] == counts[2]
        for _ in range(3):
            open_gate()


def test_a_job_that_cannot_get_a_worker_fails_and_nothing_else(rig, monkeypatch) -> None:
    def no_fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    before = len(os.listdir("/dev/fd"))
    outcome = rig.run(job("whoami"))
    assert outcome.message == "no worker process could be started: Resource temporarily unavailable"
    assert len(os.listdir("/dev/fd")) == before
    monkeypatch.undo()
    assert rig.run(job("whoami")).status is JobStatus.OK


def test_only_python_jobs_are_accepted(rig) -> None:
    with pytest.raises(TypeError, match="runs Python jobs, not CommandJob"):
        rig.executor.start(1, commands("true"), None, lambda *_: None)


# --- what it cost


def spin_in_a_child() -> None:
    subprocess.run((sys.executable, "-S", "-c", "for _ in range(2000000): pass"), check=True)


def allocate(size: int) -> None:
    bytearray(size)


def test_time_of_the_jobs_own_children_counts(rig) -> None:
    cost = rig.run(job("spin_in_a_child")).cost
    assert cost.user_ns is not None
    assert cost.user_ns > 5_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be set back on Linux only")
def test_peak_memory_is_that_of_the_job_and_not_of_an_earlier_one(rig) -> None:
    small = rig.run(job("allocate", 1000)).cost.rss_bytes
    large_job = rig.run(job("allocate", 200_000_000)).cost.rss_bytes
    small_again = rig.run(job("allocate", 1000)).cost.rss_bytes
    assert small is not None
    assert large_job is not None
    assert small_again is not None
    assert large_job > small + 150_000_000
    assert small_again < small + 50_000_000


def test_the_clock_of_a_job_is_ours(rig) -> None:
    before = time.monotonic_ns()
    outcome = rig.run(job("whoami"))
    assert before <= outcome.started_ns <= outcome.ended_ns <= time.monotonic_ns()


# --- outputs


def kept_of(rig_job: PythonJob) -> tuple[object, ...]:
    with Rig(lambda loop: WorkerPool(loop, call, 1, keep=keep)) as rig:
        return rig.run(rig_job).kept


def keep(paths):
    return tuple(EarlyOutput(path, "digest", (os.getpid(),), False, 3) for path in paths)


def test_the_worker_keeps_the_outputs_of_a_job_that_succeeded() -> None:
    (kept,) = kept_of(PythonJob(("whoami",), outputs=("out",)))
    assert (kept.path, kept.digest, kept.added_bytes) == ("out", "digest", 3)
    assert kept.signature != (os.getpid(),)


def test_nothing_is_kept_of_a_job_that_failed_or_names_no_outputs() -> None:
    assert kept_of(PythonJob(("explode",), outputs=("out",))) == ()
    assert kept_of(PythonJob(("whoami",))) == ()
