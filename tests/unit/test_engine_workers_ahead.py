"""Jobs that a worker is given ahead of time, while it is still busy with another one."""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest
from engine_rig import Rig, gate

from buildkit.engine import workers
from buildkit.engine.forked import Line
from buildkit.engine.job import JobOutcome, JobStatus, PythonJob
from buildkit.engine.procfs import process_clock
from buildkit.engine.wire import MOST_LANES, PACKET_BYTES
from buildkit.engine.workers import WorkerPool


def call(payload, out, err):
    """Stand in for the runner: the payload names a function of this module and its arguments."""
    name, *arguments = payload
    return globals()[name](*arguments)


def job(*payload: object, timeout_s: float | None = None) -> PythonJob:
    return PythonJob(payload, timeout_s)


class AheadRig(Rig):
    """Also starts jobs ahead, and notes when jobs begin and end."""

    executor: WorkerPool

    def __init__(self, width: int) -> None:
        super().__init__(lambda loop: WorkerPool(loop, call, width))
        self.events: list[tuple[str, int]] = []

    def ahead(self, job: PythonJob) -> int:
        while not self.executor.room_ahead():  # as soon as the worker has taken the one before
            self.loop.run_once(0.001)
        self._next += 1
        self.executor.start_ahead(self._next, job, self, self._done, self._began)
        return self._next

    def follow(self, job: PythonJob) -> int:
        """Start a job ahead where that is possible, else when all others are done."""
        self.until(lambda: self.executor.room_ahead() or len(self.outcomes) == self._next)
        return self.ahead(job) if self.executor.room_ahead() else self.start(job)

    def _began(self, job_id: int, _began_ns: int) -> None:
        self.events.append(("began", job_id))

    def _done(self, job_id: int, outcome: JobOutcome) -> None:
        super()._done(job_id, outcome)
        self.events.append(("done", job_id))


pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="sockets that keep packets apart are there on Linux only"
)


@pytest.fixture
def rig(monkeypatch):
    monkeypatch.setattr(workers, "_QUICK_NS", 60_000_000_000)  # on a busy machine nothing is quick
    with AheadRig(1) as made:
        made.run(job("whoami"))  # a worker has to have shown that its jobs are short
        made.events.clear()
        yield made


def whoami() -> int:
    return os.getpid()


def wait_at(path: str) -> int:
    with open(path, "rb", buffering=0) as file:
        file.read(3)
    return os.getpid()


def fail_at(path: str) -> None:
    wait_at(path)
    raise LookupError


def die_at(path: str) -> None:
    wait_at(path)
    os._exit(3)


def say(text: str) -> None:
    print(text)
    os.system(f"echo {text} from a child")


def test_a_job_given_ahead_begins_in_the_same_worker_when_the_other_one_has_ended(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("wait_at", path))
        second = rig.ahead(job("whoami"))
        let_go()
        assert rig.wait(second).extra == rig.wait(first).extra
    assert rig.events == [("done", first), ("began", second), ("done", second)]


def fill(rig: AheadRig, *payload: object) -> list[int]:
    """Start as many jobs ahead as there is room for."""
    numbers = []
    while rig.executor.room_ahead():
        numbers.append(rig.ahead(job(*payload)))
    return numbers


def test_jobs_given_ahead_begin_in_their_order(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("wait_at", path))
        others = fill(rig, "whoami")
        assert len(others) == MOST_LANES - 1
        let_go()
        assert {rig.wait(number).extra for number in others} == {rig.wait(first).extra}
    expected = [("done", first)]
    for number in others:
        expected += [("began", number), ("done", number)]
    assert rig.events == expected


def run_behind(rig: AheadRig, tmp_path, function: str) -> tuple[int, list[int]]:
    """Let a job and what is behind it run; return its number and those of the others, which all succeeded."""
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job(function, path))
        others = fill(rig, "whoami")
        let_go()
        rig.wait(first)
        assert {rig.wait(number).status for number in others} == {JobStatus.OK}
    return first, others


def test_jobs_behind_one_that_fails_wait_until_they_are_given_again(rig, tmp_path) -> None:
    first, others = run_behind(rig, tmp_path, "fail_at")
    assert rig.outcomes[first].status is JobStatus.ERROR
    assert sorted(rig.events) == sorted(
        [("done", first), *((what, number) for number in others for what in ("began", "done"))]
    )


def test_jobs_behind_one_that_ends_its_worker_run_elsewhere(rig, tmp_path) -> None:
    first, others = run_behind(rig, tmp_path, "die_at")
    assert rig.outcomes[first].status is JobStatus.LOST
    assert rig.outcomes[first].worker not in {rig.outcomes[number].worker for number in others}


