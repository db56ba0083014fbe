"""Real processes that misbehave, and real kills: what is promised about a run's children."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

# The rig is shared with the unit tests of the executors; pytest puts only a test's own folder on the path.
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(__file__)), "unit"))

from engine_rig import Lifeline, Rig, commands, gate

from buildkit.engine.job import Command, CommandJob, JobStatus, PythonJob
from buildkit.engine.log import sanitize
from buildkit.engine.process import ProcessExecutor
from buildkit.engine.procfs import list_processes
from buildkit.engine.served_commands import ServedCommands
from buildkit.engine.workers import WorkerPool

LINUX = sys.platform.startswith("linux")

# Double fork and a session of its own, deaf to SIGTERM: nothing but its environment tells whose it is.
DAEMON = """
import os, signal, sys
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
line = os.open(sys.argv[1], os.O_WRONLY)
for fd in (0, 1, 2):
    os.close(fd)
os.write(line, b"daemon %d\\n" % os.getpid())
while True:
    signal.pause()
"""


def call(payload, out, err):
    name, *arguments = payload
    return globals()[name](*arguments)


@pytest.fixture(
    params=["direct", pytest.param("served", marks=pytest.mark.skipif(not LINUX, reason="Linux"))]
)
def rig(request) -> Iterator[Rig]:
    def executor(loop):
        direct = ProcessExecutor(loop, grace_s=0.3)
        if request.param == "direct":
            return direct
        return ServedCommands(loop, direct=direct, width=2, continue_=True, grace_s=0.3, few=0)

    with Rig(executor) as made:
        yield made


@pytest.fixture
def direct_rig() -> Iterator[Rig]:
    """For what can only be seen from within the process that starts the commands."""
    with Rig(lambda loop: ProcessExecutor(loop, grace_s=0.3)) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[Rig]:
    with Rig(lambda loop: WorkerPool(loop, call, 2, grace_s=0.3)) as made:
        yield made


@pytest.fixture
def lifeline(request, tmp_path) -> Iterator[Lifeline]:
    name = next(name for name in ("pool", "direct_rig", "rig") if name in request.fixturenames)
    made = request.getfixturevalue(name)
    line = Lifeline(tmp_path, made.loop)
    yield line
    line.close()


@pytest.fixture
def daemon(tmp_path) -> str:
    path = tmp_path / "daemon.py"
    path.write_text(DAEMON)
    return f"{sys.executable} -S {path}"


def own_zombies_and_children() -> list[int]:
    return [process.pid for process in list_processes() if process.ppid == os.getpid()]


# --- output


def test_a_flood_of_output_is_capped_and_our_memory_stays_bounded(rig) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = rig.run(commands("yes abcdefghijklmnopqrstuvwxyz | head -c 500000000; echo; echo the end"))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert outcome.status is JobStatus.OK
    assert outcome.log.total_bytes == 500_000_009
    assert outcome.log.left_out_bytes > 480_000_000
    assert outcome.log.tail(1) == ["the end"]
    assert f"[buildkit: {outcome.log.left_out_bytes} bytes of output left out]".encode() in outcome.log.data()
    rig.live.clear()
    assert len(outcome.outs[0] or "") < 1_100_000
    assert grown * (1024 if LINUX else 1) < 200_000_000


@pytest.fixture(autouse=True)
def unwatched_floods(request, monkeypatch) -> None:
    if "flood" in request.node.name:
        monkeypatch.setattr(Rig, "write", lambda *_: None)


def test_a_partial_line_and_control_bytes_are_kept_as_they_are_and_shown_harmless(rig) -> None:
    outcome = rig.run(commands(r"printf 'a\033[2J\033[1mbold\007\377 no newline'"))
    assert outcome.log.data() == b"a\x1b[2J\x1b[1mbold\x07\xff no newline"
    assert sanitize(outcome.log.data()) == b"a\x1b[1mbold\xff no newline"
    assert outcome.log.tail(1) == ["a\x1b[1mbold\ufffd no newline"]


def test_a_command_that_closes_everything_is_waited_for(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        job = rig.start(commands(f"exec 0<&- >&- 2>&-; exec 3< {path}; read x <&3; kill -ABRT $$"))
        open_gate()
        assert rig.wait(job).signal == signal.SIGABRT


# --- cancel, timeout, shutdown


def test_a_cancelled_command_is_gone_with_all_that_it_started(rig, lifeline) -> None:
    job = rig.start(commands(f"exec 9> {lifeline.path}; sleep 1000 & (sleep 1000; true) & echo up >&9; wait"))
    rig.until(lambda: b"up" in lifeline.said)
    rig.executor.cancel(job)
    outcome = rig.wait(job)
    assert outcome.status is JobStatus.CANCELLED
    assert outcome.signal == signal.SIGTERM
    assert outcome.message.startswith("Command cancelled: 'exec 9> ")
    rig.until(lambda: lifeline.ended)


def test_a_command_has_time_to_clean_up_when_it_is_cancelled(rig, lifeline) -> None:
    job = rig.start(
        commands(
            f"exec 9> {lifeline.path}; trap 'echo clean >&9; exit 0' TERM; echo up >&9; sleep 1000 & wait"
        )
    )
    rig.until(lambda: b"up" in lifeline.said)
    rig.executor.cancel(job)
    assert rig.wait(job).status is JobStatus.CANCELLED
    rig.until(lambda: lifeline.ended)
    assert lifeline.said == b"up\nclean\n"


def test_who_ignores_sigterm_is_killed_after_the_grace(rig, lifeline) -> None:
    job = rig.start(
        commands(f"trap '' TERM; exec 9> {lifeline.path}; echo up >&9; while :; do sleep 1000; done")
    )
    rig.until(lambda: b"up" in lifeline.said)
    began = time.monotonic()
    rig.executor.cancel(job)
    outcome = rig.wait(job)
    assert time.monotonic() - began >= 0.3
    assert outcome.signal == signal.SIGKILL
    rig.until(lambda: lifeline.ended)


def test_a_second_interrupt_kills_at_once(rig, lifeline) -> None:
    rig.executor.grace_s = 3600.0
    job = rig.start(
        commands(f"trap '' TERM; exec 9> {lifeline.path}; echo up >&9; while :; do sleep 1000; done")
    )
    rig.until(lambda: b"up" in lifeline.said)
    rig.executor.cancel(job)
    rig.executor.hurry()
    assert rig.wait(job).signal == signal.SIGKILL
    rig.until(lambda: lifeline.ended)


def test_a_stopped_command_is_ended_too(rig, lifeline) -> None:
    job = rig.start(commands(f"exec 9> {lifeline.path}; echo up >&9; kill -STOP $$; sleep 1000"))
    rig.until(lambda: b"up" in lifeline.said)
    rig.executor.cancel(job)
    assert rig.wait(job).signal == signal.SIGTERM
    rig.until(lambda: lifeline.ended)


def test_a_daemon_of_a_cancelled_command_is_gone(rig, lifeline, daemon) -> None:
    job = rig.start(commands(f"{daemon} {lifeline.path}; sleep 1000"))
    rig.until(lambda: b"daemon" in lifeline.said)
    rig.executor.cancel(job)
    assert rig.wait(job).status is JobStatus.CANCELLED
    rig.until(lambda: lifeline.ended)


@pytest.mark.skipif(not LINUX, reason="without a subreaper such a daemon is nobody's child")
def test_a_daemon_that_wiped_its_environment_is_gone(direct_rig, lifeline, daemon, tmp_path) -> None:
    # It daemonizes when the job has been running for long enough that orphans are adopted.
    with gate(tmp_path) as (path, open_gate):
        job = direct_rig.start(commands(f"read x < {path}; env -i {daemon} {lifeline.path}; sleep 1000"))
        direct_rig.until(lambda: direct_rig.executor.ender.adopts)
        open_gate()
        direct_rig.until(lambda: b"daemon" in lifeline.said)
        direct_rig.executor.cancel(job)
        assert direct_rig.wait(job).status is JobStatus.CANCELLED
        direct_rig.until(lambda: lifeline.ended)


def test_a_daemon_is_spared_when_another_job_is_cancelled(rig, lifeline, daemon, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        owner = rig.start(commands(f"{daemon} {lifeline.path}; read x < {path}"))
        other = rig.start(commands("sleep 1000"))
        rig.until(lambda: b"daemon" in lifeline.said)
        rig.executor.cancel(other)
        rig.wait(other)
        open_gate()
        assert rig.wait(owner).status is JobStatus.OK
        assert not lifeline.ended
        os.kill(int(lifeline.said.split()[1]), signal.SIGKILL)
        rig.until(lambda: lifeline.ended)


def test_what_a_successful_command_leaves_running_goes_on_after_the_run(rig, tmp_path) -> None:
    lifeline = Lifeline(tmp_path, rig.loop)
    with gate(tmp_path) as (path, open_gate):
        leave = f"(exec 9> {lifeline.path}; exec >&- 2>&-; echo up >&9; read x < {path}; echo alive >&9) &"
        job = rig.start(commands(leave + " exit 0"))
        assert rig.wait(job).status is JobStatus.OK
        rig.until(lambda: b"up" in lifeline.said)
        rig.executor.shutdown(1.0)
        open_gate()
        rig.until(lambda: lifeline.ended)
        assert lifeline.said == b"up\nalive\n"
    lifeline.close()


def test_a_timeout_ends_the_whole_job_and_is_called_one(rig, lifeline, daemon) -> None:
    # The limit is longer than the start of the daemon takes; should it not be, the job is ended all the same.
    outcome = rig.run(commands("true", f"{daemon} {lifeline.path}; sleep 1000", timeout_s=1.0))
    assert (outcome.status, outcome.failed_action) == (JobStatus.TIMED_OUT, 1)
    assert outcome.message.endswith("was ended after 1 s (timeout)")
    rig.until(lambda: lifeline.ended)


def test_a_timeout_leaves_what_was_written_before_in_the_log(rig) -> None:
    outcome = rig.run(commands("echo before; sleep 1000", timeout_s=0.2))
    assert (outcome.status, outcome.outs) == (JobStatus.TIMED_OUT, ["before\n"])


def test_a_run_within_a_job_is_ended_with_it(rig, lifeline, daemon, tmp_path) -> None:
    inner = tmp_path / "inner.py"
    inner.write_text(f"""
