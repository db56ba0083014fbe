"""The command server's queue: a slot is filled without the run, never doubled, and not after a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engine_rig import Lifeline, Rig, commands, gate

from buildkit.engine.job import JobOutcome, JobStatus
from buildkit.engine.process import ProcessExecutor
from buildkit.engine.served_commands import ServedCommands

pytestmark = pytest.mark.skipif(not ServedCommands.available(), reason="no command server on this system")


class QueueRig(Rig):
    """A rig whose executor holds a queue; `told` is all that was said of jobs, in order."""

    def __init__(self, *, continue_: bool = False) -> None:
        def make(loop):
            return ServedCommands(
                loop, direct=ProcessExecutor(loop), width=2, continue_=continue_, grace_s=2.0, few=0
            )

        super().__init__(make)
        self.told: list[tuple[str, int]] = []
        self.began_ns: dict[int, int] = {}

    def _done(self, job_id: int, outcome: JobOutcome) -> None:
        withdrawn = outcome.status is JobStatus.CANCELLED and ("started", job_id) not in self.told
        self.told.append(("withdrawn" if withdrawn else "done", job_id))
        super()._done(job_id, outcome)

    def _started(self, job_id: int, began_ns: int) -> None:
        self.told.append(("started", job_id))
        self.began_ns[job_id] = began_ns

    def queue(self, text: str, **options: object) -> int:
        self._next += 1
        self.executor.start_ahead(  # type: ignore[attr-defined]
            self._next, commands(text, **options), self, self._done, self._started
        )
        return self._next

    def until_heard(self) -> None:
        """Wait until the server has taken all that it was told: a job may end before it has."""
        job = self.queue("true")
        self.executor.cancel(job)
        self.wait_until_told("withdrawn", job)
        self.told.remove(("withdrawn", job))

    def wait_until_told(self, what: str, job_id: int) -> None:
        self.until(lambda: (what, job_id) in self.told)


@pytest.fixture
def rig():
    with QueueRig() as made:
        yield made


def test_the_end_of_one_job_starts_the_next_without_the_loop(rig, tmp_path) -> None:
    os.mkfifo(tmp_path / "said")
    with gate(tmp_path) as (path, open_gate):
        first = rig.start(commands(f"read x < {path}"))
        second = rig.queue(f"echo here > {tmp_path}/said")
        rig.until_heard()
        open_gate()
        assert (tmp_path / "said").read_text() == "here\n"  # waits for the writer; the loop stands still
    rig.wait(second)
    assert rig.told == [("done", first), ("started", second), ("done", second)]
    assert rig.outcomes[first].ended_ns <= rig.began_ns[second] <= rig.outcomes[second].started_ns


def test_a_queued_job_waits_for_a_slot(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        first = rig.start(commands(f"echo up; read x < {path}"))
        second = rig.queue(f"touch {tmp_path}/ran")
        rig.wait_for_output(first, b"up")
        rig.until_heard()
        assert not (tmp_path / "ran").exists()
        open_gate()
        rig.wait(second)
    assert (tmp_path / "ran").exists()


def test_after_a_failure_no_queued_job_is_started(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        good = rig.start(commands(f"read x < {path}"))
        bad = rig.start(commands("exit 1"))
        queued = [rig.queue(f"touch {tmp_path}/ran") for _ in range(3)]
        assert rig.wait(bad).status is JobStatus.FAILED
        open_gate()
        assert rig.wait(good).status is JobStatus.OK
    for job in queued:
        rig.executor.cancel(job)
        rig.wait_until_told("withdrawn", job)
    assert not (tmp_path / "ran").exists()


def test_a_failure_hands_its_slot_on_in_a_run_that_goes_on(tmp_path) -> None:
    with QueueRig(continue_=True) as rig, gate(tmp_path) as (path, open_gate):
        rig.start(commands(f"read x < {path}; exit 1"))
        second = rig.queue("true")
        rig.until_heard()
        open_gate()
        assert rig.wait(second).status is JobStatus.OK


def test_a_job_taken_out_of_the_queue_never_starts(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        first = rig.start(commands(f"read x < {path}"))
        second = rig.queue(f"touch {tmp_path}/ran")
        rig.executor.cancel(second)
        rig.wait_until_told("withdrawn", second)
        open_gate()
        rig.wait(first)
    assert rig.told == [("withdrawn", second), ("done", first)]
    assert not (tmp_path / "ran").exists()


def test_a_slot_that_became_free_elsewhere_is_given_to_a_queued_job(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        first = rig.start(commands(f"read x < {path}"))
        second = rig.queue("true")
        rig.executor.spread(1)
        assert rig.wait(second).status is JobStatus.OK
        open_gate()
        rig.wait(first)
    assert rig.told == [("started", second), ("done", second), ("done", first)]


def test_never_more_commands_run_than_slots_were_given(rig, tmp_path) -> None:
    # Each holds one of two tickets; a third command at the same time would find none.
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    text = f"cd {tmp_path}; for n in 1 2; do rmdir $n 2>&- && {{ mkdir $n; exit 0; }}; done; exit 1"
    with gate(tmp_path) as (path, open_gate):
        jobs = [rig.start(commands(f"read x < {path}")) for _ in range(2)]
        jobs += [rig.queue(text) for _ in range(60)]
        rig.until_heard()
        open_gate()
        open_gate()
        for job in jobs:
            assert rig.wait(job).status is JobStatus.OK


def test_a_job_that_cannot_be_started_hands_its_slot_on(tmp_path) -> None:
    with QueueRig(continue_=True) as rig:
        with gate(tmp_path) as (path, open_gate):
            rig.start(commands(f"read x < {path}"))
            bad = rig.queue("true", cwd="/nowhere")
            good = rig.queue("true")
            rig.until_heard()
            open_gate()
            assert rig.wait(good).status is JobStatus.OK
        assert rig.outcomes[bad].status is JobStatus.ERROR


def test_what_code_in_our_process_does_to_the_environment_reaches_later_commands(rig, monkeypatch) -> None:
    rig.run(commands("true"))
    monkeypatch.setenv("BUILDKIT_TEST_OF_THE_SERVER", "new")
    assert rig.run(commands("echo $BUILDKIT_TEST_OF_THE_SERVER")).outs == ["new\n"]
    monkeypatch.delenv("BUILDKIT_TEST_OF_THE_SERVER")
    assert rig.run(commands("echo ${BUILDKIT_TEST_OF_THE_SERVER-unset}")).outs == ["unset\n"]


def test_a_change_of_our_directory_reaches_later_commands(rig, monkeypatch, tmp_path) -> None:
    rig.run(commands("true"))
    monkeypatch.chdir(tmp_path)
    assert rig.run(commands("pwd -P")).outs == [f"{os.path.realpath(tmp_path)}\n"]


def test_when_the_server_is_killed_its_jobs_are_lost_and_later_ones_run_all_the_same(rig, tmp_path) -> None:
    lifeline = Lifeline(tmp_path, rig.loop)
    first = rig.start(commands(f"exec 9> {lifeline.path}; echo up >&9; sleep 1000"))
    second = rig.queue("true")
    rig.until(lambda: lifeline.said == b"up\n")
    os.kill(rig.executor._pid, signal.SIGKILL)
    outcome = rig.wait(first)
    assert outcome.status is JobStatus.LOST
    assert outcome.message.startswith("the process that runs the commands was killed by SIGKILL")
    assert ("withdrawn", second) in rig.told
    rig.until(lambda: lifeline.ended)
    assert rig.run(commands("echo on")).outs == ["on\n"]
    lifeline.close()


def test_when_the_run_is_killed_nothing_queued_starts_and_what_runs_is_ended(rig, tmp_path) -> None:
    lifeline = Lifeline(tmp_path, rig.loop)
    program = tmp_path / "run.py"
    program.write_text(f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from engine_rig import commands
from test_engine_queue import QueueRig
with QueueRig() as rig:
    job = rig.start(commands("exec 9> {lifeline.path}; echo up >&9; echo up; sleep 1000"))
    rig.queue("touch {tmp_path}/ran")
    rig.wait_for_output(job, b"up")
    os.kill(os.getpid(), signal.SIGKILL)
""")
    assert subprocess.run([sys.executable, str(program)], check=False).returncode == -signal.SIGKILL
    rig.until(lambda: lifeline.ended)
    assert lifeline.said == b"up\n"
    assert not (tmp_path / "ran").exists()
    lifeline.close()


def test_an_interrupt_of_the_whole_group_leaves_the_decision_to_the_run(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        job = rig.start(commands(f"echo up; read x < {path}"))
        rig.wait_for_output(job, b"up")
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(rig.executor._pid, signum)
        open_gate()
        assert rig.wait(job).status is JobStatus.OK