def test_of_jobs_that_wait_behind_others_one_can_be_cancelled(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("wait_at", path))
        before = rig.ahead(job("whoami"))
        cancelled = rig.ahead(job("mark", str(tmp_path / "made")))
        after = rig.ahead(job("whoami"))
        rig.executor.cancel(cancelled)
        assert rig.wait(cancelled).status is JobStatus.CANCELLED
        let_go()
        assert {rig.wait(number).status for number in (first, before, after)} == {JobStatus.OK}
    assert ("began", cancelled) not in rig.events
    assert not (tmp_path / "made").exists()


def test_the_time_limit_of_a_job_leaves_those_behind_it_alone(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, _let_go):
        first = rig.start(job("wait_at", path, timeout_s=0.05))
        others = fill(rig, "whoami")
        assert rig.wait(first).status is JobStatus.TIMED_OUT
        assert {rig.wait(number).status for number in others} == {JobStatus.OK}


def test_a_worker_that_becomes_free_gets_its_share_of_what_waits_behind_others(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(workers, "_QUICK_NS", 60_000_000_000)
    with AheadRig(2) as rig, gate(tmp_path) as (path, let_go):
        rig.run(job("whoami"))
        first = rig.start(job("wait_at", path))
        others = fill(rig, "whoami")
        rig.executor.spread(1)
        busy = rig.executor._workers[0]
        lanes = {task.number % MOST_LANES for task in (busy.task, *busy.ahead)}
        assert len(lanes) == len(others)  # each of them has outputs of its own
        assert rig.wait(others[0]).status is JobStatus.OK
        assert first not in rig.outcomes
        let_go()
        outcomes = [rig.wait(number) for number in others]
        assert {outcome.worker for outcome in outcomes[1:]} == {rig.wait(first).worker}
        assert outcomes[0].worker != rig.outcomes[first].worker


def test_jobs_that_wait_behind_one_that_took_long_are_given_back(tmp_path) -> None:
    with AheadRig(1) as rig, gate(tmp_path) as (path, let_go):
        rig.until(lambda: rig.run(job("whoami")) is not None and rig.executor._workers[0].most_ahead > 1)
        first = rig.start(job("wait_at", path))
        second, third = rig.ahead(job("wait_at", path)), rig.ahead(job("whoami"))
        rig.loop.run_until(lambda: False, timeout_s=0.01)  # so that the first one has taken long
        let_go()
        assert rig.wait(first).status is JobStatus.OK
        assert rig.wait(third).status is JobStatus.CANCELLED
        assert ("began", third) not in rig.events
        let_go()
        assert rig.wait(second).status in (JobStatus.OK, JobStatus.CANCELLED)  # the worker may have had it


def tell_the_time(path: str) -> float:
    now = process_clock()
    mark(path)
    return now


def test_what_a_job_starts_before_the_run_knows_that_it_began_is_its_own(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        rig.start(job("wait_at", path))
        second = rig.ahead(job("tell_the_time", str(tmp_path / "begun")))
        kept = rig.executor._workers[0].ahead[0]
        let_go()
        while not (tmp_path / "begun").exists():
            pass  # the loop stands still meanwhile
        assert kept.started == 0
        assert rig.wait(second).extra >= kept.started > 0


def echo(number: int) -> int:
    return number


def take_back_while_the_worker_takes_one(line, meanwhile) -> list[bytes]:
    """Take one packet back, let the worker take the one that follows, and take back the rest."""
    first = line.far.recv(PACKET_BYTES, socket.MSG_DONTWAIT)
    following = head(line)
    meanwhile()
    while head(line) == following:
        pass  # until it has it
    return [first, *_take_back(line)]


_take_back = Line.take_back


def head(line: Line) -> bytes:
    """Return what its worker takes next out of a line."""
    try:
        return line.far.recv(PACKET_BYTES, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return b""


def test_a_job_that_is_taken_while_others_are_taken_back_keeps_its_answer(rig, tmp_path, monkeypatch) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("wait_at", path))
        rig.until(lambda: not head(rig.executor._workers[0].line))
        numbers = [rig.ahead(job("echo", 1)), rig.ahead(job("wait_at", path)), rig.ahead(job("echo", 3))]

        def racing(line: Line) -> list[bytes]:
            return take_back_while_the_worker_takes_one(line, let_go)

        with monkeypatch.context() as patch:
            patch.setattr(Line, "take_back", racing)
            rig.executor.cancel(numbers[0])
        let_go()
        assert rig.wait(first).status is JobStatus.OK
        assert rig.wait(numbers[0]).status is JobStatus.CANCELLED
        assert isinstance(rig.wait(numbers[1]).extra, int) and rig.outcomes[numbers[1]].extra > 3  # its pid
        assert rig.wait(numbers[2]).extra == 3
    assert ("began", numbers[0]) not in rig.events


@pytest.mark.parametrize("raced", [False, True])
def test_a_job_that_its_worker_has_not_taken_yet_is_not_lost_when_others_are_taken_back(
    rig, tmp_path, monkeypatch, raced: bool
) -> None:
    pid = rig.run(job("whoami")).extra
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)

    def racing(line: Line) -> list[bytes]:
        return take_back_while_the_worker_takes_one(line, lambda: os.kill(pid, signal.SIGCONT))

    with gate(tmp_path) as (path, let_go):
        first, second = rig.start(job("echo", 1)), rig.ahead(job("wait_at", path))
        third = rig.ahead(job("echo", 3))
        with monkeypatch.context() as patch:
            if raced:
                patch.setattr(Line, "take_back", racing)
            rig.executor.cancel(third)
        os.kill(pid, signal.SIGCONT)
        let_go()
        assert rig.wait(second).status is JobStatus.OK
    assert rig.wait(first).extra == 1
    assert rig.wait(third).status is JobStatus.CANCELLED
    assert ("began", third) not in rig.events


def test_wide_pools_keep_few_pipes_for_each_worker() -> None:
    with AheadRig(100) as rig:
        rig.run(job("whoami"))
        assert len(rig.executor._workers[0].outputs) == 4


def test_workers_take_nothing_ahead_before_their_jobs_proved_short(tmp_path) -> None:
    with AheadRig(1) as rig, gate(tmp_path) as (path, let_go):
        rig.start(job("wait_at", path))
        assert not rig.executor.room_ahead()
        let_go()


def test_output_goes_to_the_job_that_wrote_it_with_the_next_one_on_its_heels(rig) -> None:
    numbers = [rig.start(job("say", "job0"))]
    numbers += [rig.follow(job("say", f"job{number}")) for number in range(1, 40)]
    for number, job_id in enumerate(numbers):
        assert rig.wait(job_id).outs == [f"job{number}\njob{number} from a child\n"]
        assert rig.live[job_id] == rig.outcomes[job_id].log.data(1)


def test_a_job_behind_one_that_fails_waits_until_it_is_given_again(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("fail_at", path))
        second = rig.ahead(job("whoami"))
        let_go()
        assert rig.wait(first).status is JobStatus.ERROR
        assert rig.wait(second).status is JobStatus.OK
    assert rig.events == [("done", first), ("began", second), ("done", second)]


def mark(path: str) -> None:
    open(path, "w").close()


def test_a_job_behind_one_that_fails_does_not_begin_if_it_is_cancelled_then(rig, tmp_path) -> None:
    def stop(job_id: int, outcome: JobOutcome) -> None:
        rig._done(job_id, outcome)
        rig.executor.cancel(2 + 1)

    with gate(tmp_path) as (path, let_go):
        rig._next += 1
        rig.executor.start(2, job("fail_at", path), rig, stop)
        second = rig.ahead(job("mark", str(tmp_path / "made")))
        assert second == 3
        let_go()
        assert rig.wait(second).status is JobStatus.CANCELLED
    assert ("began", second) not in rig.events
    assert rig.run(job("whoami")).status is JobStatus.OK
    assert not (tmp_path / "made").exists()


def test_a_job_that_is_cancelled_while_it_waits_behind_another_never_begins(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("wait_at", path))
        second = rig.ahead(job("mark", str(tmp_path / "made")))
        rig.executor.cancel(second)
        assert rig.wait(second).status is JobStatus.CANCELLED
        let_go()
        assert rig.wait(first).status is JobStatus.OK
    assert rig.run(job("whoami")).status is JobStatus.OK
    assert ("began", second) not in rig.events
    assert not (tmp_path / "made").exists()


def test_a_job_runs_elsewhere_if_the_one_before_it_ends_its_worker(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("die_at", path))
        second = rig.ahead(job("whoami"))
        let_go()
        assert rig.wait(first).status is JobStatus.LOST
        assert rig.wait(second).status is JobStatus.OK
    assert rig.outcomes[second].worker != rig.outcomes[first].worker
    assert rig.events == [("done", first), ("began", second), ("done", second)]


def test_a_job_that_ends_its_worker_is_the_one_that_is_lost(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("wait_at", path))
        second = rig.ahead(job("die_at", path))
        let_go()
        let_go()
        assert rig.wait(second).status is JobStatus.LOST
        assert rig.wait(first).status is JobStatus.OK


def test_a_job_runs_elsewhere_if_the_one_before_it_takes_too_long(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, _let_go):
        first = rig.start(job("wait_at", path, timeout_s=0.05))
        second = rig.ahead(job("whoami"))
        assert rig.wait(first).status is JobStatus.TIMED_OUT
        assert rig.wait(second).status is JobStatus.OK


def test_the_time_of_a_job_does_not_run_while_it_waits_behind_another(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        rig.start(job("wait_at", path))
        second = rig.ahead(job("whoami", timeout_s=0.01))
        rig.loop.run_until(lambda: False, timeout_s=0.05)
        let_go()
        assert rig.wait(second).status is JobStatus.OK


def test_a_job_that_waits_behind_another_goes_to_a_worker_that_is_free(tmp_path) -> None:
    with AheadRig(2) as rig, gate(tmp_path) as (path, let_go):
        rig.run(job("whoami"))
        first = rig.start(job("wait_at", path))
        second = rig.ahead(job("whoami"))
        rig.executor.spread(8)
        assert rig.wait(second).status is JobStatus.OK
        assert first not in rig.outcomes
        let_go()


def test_a_large_job_waits_for_a_free_worker(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, let_go):
        first = rig.start(job("wait_at", path))
        second = rig.ahead(job("size_of", b"p" * 1_000_000))
        let_go()
        assert rig.wait(second).extra == 1_000_000
    assert rig.events == [("done", first), ("began", second), ("done", second)]


def size_of(data: bytes) -> int:
    return len(data)


def test_shutting_down_ends_jobs_that_wait_behind_others(tmp_path) -> None:
    with gate(tmp_path) as (path, _let_go):
        with AheadRig(1) as rig:
            rig.run(job("whoami"))
            first = rig.start(job("wait_at", path))
            second = rig.ahead(job("whoami"))
        assert rig.outcomes[first].status is rig.outcomes[second].status is JobStatus.CANCELLED
        assert ("began", second) not in rig.events


def test_a_worker_that_died_while_idle_costs_the_job_nothing_that_was_sent_to_it(rig) -> None:
    pid = rig.run(job("whoami")).extra
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # dead, and the pool was not told yet
    outcome = rig.run(job("whoami"))
    assert outcome.status is JobStatus.OK
    assert outcome.extra != pid


def test_many_jobs_in_a_row_are_each_done_once(rig) -> None:
    numbers = [rig.start(job("whoami"))]
    numbers += [rig.follow(job("whoami")) for _ in range(300)]
    rig.until(lambda: len(rig.outcomes) > 301)
    assert rig.order[1:] == numbers


def test_where_sockets_do_not_keep_packets_apart_nothing_is_given_ahead(tmp_path, monkeypatch) -> None:
    pair = socket.socketpair

    def without_packets(family: int = socket.AF_UNIX, kind: int = socket.SOCK_STREAM) -> object:
        if kind == socket.SOCK_SEQPACKET:
            raise OSError(93, "Protocol not supported")
        return pair(family, kind)

    monkeypatch.setattr(socket, "socketpair", without_packets)
    with AheadRig(1) as rig, gate(tmp_path) as (path, let_go):
        assert rig.run(job("size_of", b"p" * 1_000_000)).extra == 1_000_000
        assert rig.run(job("say", "one")).outs == ["one\none from a child\n"]
        pid = rig.run(job("whoami")).extra
        rig.start(job("wait_at", path))
        rig.loop.run_once(0)
        assert not rig.executor.room_ahead()
        let_go()
        rig.until(lambda: len(rig.outcomes) == 4)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert rig.run(job("whoami")).status is JobStatus.OK
        assert rig.run(job("die_now")).status is JobStatus.LOST
        assert rig.run(job("whoami")).status is JobStatus.OK


def test_a_job_for_which_every_worker_dies_is_lost_and_not_tried_for_ever() -> None:
    def fail() -> None:
        raise RuntimeError("this worker never comes to its jobs")

    with Rig(lambda loop: WorkerPool(loop, call, 1, after_fork=fail)) as rig:
        assert rig.run(job("whoami")).status is JobStatus.LOST


def die_now() -> None:
    os._exit(3)
