from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from engine_rig import PATIENCE_S, Rig, commands

from buildkit.engine import output as output_module
from buildkit.engine.job import JobStatus, PythonJob, RunnerReply
from buildkit.engine.threads import InlineExecutor, ThreadExecutor


def call(payload, out, err):
    return payload()


@pytest.fixture(params=["thread", "inline"])
def rig(request):
    def make(loop):
        return ThreadExecutor(loop, call, 2) if request.param == "thread" else InlineExecutor(loop, call)

    with Rig(make) as made:
        yield made


@pytest.fixture
def threads():
    with Rig(lambda loop: ThreadExecutor(loop, call, 2)) as made:
        yield made


@pytest.fixture
def inline():
    with Rig(lambda loop: InlineExecutor(loop, call)) as made:
        yield made


def speak() -> RunnerReply:
    print("out")
    print("err", file=sys.stderr)
    sys.stdout.buffer.write(b"bytes\n")
    sys.stdout.flush()
    return RunnerReply(result="r", values={"x": 1})


def test_a_job_runs_in_this_process_and_its_prints_are_its_output(rig, capsys) -> None:
    outcome = rig.run(PythonJob(speak))
    assert (outcome.status, outcome.result, outcome.values) == (JobStatus.OK, "r", {"x": 1})
    assert (outcome.outs, outcome.errs) == (["out\nbytes\n"], ["err\n"])
    assert outcome.log.data() == b"out\nerr\nbytes\n" == rig.live[1]
    assert capsys.readouterr() == ("", "")


def test_our_own_streams_are_back_afterwards(rig) -> None:
    before = sys.stdout, sys.stderr
    with rig:
        rig.run(PythonJob(speak))
    assert (sys.stdout, sys.stderr) == before


def test_an_exception_is_an_error_with_its_traceback(rig) -> None:
    def explode() -> None:
        raise LookupError("no such thing")

    outcome = rig.run(PythonJob(explode))
    assert outcome.status is JobStatus.ERROR
    assert outcome.message.startswith("Python action raised LookupError: no such thing\nTraceback")
    assert rig.run(PythonJob(lambda: sys.exit(3))).message == "Python action called sys.exit(3)"


def test_done_is_never_called_from_within_start(rig) -> None:
    told: list[int] = []
    rig.executor.start(5, PythonJob(lambda: None), None, lambda job_id, _: told.append(job_id))
    assert told == []
    rig.until(lambda: told == [5])


def test_only_python_jobs_are_accepted(rig) -> None:
    with pytest.raises(TypeError, match="runs Python jobs, not CommandJob"):
        rig.executor.start(1, commands("true"), None, lambda *_: None)


def test_output_of_a_child_goes_to_our_own_stdout_as_in_stock_doit(rig, capfd) -> None:
    outcome = rig.run(PythonJob(lambda: subprocess.run(("/bin/echo", "child"), check=True) and None))
    assert outcome.outs == [""]
    assert capfd.readouterr().out == "child\n"


# --- threads


def test_jobs_run_side_by_side_and_their_prints_do_not_mix(threads) -> None:
    barrier = threading.Barrier(2)

    def speak_together(word: str) -> None:
        for number in range(50):
            barrier.wait(PATIENCE_S)
            print(word, number)

    jobs = {threads.start(PythonJob(lambda w=word: speak_together(w))): word for word in ("one", "two")}
    for number, word in jobs.items():
        assert threads.wait(number).outs == ["".join(f"{word} {n}\n" for n in range(50))]


def test_more_jobs_than_threads_wait(threads) -> None:
    running, most = [0], [0]
    lock = threading.Lock()

    def count() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        with lock:
            running[0] -= 1

    for number in [threads.start(PythonJob(count)) for _ in range(50)]:
        threads.wait(number)
    assert most[0] <= 2


def test_a_cancelled_job_is_told_at_once_and_its_place_is_free(threads) -> None:
    release = threading.Event()
    entered = threading.Semaphore(0)

    def hang() -> None:
        entered.release()
        release.wait(PATIENCE_S)
        print("too late")

    stuck = [threads.start(PythonJob(hang)) for _ in range(2)]
    waiting = threads.start(PythonJob(lambda: "unused"))
    also = threads.start(PythonJob(lambda: "ran"))
    for _ in stuck:
        assert entered.acquire(timeout=PATIENCE_S)
    for number in (*stuck, waiting):
        threads.executor.cancel(number)
    assert [threads.wait(number).status for number in (*stuck, waiting)] == [JobStatus.CANCELLED] * 3
    assert threads.wait(also).extra == "ran"
    release.set()
    assert threads.outcomes[stuck[0]].log.data() == b""


def test_a_job_that_takes_too_long_is_given_up(threads) -> None:
    release = threading.Event()
    outcome = threads.run(PythonJob(lambda: release.wait(PATIENCE_S), timeout_s=0.01))
    release.set()
    assert outcome.status is JobStatus.TIMED_OUT
    assert outcome.message == "Python action was given up after 0.01 s (timeout); its thread goes on"


def test_a_flood_waits_for_the_loop_instead_of_filling_the_memory(threads, monkeypatch) -> None:
    monkeypatch.setattr(output_module, "_LIVE_BYTES", 10_000)
    pending: list[int] = []
    write = threads.write

    def watching(job_id: int, stream: int, data: bytes) -> None:
        pending.append(threads.executor._tasks[job_id].output._pending_bytes)
        write(job_id, stream, data)

    threads.write = watching

    def flood() -> None:
        for _ in range(1000):
            print("x" * 999)

    outcome = threads.run(PythonJob(flood))
    assert len(threads.live[1]) == outcome.log.total_bytes == 1_000_000
    assert max(pending) <= 12_000


def test_shutdown_reports_what_does_not_end(threads) -> None:
    release = threading.Event()
    stuck = threads.start(PythonJob(lambda: release.wait(PATIENCE_S)))
    threads.executor.shutdown(0.0)
    assert threads.outcomes[stuck].status is JobStatus.CANCELLED
    release.set()


# --- inline


def test_a_job_has_ended_when_start_returns(inline) -> None:
    ran: list[int] = []
    inline.start(PythonJob(lambda: ran.append(threading.get_ident())))
    assert ran == [threading.get_ident()]


def test_a_signal_ends_the_action_and_is_told_by_the_loop(inline) -> None:
    told: list[int] = []
    inline.loop.deliver_signals(told.append)

    def wait_for_it() -> None:
        print("before")
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()

    outcome = inline.run(PythonJob(wait_for_it))
    assert (outcome.status, outcome.outs) == (JobStatus.CANCELLED, ["before\n"])
    inline.until(lambda: told == [signal.SIGINT])


def test_keyboard_interrupt_passes_where_the_loop_does_not_deliver_signals(inline) -> None:
    before = sys.stdout

    def wait_for_it() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()

    with pytest.raises(KeyboardInterrupt):
        inline.start(PythonJob(wait_for_it))
    assert sys.stdout is before


@pytest.mark.timeout(60, method="thread")  # the default method of the test runner takes the alarm itself
def test_a_job_that_takes_too_long_is_ended(inline) -> None:
    outcome = inline.run(PythonJob(signal.pause, timeout_s=0.01))
    assert outcome.status is JobStatus.TIMED_OUT
    assert outcome.message == "Python action was ended after 0.01 s (timeout)"
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