import sys
sys.path[:0] = {[os.path.dirname(__file__), *sys.path]!r}
from engine_rig import Rig, commands
from buildkit.engine.process import ProcessExecutor
with Rig(ProcessExecutor) as rig:
    rig.run(commands({f"{daemon} {lifeline.path}; sleep 1000"!r}))
""")
    job = rig.start(CommandJob((Command("inner", (sys.executable, str(inner))),)))
    rig.until(lambda: b"daemon" in lifeline.said)
    rig.executor.cancel(job)
    rig.wait(job)
    rig.until(lambda: lifeline.ended)


def test_shutdown_ends_two_hundred_jobs(rig, lifeline) -> None:
    before = set(own_zombies_and_children())  # of other tests
    text = f"exec 9> {lifeline.path}; echo up >&9; exec sleep 1000"
    jobs = [rig.start(commands(text)) for _ in range(200)]
    rig.until(lambda: lifeline.said.count(b"up\n") == 200)
    began = time.monotonic()
    rig.executor.shutdown(5.0)
    assert time.monotonic() - began < 6.0
    assert {rig.outcomes[job].status for job in jobs} == {JobStatus.CANCELLED}
    rig.until(lambda: lifeline.ended)
    assert set(own_zombies_and_children()) <= before


def test_a_command_that_somebody_else_kills_is_reported_for_what_it_is(rig, lifeline) -> None:
    job = rig.start(commands(f"echo $$ > {lifeline.path}; exec sleep 1000"))
    rig.until(lambda: lifeline.said.endswith(b"\n"))
    os.kill(int(lifeline.said), signal.SIGKILL)  # as the out-of-memory killer does
    outcome = rig.wait(job)
    assert (outcome.status, outcome.signal) == (JobStatus.SIGNALLED, signal.SIGKILL)
    assert "was ended by SIGKILL; perhaps out of memory" in outcome.message


# --- nothing leaks


def test_a_thousand_jobs_leave_no_descriptor_and_no_zombie(rig) -> None:
    rig.run(commands("true"))
    children_before = set(own_zombies_and_children())  # of other tests, and the server
    before = len(os.listdir("/dev/fd"))
    job = CommandJob((Command("true", ("/bin/sh", "-c", "echo x")),))
    for _ in range(100):
        for number in [rig.start(job) for _ in range(10)]:
            rig.wait(number)
    assert len(os.listdir("/dev/fd")) == before
    assert set(own_zombies_and_children()) <= children_before


@pytest.mark.skipif(not LINUX, reason="orphans are adopted on Linux only")
def test_orphans_that_we_adopted_leave_no_zombies(direct_rig, lifeline) -> None:
    before = set(own_zombies_and_children())  # of other tests
    direct_rig.executor.ender.adopt()
    orphan = f"(exec 9> {lifeline.path}; exec >&- 2>&-; true) &"
    for number in [direct_rig.start(commands(orphan + " exit 0")) for _ in range(20)]:
        direct_rig.wait(number)
    direct_rig.until(lambda: lifeline.ended)
    direct_rig.until(
        lambda: (
            direct_rig.run(commands("true")).status is JobStatus.OK
            and set(own_zombies_and_children()) <= before
        )
    )


def test_without_descriptors_the_task_fails_and_the_run_goes_on(rig) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/dev/fd"))
    top = max(map(int, os.listdir("/dev/fd")))
    for spare in range(6):
        # As many free descriptors as make each of the steps of a start fail in turn.
        resource.setrlimit(resource.RLIMIT_NOFILE, (top + spare, hard))
        fillers = fill_descriptors(leave=spare)
        try:
            outcome = rig.run(commands("echo started"))
        finally:
            for fd in fillers:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if spare < 4:
            assert outcome.status is JobStatus.ERROR
            assert outcome.message.startswith("Command error: 'echo started' could not be started: ")
            assert outcome.message.endswith("open files (see `ulimit -n`)")
    assert rig.run(commands("true")).status is JobStatus.OK
    assert len(os.listdir("/dev/fd")) == before


def fill_descriptors(leave: int) -> list[int]:
    """Use up all descriptors but `leave`."""
    fds = []
    while True:
        try:
            fds.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            break
    for _ in range(min(leave, len(fds))):
        os.close(fds.pop())
    return fds


# --- workers


def die(how: str) -> None:
    print("last words")
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crash":
        os.abort()


@pytest.mark.parametrize(
    ("how", "words", "exit_code", "signum"),
    [
        ("exit", "ended with exit code 3 (os._exit, or a crash)", 3, None),
        ("kill", "was killed by SIGKILL; perhaps out of memory", None, signal.SIGKILL),
        ("crash", "was killed by SIGABRT", None, signal.SIGABRT),
    ],
)
def test_a_worker_that_dies_loses_its_job_and_no_other(pool, how: str, words: str, exit_code, signum) -> None:
    jobs = [pool.start(PythonJob(("die", how) if n == 1 else ("whoami",))) for n in range(6)]
    outcomes = [pool.wait(job) for job in jobs]
    lost = outcomes.pop(1)
    assert (lost.status, lost.exit_code, lost.signal) == (JobStatus.LOST, exit_code, signum)
    assert lost.message == f"the worker process of a Python action {words}"
    assert lost.outs == ["last words\n"]
    assert {outcome.status for outcome in outcomes} == {JobStatus.OK}


def whoami() -> int:
    return os.getpid()


def test_a_worker_that_was_killed_while_idle_costs_nothing(pool) -> None:
    pid = pool.run(PythonJob(("whoami",))).extra
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is dead, and nobody was told yet
    outcome = pool.run(PythonJob(("whoami",)))
    assert outcome.status is JobStatus.OK
    assert outcome.extra != pid


def be_stubborn(path: str, daemon: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    line = os.open(path, os.O_WRONLY)
    os.set_inheritable(line, True)
    subprocess.Popen(("/bin/sh", "-c", "sleep 1000"), close_fds=False, start_new_session=True)
    subprocess.run(("/bin/sh", "-c", f"{daemon} {path}"), check=True)
    os.write(line, b"stubborn\n")
    while True:
        signal.pause()


@pytest.mark.parametrize("how", ["cancel", "timeout", "shutdown"])
def test_a_python_job_is_ended_with_all_that_it_started(pool, lifeline, daemon, how: str) -> None:
    job = PythonJob(("be_stubborn", lifeline.path, daemon), timeout_s=1.5 if how == "timeout" else None)
    number = pool.start(job)
    pool.until(lambda: b"stubborn" in lifeline.said and b"daemon" in lifeline.said)
    if how == "cancel":
        pool.executor.cancel(number)
    if how == "shutdown":
        pool.executor.shutdown(0.3)
    outcome = pool.wait(number)
    assert outcome.status is (JobStatus.TIMED_OUT if how == "timeout" else JobStatus.CANCELLED)
    pool.until(lambda: lifeline.ended)


def test_a_cancelled_job_that_waits_never_runs(pool, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        busy = [pool.start(PythonJob(("wait_at", path))) for _ in range(2)]
        waiting = pool.start(PythonJob(("touch", str(tmp_path / "ran"))))
        pool.executor.cancel(waiting)
        assert pool.wait(waiting).status is JobStatus.CANCELLED
        for _ in busy:
            open_gate()
        for number in busy:
            pool.wait(number)
    assert not (tmp_path / "ran").exists()


def wait_at(path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        file.read(3)  # one "go\n", and not that of the next


def touch(path: str) -> None:
    with open(path, "w"):
        pass


def flood(size: int) -> None:
    piece = b"x" * 65_535 + b"\n"
    for _ in range(size // len(piece)):
        os.write(1, piece)


def test_a_flood_from_a_python_job_is_capped_too(pool) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = pool.run(PythonJob(("flood", 200_000_000)))
    assert outcome.log.total_bytes > 190_000_000
    assert outcome.log.left_out_bytes > 150_000_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1024 if LINUX else 1) < 200_000_000


def test_two_thousand_python_jobs_leave_no_descriptor_and_no_zombie(pool) -> None:
    children_before = set(own_zombies_and_children())  # of other tests
    pool.run(PythonJob(("whoami",)))
    before = len(os.listdir("/dev/fd"))
    for _ in range(200):
        for number in [pool.start(PythonJob(("whoami",))) for _ in range(10)]:
            pool.wait(number)
        pool.executor.retire_all()
    pool.until(lambda: not pool.executor._workers)
    assert len(os.listdir("/dev/fd")) <= before
    assert set(own_zombies_and_children()) <= children_before


def test_idle_workers_end_when_the_run_is_killed(tmp_path) -> None:
    with Rig(ProcessExecutor) as rig:
        lifeline = Lifeline(tmp_path, rig.loop)
        program = tmp_path / "run.py"
        program.write_text(f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from engine_rig import Rig
from buildkit.engine.job import PythonJob
from buildkit.engine.workers import WorkerPool
line = os.open({lifeline.path!r}, os.O_WRONLY)
with Rig(lambda loop: WorkerPool(loop, lambda payload, out, err: os.write(line, b"ran"), 4)) as rig:
    jobs = [rig.start(PythonJob(None)) for _ in range(4)]
    for job in jobs:
        rig.wait(job)
    os.kill(os.getpid(), signal.SIGKILL)
""")
        outcome = rig.run(CommandJob((Command("run", (sys.executable, str(program))),)))
        assert outcome.signal == signal.SIGKILL
        rig.until(lambda: lifeline.ended)
        assert lifeline.said == b"ran" * 4
        lifeline.close()


def test_a_terminal_interrupt_reaches_us_and_not_the_jobs() -> None:
    # Jobs are in process groups of their own: what the terminal sends goes to the run, and that decides.
    with Rig(ProcessExecutor) as rig:
        outcome = rig.run(commands("ps -o pgid= -p $$; echo $$"))
        group, pid = (outcome.outs[0] or "").split()
        assert group == pid != str(os.getpgid(0))


def test_a_run_whose_output_nobody_reads_ends_quietly_and_leaves_nothing(tmp_path) -> None:
    (tmp_path / "dodo.py").write_text(
        "def task_talk():\n"
        "    for n in range(500):\n"
        "        yield {'name': str(n), 'actions': ['echo line %d' % n], 'verbosity': 2}\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "doit", "-n", "2"],
        cwd=tmp_path,
        env=os.environ | {"BUILDKIT_CACHE_DIR": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    assert run.stderr is not None
    assert run.stdout.readline() != ""
    run.stdout.close()
    said = run.stderr.read()
    assert run.wait(60) == 128 + signal.SIGPIPE
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_a_run_whose_terminal_vanishes_ends(tmp_path) -> None:
    import pty

    with gate(tmp_path) as (path, _open_gate):
        (tmp_path / "dodo.py").write_text(
            f"def task_wait():\n    return {{'actions': ['echo up; read x < {path}'], 'verbosity': 2}}\n"
        )
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(tmp_path)
            os.environ["BUILDKIT_CACHE_DIR"] = str(tmp_path / "cache")
            os.execv(sys.executable, [sys.executable, "-m", "doit", "-n", "2"])
        said = b""
        while b"up" not in said:
            said += os.read(terminal, 1024)
        os.close(terminal)
        _pid, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) in (
            128 + signal.SIGHUP,
            128 + signal.SIGPIPE,
            -signal.SIGHUP,
        )
